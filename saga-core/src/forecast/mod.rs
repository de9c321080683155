//! What would become of a run if one of its steps failed: told before anything runs.
//!
//! ```text
//! if `charge` fails: `charge`, `hotel`, `flight` are undone; the run is rolled back, nothing is left
//! if `mail` fails: nothing is undone; the run halts, `hotel`, `flight`, `charge` stand
//! ```
//!
//! A forecast is no second telling of the rules: each row is found by letting the [machine](crate::machine) itself run
//! the saga into that failure and out of it again, so the two cannot differ.
//!
//! A row says what becomes of *steps*. A fan-out is looked at as one step: it fails as a whole, or succeeds as a whole.
//! Compensations and patient retries are taken to succeed; where one does not, the run rests stuck instead, and names
//! what is left.

mod rehearsal;
mod text;

use serde::Serialize;

use crate::id::{SagaName, StepIndex, StepName};
use crate::plan::Plan;

use rehearsal::Rehearsal;

/// For every step of a saga: what becomes of a run in which it fails.
///
/// Print it (one sentence per row), ask it for a [table](Self::to_table), or serialize it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Forecast {
    /// The saga.
    pub saga: SagaName,
    /// Its version.
    pub version: u32,
    /// One row for each step, in the order in which steps start; two for a non-compensable step.
    pub rows: Vec<ForecastRow>,
}

/// What becomes of a run in which one step fails for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ForecastRow {
    /// The step that fails.
    pub step: StepName,
    /// How it fails.
    pub failure: FailedAs,
    /// What comes of that if nothing has started but what the step was built on.
    pub early: Aftermath,
    /// What comes of that if every step has succeeded that is not built on this one; `None` if that makes no difference.
    pub late: Option<Aftermath>,
}

/// What is known of a failed step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedAs {
    /// Nothing: it may have happened or not.
    EffectUnknown,
    /// That there was none: the action said so, or a probe did.
    NoEffect,
}

/// How a run ends after a failure, and what becomes of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Aftermath {
    /// How the run ends.
    pub end: ForecastEnd,
    /// The steps that are undone, in the order in which that begins.
    pub undone: Vec<StepName>,
    /// The forward steps that are finished although the run does not go on.
    pub finished: Vec<StepName>,
    /// The steps whose effect stands in the end; finished ones are not named again.
    pub kept: Vec<StepName>,
}

/// How a run ends after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastEnd {
    /// It is rolled back.
    RolledBack,
    /// It halts: nothing is undone, a person has to look.
    Halted,
}

impl Forecast {
    /// Forecasts every step of a saga.
    ///
    /// For a saga of *n* steps this rehearses about 2*n* runs, each at the cost of a run: all in all it grows with the square
    /// of *n*. For a large saga ask for single [rows](Self::row).
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let rehearsal = Rehearsal::of(plan);
        let rows = plan.order().iter().flat_map(|step| Self::rows_of(plan, &rehearsal, *step));
        Self { saga: plan.saga().clone(), version: plan.version(), rows: rows.collect() }
    }

    /// Forecasts one step that fails with its effect unknown. The cost is that of a run.
    ///
    /// # Panics
    ///
    /// If the saga has no such step.
    #[must_use]
    pub fn row(plan: &Plan, step: StepIndex) -> ForecastRow {
        Self::row_of(plan, &Rehearsal::of(plan), step, FailedAs::EffectUnknown)
    }

    /// Forecasts one step that fails with its effect known to be none. The cost is that of a run.
    ///
    /// # Panics
    ///
    /// If the saga has no such step.
    #[must_use]
    pub fn row_without_effect(plan: &Plan, step: StepIndex) -> ForecastRow {
        Self::row_of(plan, &Rehearsal::of(plan), step, FailedAs::NoEffect)
    }

    fn rows_of(plan: &Plan, rehearsal: &Rehearsal, step: StepIndex) -> Vec<ForecastRow> {
        let mut rows = vec![Self::row_of(plan, rehearsal, step, FailedAs::EffectUnknown)];
        if plan.step(step).is_non_compensable() {
            rows.push(Self::row_of(plan, rehearsal, step, FailedAs::NoEffect));
        }
        rows
    }

    fn row_of(plan: &Plan, rehearsal: &Rehearsal, step: StepIndex, failure: FailedAs) -> ForecastRow {
        let early = rehearsal.failing(step, failure, &rehearsal.ancestors(step));
        let late = rehearsal.failing(step, failure, &rehearsal.not_built_on(step));
        let late = (late != early).then_some(late);
        ForecastRow { step: plan.step(step).name.clone(), failure, early, late }
    }
}
