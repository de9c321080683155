//! The sagas that are run. Their steps do nothing, so that what is measured is the cost of running them.

use clap::ValueEnum;
use futures::future::join_all;
use saga_core::{Cause, Coordinator, Ctx, Outcome, Saga, StepError, Undo};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// How many items a fan-out has.
pub const FAN_OUT_ITEMS: u64 = 100;

/// The steps work with nothing.
pub struct Nothing;

/// A saga to run many times, and what has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Five steps in a row
    #[value(name = "linear-5")]
    #[serde(rename = "linear-5")]
    Linear5,
    /// Fifty steps in a row
    #[value(name = "linear-50")]
    #[serde(rename = "linear-50")]
    Linear50,
    /// One step, then two side by side, then one that joins them
    Diamond,
    /// A list, a step for each of its 100 items (16 at the same time), and their sum
    #[value(name = "fan-out-100")]
    #[serde(rename = "fan-out-100")]
    FanOut100,
    /// Five steps in a row of which the last one fails: the other four are undone
    Undone,
}

impl Workload {
    /// Every workload.
    pub const ALL: [Self; 5] = [Self::Linear5, Self::Linear50, Self::Diamond, Self::FanOut100, Self::Undone];

    /// The name that it has on the command line and in what is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear5 => "linear-5",
            Self::Linear50 => "linear-50",
            Self::Diamond => "diamond",
            Self::FanOut100 => "fan-out-100",
            Self::Undone => "undone",
        }
    }

    /// The saga.
    #[must_use]
    pub fn saga(self) -> Saga<Nothing, u64, u64> {
        match self {
            Self::Linear5 => chain(5),
            Self::Linear50 => chain(50),
            Self::Diamond => diamond(),
            Self::FanOut100 => fan_out(),
            Self::Undone => undone(),
        }
    }

    /// Whether a run of this input ended as it has to. A fast wrong answer is no result.
    ///
    /// # Errors
    ///
    /// How it ended instead.
    pub fn check(self, input: u64, outcome: &Outcome<u64>) -> Result<(), Failure> {
        let right = match (self, outcome) {
            (Self::Linear5, Outcome::Completed(output)) => *output == input + 5,
            (Self::Linear50, Outcome::Completed(output)) => *output == input + 50,
            (Self::Diamond, Outcome::Completed(output)) => *output == 2 * (input + 2) + 1,
            (Self::FanOut100, Outcome::Completed(output)) => {
                *output == (1..=FAN_OUT_ITEMS).map(|n| input + n).sum::<u64>()
            }
            (Self::Undone, Outcome::RolledBack(end)) => {
                end.kept.is_empty() && matches!(&end.cause, Cause::StepFailed { .. })
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("{} of {input} ended wrongly: {outcome:?}", self.name()).into()) }
    }
}

async fn act(_: Ctx<Nothing>, n: u64) -> Result<u64, StepError> {
    Ok(n + 1)
}

async fn undo(_: Ctx<Nothing>, _: Undo<u64, u64>) -> Result<(), StepError> {
    Ok(())
}

async fn join(_: Ctx<Nothing>, (left, right): (u64, u64)) -> Result<u64, StepError> {
    Ok(left + right + 1)
}

async fn list(_: Ctx<Nothing>, first: u64) -> Result<Vec<u64>, StepError> {
    Ok((first..first + FAN_OUT_ITEMS).collect())
}

async fn sum(_: Ctx<Nothing>, items: Vec<u64>) -> Result<u64, StepError> {
    Ok(items.into_iter().sum())
}

async fn refuse(_: Ctx<Nothing>, n: u64) -> Result<u64, StepError> {
    Err(StepError::rejected(format!("{n} is refused")))
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

/// So many stages one after the other, each of so many steps side by side and one that joins them.
///
/// # Panics
///
/// If there is no stage, or no step in a stage.
#[must_use]
pub fn stages(wide: usize, deep: usize) -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder(format!("stages-{wide}-{deep}"), 1);
    let mut last = saga.input();
    for stage in 0..deep {
        let side_by_side = (0..wide).map(|step| saga.step(format!("step-{stage}-{step}"), last, act).compensate(undo));
        let side_by_side: Vec<_> = side_by_side.collect();
        let join = async |_: Ctx<Nothing>, parts: Vec<u64>| Ok::<_, StepError>(parts[0]);
        last = saga.step(format!("join-{stage}"), side_by_side, join).nothing_to_undo();
    }
    saga.build(last).expect("stages are a saga")
}

fn diamond() -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder("diamond", 1);
    let input = saga.input();
    let top = saga.step("top", input, act).compensate(undo);
    let left = saga.step("left", top, act).compensate(undo);
    let right = saga.step("right", top, act).compensate(undo);
    let bottom = saga.step("bottom", (left, right), join).nothing_to_undo();
    saga.build(bottom).expect("a diamond is a saga")
}

fn fan_out() -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder("fan-out", 1);
    let input = saga.input();
    let items = saga.step("list", input, list).nothing_to_undo();
    let made = saga.for_each("item", items, act).compensate(undo);
    let sum = saga.step("sum", made, sum).nothing_to_undo();
    saga.build(sum).expect("a fan-out is a saga")
}

fn undone() -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder("undone", 1);
    let mut last = saga.input();
    for step in 0..4 {
        last = saga.step(format!("step-{step}"), last, act).compensate(undo);
    }
    let refused = saga.step("refused", last, refuse).compensate(undo);
    saga.build(refused).expect("a chain that fails is a saga")
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

#[cfg(test)]
mod tests {
    use saga_core::store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn every_workload_ends_as_it_has_to() {
        for workload in Workload::ALL {
            let saga = workload.saga();
            let coordinator = Coordinator::builder(MemoryStore::new(), Nothing).register(&saga).start().await.unwrap();
            let outcome = coordinator.start(&saga, 7).await.unwrap().outcome().await.unwrap();
            workload.check(7, &outcome).unwrap();
            assert!(workload.check(8, &outcome).is_err() || workload == Workload::Undone);
        }
    }

    #[test]
    fn a_workload_has_one_name() {
        for workload in Workload::ALL {
            assert_eq!(workload.to_possible_value().unwrap().get_name(), workload.name());
            assert_eq!(serde_json::to_value(workload).unwrap(), workload.name());
        }
    }
}
