//! What follows from the state.

use crate::id::{ItemRef, Timestamp};
use crate::journal::{Cause, Event, Failure, FailureKind, Rest};
use crate::machine::evolve::{IllegalEvent, evolve};
use crate::machine::item::ItemPhase;
use crate::machine::state::{Phase, State, count};
use crate::plan::{Plan, Shape};

/// Something that the caller has to do, once the events that came with it are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run an item's action.
    Run {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Ask whether an item's action had its effect.
    Probe {
        /// The item.
        of: ItemRef,
    },
    /// Run an item's compensation.
    Undo {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
    },
    /// Ask the guard whether the subject is still there. Ask again until it knows.
    AskGuard,
    /// Tell the finalizer of the outcome.
    Finalize,
}

/// What follows from a state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Events to make durable; the state has them already.
    pub append: Vec<Event>,
    /// What to do then.
    pub then: Vec<Command>,
}

/// Derives what follows from the state at the time `now`, and folds the events that it decides upon.
///
/// Commands are given once: a caller that loses them (because it died) gets them again after
/// [`Resumed`](Event::Resumed).
///
/// # Errors
///
/// [`IllegalEvent`] would be a fault of the machine: it decided upon what it cannot fold.
pub fn decide(plan: &Plan, state: &mut State, now: Timestamp) -> Result<Decision, IllegalEvent> {
    let mut decision = Decision::default();
    decide_by(plan, state, now, &mut decision.then, |event| decision.append.push(event))?;
    Ok(decision)
}

/// As [`decide`], telling of each event as soon as the state has it, and adding to what there is to do. A caller who writes
/// events down as they come needs no list of them.
pub(crate) fn decide_by(
    plan: &Plan,
    state: &mut State,
    now: Timestamp,
    then: &mut Vec<Command>,
    mut append: impl FnMut(Event),
) -> Result<(), IllegalEvent> {
    while let Some(event) = next_event(plan, state, now) {
        evolve(plan, state, now, &event)?;
        then.extend(command_of(plan, &event));
        append(event);
    }
    then.extend(state.agenda.probes.drain(..).map(|of| Command::Probe { of }));
    if must_ask_guard(plan, state) && !state.agenda.guard_asked {
        state.agenda.guard_asked = true;
        then.push(Command::AskGuard);
    }
    if state.phase == Phase::Finalizing && !state.agenda.finalizing && state.finalize_at <= now {
        state.agenda.finalizing = true;
        then.push(Command::Finalize);
    }
    #[cfg(debug_assertions)]
    if is_small(state) {
        // Counting everything anew after every event would make large sagas quadratic, so that is left to small ones.
        if let Err(violation) = super::check_invariants(plan, state) {
            panic!("{violation}");
        }
    }
    Ok(())
}

#[cfg(debug_assertions)]
fn is_small(state: &State) -> bool {
    state.steps.len() <= 64 && state.steps.iter().map(|step| step.items.len()).sum::<usize>() <= 128
}

fn next_event(plan: &Plan, state: &State, now: Timestamp) -> Option<Event> {
    match state.phase {
        Phase::Forward => next_forward(plan, state, now),
        Phase::Draining => next_draining(plan, state, now),
        Phase::RollingBack => next_rolling_back(plan, state, now),
        Phase::Abandoning => state.abandoned.clone().map(|by| Event::Rested { rest: Rest::Abandoned { by } }),
        Phase::Unstarted | Phase::Finalizing | Phase::Resting | Phase::Ended => None,
    }
}

fn next_forward(plan: &Plan, state: &State, now: Timestamp) -> Option<Event> {
    if let Some(of) = state.surfaced {
        let step = plan.step(of.step).name.clone();
        let error = state.item_error(of).cloned().unwrap_or_else(no_error);
        return Some(Event::AbortBegan { cause: Cause::StepFailed { step, of, error } });
    }
    if state.remaining == 0 {
        return Some(Event::Rested { rest: Rest::Completed });
    }
    if state.deadline.is_some_and(|deadline| deadline <= now) {
        return Some(Event::AbortBegan { cause: Cause::DeadlinePassed });
    }
    next_start(plan, state).or_else(|| next_due(state, now))
}

fn next_draining(plan: &Plan, state: &State, now: Timestamp) -> Option<Event> {
    if state.is_halting() {
        // Nothing new is begun, not even what will be finished later; what is in flight is awaited.
        if state.in_flight > 0 || must_ask_guard(plan, state) {
            return None;
        }
        let at = *state.halting.first()?;
        let error = state.item_error(at).cloned().unwrap_or_else(no_error);
        return Some(Event::Rested { rest: Rest::Halted { at, error } });
    }
    if let Some(event) = next_due(state, now) {
        return Some(event);
    }
    (state.draining == 0 && !must_ask_guard(plan, state)).then_some(Event::RollbackBegan)
}

fn next_rolling_back(plan: &Plan, state: &State, now: Timestamp) -> Option<Event> {
    if let Some(event) = next_start(plan, state).or_else(|| next_due(state, now)) {
        return Some(event);
    }
    let busy = state.in_flight > 0 || state.undoing > 0 || !state.timers.is_empty();
    let rest = if state.stuck.is_empty() { Rest::RolledBack } else { Rest::Stuck };
    (!busy).then_some(Event::Rested { rest })
}

/// The guard is asked once when an error reaches the top, after all that was in flight has had its say.
fn must_ask_guard(plan: &Plan, state: &State) -> bool {
    plan.is_guarded()
        && state.phase == Phase::Draining
        && state.draining == 0
        && state.surfaced.is_some()
        && !state.guard_answered
        && state.cause != Some(Cause::SubjectGone)
}

fn next_start(plan: &Plan, state: &State) -> Option<Event> {
    let step = *state.agenda.starts.first()?;
    let items = match plan.step(step).shape {
        Shape::Single => None,
        Shape::Each { .. } => Some(count(state.elements_of(plan, step).len())),
    };
    Some(Event::StepStarted { step, name: plan.step(step).name.clone(), items })
}

fn next_due(state: &State, now: Timestamp) -> Option<Event> {
    let (at, of) = *state.timers.first()?;
    if at > now {
        return None;
    }
    let item = state.item(of)?;
    Some(match item.phase {
        ItemPhase::UndoScheduled(_) => Event::UndoStarted { of, attempt: item.undo_attempts + 1 },
        _ => Event::AttemptStarted { of, attempt: item.attempts + 1 },
    })
}

fn command_of(plan: &Plan, event: &Event) -> Option<Command> {
    match event {
        Event::StepStarted { step, .. } if plan.step(*step).shape == Shape::Single => {
            Some(Command::Run { of: ItemRef::new(*step, 0), attempt: 1 })
        }
        Event::AttemptStarted { of, attempt } => Some(Command::Run { of: *of, attempt: *attempt }),
        Event::UndoStarted { of, attempt } => Some(Command::Undo { of: *of, attempt: *attempt }),
        _ => None,
    }
}

/// A failed item always has its failure; this keeps the machine total all the same.
fn no_error() -> Failure {
    Failure { kind: FailureKind::Failed, origin: Default::default(), message: "unknown".to_owned() }
}
