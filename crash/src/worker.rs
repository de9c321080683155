//! A worker: the process that is killed.

use std::convert::Infallible;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use saga_core::{Coordinator, RecoverError, Shutdown, WorkerId};
use saga_postgres::PostgresStore;
use tokio::sync::oneshot;

use crate::Fail;
use crate::customer::patiently;
use crate::load::Sagas;
use crate::mortal::{Phase, Phases, phases_of};
use crate::world::{Sabotage, World};

/// How long what is in flight may take when a worker is told to end.
const GRACE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(50);

/// What a worker is told by whoever starts it.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The database.
    #[arg(long)]
    pub(crate) url: String,
    /// The name of the worker.
    #[arg(long)]
    pub(crate) name: String,
    /// The folder of the world.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// For how long a claim holds, in milliseconds.
    #[arg(long)]
    pub(crate) lease_ms: u64,
    /// What it does wrong on purpose.
    #[arg(long)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// Drives runs until the standard input ends.
pub(crate) async fn work(args: &WorkerArgs) -> Result<(), Fail> {
    // As long as its parent is there, the pipe from it is open.
    let (open, mut orphaned) = oneshot::channel::<Infallible>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(open);
    });
    let worker = tokio::select! {
        worker = start(args) => worker?,
        _ = &mut orphaned => return Ok(()),
    };
    Phases::open(&phases_of(&args.folder))?.add(&(args.name.clone(), Phase::Driving))?;
    let _ = orphaned.await;
    match worker.shutdown(Shutdown::Park { grace: GRACE }).await {
        // The database is away just now: its runs are not given back, but their leases expire.
        Err(error) if error.is_transient() => Ok(()),
        ended => Ok(ended?),
    }
}

/// The database may be away just now.
async fn start(args: &WorkerArgs) -> Result<Coordinator<World>, Fail> {
    let sagas = Sagas::build()?;
    let store = patiently(|| PostgresStore::connect(&args.url)).await?;
    let name = WorkerId::new(&args.name)?;
    loop {
        let world = World::open(&args.folder, &args.name, args.sabotage)?;
        let coordinator = Coordinator::builder(store.clone(), world).worker(name.clone());
        let coordinator = coordinator.lease(Duration::from_millis(args.lease_ms));
        match sagas.register_with_worker(coordinator).start().await {
            Err(RecoverError::Store(error)) if error.is_transient() => tokio::time::sleep(AGAIN).await,
            started => return Ok(started?),
        }
    }
}
