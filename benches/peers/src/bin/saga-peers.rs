//! The same saga on saga-core and on its peers, in one run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use saga_benches::Failure;
use saga_benches::limit::is_in_memory;
use saga_benches::measure::Stop;
use saga_benches::postgres::Postgres;
use saga_peers::contest::{Plan, lines_table, ratios, ratios_table, run};
use saga_peers::peer::{Peer, all};

/// Runs a saga of five steps on saga-core and on its peers, and compares them.
///
/// Those that need PostgreSQL get a server that is started for this run, with the settings of a new installation; if
/// PostgreSQL is not installed, they are left out.
#[derive(Debug, Parser)]
#[command(name = "saga-peers", version, max_term_width = 100)]
struct Cli {
    /// Only peers whose name contains this. May be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    peer: Vec<String>,

    /// How many sagas are under way at the same time
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64])]
    clients: Vec<usize>,

    /// How often everything is run; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// For how long each peer starts sagas
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,

    /// For how long it does so before it is measured
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    warm_up: f64,

    /// How many connections DBOS pools: 10 is its default. With several values it is run with each
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 50])]
    dbos_connections: Vec<u32>,

    /// Where files are made: the disk that is measured. The system's directory for such files by default
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Print one JSON document instead of the tables
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Whichever way it ends, the server and all files go with it.
    let done = tokio::select! {
        done = compare(Cli::parse()) => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saga-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(cli: Cli) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        eprintln!("saga-peers: this build is not optimized, its figures mean nothing; use --release");
    }
    let plan = Plan {
        clients: cli.clients.iter().map(|clients| (*clients).max(1)).collect(),
        rounds: cli.rounds.max(1),
        stop: Stop::After(Duration::try_from_secs_f64(cli.seconds)?),
        warm_up: Stop::After(Duration::try_from_secs_f64(cli.warm_up)?),
    };
    let directory = cli.directory.clone().unwrap_or_else(std::env::temp_dir);
    if is_in_memory(&directory) {
        eprintln!(
            "saga-peers: {} is kept in memory, figures of durable peers mean nothing there; use --directory",
            directory.display()
        );
    }
    let mut peers = all(&cli.dbos_connections);
    if !cli.peer.is_empty() {
        peers.retain(|peer| cli.peer.iter().any(|name| peer.name().contains(name)));
    }
    let server = if peers.iter().any(|peer| peer.needs_server()) { server(&directory, &mut peers) } else { None };
    let settings = match &server {
        Some(server) => Some(server.settings().await),
        None => None,
    };
    let lines = run(&peers, &plan, &directory, server.as_ref()).await?;
    let ratios = ratios(&lines);
    let text = if cli.json {
        let document = serde_json::json!({ "postgresql": settings, "lines": lines, "ratios": ratios });
        serde_json::to_string_pretty(&document)?
    } else {
        let settings = settings.map_or_else(String::new, |settings| format!("\n\nPostgreSQL: {settings}"));
        format!("{}\n\n{}{settings}", lines_table(&lines), ratios_table(&ratios))
    };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// The server, or nobody who needs one.
fn server(directory: &Path, peers: &mut Vec<Box<dyn Peer>>) -> Option<Postgres> {
    match Postgres::start(directory) {
        Ok(server) => Some(server),
        Err(error) => {
            for peer in peers.extract_if(.., |peer| peer.needs_server()) {
                eprintln!("saga-peers: {} is left out: {error}", peer.name());
            }
            None
        }
    }
}
