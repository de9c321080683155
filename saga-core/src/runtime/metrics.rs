//! What is counted, through the `metrics` facade (feature `metrics`). Without the feature all of this is nothing.
//!
//! | name | kind | labels | meaning |
//! |---|---|---|---|
//! | `saga_runs_started_total` | counter | `saga` | runs started |
//! | `saga_runs_ended_total` | counter | `saga`, `outcome` | runs that came to rest, by outcome |
//! | `saga_runs_in_flight` | gauge | | runs being driven |
//! | `saga_runs_resting` | gauge | | runs that came to rest halted or stuck in this process, less those moved on |
//! | `saga_runs_parked_total` | counter | | runs that could not be taken up |
//! | `saga_step_seconds` | histogram | `saga`, `step`, `result` | how long attempts of actions took |
//! | `saga_step_failures_total` | counter | `saga`, `step` | attempts of actions that failed |
//! | `saga_undo_failures_total` | counter | `saga`, `step` | attempts of compensations that failed |
//! | `saga_commit_seconds` | histogram | | how long a group commit took |
//! | `saga_commit_appends` | histogram | | appends in a group commit |

#![cfg_attr(not(feature = "metrics"), allow(unused_variables))]

use tokio::time::Instant;

use crate::id::{SagaName, StepName};
use crate::store::RunStatus;

pub(super) fn run_started(saga: &SagaName) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("saga_runs_started_total", "saga" => saga.to_string()).increment(1);
}

pub(super) fn run_rested(saga: &SagaName, status: RunStatus) {
    #[cfg(feature = "metrics")]
    {
        ::metrics::counter!("saga_runs_ended_total", "saga" => saga.to_string(), "outcome" => status.as_str())
            .increment(1);
        if status.is_resting() {
            ::metrics::gauge!("saga_runs_resting").increment(1.0);
        }
    }
}

pub(super) fn run_moved_on() {
    #[cfg(feature = "metrics")]
    ::metrics::gauge!("saga_runs_resting").decrement(1.0);
}

pub(super) fn run_parked() {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("saga_runs_parked_total").increment(1);
}

pub(super) fn in_flight(change: f64) {
    #[cfg(feature = "metrics")]
    ::metrics::gauge!("saga_runs_in_flight").increment(change);
}

pub(super) fn attempt_ended(saga: &SagaName, step: &StepName, began: Instant, succeeded: bool) {
    #[cfg(feature = "metrics")]
    {
        let result = if succeeded { "succeeded" } else { "failed" };
        ::metrics::histogram!(
            "saga_step_seconds", "saga" => saga.to_string(), "step" => step.to_string(), "result" => result
        )
        .record(began.elapsed().as_secs_f64());
        if !succeeded {
            ::metrics::counter!("saga_step_failures_total", "saga" => saga.to_string(), "step" => step.to_string())
                .increment(1);
        }
    }
}

pub(super) fn undo_failed(saga: &SagaName, step: &StepName) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("saga_undo_failures_total", "saga" => saga.to_string(), "step" => step.to_string())
        .increment(1);
}

/// When a commit began, if that is of interest.
#[derive(Clone, Copy)]
pub(super) struct Began(#[cfg(feature = "metrics")] Instant);

impl Began {
    pub(super) fn now() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            Instant::now(),
        )
    }
}

pub(super) fn committed(began: Began, appends: usize) {
    #[cfg(feature = "metrics")]
    {
        ::metrics::histogram!("saga_commit_seconds").record(began.0.elapsed().as_secs_f64());
        #[allow(clippy::cast_precision_loss)]
        ::metrics::histogram!("saga_commit_appends").record(appends as f64);
    }
}
