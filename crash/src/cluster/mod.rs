//! The trial of clusters: real machines, real commands, and everybody is killed.
//!
//! Users create, scale and delete clusters by the command `saga-cluster`, write blocks into them, change their minds, and
//! kill their own commands. Machines break, records vanish. The processes that do the work are killed all the while. When
//! it is over, the records, the machines, the blocks, the journals and what the users were told are held against each other.

mod blocks;
mod chaos;
mod check;
mod evidence;
mod faults;
mod finale;
mod machines;
mod place;
mod plan;
mod processes;
mod report;
mod sabotage;
mod told;
mod town;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use saga_core::store::{SledStore, Store};
use saga_postgres::PostgresStore;
use saga_postgres::testing::{self, Server};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::evidence::{Evidence, Look};
use self::place::Place;
use self::processes::Role;
use self::sabotage::Sabotage;
use self::town::Town;
use self::user::User;
use crate::{Fail, Held};

/// By these names this program is the command, and a machine with a fault.
const COMMAND: &str = "saga-cluster";
const FAULTY_NODE: &str = "faulty-node";

/// What is asked of the trial of clusters.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Where journals and records are.
    store: Kept,
    /// How many clusters there are to be.
    #[arg(long, default_value_t = 60)]
    clusters: usize,
    /// How often a process of the command is killed, by SIGKILL: workers, holders of the data, users' commands.
    #[arg(long, default_value_t = 300)]
    kills: usize,
    /// What users do, and who is hit, follows from this; when exactly it hits does not.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many users are at work at once.
    #[arg(long, default_value_t = 6)]
    at_once: usize,
    /// How many workers share the database.
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// For how long the claims of a worker hold, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    lease_ms: u64,
    /// How long a command, or a cluster, may take to come to rest, in seconds.
    #[arg(long, default_value_t = 180)]
    patience: u64,
    /// The command that is tried, instead of the one that is built into this program.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Keeps all that was written in this folder, which must be empty. It is kept anyway if something does not hold.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

/// Where journals and records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kept {
    /// In the data directory, which one process holds: it is killed, and the next one comes.
    Sled,
    /// In PostgreSQL, which many workers share.
    Postgres,
}

/// What this program is if it was called by another name than its own.
pub(crate) fn called_otherwise() -> Option<ExitCode> {
    let called = PathBuf::from(std::env::args_os().next()?);
    match called.file_name()?.to_str()? {
        COMMAND => Some(saga_cluster::cli::main()),
        FAULTY_NODE => Some(faults::be_a_faulty_node(&called)),
        _ => None,
    }
}

/// Puts it to the trial.
pub(crate) async fn trial(args: &ClusterArgs, folder: &Path) -> Result<Held, Fail> {
    let server = match args.store {
        Kept::Sled => None,
        Kept::Postgres => Some(tokio::task::spawn_blocking(Server::start).await?),
    };
    let url = server.as_ref().map(Server::url);
    let place = Place::furnish(folder, url.clone(), args.program.as_deref())?;
    let town = Arc::new(Town::new(place, Duration::from_secs(args.patience)));
    if let Some(url) = &url {
        audit(&town, url).await?;
    }
    let _cleanup = Cleanup(town.place.machines());
    eprintln!("{} clusters, {} kills to come", args.clusters, args.kills);
    let began = Instant::now();
    let held = hold(args, &town);
    let found = tokio::select! {
        found = held => found?,
        observed = town.observe() => match observed? {},
    };
    let took = began.elapsed();
    eprintln!("it is over after {:.1} s; gathering the evidence", took.as_secs_f64());
    let store: Arc<dyn Store> = match &url {
        Some(url) => Arc::new(PostgresStore::connect(url).await?),
        None => {
            let journal = town.place.data().join("journal");
            Arc::new(tokio::task::spawn_blocking(move || SledStore::open(journal)).await??)
        }
    };
    let runs = evidence::runs(store).await?;
    let notes = std::mem::take(&mut *town.notes());
    let mut evidence = Evidence {
        told: notes.told,
        runs,
        looks: notes.looks,
        machines: notes.machines,
        blocks: found.blocks,
        deleted: notes.deleted,
        vanished: notes.vanished,
        calm: found.calm,
        helped: found.helped,
        left: found.left,
        left_records: found.left_records,
        incidents: notes.incidents,
    };
    if let Some(url) = &url {
        evidence.looks.extend(audited(url).await?);
    }
    if let Some(sabotage) = args.sabotage {
        sabotage.of_the_evidence(&mut evidence)?;
    }
    report::keep(&evidence, folder)?;
    let findings = check::check(&evidence);
    Ok(Held {
        holds: findings.iter().all(crate::check::Finding::holds),
        report: report::report(&evidence, &town.processes.hits, took, &findings),
    })
}

/// Holds it, from the first command to the last.
async fn hold(args: &ClusterArgs, town: &Arc<Town>) -> Result<finale::Found, Fail> {
    let closing = Arc::new(AtomicBool::new(false));
    let workers = if args.store == Kept::Sled { 1 } else { args.workers };
    let mut working = JoinSet::new();
    for place in 0..workers {
        working.spawn(chaos::keep_worker(Arc::clone(town), place, args.lease_ms, Arc::clone(&closing)));
    }
    let (progress, pace) = watch::channel(0.0);
    tokio::try_join!(chaos::kill(town, args.kills, args.seed, &progress), live(args, town, pace))?;
    eprintln!("nobody is killed any more after {} kills", town.processes.hits.kills());
    if let Some(sabotage) = args.sabotage {
        sabotage.of_the_world(town).await?;
    }
    let mut found = finale::look(town).await?;
    finale::clear(town, &mut found).await?;
    if let Some(Sabotage::LeaveProcess) = args.sabotage {
        found.left = sabotage::leave_a_process(town).await?;
    }
    closing.store(true, Ordering::Relaxed);
    town.processes.tell_to_end(Role::Worker);
    let ending = async {
        while let Some(ended) = working.join_next().await {
            ended??;
        }
        Ok::<_, Fail>(())
    };
    match tokio::time::timeout(town.patience, ending).await {
        Ok(ended) => ended?,
        Err(_) => town.incident("the workers did not end when they were told to"),
    }
    Ok(found)
}

/// Has the users live their clusters' lives, at the pace of the kills.
async fn live(args: &ClusterArgs, town: &Arc<Town>, mut pace: watch::Receiver<f64>) -> Result<(), Fail> {
    let places = Arc::new(Semaphore::new(args.at_once));
    let mut living = JoinSet::new();
    for (number, life) in plan::lives(args.seed, args.clusters).into_iter().enumerate() {
        // As many as can be at work are so from the first kill on.
        let due = chaos::part(number.saturating_sub(args.at_once), args.clusters);
        pace.wait_for(|done| *done >= due).await?;
        let place = Arc::clone(&places).acquire_owned().await?;
        let user = User { town: Arc::clone(town), name: life.name.clone() };
        living.spawn(async move {
            let lived = user.live(&life).await;
            drop(place);
            lived
        });
        while let Some(lived) = living.try_join_next() {
            lived??;
        }
    }
    while let Some(lived) = living.join_next().await {
        lived??;
    }
    Ok(())
}

/// Has the database write down every change of a record, whoever makes it.
async fn audit(town: &Town, url: &str) -> Result<(), Fail> {
    // Whoever comes first makes the tables.
    let first = town.place.command(["list"]).output().await?;
    if !first.status.success() {
        return Err(format!("the store cannot be used: {}", String::from_utf8_lossy(&first.stderr)).into());
    }
    testing::execute(
        url,
        "CREATE TABLE public.audit (seq bigserial PRIMARY KEY, record json NOT NULL);
         CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO public.audit (record) VALUES (NEW.record); RETURN NEW; END $$;
         CREATE TRIGGER audit AFTER INSERT OR UPDATE ON saga.clusters FOR EACH ROW EXECUTE FUNCTION public.audit();",
    )
    .await;
    Ok(())
}

async fn audited(url: &str) -> Result<Vec<Look>, Fail> {
    let sql = "SELECT coalesce(json_agg(json_build_object(
            'id', record->'cluster'->'id', 'name', record->'cluster'->'spec'->'name',
            'version', record->'cluster'->'version', 'status', record->'cluster'->'status',
            'why', record->'cluster'->'status_description') ORDER BY seq), '[]')::text FROM public.audit";
    Ok(serde_json::from_str(&testing::ask::<String>(url, sql).await)?)
}

/// Ends the machines that a trial leaves, however it ends: a node whose directory is gone ends by itself.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let clusters = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        clusters.for_each(|cluster| drop(std::fs::remove_dir_all(cluster.path())));
    }
}
