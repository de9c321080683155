//! Rounds, medians and ratios.
//!
//! In each round every peer runs once at each number of clients, one after the other, so that what else the machine does
//! meanwhile does not hit one of them alone. What counts is the median of the rounds; the slowest and the fastest round
//! are printed beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use saga_benches::Failure;
use saga_benches::measure::{Figures, Stop, closed_loop};
use saga_benches::postgres::Postgres;
use saga_benches::report::{number, table, time};
use serde::Serialize;

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

/// How to run it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many sagas are under way at the same time.
    pub clients: Vec<usize>,
    /// How often everything is run.
    pub rounds: usize,
    /// When a run stops.
    pub stop: Stop,
    /// When the run before it stops, which is not measured.
    pub warm_up: Stop,
    /// How long a run may take in all. One of somebody else's that takes longer is left out.
    pub patience: Duration,
}

/// One peer at one number of clients, over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The peer.
    pub peer: String,
    /// Whether it is ours.
    pub ours: bool,
    /// What it promises.
    pub kind: Kind,
    /// By what it keeps that promise.
    pub durability: String,
    /// How many sagas were under way at the same time.
    pub clients: usize,
    /// The figures; `None` if there are none.
    pub figures: Option<Measured>,
    /// Why there are no figures.
    pub left_out: Option<String>,
}

/// The figures of a peer at one number of clients.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Sagas per second: the median of the rounds.
    pub sagas_per_second: f64,
    /// Sagas per second, of each round in ascending order.
    pub rounds: Vec<f64>,
    /// From start to known end: the median, in microseconds, of the median round.
    pub p50_micros: f64,
    /// From start to known end: what 99 of 100 sagas did not exceed, in microseconds, of the median round.
    pub p99_micros: f64,
    /// CPU time of this process for one saga, in microseconds, of the median round. A server's is not in it.
    pub cpu_micros_per_saga: f64,
}

impl Line {
    /// Sagas per second: the median of the rounds, if there are figures.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.figures.as_ref().map(|figures| figures.sagas_per_second)
    }
}

/// One of ours beside one of theirs.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// Ours.
    pub ours: String,
    /// Theirs.
    pub peer: String,
    /// How many sagas were under way at the same time.
    pub clients: usize,
    /// Our sagas per second over theirs, each the median of the rounds.
    pub ratio: f64,
}

/// The rank of the median; the lower one of an even number.
fn middle(count: usize) -> usize {
    (count - 1) / 2
}

/// What came of the rounds so far.
struct Contest<'a> {
    peer: &'a dyn Peer,
    clients: usize,
    rounds: Vec<Figures>,
    left_out: Option<String>,
}

/// Runs all of it, and tells on standard error what it is at.
///
/// A peer of somebody else's that fails, or takes too long, is left out from there on at that number of clients.
///
/// # Errors
///
/// What one of ours fails with, or that it gave a wrong output.
pub async fn run(
    peers: &[Box<dyn Peer>],
    plan: &Plan,
    directory: &Path,
    server: Option<&Postgres>,
) -> Result<Vec<Line>, Failure> {
    let contests = plan.clients.iter().flat_map(|clients| peers.iter().map(move |peer| (*clients, peer.as_ref())));
    let contests = contests.map(|(clients, peer)| Contest { peer, clients, rounds: Vec::new(), left_out: None });
    let mut contests: Vec<Contest<'_>> = contests.collect();
    let count = contests.len() * plan.rounds;
    for round in 0..plan.rounds {
        let first = round * contests.len() + 1;
        for (place, contest) in (first..).zip(&mut contests) {
            if contest.left_out.is_some() {
                continue;
            }
            eprint!("[{place}/{count}] {}, {} clients: ", contest.peer.name(), contest.clients);
            match measure(contest.peer, contest.clients, plan, directory, server).await {
                Ok(figures) => {
                    eprintln!("{} sagas/s", number(figures.throughput()));
                    contest.rounds.push(figures);
                }
                Err(error) if contest.peer.is_ours() => return Err(error),
                Err(error) => {
                    eprintln!("left out: {error}");
                    contest.left_out = Some(error.to_string());
                }
            }
        }
    }
    Ok(contests.into_iter().map(line).collect())
}

async fn measure(
    peer: &dyn Peer,
    clients: usize,
    plan: &Plan,
    directory: &Path,
    server: Option<&Postgres>,
) -> Result<Figures, Failure> {
    let directory = tempfile::Builder::new().prefix("saga-peers-").tempdir_in(directory)?;
    let engine: Arc<dyn Engine> = Arc::from(peer.start(&Ground { directory: directory.path(), server }).await?);
    let saga = {
        let engine = Arc::clone(&engine);
        move |input| {
            let engine = Arc::clone(&engine);
            async move {
                let output = engine.saga(input).await?;
                if output == input + STEPS { Ok(()) } else { Err(format!("{input} became {output}").into()) }
            }
        }
    };
    let loops = async {
        closed_loop(clients, plan.warm_up, saga.clone()).await?;
        closed_loop(clients, plan.stop, saga).await
    };
    let done = tokio::time::timeout(plan.patience, loops).await;
    engine.stop().await?;
    done.map_err(|_| format!("it took longer than {} s", plan.patience.as_secs()))?
}

fn line(contest: Contest<'_>) -> Line {
    let Contest { peer, clients, mut rounds, left_out } = contest;
    rounds.sort_by(|one, other| one.throughput().total_cmp(&other.throughput()));
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let measured = |rounds: &[Figures]| {
        let median = &rounds[middle(rounds.len())];
        Measured {
            sagas_per_second: median.throughput(),
            rounds: rounds.iter().map(Figures::throughput).collect(),
            p50_micros: micros(median.percentile(50)),
            p99_micros: micros(median.percentile(99)),
            cpu_micros_per_saga: micros(median.cpu) / median.sagas() as f64,
        }
    };
    Line {
        peer: peer.name(),
        ours: peer.is_ours(),
        kind: peer.kind(),
        durability: peer.durability(),
        clients,
        // Once it failed, its other rounds are no figures either.
        figures: left_out.is_none().then(|| measured(&rounds)),
        left_out,
    }
}

/// Each of ours beside each of theirs, at the same number of clients: what is kept on a disk beside what is, and what is kept
/// in memory beside what is.
#[must_use]
pub fn ratios(lines: &[Line]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for theirs in lines.iter().filter(|line| !line.ours) {
        let equals = |line: &&Line| {
            line.ours && line.clients == theirs.clients && line.kind.is_on_disk() == theirs.kind.is_on_disk()
        };
        for ours in lines.iter().filter(equals) {
            if let (Some(our_median), Some(their_median)) = (ours.median(), theirs.median()) {
                ratios.push(Ratio {
                    ours: ours.peer.clone(),
                    peer: theirs.peer.clone(),
                    clients: theirs.clients,
                    ratio: our_median / their_median,
                });
            }
        }
    }
    ratios
}

/// The lines, for people.
#[must_use]
pub fn lines_table(lines: &[Line]) -> String {
    let headings = ["peer", "durable by", "clients", "sagas/s", "slowest", "fastest", "p50", "p99", "CPU/saga"];
    let mut lines: Vec<&Line> = lines.iter().collect();
    lines.sort_by_key(|line| (!line.kind.is_on_disk(), line.clients));
    let rows = lines.iter().map(|line| {
        let mut row = vec![line.peer.clone(), line.durability.clone(), line.clients.to_string()];
        match &line.figures {
            Some(figures) => row.extend([
                number(figures.sagas_per_second),
                number(figures.rounds[0]),
                number(figures.rounds[figures.rounds.len() - 1]),
                time(figures.p50_micros),
                time(figures.p99_micros),
                time(figures.cpu_micros_per_saga),
            ]),
            None => row.extend(["-"; 6].map(str::to_owned)),
        }
        row
    });
    let mut table = table(&headings, 2.., rows);
    for line in lines {
        if let Some(why) = &line.left_out {
            table.push_str(&format!("\n{}, {} clients, left out: {why}", line.peer, line.clients));
        }
    }
    table
}

/// The ratios, for people: a row for each two, a column for each number of clients.
#[must_use]
pub fn ratios_table(ratios: &[Ratio]) -> String {
    let clients: BTreeSet<usize> = ratios.iter().map(|ratio| ratio.clients).collect();
    let mut rows: Vec<(&str, &str, BTreeMap<usize, f64>)> = Vec::new();
    for ratio in ratios {
        match rows.iter_mut().find(|(ours, peer, _)| (*ours, *peer) == (&ratio.ours, &ratio.peer)) {
            Some((.., row)) => row.insert(ratio.clients, ratio.ratio),
            None => {
                rows.push((&ratio.ours, &ratio.peer, BTreeMap::from([(ratio.clients, ratio.ratio)])));
                None
            }
        };
    }
    rows.sort_by_key(|(ours, ..)| *ours);
    let columns: Vec<String> = clients.iter().map(|clients| format!("at {clients}")).collect();
    let headings: Vec<&str> = ["ours", "over"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let rows = rows.into_iter().map(|(ours, peer, row)| {
        let cells = clients.iter().map(|clients| match row.get(clients) {
            Some(ratio) => format!("{} x", number(*ratio)),
            None => "-".to_owned(),
        });
        [ours.to_owned(), peer.to_owned()].into_iter().chain(cells).collect()
    });
    table(&headings, 2.., rows)
}

#[cfg(test)]
impl Line {
    /// One of so many sagas per second.
    pub(crate) fn of(peer: &str, ours: bool, kind: Kind, clients: usize, sagas_per_second: f64) -> Self {
        let figures = Measured {
            sagas_per_second,
            rounds: vec![sagas_per_second],
            p50_micros: 1.0,
            p99_micros: 2.0,
            cpu_micros_per_saga: 3.0,
        };
        let (peer, durability) = (peer.to_owned(), String::new());
        Self { peer, ours, kind, durability, clients, figures: Some(figures), left_out: None }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::restate::Restate;

    #[test]
    fn ratios_are_among_equals() {
        let mut lines = vec![
            Line::of("ours, durable", true, Kind::Durable, 1, 300.0),
            Line::of("ours, durable", true, Kind::Durable, 16, 600.0),
            Line::of("ours, in memory", true, Kind::InMemory, 1, 1000.0),
            Line::of("theirs", false, Kind::Durable, 1, 3.0),
            Line::of("theirs", false, Kind::Durable, 16, 2.0),
            Line::of("another", false, Kind::Written, 1, 5.0),
        ];
        lines[4] = Line { figures: None, left_out: Some("it took longer".to_owned()), ..lines[4].clone() };
        let all = ratios(&lines);
        let all: Vec<_> = all.iter().map(|ratio| (ratio.peer.as_str(), ratio.clients, ratio.ratio)).collect();
        assert_eq!(all, [("theirs", 1, 100.0), ("another", 1, 60.0)]);
        let table = lines_table(&lines);
        assert_eq!(table.lines().count(), 1 + 6 + 1, "{table}");
        assert!(table.ends_with("theirs, 16 clients, left out: it took longer"), "{table}");
        assert_eq!(ratios_table(&ratios(&lines)).lines().count(), 1 + 2);
    }

    struct Fake {
        ours: bool,
        /// What it makes of its input.
        made: fn(u64) -> u64,
    }

    #[async_trait]
    impl Peer for Fake {
        fn name(&self) -> String {
            "fake".to_owned()
        }

        fn is_ours(&self) -> bool {
            self.ours
        }

        fn kind(&self) -> Kind {
            Kind::InMemory
        }

        fn durability(&self) -> String {
            "none".to_owned()
        }

        async fn start(&self, _: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
            Ok(Box::new(FakeEngine(self.made)))
        }
    }

    struct FakeEngine(fn(u64) -> u64);

    #[async_trait]
    impl Engine for FakeEngine {
        async fn saga(&self, input: u64) -> Result<u64, Failure> {
            if self.0(input) == u64::MAX { std::future::pending().await } else { Ok(self.0(input)) }
        }

        async fn stop(&self) -> Result<(), Failure> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn contest(ours: bool, made: fn(u64) -> u64, patience: Duration) -> Result<Vec<Line>, Failure> {
        let directory = tempfile::tempdir()?;
        let stop = Stop::Sagas(4);
        let plan = Plan { clients: vec![1, 2], rounds: 2, stop, warm_up: stop, patience };
        run(&[Box::new(Fake { ours, made })], &plan, directory.path(), None).await
    }

    #[tokio::test]
    async fn every_round_is_a_figure() {
        let lines = contest(true, |input| input + STEPS, PATIENCE).await.unwrap();
        assert_eq!(lines.iter().map(|line| line.clients).collect::<Vec<_>>(), [1, 2]);
        assert!(lines.iter().all(|line| line.figures.as_ref().is_some_and(|figures| figures.rounds.len() == 2)));
    }

    #[tokio::test]
    async fn a_peer_that_fails_or_is_too_slow_is_left_out() {
        let lines = contest(false, |input| input, PATIENCE).await.unwrap();
        assert!(lines.iter().all(|line| line.figures.is_none()));
        assert!(lines[0].left_out.as_deref().is_some_and(|why| why.contains("became")), "{lines:?}");
        let lines = contest(false, |_| u64::MAX, Duration::ZERO).await.unwrap();
        assert_eq!(lines[0].left_out.as_deref(), Some("it took longer than 0 s"));
        assert!(contest(true, |input| input, PATIENCE).await.is_err(), "ours may not");
    }

    #[tokio::test]
    async fn every_peer_runs_the_saga() {
        let directory = tempfile::tempdir().unwrap();
        let server = Postgres::start(&std::env::temp_dir()).ok();
        let restate = match Restate::find(None) {
            Ok(restate) => Some(restate),
            Err(error) => {
                eprintln!("Restate is not tried: {error}");
                None
            }
        };
        for (number, peer) in crate::peer::all(&[2], restate).iter().enumerate() {
            if peer.needs_server() && server.is_none() {
                eprintln!("PostgreSQL is not installed: {} is not tried", peer.name());
                continue;
            }
            let directory = directory.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            let ground = Ground { directory: &directory, server: server.as_ref() };
            let engine = peer.start(&ground).await.unwrap();
            assert_eq!(engine.saga(7).await.unwrap(), 7 + STEPS, "{}", peer.name());
            engine.stop().await.unwrap();
        }
        if let Some(server) = server {
            assert!(server.settings().await.contains("fsync = on"));
        }
    }
}
