//! Workloads for the benchmarks, which are the `*.rs` files beside this folder: `cargo bench -p saga-benches`.
//!
//! Figures are compared in one run, as ratios: machines are noisy.

use futures::future::join_all;
use saga_core::{Coordinator, Ctx, Saga, StepError, Undo};

/// The steps work with nothing.
pub struct Nothing;

async fn act(_: Ctx<Nothing>, n: u64) -> Result<u64, StepError> {
    Ok(n + 1)
}

async fn undo(_: Ctx<Nothing>, _: Undo<u64, u64>) -> Result<(), StepError> {
    Ok(())
}

/// A linear saga of compensable steps that do nothing.
///
/// # Panics
///
/// If `steps` is 0.
#[must_use]
pub fn chain(steps: usize) -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder(format!("chain-{steps}"), 1);
    let mut last = saga.input();
    for step in 0..steps {
        last = saga.step(format!("step-{step}"), last, act).compensate(undo);
    }
    saga.build(last).expect("a chain is a saga")
}

/// Runs a saga `runs` times, all at once, and waits for all of them.
///
/// # Panics
///
/// If a run does not complete.
pub async fn run_many(coordinator: &Coordinator<Nothing>, saga: &Saga<Nothing, u64, u64>, runs: usize) {
    let runs = (0..runs).map(async |n| {
        let run = coordinator.start(saga, n as u64).await.expect("it starts");
        assert!(run.outcome().await.expect("it has an outcome").is_completed());
    });
    join_all(runs).await;
}
