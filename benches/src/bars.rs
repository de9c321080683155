//! The bars that this project sets itself, as far as they are measured without its peers: each a ratio of two figures of
//! one run.
//!
//! Costs in memory are CPU time, clients included, which other programs disturb less than they do elapsed time. The two sides
//! of a ratio are measured in turns, several times; the medians count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use saga_core::store::{MemoryStore, RunSummary, Store};
use saga_core::{Coordinator, Ctx, RunId, Saga, Seq, Shutdown, StepError, Timestamp};
use tokio::sync::{Notify, Semaphore};

use crate::Failure;
use crate::bar::{Bar, Unit};
use crate::measure::{Figures, Stop, closed_loop, memory};
use crate::recovery;
use crate::report::{number, time};
use crate::row::{Spec, TURNS, beside_the_limit};
use crate::stores::{Place, StoreKind};
use crate::workload::{Nothing, Workload, chain, stages};

/// So often the two sides of a ratio are measured, in turns.
const ROUNDS: usize = 3;
/// In so many turns the latencies of a lone run and of the file are taken, each a third of a second: how long a sync takes
/// changes within seconds, and what is compared has to meet the same.
const LATENCY_TURNS: u32 = 27;
/// By then every run that waits has left its state to the journal.
const RESTING: Duration = Duration::from_secs(7);
/// So many runs wait, or are recovered.
const WAITING: usize = 20_000;
const RECOVERED: usize = 100_000;

/// Measures all of them; files are made in `place`. Tells on standard error what it is at.
///
/// # Errors
///
/// What a store or a saga fails with, or that a saga did not end as it has to.
pub async fn measure(place: &Place) -> Result<Vec<Bar>, Failure> {
    let mut bars = Vec::new();
    let mut add = |bar: Bar| {
        eprintln!("{}: {}", bar.what, bar.show_measured());
        bars.push(bar);
    };
    // Before anything else: what the process has taken once it does not give back, and would be used again.
    let memory = memory_of_waiting_runs().await?;
    let cpu = |one: f64, other: f64| format!("{} against {}", time(one), time(other));

    let (long, short) = in_turns(per_run(&chain(10_000), 1, 3), per_run(&chain(5), 1, 4_000)).await?;
    let (long, short) = (long / 10_000.0, short / 5.0);
    let bar = Bar::at_most("a step of a chain of 10 000, over one of 5", 1.3, Unit::Times);
    add(bar.measured(long / short, cpu(long, short)));

    // 16 side by side and one that joins them, a hundred times: as many steps as the chain beside them.
    let steps = 1_700;
    let (wide, row) = in_turns(per_run(&stages(16, 100), 1, 10), per_run(&chain(steps), 1, 10)).await?;
    let bar = Bar::at_most("a step of 100 stages of 16, over one of a chain", 1.5, Unit::Times);
    add(bar.measured(wide / row, cpu(wide / steps as f64, row / steps as f64)));

    let (undone, done) =
        in_turns(per_run(&Workload::Undone.saga(), 1, 4_000), per_run(&Workload::Linear5.saga(), 1, 4_000)).await?;
    let bar = Bar::at_most("a saga that fails last and is undone, over one that completes", 2.2, Unit::Times);
    add(bar.measured(undone / done, cpu(undone, done)));

    let (many, some) = in_turns(throughput(4_096), throughput(256)).await?;
    let bar = Bar::at_least("throughput in memory of 4 096 runs at a time, of that of 256", 90.0, Unit::Percent);
    add(bar.measured(100.0 * many / some, sagas_per_second(many, some)));

    memory.into_iter().for_each(&mut add);

    let (sled, limit) = on_sled(place, 1, 9, LATENCY_TURNS).await?;
    let [sled, limit] = [sled, limit].map(|figures| figures.percentile(50).as_secs_f64() * 1e6);
    let bar = Bar::at_most("latency of one run at a time on sled, over six appends to a file", 1.3, Unit::Times);
    add(bar.measured(sled / limit, format!("{} against {}", time(sled), time(limit))));

    let (sled, limit) = on_sled(place, 256, 6, TURNS).await?;
    let (sled, limit) = (sled.throughput(), limit.throughput());
    let bar = Bar::at_least("throughput on sled of 256 runs at a time, of that of a plain file", 60.0, Unit::Percent);
    add(bar.measured(100.0 * sled / limit, sagas_per_second(sled, limit)));

    let recovery = recovery::measure(place, RECOVERED).await?;
    let [whole, floor] = [recovery.whole(), recovery.floor()].map(|took| time(took.as_secs_f64() * 1e6));
    let bar = Bar::at_most("recovery of 100 000 runs, over reading and parsing", 3.0, Unit::Times);
    add(bar.measured(recovery.ratio(), format!("{whole} against {floor}")));
    Ok(bars)
}

/// Of what a ratio of throughputs was made.
#[must_use]
pub fn sagas_per_second(one: f64, other: f64) -> String {
    format!("{} against {} sagas/s", number(one), number(other))
}

/// The medians of two figures that are measured in turns.
async fn in_turns(
    one: impl AsyncFn() -> Result<f64, Failure>,
    other: impl AsyncFn() -> Result<f64, Failure>,
) -> Result<(f64, f64), Failure> {
    let mut rounds = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rounds.0.push(one().await?);
        rounds.1.push(other().await?);
    }
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Ok((median(rounds.0), median(rounds.1)))
}

async fn run_in_memory(saga: &Saga<Nothing, u64, u64>, clients: usize, sagas: u64) -> Result<Figures, Failure> {
    let coordinator = Coordinator::builder(MemoryStore::new(), Nothing).register(saga).start().await?;
    let (runner, saga) = (coordinator.clone(), saga.clone());
    let figures = closed_loop(clients, Stop::Sagas(sagas), move |number| {
        let (runner, saga) = (runner.clone(), saga.clone());
        async move {
            let outcome = runner.start(&saga, number).await?.outcome().await?;
            std::hint::black_box(outcome);
            Ok(())
        }
    })
    .await?;
    coordinator.shutdown(Shutdown::Drain).await?;
    Ok(figures)
}

/// CPU time of one run, in microseconds.
fn per_run(
    saga: &Saga<Nothing, u64, u64>,
    clients: usize,
    sagas: u64,
) -> impl AsyncFn() -> Result<f64, Failure> + use<> {
    let saga = saga.clone();
    async move || Ok(run_in_memory(&saga, clients, sagas).await?.cpu.as_secs_f64() * 1e6 / sagas as f64)
}

fn throughput(clients: usize) -> impl AsyncFn() -> Result<f64, Failure> {
    let saga = chain(5);
    async move || Ok(run_in_memory(&saga, clients, 60_000).await?.throughput())
}

/// Five steps on sled and what they write on a plain file, from as many clients, for so many seconds each, in turns.
async fn on_sled(place: &Place, clients: usize, seconds: u64, turns: u32) -> Result<(Figures, Figures), Failure> {
    let stop = Stop::After(Duration::from_secs(seconds));
    let spec = Spec {
        workload: Workload::Linear5,
        store: StoreKind::Sled,
        workers: 0,
        clients,
        stop,
        warm_up: Duration::ZERO,
        limit: Some(stop),
        place: place.clone(),
    };
    let measured = beside_the_limit(&spec, turns).await?;
    Ok((measured.figures, measured.limit.ok_or("the limit was not measured")?))
}

/// Where the actions of waiting runs wait.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: Arc<AtomicUsize>,
    pub(crate) all: Arc<Notify>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { arrived: Arc::default(), all: Arc::default(), open: Arc::new(Semaphore::new(0)) }
    }

    async fn pass(&self, expected: usize) {
        if self.arrived.fetch_add(1, Ordering::SeqCst) + 1 == expected {
            self.all.notify_one();
        }
        // It is never closed.
        drop(self.open.acquire().await);
    }
}

pub(crate) fn waiting(expected: usize) -> Result<Saga<Gate, u64, u64>, Failure> {
    let mut saga = Saga::<Gate, u64>::builder("waiting", 1);
    let input = saga.input();
    let wait = saga.step("wait", input, move |ctx: Ctx<Gate>, n: u64| async move {
        ctx.pass(expected).await;
        Ok::<_, StepError>(n)
    });
    let wait = wait.nothing_to_undo();
    Ok(saga.build(wait)?)
}

/// What one run takes of the process's memory while it waits, journal and payloads included, and when it has ended and been
/// pruned.
async fn memory_of_waiting_runs() -> Result<[Bar; 3], Failure> {
    // Kept to the end, so that nobody else gets its memory.
    let (_filled, stored) = memory_of_stored_runs().await?;
    let (store, saga) = (MemoryStore::new(), waiting(WAITING)?);
    let mut grown = Vec::new();
    let mut after = Vec::new();
    // The first two times the process takes the memory, which it keeps for the third.
    for _ in 0..3 {
        let before = memory().unwrap_or_default();
        let gate = Gate::new();
        let store = store.reopen();
        let builder = Coordinator::builder(store.clone(), gate.clone()).register(&saga);
        let coordinator = builder.max_in_flight(2 * WAITING).start().await?;
        let mut runs = Vec::with_capacity(WAITING);
        for number in 0..WAITING {
            runs.push(coordinator.start(&saga, number as u64).await?);
        }
        gate.all.notified().await;
        tokio::time::sleep(RESTING).await;
        grown.push(memory().unwrap_or_default().saturating_sub(before) as f64 / WAITING as f64);
        gate.open.add_permits(WAITING);
        for run in runs {
            run.outcome().await?;
        }
        drop(coordinator);
        store.prune(Timestamp(u64::MAX), usize::MAX).await?;
        after.push(memory().unwrap_or_default());
    }
    let left = after[2].saturating_sub(after[1]) as f64 / WAITING as f64;
    Ok([
        Bar::at_most("memory of a waiting run, its journal in memory included", 1.0, Unit::Kibibytes)
            .measured(grown[0] / 1024.0, format!("{} runs", number(WAITING as f64))),
        Bar::at_most("the same, without what its store keeps", 1.0, Unit::Kibibytes)
            .measured((grown[0] - stored) / 1024.0, format!("the store keeps {:.2} KiB of each", stored / 1024.0)),
        Bar::at_most("memory of a run that has ended", 0.05, Unit::Kibibytes)
            .measured(left / 1024.0, format!("{} runs", number(WAITING as f64))),
    ])
}

/// What a store in memory keeps of one run that waits: a store is filled with copies of one, which nobody drives.
async fn memory_of_stored_runs() -> Result<(MemoryStore, f64), Failure> {
    let (store, saga, gate) = (MemoryStore::new(), waiting(1)?, Gate::new());
    let coordinator = Coordinator::builder(store.clone(), gate.clone()).register(&saga).start().await?;
    let run = coordinator.start(&saga, 1).await?;
    gate.all.notified().await;
    let (summary, journal) = (run.summary().await?, store.read(run.id(), Seq::ZERO, usize::MAX).await?);
    coordinator.shutdown(Shutdown::Park { grace: Duration::ZERO }).await?;
    let (filled, before) = (MemoryStore::new(), memory().unwrap_or_default());
    for _ in 0..WAITING {
        let copy = RunSummary { run: RunId::generate(), ..summary.clone() };
        filled.restore(&copy, &journal).await??;
    }
    let grown = memory().unwrap_or_default().saturating_sub(before);
    Ok((filled, grown as f64 / WAITING as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_sides_are_measured_in_turns() {
        let turns = AtomicUsize::new(0);
        let next = async || Ok(turns.fetch_add(1, Ordering::SeqCst) as f64);
        assert_eq!(in_turns(next, next).await.unwrap(), (2.0, 3.0));
    }
}
