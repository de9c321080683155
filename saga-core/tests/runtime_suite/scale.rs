//! Large sagas, and many runs.

use std::process::Command;
use std::sync::Arc;

use saga_core::store::{MemoryStore, Store};
use saga_core::{Coordinator, Ctx, Outcome, RunHandle, Saga, StepError, Timestamp};
use tokio::sync::watch;

async fn plus_one(_: Ctx<()>, n: u32) -> Result<u32, StepError> {
    Ok(n + 1)
}

async fn largest(_: Ctx<()>, all: Vec<u32>) -> Result<u32, StepError> {
    all.into_iter().max().map(|n| n + 1).ok_or_else(|| StepError::rejected("none"))
}

async fn completes<In: serde::Serialize>(saga: &Saga<(), In, u32>, input: In) -> (u32, u64) {
    let store = MemoryStore::new();
    let coordinator = Coordinator::builder(store.clone(), ()).register(saga).start().await.unwrap();
    let run = coordinator.start(saga, input).await.unwrap();
    let Outcome::Completed(output) = run.outcome().await.unwrap() else { panic!("not completed") };
    assert_eq!(coordinator.in_memory(), 0);
    (output, store.faults().appends())
}

#[tokio::test]
async fn a_chain_of_ten_thousand_steps() {
    let mut saga = Saga::<(), u32>::builder("long", 1);
    let mut last = saga.input();
    for i in 0..10_000 {
        last = saga.step(format!("s{i}"), last, plus_one).nothing_to_undo();
    }
    let saga = saga.build(last).unwrap();
    assert_eq!(completes(&saga, 0).await, (10_000, 10_001));
}

#[tokio::test]
async fn a_hundred_stages_of_sixteen() {
    let mut saga = Saga::<(), u32>::builder("wide", 1);
    let input = saga.input();
    let mut stage = vec![input];
    for i in 0..100 {
        stage = (0..16).map(|j| saga.step(format!("s{i}-{j}"), stage.clone(), largest).nothing_to_undo()).collect();
    }
    let last = saga.step("last", stage, largest).nothing_to_undo();
    let saga = saga.build(last).unwrap();
    let (output, appends) = completes(&saga, 0).await;
    assert_eq!(output, 101);
    assert!(appends <= 1_602, "{appends}");
}

const MANY: u32 = 10_000;

/// The memory of this process, in KiB.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Set for the process in which that is tried: other tests take memory too.
const ALONE: &str = "SAGA_TEST_ALONE";

#[test]
fn ten_thousand_runs_at_once_leave_nothing_behind() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(ten_thousand_runs_at_once());
    }
    let name = "scale::ten_thousand_runs_at_once_leave_nothing_behind";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let alone = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "yes").output().unwrap();
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    assert!(String::from_utf8_lossy(&alone.stdout).contains("1 passed"), "{alone:?}");
}

async fn ten_thousand_runs_at_once() {
    let gate = watch::Sender::new(0u32);
    let mut saga = Saga::<watch::Sender<u32>, u32>::builder("many", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<watch::Sender<u32>>, round: u32| {
            ctx.app().subscribe().wait_for(|open| *open >= round).await?;
            Ok(round)
        })
        .nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let store = MemoryStore::new();
    let coordinator = Coordinator::builder(store.clone(), gate.clone()).register(&saga).start().await.unwrap();
    let idle = Arc::strong_count(coordinator.app());
    let mut after = Vec::new();
    for round in 1..=3 {
        let mut runs: Vec<RunHandle<_, u32>> = Vec::new();
        // Some more than there are places, so that these wait for their turn.
        for _ in 0..MANY + 100 {
            runs.push(coordinator.start(&saga, round).await.unwrap());
        }
        assert_eq!(coordinator.in_memory(), MANY as usize + 100);
        gate.send_replace(round);
        for run in runs {
            assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(round));
        }
        assert_eq!(coordinator.in_memory(), 0);
        // The store keeps journals for as long as it is told to.
        assert_eq!(store.prune(Timestamp(u64::MAX), usize::MAX).await.unwrap(), MANY as usize + 100);
        while Arc::strong_count(coordinator.app()) > idle {
            tokio::task::yield_now().await;
        }
        after.extend(resident());
    }
    // Everything that a run has holds the application. Memory is measured as a loose second opinion.
    if let [first, .., last] = after[..] {
        assert!(last < first + first / 2 + 64 * 1024, "{after:?} KiB");
    }
}
