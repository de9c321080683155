//! What was seen, judged: an observation becomes an event, or nothing.

use std::time::Duration;

use crate::id::{Epoch, ItemRef, Timestamp, WorkerId};
use crate::journal::{Actor, Cause, Event, Failure, FailureKind, ProbeAnswer, Rest, Verb};
use crate::machine::item::ItemPhase;
use crate::machine::state::{Phase, State};
use crate::payload::Payload;
use crate::plan::{Plan, Recovery};
use crate::policy::Retry;

/// The end of an attempt.
pub type AttemptResult<T> = Result<T, (Failure, RetryHint)>;

/// The shortest delay before the next attempt that the error asked for.
pub type RetryHint = Option<Duration>;

/// Something that the caller saw.
#[derive(Debug, Clone)]
pub enum Observation {
    /// A worker takes the run up.
    Resumed {
        /// Its claim.
        epoch: Epoch,
        /// The worker.
        worker: WorkerId,
    },
    /// An action ended.
    Attempt {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
        /// How it ended.
        result: AttemptResult<Payload>,
    },
    /// An action recorded progress.
    Checkpoint {
        /// The item.
        of: ItemRef,
        /// What it recorded.
        value: Payload,
    },
    /// A probe answered.
    Probe {
        /// The item.
        of: ItemRef,
        /// What it answered.
        answer: ProbeAnswer,
    },
    /// A compensation ended.
    Undo {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
        /// How it ended.
        result: AttemptResult<()>,
    },
    /// The guard answered, asked after an error ([`Command::AskGuard`](super::Command::AskGuard)).
    Guard {
        /// Whether the subject is gone.
        gone: bool,
    },
    /// The guard said, in the middle of a wait, that the subject is gone.
    SubjectGone,
    /// Somebody cancels the run.
    Cancel {
        /// Who, and why.
        by: Actor,
    },
    /// The finalizer ended.
    Finalizer {
        /// How it ended.
        result: AttemptResult<()>,
    },
}

/// Judges what was seen at the time `now`: which event it makes, or `None` if it is of no consequence (it came twice, or
/// too late). `jitter` is a random number in `[0, 1)`.
///
/// It does not change the state: the caller folds the event by [`evolve`](super::evolve).
#[must_use]
pub fn observe(plan: &Plan, state: &State, seen: Observation, now: Timestamp, jitter: f64) -> Option<Event> {
    match seen {
        Observation::Resumed { epoch, worker } => {
            (!matches!(state.phase, Phase::Unstarted | Phase::Ended)).then_some(Event::Resumed { epoch, worker })
        }
        Observation::Attempt { of, attempt, result } => attempt_ended(plan, state, of, attempt, result, now, jitter),
        Observation::Checkpoint { of, value } => {
            (state.item_phase(of)? == ItemPhase::Running).then_some(Event::Checkpointed { of, value })
        }
        Observation::Probe { of, answer } => {
            matches!(state.item_phase(of)?, ItemPhase::Probing(_)).then_some(Event::Probed { of, answer })
        }
        Observation::Undo { of, attempt, result } => {
            let item = state.item(of)?;
            if item.phase != ItemPhase::Undoing || item.undo_attempts != attempt {
                return None;
            }
            Some(match result {
                Ok(()) => Event::Undone { of },
                Err((error, hint)) => {
                    let Recovery::Compensable { undo_retry } = &plan.step(of.step).recovery else { return None };
                    let retry_at = (error.kind == FailureKind::Failed)
                        .then(|| retry_at(undo_retry, item.undo_failures, item.undo_since, now, jitter, hint))
                        .flatten();
                    Event::UndoFailed { of, attempt, error, retry_at }
                }
            })
        }
        Observation::Guard { gone } => {
            (state.phase == Phase::Draining && !state.guard_answered).then_some(Event::SubjectChecked { gone })
        }
        Observation::SubjectGone => match state.phase {
            Phase::Forward => Some(Event::AbortBegan { cause: Cause::SubjectGone }),
            Phase::Draining if state.cause != Some(Cause::SubjectGone) => Some(Event::SubjectChecked { gone: true }),
            _ => None,
        },
        Observation::Cancel { by } => {
            (state.phase == Phase::Forward).then_some(Event::AbortBegan { cause: Cause::Cancelled { by } })
        }
        Observation::Finalizer { result } => {
            if state.phase != Phase::Finalizing || !state.agenda.finalizing {
                return None;
            }
            Some(match result {
                Ok(()) => Event::Finalized,
                Err((error, hint)) => {
                    let patience = Retry::forever();
                    let failures = state.finalizer_failures;
                    let retry_at = retry_at(&patience, failures, now, now, jitter, hint).unwrap_or(now);
                    Event::FinalizerFailed { error, retry_at }
                }
            })
        }
    }
}

fn attempt_ended(
    plan: &Plan,
    state: &State,
    of: ItemRef,
    attempt: u32,
    result: AttemptResult<Payload>,
    now: Timestamp,
    jitter: f64,
) -> Option<Event> {
    let item = state.item(of)?;
    if item.phase != ItemPhase::Running || item.attempts != attempt {
        return None;
    }
    let (error, hint) = match result {
        Ok(output) => return Some(Event::Succeeded { of, output }),
        Err(failed) => failed,
    };
    let step = plan.step(of.step);
    let policy = match &step.recovery {
        // Once it is being finished, whatever it says: the only other way is to leave it half done.
        Recovery::Forward { patience } if item.patient => Some(patience),
        _ if error.kind == FailureKind::Failed && state.may_try(plan, of.step) => Some(&step.retry),
        _ => None,
    };
    let retry_at = policy.and_then(|policy| retry_at(policy, item.failures, item.since, now, jitter, hint));
    Some(Event::AttemptFailed { of, attempt, error, retry_at })
}

fn retry_at(
    policy: &Retry,
    failures_before: u32,
    since: Timestamp,
    now: Timestamp,
    jitter: f64,
    hint: RetryHint,
) -> Option<Timestamp> {
    let elapsed = now.since(since);
    let delay = policy.delay_after(failures_before.saturating_add(1), elapsed, jitter)?;
    let delay = delay.max(hint.unwrap_or_default());
    policy.allows_after(elapsed.saturating_add(delay)).then(|| now.plus(delay))
}

/// Why an operator's act is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// The run is not at rest: wait until it is, or cancel it.
    #[error("the run is not at rest")]
    NotAtRest,
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
    /// Only a halted run can be rolled back: one that is stuck is being rolled back already.
    #[error("the run is not halted, there is nothing to roll back")]
    NotHalted,
    /// The item is not what the run rests at.
    #[error("that item did not fail, it cannot be skipped")]
    NotFailed,
    /// A step counts as succeeded only with an output, for the steps after it.
    #[error("a step that is skipped needs an output for the steps after it")]
    OutputMissing,
    /// A compensation has no output.
    #[error("a compensation that is skipped has no output")]
    OutputUnwanted,
}

/// Judges what an operator asks of a resting run.
///
/// # Errors
///
/// [`NotAllowed`], and the run is not changed.
pub fn operate(state: &State, verb: Verb, by: Actor) -> Result<Event, NotAllowed> {
    match state.phase {
        Phase::Resting => {}
        Phase::Ended => return Err(NotAllowed::Ended),
        _ => return Err(NotAllowed::NotAtRest),
    }
    match &verb {
        Verb::Retry | Verb::Abandon => {}
        Verb::RollBack => {
            if !matches!(state.rest, Some(Rest::Halted { .. })) {
                return Err(NotAllowed::NotHalted);
            }
        }
        Verb::Skip { of, output } => match state.item_phase(*of) {
            Some(ItemPhase::UndoFailed) if output.is_some() => return Err(NotAllowed::OutputUnwanted),
            Some(ItemPhase::UndoFailed) => {}
            Some(ItemPhase::Failed) => {
                // In a rollback only what the run is stuck at can be settled; other failures are history.
                if state.rest == Some(Rest::Stuck) && !state.stuck.contains(of) {
                    return Err(NotAllowed::NotFailed);
                }
                if output.is_none() {
                    return Err(NotAllowed::OutputMissing);
                }
            }
            _ => return Err(NotAllowed::NotFailed),
        },
    }
    Ok(Event::Operated { verb, by })
}
