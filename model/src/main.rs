//! Visits every state of every small saga, and holds the properties of the machine against each of them.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use saga_model::bounds::{Bounds, Policies};
use saga_model::explore::Tally;
use saga_model::passes;
use saga_model::report::{grouped, report, summary, tell};
use saga_model::saga::Saga;
use saga_model::shape::Sagas;
use saga_model::sweep::Sweep;
use saga_model::system::Real;

/// Visits every state of every small saga, breadth first.
///
/// Every acyclic graph of steps, every class of each step; attempts, compensations and probes that end in every way and in
/// every order; crashes, takeovers, cancellations and operators at every point. The bounds say how much of it may come
/// together in one run. Each state is held against the properties of section 10 of DESIGN.md.
///
/// Prints what was visited. Exits with 1 if a property does not hold, after it has printed the shortest way to where it does
/// not, and a command that shows it again.
#[derive(Debug, Parser)]
#[command(name = "saga-model", version)]
struct Cli {
    #[command(flatten, next_help_heading = "Sagas")]
    sagas: Sagas,
    /// Only this saga, written like 'a:C b:N?(a) c:F(a,b) +guard +finally': each step with its class (Compensable, Read-only,
    /// Non-compensable, Forward), a question mark for a probe, and the steps that it comes after
    #[arg(long, help_heading = "Sagas")]
    saga: Option<Saga>,
    #[command(flatten, next_help_heading = "What may go wrong in one run, at most")]
    bounds: Bounds,
    #[command(flatten, next_help_heading = "Policies")]
    policies: Policies,
    /// Runs the passes of docs/robustness.md one after the other, whatever else is said of sagas and bounds: tens of millions of
    /// states, and some twenty minutes on two processors
    #[arg(long, conflicts_with = "saga", help_heading = "How")]
    deep: bool,
    /// Threads; as many as there are processors, if 0
    #[arg(long, default_value_t = 0, help_heading = "How")]
    threads: usize,
    /// Says nothing on its way
    #[arg(long, help_heading = "How")]
    quiet: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.deep { deep(&cli) } else { once(&cli) }
}

fn once(cli: &Cli) -> ExitCode {
    let sagas = cli.saga.clone().map_or_else(|| cli.sagas.all(), |saga| vec![saga]);
    match visit(cli, &sagas, cli.bounds) {
        Ok((tally, took)) => {
            println!("{}", report(&tally, took));
            ExitCode::SUCCESS
        }
        Err(violated) => violated,
    }
}

fn deep(cli: &Cli) -> ExitCode {
    let (mut total, began) = (Tally::default(), Instant::now());
    for pass in passes::deep() {
        let (tally, took) = match visit(cli, &pass.sagas.all(), pass.bounds) {
            Ok(visited) => visited,
            Err(violated) => return violated,
        };
        println!("{}", summary(pass.what, &tally, took));
        total.add(&tally);
    }
    println!("\n{}", report(&total, began.elapsed()));
    ExitCode::SUCCESS
}

/// Visits the sagas; tells of a violation, if there is one.
fn visit(cli: &Cli, sagas: &[Saga], bounds: Bounds) -> Result<(Tally, Duration), ExitCode> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if cli.threads == 0 { processors() } else { cli.threads };
    let sweep = Sweep { policies: cli.policies, bounds, threads };
    let progress = Progress::new(cli.quiet);
    let visited = sweep.run(sagas, &Real, &|tally, sagas| progress.tell(tally, sagas));
    progress.end();
    visited.map(|tally| (tally, progress.began.elapsed())).map_err(|found| {
        println!("{}", tell(&found, cli.policies, bounds, &Real));
        ExitCode::from(1)
    })
}

/// Says now and then how far it is.
struct Progress {
    began: Instant,
    told: Mutex<Option<Instant>>,
    every: Duration,
    quiet: bool,
    is_terminal: bool,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let every = Duration::from_secs(if is_terminal { 1 } else { 30 });
        Self { began: Instant::now(), told: Mutex::new(None), every, quiet, is_terminal }
    }

    fn tell(&self, tally: &Tally, sagas: usize) {
        let mut told = self.told.lock().expect("nobody panics while telling");
        if self.quiet || told.is_some_and(|told| told.elapsed() < self.every) {
            return;
        }
        *told = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = grouped((tally.states as f64 / seconds.max(0.001)) as u64);
        let (states, transitions) = (grouped(tally.states), grouped(tally.transitions));
        let line =
            format!("{} of {sagas} sagas, {states} states, {transitions} transitions, {rate} states/s", tally.sagas);
        if self.is_terminal { eprint!("\r\x1b[K{line}") } else { eprintln!("{line}") }
    }

    fn end(&self) {
        if self.is_terminal && !self.quiet {
            eprint!("\r\x1b[K");
        }
    }
}
