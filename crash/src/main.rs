//! Proves by real SIGKILLs that sagas recover: workers are killed and their database is restarted while they drive
//! thousands of runs, and when all have ended it is checked what really happened.

mod acks;
mod chaos;
mod check;
mod cluster;
mod customer;
mod damage;
mod embedded;
mod evidence;
mod fleet;
mod ledger;
mod load;
mod log;
mod mortal;
mod pace;
mod postgres;
mod power;
mod report;
mod scribe;
mod sled;
mod strace;
mod tally;
mod trials;
mod worker;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cluster::ClusterArgs;
use crate::damage::DamageArgs;
use crate::embedded::EmbeddedArgs;
use crate::postgres::PostgresArgs;
use crate::power::PowerArgs;
use crate::scribe::ScribeArgs;
use crate::sled::SledArgs;
use crate::worker::WorkerArgs;
use crate::world::Sabotage;

/// What keeps a trial from being held. What it finds is no error.
type Fail = Box<dyn std::error::Error + Send + Sync>;

/// Proves by real SIGKILLs that sagas recover.
///
/// Worker processes drive thousands of runs in a world that writes down what really happens, and are killed all the while.
/// When every run has come to its end, the world, the journals and what the clients were told are held against each
/// other. Prints a report; exits with 1 if something does not hold, with 2 if the trial could not be held.
#[derive(Debug, Parser)]
#[command(name = "saga-crash", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills workers that share a PostgreSQL database, and restarts the database under them.
    Postgres(PostgresArgs),
    /// Kills a process that keeps its runs in a store of its own (sled), again and again.
    Sled(SledArgs),
    /// Hurts a store: cuts its file, flips bytes, fills its disk, makes its syncs fail.
    Damage(DamageArgs),
    /// Takes the power from a store: rebuilds its files, as of many moments, from what was synced.
    Power(PowerArgs),
    /// Creates, scales and deletes clusters of real machines by the command `saga-cluster`, and kills whoever does it.
    Cluster(ClusterArgs),
    /// Drives runs until the standard input ends.
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Starts runs as the standard input says, and drives them.
    #[command(hide = true)]
    Embedded(EmbeddedArgs),
    /// Writes to a store, and notes what that promises.
    #[command(hide = true)]
    Scribe(ScribeArgs),
}

/// What every trial is asked.
#[derive(Debug, Args)]
struct Common {
    /// How many runs are started.
    #[arg(long, default_value_t = 10_000)]
    sagas: usize,
    /// What is ordered, and whom it hits, follows from this; when exactly it hits does not.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs are under way at once, at most.
    #[arg(long, default_value_t = 400)]
    at_once: usize,
    /// How long runs may take to end after the last kill, in seconds.
    #[arg(long, default_value_t = 180)]
    patience: u64,
    /// Keeps the ledger, what the clients were told, and what the workers said, in this folder, which must be empty. They are
    /// kept anyway if something does not hold.
    #[arg(long)]
    keep: Option<PathBuf>,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    if let Some(code) = cluster::called_otherwise() {
        return code;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    if matches!(cli.command, Command::Worker(_) | Command::Embedded(_)) {
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
        tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_ansi(false).init();
    }
    let code = match cli.command {
        Command::Worker(args) => runtime.block_on(worker::work(&args)).map(|()| ExitCode::SUCCESS),
        Command::Embedded(args) => runtime.block_on(embedded::work(&args)).map(|()| ExitCode::SUCCESS),
        Command::Scribe(args) => runtime.block_on(scribe::work(&args)).map(|()| ExitCode::SUCCESS),
        Command::Damage(args) => damage::trial(&args),
        Command::Power(args) => power::trial(&args),
        Command::Postgres(args) => hold(args.common.keep.as_deref(), args.common.seed, |folder| {
            Ok(judge(runtime.block_on(postgres::trial(&args, folder))?))
        }),
        Command::Sled(args) => hold(args.common.keep.as_deref(), args.common.seed, |folder| {
            Ok(judge(runtime.block_on(sled::trial(&args, folder))?))
        }),
        Command::Cluster(args) => {
            hold(args.keep.as_deref(), args.seed, |folder| runtime.block_on(cluster::trial(&args, folder)))
        }
    };
    code.unwrap_or_else(|error| fail(&error))
}

/// What came of a trial.
struct Held {
    report: String,
    holds: bool,
}

/// Checks what was gathered.
fn judge((evidence, figures): (evidence::Evidence, report::Figures)) -> Held {
    let findings = check::check(&evidence);
    let report = report::report(&evidence, &figures, &findings);
    Held { report, holds: findings.iter().all(check::Finding::holds) }
}

/// Holds a trial in a folder of its own, and tells what came of it.
fn hold(keep: Option<&Path>, seed: u64, trial: impl FnOnce(&Path) -> Result<Held, Fail>) -> Result<ExitCode, Fail> {
    let folder = match keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            if std::fs::read_dir(folder)?.next().is_some() {
                return Err(format!("{} is not empty", folder.display()).into());
            }
            tempfile::TempDir::with_prefix_in("saga-crash-", folder)?
        }
        None => tempfile::TempDir::with_prefix("saga-crash-")?,
    };
    let Held { report, holds } = trial(folder.path())?;
    print!("{report}");
    if keep.is_some() || !holds {
        println!("\nkept in {}", folder.keep().display());
    }
    if holds {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nonce more, with the same load: {}", report::command_line(seed));
    Ok(ExitCode::from(1))
}

fn fail(error: &Fail) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}
