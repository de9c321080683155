//! The trial of a process that keeps its runs in a store of its own.

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
use crate::report::Figures;
use crate::world::{Sabotage, World};
use crate::{Common, Fail};

/// A process that lives no longer than this hardly gets beyond recovering.
const NEWBORN: u64 = 40;

/// What is asked of the trial on sled.
#[derive(Debug, Args)]
pub(crate) struct SledArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How often the process is killed, by SIGKILL.
    #[arg(long, default_value_t = 2000)]
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
    let mut incidents = kill(args, &fleet, &done).await?;
    fleet.tell(0, &sagas.to_string())?;
    let patience = Duration::from_secs(patience);
    incidents.extend(tokio::task::spawn_blocking(move || fleet.end(patience)).await??);
    let took = began.elapsed();
    eprintln!("it is over after {:.1} s; gathering the evidence", took.as_secs_f64());
    let known = Sagas::build()?;
    let client = client(SledStore::open(store_of(folder))?, &known)?;
    let mut evidence = Evidence::gather(&client, &known, jobs(seed, sagas), folder, &world).await?;
    evidence.incidents = incidents;
    Ok((evidence, Figures::new(&done, took)))
}

/// Kills the process again and again, while the load becomes due bit by bit.
async fn kill(args: &SledArgs, fleet: &Fleet, done: &Done) -> Result<Vec<String>, Fail> {
    let mut dice = fastrand::Rng::with_seed(args.common.seed);
    let (mut incidents, mut said) = (Vec::new(), Instant::now());
    for kill in 0..args.kills {
        let due = args.common.sagas * (kill + 1) / (args.kills + 1);
        fleet.tell(0, &due.to_string())?;
        let pause = if dice.u32(..4) == 0 { dice.u64(..NEWBORN) } else { dice.u64(NEWBORN..250) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        incidents.extend(fleet.kill(0)?.err());
        done.kills.fetch_add(1, Ordering::Relaxed);
        done.kills_of_newborns.fetch_add(usize::from(pause < NEWBORN), Ordering::Relaxed);
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            eprintln!("{:>6} kills, {due} runs due", kill + 1);
        }
    }
    Ok(incidents)
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
