//! One measurement: a workload on a store, from so many clients, and beside it the limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::crew::{Crew, Usage, WorkerSpec};
use crate::limit::{Load, plain_file};
use crate::measure::{Figures, Stop, closed_loop};
use crate::stores::{Place, StoreKind};
use crate::tap::Writes;
use crate::workload::Workload;

/// In so many turns a row and its limit are measured, unless told otherwise.
pub(crate) const TURNS: u32 = 3;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The sagas.
    pub workload: Workload,
    /// Where their journals are kept.
    pub store: StoreKind,
    /// How many processes drive them, beside the one that starts them; 0: that one drives what it starts.
    pub workers: usize,
    /// How many sagas are under way at the same time.
    pub clients: usize,
    /// When to stop.
    pub stop: Stop,
    /// For how long sagas are run before anything is measured.
    pub warm_up: Duration,
    /// When to stop measuring the limit; it is not measured if `None`.
    pub limit: Option<Stop>,
    /// Where its files are made, each in a directory of its own.
    pub place: Place,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The sagas.
    pub workload: Workload,
    /// Where their journals were kept.
    pub store: StoreKind,
    /// How many processes drove them, beside the one that started them; 0: that one drove what it started.
    pub workers: usize,
    /// When that store acknowledges.
    pub durability: String,
    /// How many sagas were under way at the same time.
    pub clients: usize,
    /// How many sagas were run.
    pub sagas: u64,
    /// From the first start to the last end.
    pub seconds: f64,
    /// Sagas per second.
    pub sagas_per_second: f64,
    /// From start to known end: the median, in microseconds.
    pub p50_micros: f64,
    /// From start to known end: what 99 of 100 sagas did not exceed, in microseconds.
    pub p99_micros: f64,
    /// CPU time of the process and its workers for one saga, in microseconds. That of a database server is not in it.
    pub cpu_micros_per_saga: f64,
    /// The most memory that the process of this row had in use, with all that its ended sagas left, and its workers', in
    /// bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Appends of one saga.
    pub appends_per_saga: f64,
    /// Bytes of the journal of one saga, as they were handed to the store.
    pub journal_bytes_per_saga: f64,
    /// Appends that were written with one call to the store, on average.
    pub appends_per_group: f64,
    /// By how much the store's files grew for one saga, in bytes, if it has files.
    pub disk_bytes_per_saga: Option<f64>,
    /// The same bytes in as many appends by as many clients to a plain file, with one `fdatasync` for each group: sagas
    /// per second. Only beside durable stores.
    pub limit_sagas_per_second: Option<f64>,
}

impl Row {
    /// How much of the limit was reached, of 1.
    #[must_use]
    pub fn share_of_limit(&self) -> Option<f64> {
        self.limit_sagas_per_second.map(|limit| self.sagas_per_second / limit)
    }
}

/// Measures one row. The memory is that of the process: let each row have one of its own.
///
/// The row and its limit are measured in turns, so that what else the machine does meanwhile hits both.
///
/// # Errors
///
/// What a store or a saga fails with, or that a saga did not end as it has to.
pub async fn measure(spec: &Spec) -> Result<Row, Failure> {
    Ok(row(spec, &beside_the_limit(spec, TURNS).await?))
}

/// What was measured of a row.
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) limit: Option<Figures>,
    used: Usage,
    grown: Option<u64>,
}

/// Runs the sagas, and in so many turns with them what they write on a plain file.
pub(crate) async fn beside_the_limit(spec: &Spec, parts: u32) -> Result<Measured, Failure> {
    let directory = tempfile::Builder::new().prefix("saga-bench-").tempdir_in(&spec.place.directory)?;
    let place = Place { directory: directory.path().to_owned(), ..spec.place.clone() };
    let opened = spec.store.open(&place).await?;
    let saga = spec.workload.saga();
    let mut crew = if spec.workers == 0 {
        Crew::alone(&opened, &saga).await?
    } else {
        let worker = WorkerSpec { workload: spec.workload, store: spec.store, place };
        Crew::with_workers(&opened, &saga, &worker, spec.workers).await?
    };
    let (client, workload) = (crew.client().clone(), spec.workload);
    let run = move |number| {
        let (client, saga) = (client.clone(), saga.clone());
        async move {
            let outcome = client.start(&saga, number).await?.outcome().await?;
            workload.check(number, &outcome)
        }
    };

    if !spec.warm_up.is_zero() {
        closed_loop(spec.clients, Stop::After(spec.warm_up), run.clone()).await?;
    }
    let disk_before = opened.disk_bytes()?;
    let mut limits = spec.limit.filter(|_| spec.store.is_durable()).map(|stop| stop.parts(parts)).into_iter().flatten();
    let (mut turns, mut limit_turns, mut used) = (Vec::new(), Vec::new(), Usage::default());
    for stop in spec.stop.parts(parts) {
        let before = crew.usage().await?;
        let turn = closed_loop(spec.clients, stop, run.clone()).await?;
        let usage = crew.usage().await?.since(before);
        if let Some(stop) = limits.next() {
            let load = load(usage.writes, turn.sagas());
            limit_turns.push(plain_file(directory.path(), load, spec.clients, stop).await?);
        }
        used.cpu += usage.cpu;
        used.writes += usage.writes;
        used.peak_memory = usage.peak_memory;
        turns.push(turn);
        let elapsed: Duration = turns.iter().map(|turn| turn.elapsed).sum();
        // With thousands of clients one wave of sagas may take longer than all turns should.
        if matches!(spec.stop, Stop::After(time) if elapsed >= time) {
            break;
        }
    }
    let grown = disk_before.zip(opened.disk_bytes()?).map(|(before, after)| after.saturating_sub(before));
    crew.stop().await?;
    let limit = if limit_turns.is_empty() { None } else { Some(Figures::sum(limit_turns)?) };
    Ok(Measured { figures: Figures::sum(turns)?, limit, used, grown })
}

/// What one saga wrote, on average.
fn load(writes: Writes, sagas: u64) -> Load {
    let appends = (writes.appends as f64 / sagas as f64).round().max(1.0) as u64;
    Load { appends, bytes: usize::try_from(writes.bytes / sagas / appends).unwrap_or(usize::MAX) }
}

fn row(spec: &Spec, measured: &Measured) -> Row {
    let Measured { figures, limit, used, grown } = measured;
    let sagas = figures.sagas();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let per_saga = |count: u64| count as f64 / sagas as f64;
    Row {
        workload: spec.workload,
        store: spec.store,
        workers: spec.workers,
        durability: spec.store.durability().to_owned(),
        clients: spec.clients,
        sagas,
        seconds: figures.elapsed.as_secs_f64(),
        sagas_per_second: figures.throughput(),
        p50_micros: micros(figures.percentile(50)),
        p99_micros: micros(figures.percentile(99)),
        cpu_micros_per_saga: micros(used.cpu) / sagas as f64,
        peak_memory_bytes: used.peak_memory,
        appends_per_saga: per_saga(used.writes.appends),
        journal_bytes_per_saga: per_saga(used.writes.bytes),
        appends_per_group: used.writes.appends as f64 / used.writes.groups.max(1) as f64,
        disk_bytes_per_saga: grown.map(per_saga),
        limit_sagas_per_second: limit.as_ref().map(Figures::throughput),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_linear_saga_of_n_steps_costs_n_and_one_appends() {
        let directory = tempfile::tempdir().unwrap();
        let spec = Spec {
            workload: Workload::Linear5,
            store: StoreKind::Sled,
            workers: 0,
            clients: 2,
            stop: Stop::Sagas(6),
            warm_up: Duration::ZERO,
            limit: Some(Stop::Sagas(6)),
            place: Place { directory: directory.path().to_owned(), database: None, tables: None },
        };
        let row = measure(&spec).await.unwrap();
        assert_eq!(row.sagas, 6);
        assert!((row.appends_per_saga - 6.0).abs() < 1e-9, "{row:?}");
        assert!(row.journal_bytes_per_saga > 500.0, "{row:?}");
        assert!(row.limit_sagas_per_second.is_some() && row.disk_bytes_per_saga.is_some(), "{row:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "all files are gone");
    }

    #[tokio::test]
    async fn memory_has_no_limit_set_by_a_disk() {
        let directory = tempfile::tempdir().unwrap();
        let spec = Spec {
            workload: Workload::Undone,
            store: StoreKind::Memory,
            workers: 0,
            clients: 1,
            stop: Stop::Sagas(1),
            warm_up: Duration::ZERO,
            limit: Some(Stop::Sagas(1)),
            place: Place { directory: directory.path().to_owned(), database: None, tables: None },
        };
        let row = measure(&spec).await.unwrap();
        assert_eq!((row.limit_sagas_per_second, row.disk_bytes_per_saga), (None, None));
    }
}
