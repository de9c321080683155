//! Who is killed, and when; and the workers, which come again.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::sleep;

use super::processes::Role;
use super::town::Town;
use crate::Fail;

/// How soon a worker comes again.
const AGAIN: Duration = Duration::from_millis(20);

/// Keeps a worker at a place: when one ends, the next one comes, until it is closing time.
pub(crate) async fn keep_worker(
    town: Arc<Town>,
    place: usize,
    lease: u64,
    closing: Arc<AtomicBool>,
) -> Result<(), Fail> {
    let lease = format!("{lease}ms");
    for generation in 0.. {
        let log = town.place.folder().join(format!("worker-{place}.log"));
        let log = OpenOptions::new().append(true).create(true).open(log)?;
        let name = format!("w{place}.{generation}");
        let command = town.place.command(["worker", "--name", &name, "--lease", &lease]);
        let ended = town.processes.run(Role::Worker, command, Some(log), |_| {}).await?;
        // Where one process holds the data, it may be that another one does.
        let turned_away = town.place.database.is_none() && ended.status.code() == Some(1);
        // Told while it was only beginning, it just ends.
        let interrupted = ended.status.code() == Some(130) || ended.status.signal() == Some(15);
        let as_told = ended.status.success() || (ended.told_to_end && interrupted);
        if !ended.was_killed() && !as_told && !turned_away {
            town.incident(format!("worker {name} ended by itself: {}", ended.status));
        }
        if closing.load(Ordering::Relaxed) {
            break;
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

/// Kills until that was done so often, and tells in which part of it we are.
pub(crate) async fn kill(town: &Town, kills: usize, seed: u64, progress: &watch::Sender<f64>) -> Result<(), Fail> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let lock = town.place.lock();
    let mut said = Instant::now();
    loop {
        let done = town.processes.hits.kills();
        progress.send_replace(part(done, kills));
        if done >= kills {
            return Ok(());
        }
        // Every fourth time soon, while whoever comes next takes up what is there.
        let pause = if dice.u32(..4) == 0 { dice.u64(5..100) } else { dice.u64(100..700) };
        sleep(Duration::from_millis(pause)).await;
        if dice.u32(..15) == 0 {
            if town.processes.hit(Role::Worker, &mut dice, Signal::TERM) {
                town.processes.hits.farewells.fetch_add(1, Ordering::Relaxed);
            }
            continue;
        }
        let wanted = if dice.u32(..4) == 0 { Role::Client } else { Role::Worker };
        let hit_holder = town.place.database.is_none() && dice.u32(..3) > 0;
        if !(hit_holder && town.processes.hit_holder(&lock, Signal::KILL)) {
            town.processes.hit(wanted, &mut dice, Signal::KILL);
        }
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            let notes = town.notes();
            eprintln!("{done:>6} kills, {} commands ended, {} machines seen", notes.told.len(), notes.machines.len());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "these are counts of kills")]
pub(crate) fn part(of: usize, all: usize) -> f64 {
    if all == 0 { 1.0 } else { of as f64 / all as f64 }
}
