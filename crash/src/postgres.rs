//! The trial of workers that share a PostgreSQL database.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use saga_core::Client;
use saga_core::store::StoreError;
use saga_postgres::PostgresStore;
use saga_postgres::testing::Server;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::acks::Acks;
use crate::chaos::{Chaos, Done, Dose, NOBODY, TO_END};
use crate::customer::{Desk, client, patiently};
use crate::evidence::{Evidence, acks_of};
use crate::fleet::{Fleet, FleetPlan};
use crate::load::{Job, Sagas, jobs};
use crate::pace;
use crate::report::Figures;
use crate::world::{Sabotage, World};
use crate::{Common, Fail};

/// What is asked of the trial on PostgreSQL.
#[derive(Debug, Args)]
pub(crate) struct PostgresArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many worker processes share the database.
    #[arg(long, default_value_t = 3)]
    pub(crate) workers: usize,
    /// How often a worker is killed, by SIGKILL.
    #[arg(long, default_value_t = 400)]
    pub(crate) kills: usize,
    /// How often a worker is told to end in good order, beside the kills.
    #[arg(long, default_value_t = 40)]
    pub(crate) farewells: usize,
    /// How often the database is restarted: in turn at once, as by an operator, and by SIGKILL.
    #[arg(long, default_value_t = 6)]
    pub(crate) restarts: usize,
    /// How often a worker is put to sleep for twice its lease, and woken. It may then do things that come too late; nothing
    /// of them may be journaled. They are reported apart.
    #[arg(long, default_value_t = 0)]
    pub(crate) stops: usize,
    /// For how long a claim holds, in milliseconds: how soon the runs of a dead worker are taken over.
    #[arg(long, default_value_t = 2000)]
    pub(crate) lease_ms: u64,
    /// An empty database, instead of one on a server that is started for it; that one is not restarted.
    #[arg(long)]
    pub(crate) url: Option<String>,
}

/// Puts it to the trial, and gathers the evidence.
pub(crate) async fn trial(args: &PostgresArgs, folder: &Path) -> Result<(Evidence, Figures), Fail> {
    let server = match &args.url {
        Some(_) => None,
        None => Some(Arc::new(tokio::task::spawn_blocking(Server::start).await?)),
    };
    let url = args.url.clone().or_else(|| server.as_ref().map(|server| server.url())).unwrap_or_default();
    let sagas = Sagas::build()?;
    let desk = Arc::new(Desk {
        client: connect(&url, &sagas).await?,
        rival: connect(&url, &sagas).await?,
        world: World::open(folder, "client", args.common.sabotage)?,
        acks: Acks::open(&acks_of(folder))?,
        sagas,
    });
    let jobs = jobs(args.common.seed, args.common.sagas);
    eprintln!("{} workers, {} runs, {} kills to come", args.workers, jobs.len(), args.kills);
    let (began, figures) = (Instant::now(), Arc::new(Done::default()));
    let fleet = Arc::new(Fleet::start(plan(args, &url, folder), args.workers)?);
    let (progress, pace) = watch::channel(0.0);
    let lease = Duration::from_millis(args.lease_ms);
    let stretch = pace::stretch(folder, began, Duration::from_secs(args.common.patience)).await?;
    let chaos = Chaos {
        dose: Dose { kills: args.kills, farewells: args.farewells, restarts: args.restarts, stops: args.stops, lease },
        seed: args.common.seed,
        stretch,
        fleet: Arc::clone(&fleet),
        server: server.clone(),
        done: Arc::clone(&figures),
        progress,
        asleep: NOBODY.into(),
    };
    let chaos = tokio::spawn(chaos.wreak());
    let ended = serve(&desk, &jobs, pace, &args.common, &figures, chaos).await?;
    let mut incidents = ended;
    let took = began.elapsed();
    let fleet = Arc::into_inner(fleet).expect("the chaos is over");
    incidents.extend(tokio::task::spawn_blocking(move || fleet.end(TO_END)).await??);
    eprintln!("it is over after {:.1} s; gathering the evidence", took.as_secs_f64());
    let mut evidence = Evidence::gather(&desk.client, &desk.sagas, jobs, folder, &desk.world).await?;
    evidence.incidents = incidents;
    evidence.sleepers = args.stops > 0;
    let mut figures = Figures::new(&figures, took);
    figures.extend([(pace::STRETCHED, stretch as usize)]);
    Ok((evidence, figures))
}

async fn connect(url: &str, sagas: &Sagas) -> Result<Client<World>, Fail> {
    let store = patiently::<_, _>(|| async { PostgresStore::connect(url).await }).await;
    Ok(client(store.map_err(|error: StoreError| error)?, sagas)?)
}

/// Serves all jobs, at the pace of the chaos. Answers what went wrong.
async fn serve(
    desk: &Arc<Desk>,
    jobs: &[Job],
    mut pace: watch::Receiver<f64>,
    common: &Common,
    done: &Done,
    chaos: tokio::task::JoinHandle<Result<Vec<String>, Fail>>,
) -> Result<Vec<String>, Fail> {
    let places = Arc::new(Semaphore::new(common.at_once));
    let mut serving = JoinSet::new();
    let mut ended = 0;
    let mut said = Instant::now();
    #[expect(clippy::cast_precision_loss, reason = "these are counts of runs")]
    for (at, job) in jobs.iter().enumerate() {
        // Some of the load is under way from the first kill on.
        let due = (at as f64 - common.at_once as f64 / 2.0) / jobs.len() as f64;
        if pace.wait_for(|done| *done >= due).await.is_err() {
            break;
        }
        let place = Arc::clone(&places).acquire_owned().await?;
        let (desk, job) = (Arc::clone(desk), job.clone());
        serving.spawn(async move {
            let served = desk.serve(&job).await;
            drop(place);
            served
        });
        while let Some(served) = serving.try_join_next() {
            served??;
            ended += 1;
        }
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            let kills = done.kills.load(Ordering::Relaxed);
            eprintln!("{kills:>6} kills, {} runs started, {ended} ended", at + 1);
        }
    }
    let incidents = chaos.await??;
    let patience = Duration::from_secs(common.patience);
    let drained = tokio::time::timeout(patience, async {
        while let Some(served) = serving.join_next().await {
            served??;
        }
        Ok::<_, Fail>(())
    });
    match drained.await {
        Ok(drained) => drained?,
        // Which runs these are, the checks find out.
        Err(_) => eprintln!("{} runs have not ended {patience:?} after the last kill", serving.len()),
    }
    Ok(incidents)
}

fn plan(args: &PostgresArgs, url: &str, folder: &Path) -> FleetPlan {
    let mut arguments: Vec<OsString> = vec!["worker".into(), "--url".into(), url.into()];
    arguments.extend(["--folder".into(), folder.into()]);
    arguments.extend(["--lease-ms".into(), args.lease_ms.to_string().into()]);
    arguments.extend(args.common.sabotage.into_iter().flat_map(Sabotage::arguments));
    FleetPlan { arguments, logs: folder.to_owned() }
}
