//! A process with a store of its own: worker and client in one. It is killed.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use saga_core::{Coordinator, RunId, Shutdown, WorkerId};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Fail;
use crate::acks::{Ack, Acks, Told};
use crate::customer::Desk;
use crate::evidence::acks_of;
use crate::load::{Sagas, jobs};
use crate::log;
use crate::mortal::{Moment, Mortal, Phase, Phases, phases_of};
use crate::sled::store_of;
use crate::world::{Sabotage, World};

/// What the process is told by whoever starts it.
#[derive(Debug, Args)]
pub(crate) struct EmbeddedArgs {
    /// Its name as a worker.
    #[arg(long)]
    name: String,
    /// The folder of the world; the store is in it.
    #[arg(long)]
    folder: PathBuf,
    /// The load.
    #[arg(long)]
    seed: u64,
    /// The size of the load.
    #[arg(long)]
    sagas: usize,
    /// How many runs are under way at once, at most.
    #[arg(long)]
    at_once: usize,
    #[command(flatten)]
    moment: Moment,
    /// What it does wrong on purpose.
    #[arg(long)]
    sabotage: Option<Sabotage>,
}

/// Serves the first jobs of the load, as many as the last line of the standard input says, and ends when there will be no
/// more. What an earlier process has seen through is not done again; what it has begun is.
pub(crate) async fn work(args: &EmbeddedArgs) -> Result<(), Fail> {
    let due = orders();
    let sagas = Sagas::build()?;
    let phases = Phases::open(&phases_of(&args.folder))?;
    let phase = |phase| phases.add(&(args.name.clone(), phase));
    phase(Phase::Opening)?;
    let store = Mortal::open(&store_of(&args.folder), args.moment)?;
    phase(Phase::Recovering)?;
    let coordinator = Coordinator::builder(store, World::open(&args.folder, &args.name, args.sabotage)?);
    let coordinator = coordinator.worker(WorkerId::new(&args.name)?);
    let coordinator = sagas.register_with_worker(coordinator).start().await?;
    phase(Phase::Driving)?;
    let ended = ended(args)?;
    let desk = Arc::new(Desk {
        client: coordinator.client().clone(),
        rival: coordinator.client().clone(),
        sagas,
        world: World::open(&args.folder, "client", args.sabotage)?,
        acks: Acks::open(&acks_of(&args.folder))?,
    });
    let (places, mut serving) = (Arc::new(Semaphore::new(args.at_once)), JoinSet::new());
    let jobs = jobs(args.seed, args.sagas).into_iter().enumerate();
    for (at, job) in jobs.filter(|(_, job)| !ended.contains(&job.run)) {
        // At the end of the input nothing more becomes due.
        if due.clone().wait_for(|due| *due > at).await.is_err() {
            break;
        }
        let place = Arc::clone(&places).acquire_owned().await?;
        let desk = Arc::clone(&desk);
        serving.spawn(async move {
            let served = desk.serve(&job).await;
            drop(place);
            served
        });
        while let Some(served) = serving.try_join_next() {
            served??;
        }
    }
    while let Some(served) = serving.join_next().await {
        served??;
    }
    Ok(coordinator.shutdown(Shutdown::Drain).await?)
}

/// How many jobs are due, as the standard input says.
fn orders() -> watch::Receiver<usize> {
    let (sender, due) = watch::channel(0);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(jobs) = line.parse() {
                sender.send_replace(jobs);
            }
        }
    });
    due
}

fn ended(args: &EmbeddedArgs) -> Result<HashSet<RunId>, Fail> {
    let acks = log::read::<Ack>(&acks_of(&args.folder))?.whole;
    Ok(acks.into_iter().filter(|ack| matches!(ack.told, Told::Ended(_))).map(|ack| ack.run).collect())
}
