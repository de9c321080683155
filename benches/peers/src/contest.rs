//! Rounds, medians and ratios.
//!
//! In each round every peer runs once at each number of clients, one after the other, so that what else the machine does
//! meanwhile does not hit one of them alone. What counts is the median of the rounds; the slowest and the fastest round
//! are printed beside it.

use std::path::Path;
use std::sync::Arc;

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
    /// Sagas per second, of each round in ascending order.
    pub sagas_per_second: Vec<f64>,
    /// From start to known end: the median, in microseconds, of the median round.
    pub p50_micros: f64,
    /// From start to known end: what 99 of 100 sagas did not exceed, in microseconds, of the median round.
    pub p99_micros: f64,
    /// CPU time of this process for one saga, in microseconds, of the median round. A server's is not in it.
    pub cpu_micros_per_saga: f64,
}

impl Line {
    /// Sagas per second: the median of the rounds.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.sagas_per_second[middle(self.sagas_per_second.len())]
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

/// Runs all of it.
///
/// # Errors
///
/// What a peer fails with, or that it gave a wrong output.
pub async fn run(
    peers: &[Box<dyn Peer>],
    plan: &Plan,
    directory: &Path,
    server: Option<&Postgres>,
) -> Result<Vec<Line>, Failure> {
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    rounds.resize_with(plan.clients.len() * peers.len(), Vec::new);
    for round in 1..=plan.rounds {
        let contests = plan.clients.iter().flat_map(|clients| peers.iter().map(move |peer| (*clients, peer)));
        for ((clients, peer), figures) in contests.zip(&mut rounds) {
            eprint!("round {round} of {}: {}, {clients} clients: ", plan.rounds, peer.name());
            let measured = measure(peer.as_ref(), clients, plan, directory, server).await?;
            eprintln!("{} sagas/s", number(measured.throughput()));
            figures.push(measured);
        }
    }
    let contests = plan.clients.iter().flat_map(|clients| peers.iter().map(move |peer| (*clients, peer)));
    Ok(contests.zip(rounds).map(|((clients, peer), figures)| line(peer.as_ref(), clients, figures)).collect())
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
    closed_loop(clients, plan.warm_up, saga.clone()).await?;
    let figures = closed_loop(clients, plan.stop, saga).await?;
    engine.stop().await?;
    Ok(figures)
}

fn line(peer: &dyn Peer, clients: usize, mut rounds: Vec<Figures>) -> Line {
    rounds.sort_by(|one, other| one.throughput().total_cmp(&other.throughput()));
    let median = &rounds[middle(rounds.len())];
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    Line {
        peer: peer.name(),
        ours: peer.is_ours(),
        kind: peer.kind(),
        durability: peer.durability(),
        clients,
        sagas_per_second: rounds.iter().map(Figures::throughput).collect(),
        p50_micros: micros(median.percentile(50)),
        p99_micros: micros(median.percentile(99)),
        cpu_micros_per_saga: micros(median.cpu) / median.sagas() as f64,
    }
}

/// Each of ours beside each of theirs that promises the same, at the same number of clients.
#[must_use]
pub fn ratios(lines: &[Line]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for theirs in lines.iter().filter(|line| !line.ours) {
        for ours in lines.iter().filter(|line| line.ours && line.kind == theirs.kind && line.clients == theirs.clients)
        {
            ratios.push(Ratio {
                ours: ours.peer.clone(),
                peer: theirs.peer.clone(),
                clients: theirs.clients,
                ratio: ours.median() / theirs.median(),
            });
        }
    }
    ratios
}

/// The lines, for people.
#[must_use]
pub fn lines_table(lines: &[Line]) -> String {
    let headings = ["peer", "durable by", "clients", "sagas/s", "slowest", "fastest", "p50", "p99", "CPU/saga"];
    let mut lines: Vec<&Line> = lines.iter().collect();
    lines.sort_by_key(|line| (line.kind, line.clients));
    let rows = lines.into_iter().map(|line| {
        let rounds = &line.sagas_per_second;
        vec![
            line.peer.clone(),
            line.durability.clone(),
            line.clients.to_string(),
            number(line.median()),
            number(rounds[0]),
            number(rounds[rounds.len() - 1]),
            time(line.p50_micros),
            time(line.p99_micros),
            time(line.cpu_micros_per_saga),
        ]
    });
    table(&headings, 2.., rows)
}

/// The ratios, for people.
#[must_use]
pub fn ratios_table(ratios: &[Ratio]) -> String {
    let rows = ratios.iter().map(|ratio| {
        vec![ratio.ours.clone(), ratio.peer.clone(), ratio.clients.to_string(), format!("{} x", number(ratio.ratio))]
    });
    table(&["ours", "over", "clients", "ratio"], 2.., rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, ours: bool, kind: Kind, sagas_per_second: &[f64]) -> Line {
        Line {
            peer: peer.to_owned(),
            ours,
            kind,
            durability: String::new(),
            clients: 16,
            sagas_per_second: sagas_per_second.to_vec(),
            p50_micros: 1.0,
            p99_micros: 2.0,
            cpu_micros_per_saga: 3.0,
        }
    }

    #[test]
    fn ratios_are_of_medians_and_among_equals() {
        let lines = [
            of("ours, durable", true, Kind::Durable, &[100.0, 300.0, 900.0]),
            of("ours, in memory", true, Kind::InMemory, &[1000.0]),
            of("theirs", false, Kind::Durable, &[1.0, 3.0, 100.0]),
        ];
        let ratios = ratios(&lines);
        assert_eq!(ratios.len(), 1);
        assert_eq!((ratios[0].ours.as_str(), ratios[0].peer.as_str()), ("ours, durable", "theirs"));
        assert!((ratios[0].ratio - 100.0).abs() < 1e-9);
        assert_eq!(lines_table(&lines).lines().count(), 4);
        assert_eq!(ratios_table(&ratios).lines().count(), 2);
    }

    #[tokio::test]
    async fn every_peer_runs_the_saga() {
        let directory = tempfile::tempdir().unwrap();
        let server = Postgres::start(&std::env::temp_dir()).ok();
        for (number, peer) in crate::peer::all(&[2]).iter().enumerate() {
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
