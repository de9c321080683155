//! The trial of a process that keeps its runs in a store of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use saga_core::store::SledStore;

use crate::chaos::Done;
use crate::customer::client;
use crate::evidence::Evidence;
use crate::fleet::{Fleet, FleetPlan};
use crate::load::{Sagas, jobs};
use crate::log;
use crate::mortal::{Moment, Phase, Place, phases_of};
use crate::pace;
use crate::report::Figures;
use crate::world::{Sabotage, World};
use crate::{Common, Fail};

/// A process that lives no longer than this hardly gets beyond recovering.
const NEWBORN: u64 = 40;
/// The longest that a process lives before it is killed, in milliseconds.
const OLD: u64 = 150;
/// When a process that is to kill itself has not got there, it is killed.
const OVERDUE: Duration = Duration::from_millis(OLD);

/// What is asked of the trial on sled.
#[derive(Debug, Args)]
pub(crate) struct SledArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How often the process is killed, by SIGKILL: half of the times at a moment of chance, half of the times it kills
    /// itself at a chosen one, in the middle of what its store does.
    #[arg(long, default_value_t = 5000)]
    pub(crate) kills: usize,
}

/// Where the store is, in the folder of the world.
pub(crate) fn store_of(folder: &Path) -> PathBuf {
    folder.join("store")
}

/// Puts it to the trial, and gathers the evidence.
pub(crate) async fn trial(args: &SledArgs, folder: &Path) -> Result<(Evidence, Figures), Fail> {
    let Common { seed, sagas, patience, sabotage, .. } = args.common;
    let world = World::open(folder, "nobody", sabotage)?;
    let (began, done) = (Instant::now(), Done::default());
    eprintln!("{sagas} runs, {} kills to come", args.kills);
    let fleet = Fleet::start(plan(args, folder), 1)?;
    let patience = Duration::from_secs(patience);
    let stretch = pace::stretch(folder, began, patience).await?;
    let mut incidents = kill(args, &fleet, stretch, &done).await?;
    fleet.tell(0, &sagas.to_string())?;
    incidents.extend(tokio::task::spawn_blocking(move || fleet.end(patience)).await??);
    let took = began.elapsed();
    eprintln!("it is over after {:.1} s; gathering the evidence", took.as_secs_f64());
    let known = Sagas::build()?;
    let client = client(SledStore::open(store_of(folder))?, &known)?;
    let mut evidence = Evidence::gather(&client, &known, jobs(seed, sagas), folder, &world).await?;
    evidence.incidents = incidents;
    let mut figures = Figures::new(&done, took);
    figures.extend([(pace::STRETCHED, stretch as usize)]);
    figures.extend(phases(folder, args.kills)?);
    Ok((evidence, figures))
}

/// Kills the process again and again, while the load becomes due bit by bit. All that takes `stretch` times as long as usual.
async fn kill(args: &SledArgs, fleet: &Fleet, stretch: u32, done: &Done) -> Result<Vec<String>, Fail> {
    let mut dice = fastrand::Rng::with_seed(args.common.seed);
    let (mut incidents, mut said) = (Vec::new(), Instant::now());
    let mut mortal = false;
    for kill in 0..args.kills {
        let due = args.common.sagas * (kill + 1) / (args.kills + 1);
        fleet.tell(0, &due.to_string())?;
        if mortal {
            let deadline = Instant::now() + OVERDUE * stretch;
            while !fleet.is_dead(0)? && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            done.suicides.fetch_add(usize::from(fleet.is_dead(0)?), Ordering::Relaxed);
        } else {
            let pause = if dice.u32(..4) == 0 { dice.u64(..NEWBORN) } else { dice.u64(NEWBORN..OLD) };
            tokio::time::sleep(Duration::from_millis(pause) * stretch).await;
            done.kills_of_newborns.fetch_add(usize::from(pause < NEWBORN), Ordering::Relaxed);
        }
        mortal = kill + 1 < args.kills && dice.bool();
        let next = if mortal { moment(&mut dice).arguments() } else { Vec::new() };
        incidents.extend(fleet.kill_and_send(0, &next)?.err());
        done.kills.fetch_add(1, Ordering::Relaxed);
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            eprintln!("{:>6} kills, {due} runs due", kill + 1);
        }
    }
    Ok(incidents)
}

/// When the next process kills itself.
fn moment(dice: &mut fastrand::Rng) -> Moment {
    let at = *dice.choice(&Place::ALL).expect("there are some");
    let (nth, micros) = match at {
        // As long as it takes to open a store of some thousand runs.
        Place::Opening => (1, dice.u64(..30_000)),
        // The first claim is the one that takes up what was left behind.
        Place::Claim => (1, dice.u64(..3_000)),
        // The first appends are those of the recovery.
        Place::BeforeAppend | Place::AfterAppend => (dice.u32(1..12), 0),
        Place::DuringAppend => (dice.u32(1..12), dice.u64(..1_500)),
    };
    Moment { at: Some(at), nth, micros }
}

/// How many of the processes that were killed were opening the store, and how many were taking up runs.
fn phases(folder: &Path, kills: usize) -> Result<[(&'static str, usize); 4], Fail> {
    let mut last: BTreeMap<String, Phase> = BTreeMap::new();
    last.extend(log::read::<(String, Phase)>(&phases_of(folder))?.whole);
    let count = |phase| last.values().filter(|last| **last == phase).count();
    let (opening, recovering) = (count(Phase::Opening), count(Phase::Recovering));
    // The last one was not killed.
    let driving = count(Phase::Driving).saturating_sub(1);
    Ok([
        ("killed before they came to the store", kills.saturating_sub(opening + recovering + driving)),
        ("killed while they opened the store", opening),
        ("killed while they took up runs, the store being open", recovering),
        ("killed while they drove runs", driving),
    ])
}

fn plan(args: &SledArgs, folder: &Path) -> FleetPlan {
    let Common { seed, sagas, at_once, sabotage, .. } = args.common;
    let mut arguments: Vec<OsString> = vec!["embedded".into(), "--folder".into(), folder.into()];
    for (name, value) in [("--seed", seed), ("--sagas", sagas as u64), ("--at-once", at_once as u64)] {
        arguments.extend([name.into(), value.to_string().into()]);
    }
    arguments.extend(sabotage.into_iter().flat_map(Sabotage::arguments));
    FleetPlan { arguments, logs: folder.to_owned() }
}
