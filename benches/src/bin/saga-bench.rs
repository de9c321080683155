//! Runs whole workloads on every store, and prints one table.

use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::{ArgGroup, Parser};
use saga_benches::Failure;
use saga_benches::bars;
use saga_benches::crew::work;
use saga_benches::limit::is_in_memory;
use saga_benches::measure::Stop;
use saga_benches::postgres::Postgres;
use saga_benches::recovery;
use saga_benches::report::{Report, number};
use saga_benches::row::{Row, Spec, measure};
use saga_benches::stores::{Place, StoreKind};
use saga_benches::workload::Workload;

const AFTER_HELP: &str = "\
Each row is measured in a process of its own. Its clients start one saga after
the other, each when its last one has ended. The columns:

  sagas/s    sagas over the time from the first start to the last end
  p50, p99   from a saga's start to its known end
  workers    the processes that drive the sagas, if not the one that starts them
  CPU/saga   CPU time of the process, clients included, and of its workers
  memory     the most that these had in use, all ended sagas included
  disk/saga  by how much the store's files grew
  limit      the same bytes, in as many appends by as many clients, to a plain
             file with one fdatasync for each group, in turns with the row
  of limit   sagas/s as a share of it: compare this between machines

Examples:
  saga-bench                                    everything, in a few minutes
  saga-bench --workload linear-5 --store sled   some of it
  saga-bench --clients 64 --seconds 20 --json   longer, for a program to read
  saga-bench --workload linear-5 --store postgres --clients 64 --workers 0,1,2
                                                one worker and two on PostgreSQL
  saga-bench --bars                             the bars and their verdicts, in two minutes";

/// Measures whole sagas on every store, beside the limit that the disk sets.
#[derive(Debug, Parser)]
#[command(name = "saga-bench", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(group(ArgGroup::new("stop").args(["seconds", "sagas"])))]
struct Cli {
    /// The sagas to run; all by default. May be repeated
    #[arg(long, value_enum, value_delimiter = ',')]
    workload: Vec<Workload>,

    /// The stores to run them on; by default those that need nothing installed. May be repeated
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [StoreKind::Memory, StoreKind::Sled])]
    store: Vec<StoreKind>,

    /// A PostgreSQL server, instead of one that is started for this run. Its user has to be one that may create databases
    /// and ask for checkpoints; the databases are left behind
    #[arg(long, value_name = "URL")]
    postgres_url: Option<String>,

    /// How many sagas are under way at the same time
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 256, 4096])]
    clients: Vec<usize>,

    /// How many processes drive the sagas; 0: the one that starts them. Other numbers are for shared stores only
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [0])]
    workers: Vec<usize>,

    /// For how long a row starts sagas
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,

    /// How many sagas a row runs, instead of for how long
    #[arg(long, value_name = "N")]
    sagas: Option<u64>,

    /// For how long sagas are run before a row is measured
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    warm_up: f64,

    /// For how long the limit is measured beside each durable row; 0: not at all
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    limit_seconds: f64,

    /// Where the stores keep their files: the disk that is measured. The system's directory for such files by default
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Measure the ratios that this project holds itself to, and print each with its verdict
    #[arg(long, conflicts_with_all = ["workload", "store", "clients", "workers", "seconds", "sagas", "json"])]
    bars: bool,

    /// Measure the recovery of so many live runs on sled, and print what its parts took
    #[arg(long, value_name = "RUNS", conflicts_with_all = ["bars", "workload", "store", "clients", "workers", "seconds", "sagas", "json"])]
    recovery: Option<usize>,

    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,

    /// Measure this one row, and print it as JSON.
    #[arg(long, hide = true, value_name = "JSON")]
    row: Option<String>,

    /// Drive sagas that another process starts.
    #[arg(long, hide = true, value_name = "JSON")]
    worker: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Runtime::new().map_err(Failure::from).and_then(|runtime| runtime.block_on(run(&cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saga-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<(), Failure> {
    if let Some(row) = &cli.row {
        let row = measure(&serde_json::from_str(row)?).await?;
        return print(&serde_json::to_string(&row)?);
    }
    if let Some(worker) = &cli.worker {
        return work(&serde_json::from_str(worker)?).await;
    }
    if cfg!(debug_assertions) {
        eprintln!("saga-bench: this build is not optimized, its figures mean nothing; use --release");
    }
    let place = || {
        let directory = cli.directory.clone().unwrap_or_else(std::env::temp_dir);
        Place { directory, database: None, tables: None }
    };
    if cli.bars {
        return print(&bars::bars_table(&bars::measure(&place()).await?));
    }
    if let Some(runs) = cli.recovery {
        return print(&recovery::measure(&place(), runs.max(1)).await?.table());
    }
    let mut specs = specs(cli)?;
    if let Some(spec) = specs.iter().find(|spec| spec.store.is_durable() && is_in_memory(&spec.place.directory)) {
        eprintln!(
            "saga-bench: {} is kept in memory, figures of durable stores mean nothing there; use --directory",
            spec.place.directory.display()
        );
    }
    let postgres = match (&cli.postgres_url, specs.iter().find(|spec| spec.store == StoreKind::Postgres)) {
        (_, None) => None,
        (Some(url), Some(_)) => Some(Postgres::at(url)),
        (None, Some(spec)) => Some(Postgres::start(&spec.place.directory)?),
    };
    let mut rows = Vec::new();
    let count = specs.len();
    for (index, spec) in specs.iter_mut().enumerate() {
        if let (StoreKind::Postgres, Some(postgres)) = (spec.store, &postgres) {
            spec.place.database = Some(postgres.new_database().await);
            spec.place.tables = postgres.files();
        }
        eprint!(
            "[{}/{}] {} on {}, {} clients{}: ",
            index + 1,
            count,
            spec.workload.name(),
            spec.store.name(),
            spec.clients,
            match spec.workers {
                0 => String::new(),
                workers => format!(", workers: {workers}"),
            }
        );
        let row = measure_apart(spec).await?;
        eprintln!("{} sagas/s", number(row.sagas_per_second));
        rows.push(row);
    }
    let settings = match &postgres {
        Some(postgres) => Some(postgres.settings().await),
        None => None,
    };
    let report = Report::new(rows, settings);
    print(&if cli.json { report.json() } else { report.table() })
}

fn specs(cli: &Cli) -> Result<Vec<Spec>, Failure> {
    let seconds = |what: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|error| Failure::from(format!("{what} {seconds}: {error}")))
    };
    let stop = match cli.sagas {
        Some(sagas) => Stop::Sagas(sagas),
        None => Stop::After(seconds("--seconds", cli.seconds)?),
    };
    let warm_up = seconds("--warm-up", cli.warm_up)?;
    let limit = seconds("--limit-seconds", cli.limit_seconds)?;
    let limit = (!limit.is_zero()).then_some(Stop::After(limit));
    let directory = cli.directory.clone().unwrap_or_else(std::env::temp_dir);
    let workloads = if cli.workload.is_empty() { &Workload::ALL[..] } else { &cli.workload };
    let mut specs = Vec::new();
    for &workload in workloads {
        for &store in &cli.store {
            for &workers in cli.workers.iter().filter(|workers| **workers == 0 || store.is_shared()) {
                for &clients in &cli.clients {
                    let place = Place { directory: directory.clone(), database: None, tables: None };
                    specs.push(Spec { workload, store, workers, clients: clients.max(1), stop, warm_up, limit, place });
                }
            }
        }
    }
    Ok(specs)
}

/// Measures a row in a process of its own, so that neither its memory nor its CPU time is that of another row too.
async fn measure_apart(spec: &Spec) -> Result<Row, Failure> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .arg("--row")
        .arg(serde_json::to_string(spec)?)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("the row failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
