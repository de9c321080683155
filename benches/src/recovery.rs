//! How long a coordinator takes to have the live runs of a store at work again, part by part.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saga_core::journal::EncodedRecord;
use saga_core::store::{Query, SledStore, Store};
use saga_core::{Coordinator, Seq, Shutdown};

use crate::Failure;
use crate::bars::{Gate, waiting};
use crate::measure::{Stop, closed_loop};
use crate::report::{number, table};
use crate::stores::Place;

/// What the recovery of a store took.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// How many runs were live.
    pub runs: usize,
    /// How many records their journals had.
    pub records: usize,
    /// How large the store's file was, in bytes.
    pub file_bytes: u64,
    /// To read that file.
    pub reading: Duration,
    /// To check and parse every record, in one thread.
    pub parsing: Duration,
    /// To open the store: sled's own recovery, and the index of the runs.
    pub opening: Duration,
    /// To claim all runs.
    pub claiming: Duration,
    /// Until all were at work: their journals read, folded, and what they do next durable.
    pub resuming: Duration,
}

impl Recovery {
    /// What is to be had without: the file read, its journals parsed.
    #[must_use]
    pub fn floor(&self) -> Duration {
        self.reading + self.parsing
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Duration {
        self.opening + self.claiming + self.resuming
    }

    /// All of it over what is to be had without.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.whole().as_secs_f64() / self.floor().as_secs_f64()
    }

    /// The parts, for people.
    #[must_use]
    pub fn table(&self) -> String {
        let parts = [
            ("reading the file", self.reading),
            ("parsing the journals", self.parsing),
            ("opening the store", self.opening),
            ("claiming the runs", self.claiming),
            ("resuming them", self.resuming),
        ];
        let micros = |part: Duration| part.as_secs_f64() * 1e6 / self.runs as f64;
        let rows = parts.map(|(what, took)| {
            vec![what.to_owned(), format!("{:.0} ms", took.as_secs_f64() * 1e3), format!("{:.2} µs", micros(took))]
        });
        format!(
            "{} live runs, {} records, {} MiB on disk: {:.1} x\n{}",
            number(self.runs as f64),
            number(self.records as f64),
            self.file_bytes / (1024 * 1024),
            self.ratio(),
            table(&["part", "took", "for each run"], 1.., rows)
        )
    }
}

/// Fills a store with so many live runs, and takes it up again.
///
/// # Errors
///
/// What a store or a saga fails with.
pub async fn measure(place: &Place, runs: usize) -> Result<Recovery, Failure> {
    let directory = tempfile::Builder::new().prefix("saga-recovery-").tempdir_in(&place.directory)?;
    let path = directory.path().join("sled");
    let journals = fill(&path, runs).await?;

    let file = path.join("db");
    let file_bytes = std::fs::metadata(&file)?.len();
    let began = Instant::now();
    std::hint::black_box(std::fs::read(&file)?);
    let reading = began.elapsed();
    let began = Instant::now();
    for record in &journals {
        std::hint::black_box(record.decode()?);
    }
    let parsing = began.elapsed();
    let records = journals.len();
    drop(journals);
    let [opening, claiming, resuming] = recover(&path, runs).await?;
    Ok(Recovery { runs, records, file_bytes, reading, parsing, opening, claiming, resuming })
}

/// Starts so many runs that wait, in a new store at this path, closes it, and gives out their journals.
///
/// # Errors
///
/// What a store or a saga fails with.
pub async fn fill(path: &Path, runs: usize) -> Result<Vec<EncodedRecord>, Failure> {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(path)?);
    let (saga, gate) = (waiting(runs)?, Arc::new(Gate::new()));
    let builder = Coordinator::builder_shared(Arc::clone(&store), Arc::clone(&gate)).register(&saga);
    let coordinator = builder.max_in_flight(2 * runs).start().await?;
    let starts = closed_loop(256, Stop::Sagas(runs as u64), {
        let coordinator = coordinator.clone();
        move |number| {
            let (coordinator, saga) = (coordinator.clone(), saga.clone());
            async move {
                coordinator.start(&saga, number).await?;
                Ok(())
            }
        }
    });
    starts.await?;
    gate.all.notified().await;
    let mut journals = Vec::new();
    let mut query = Query { limit: 1_000, ..Query::default() };
    loop {
        let page = store.list(&query).await?;
        for summary in &page.runs {
            journals.extend(store.read(&summary.run, Seq::ZERO, usize::MAX).await?);
        }
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    coordinator.shutdown(Shutdown::Park { grace: Duration::ZERO }).await?;
    Ok(journals)
}

/// Opens the store, claims its runs, and waits until all are at work.
async fn recover(path: &Path, runs: usize) -> Result<[Duration; 3], Failure> {
    let (saga, gate) = (waiting(runs)?, Gate::new());
    let began = Instant::now();
    let store = SledStore::open(path)?;
    let opened = began.elapsed();
    let builder = Coordinator::builder(store, gate.clone()).register(&saga);
    let coordinator = builder.max_in_flight(2 * runs).start().await?;
    let claimed = began.elapsed();
    gate.all.notified().await;
    let resumed = began.elapsed();
    coordinator.shutdown(Shutdown::Park { grace: Duration::ZERO }).await?;
    Ok([opened, claimed - opened, resumed - claimed])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_runs_are_taken_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { directory: directory.path().to_owned(), database: None, tables: None };
        let recovery = measure(&place, 20).await.unwrap();
        assert_eq!((recovery.runs, recovery.records), (20, 40));
        assert!(recovery.ratio() > 0.0 && recovery.whole() > recovery.resuming, "{recovery:?}");
        assert_eq!(recovery.table().lines().count(), 1 + 1 + 5, "{}", recovery.table());
    }
}
