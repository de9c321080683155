//! The same saga on saga-core and on its peers, in one run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use saga_benches::bar::{Bar, bars_table};
use saga_benches::chart;
use saga_benches::limit::is_in_memory;
use saga_benches::measure::Stop;
use saga_benches::postgres::Postgres;
use saga_benches::stores::Place;
use saga_benches::{Failure, bars};
use saga_peers::bars::{CLIENTS_IN_MEMORY, CLIENTS_ON_DISK};
use saga_peers::contest::{Line, Plan, lines_table, ratios, ratios_table, run};
use saga_peers::peer::{Peer, all};
use saga_peers::restate::Restate;

const AFTER_HELP: &str = "\
Every figure is of a fresh instance on an empty directory or database. The
columns:

  durable by  what the peer has done before it says that a step is done
  sagas/s     the median of the rounds; slowest and fastest are of one round
  p50, p99    from a saga's start to its known end, of the median round
  CPU/saga    CPU time of this process, clients included; a server's is not

Examples:
  saga-peers                            everything, in about ten minutes
  saga-peers --bars                     and before it this project's own bars:
                                        all bars, each with its verdict
  saga-peers --peer sled,cano --clients 1,256 --rounds 5
                                        two of them
  saga-peers --chart peers.svg          with a picture";

/// Runs a saga of five steps on saga-core and on its peers, and compares them.
///
/// Those that need PostgreSQL get a server that is started for this run, with the settings of a new installation; so does
/// Restate, with a server from its npm package (npm install --prefix benches/peers). Those whose server is not installed are
/// left out, which is said.
#[derive(Debug, Parser)]
#[command(name = "saga-peers", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// Only peers whose name contains this. May be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    peer: Vec<String>,

    /// How many sagas are under way at the same time
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
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

    /// How long a peer may take for one figure, warm-up included, until it is left out
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    patience: f64,

    /// How many connections DBOS pools: 10 is its default. With several values it is run with each
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 50])]
    dbos_connections: Vec<u32>,

    /// Restate's server. By default that of its npm package beside this program's source, or the first one in PATH
    #[arg(long, value_name = "PROGRAM")]
    restate_server: Option<PathBuf>,

    /// Where files are made: the disk that is measured. The system's directory for such files by default
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Measure all that this project holds itself to, without peers and beside them, and print each bar with its verdict
    #[arg(long)]
    bars: bool,

    /// Draw throughput against the number of clients into this file, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,

    /// Print one JSON document instead of the tables
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // duroxide would log to standard output from its first start on, for everybody, at everybody's cost. The first one to be
    // set stays.
    let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
    // Whichever way it ends, the servers and all files go with it.
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
    let plan = plan(&cli)?;
    let directory = cli.directory.clone().unwrap_or_else(std::env::temp_dir);
    if is_in_memory(&directory) {
        eprintln!(
            "saga-peers: {} is kept in memory, figures of durable peers mean nothing there; use --directory",
            directory.display()
        );
    }
    let mut peers = peers(&cli);
    let server = if peers.iter().any(|peer| peer.needs_server()) { server(&directory, &mut peers) } else { None };
    let settings = match &server {
        Some(server) => Some(server.settings().await),
        None => None,
    };
    // These come first: the memory of a process depends on what it did before.
    let mut bars = Vec::new();
    if cli.bars {
        let place = Place { directory: directory.clone(), database: None, tables: None };
        bars = bars::measure(&place).await?;
    }
    let lines = run(&peers, &plan, &directory, server.as_ref()).await?;
    if cli.bars {
        bars.extend(saga_peers::bars::bars(&lines));
    }
    if let Some(chart) = &cli.chart {
        chart::draw(chart, "Five steps in a row", &chart_lines(&lines))?;
    }
    let text =
        if cli.json { json(&bars, &lines, settings.as_deref())? } else { text(&bars, &lines, settings.as_deref()) };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn plan(cli: &Cli) -> Result<Plan, Failure> {
    let seconds = |what: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|error| Failure::from(format!("{what} {seconds}: {error}")))
    };
    let mut clients: Vec<usize> = cli.clients.iter().map(|clients| (*clients).max(1)).collect();
    if cli.bars {
        clients.extend(CLIENTS_IN_MEMORY);
        clients.push(CLIENTS_ON_DISK);
    }
    clients.sort_unstable();
    clients.dedup();
    Ok(Plan {
        clients,
        rounds: cli.rounds.max(1),
        stop: Stop::After(seconds("--seconds", cli.seconds)?),
        warm_up: Stop::After(seconds("--warm-up", cli.warm_up)?),
        patience: seconds("--patience", cli.patience)?,
    })
}

/// Those that were chosen, of those that are there.
fn peers(cli: &Cli) -> Vec<Box<dyn Peer>> {
    let is_chosen = |name: &str| cli.peer.is_empty() || cli.peer.iter().any(|part| name.contains(part));
    let restate = match Restate::find(cli.restate_server.as_deref()) {
        Ok(restate) => Some(restate),
        Err(error) => {
            if is_chosen("restate") {
                eprintln!("saga-peers: restate is left out: {error}");
            }
            None
        }
    };
    let mut peers = all(&cli.dbos_connections, restate);
    peers.retain(|peer| is_chosen(&peer.name()));
    peers
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

/// A line for each peer, ours first.
fn chart_lines(lines: &[Line]) -> Vec<chart::Line> {
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| (!line.ours, line.peer.clone(), line.clients));
    let of_one_peer = sorted.chunk_by(|one, other| one.peer == other.peer);
    let lines = of_one_peer.map(|lines| chart::Line {
        name: lines[0].peer.clone(),
        points: lines.iter().filter_map(|line| Some((line.clients as f64, line.median()?))).collect(),
        is_limit: false,
    });
    lines.collect()
}

fn text(bars: &[Bar], lines: &[Line], settings: Option<&str>) -> String {
    let mut parts = vec![lines_table(lines)];
    let ratios = ratios(lines);
    if !ratios.is_empty() {
        parts.push(ratios_table(&ratios));
    }
    if let Some(settings) = settings {
        parts.push(format!("PostgreSQL: {settings}"));
    }
    if !bars.is_empty() {
        parts.push(bars_table(bars));
    }
    parts.join("\n\n")
}

fn json(bars: &[Bar], lines: &[Line], settings: Option<&str>) -> Result<String, Failure> {
    let document = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "optimized": !cfg!(debug_assertions),
        "postgresql": settings,
        "bars": bars,
        "lines": lines,
        "ratios": ratios(lines),
    });
    Ok(serde_json::to_string_pretty(&document)?)
}
