//! What must hold in every state.

use crate::id::{ItemRef, StepIndex};
use crate::machine::state::{Effect, Fate, ItemPhase, Phase, State};
use crate::plan::Plan;

/// A state that must not exist. It is a fault of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine is in a state that must not exist: {what}")]
pub struct Violation {
    what: String,
}

/// Checks a state, at the cost of the whole saga's size.
///
/// # Errors
///
/// [`Violation`], for the first invariant that does not hold.
pub fn check_invariants(plan: &Plan, state: &State) -> Result<(), Violation> {
    counters_are_right(plan, state)?;
    dependencies_came_first(plan, state)?;
    nothing_is_undone_before_its_dependents(plan, state)?;
    what_stands_is_not_undone(plan, state)?;
    something_is_to_be_done(plan, state)
}

fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { what: what() }) }
}

fn items(state: &State) -> impl Iterator<Item = (ItemRef, ItemPhase)> {
    (0u32..).zip(&state.steps).flat_map(|(step, this)| {
        (0u32..).zip(&this.items).map(move |(at, item)| (ItemRef::new(StepIndex(step), at), item.phase))
    })
}

fn counters_are_right(plan: &Plan, state: &State) -> Result<(), Violation> {
    let count =
        |test: &dyn Fn(ItemRef, ItemPhase) -> bool| items(state).filter(|(of, phase)| test(*of, *phase)).count();
    let in_flight = count(&|_, phase| phase.in_flight());
    ensure(in_flight == state.in_flight as usize, || format!("{in_flight} in flight, counted {}", state.in_flight))?;
    let draining = count(&|of, phase| phase.in_flight() && !plan.step(of.step).is_forward());
    ensure(draining == state.draining as usize, || format!("{draining} to drain, counted {}", state.draining))?;
    let undoing = count(&|_, phase| phase == ItemPhase::Undoing);
    ensure(undoing == state.undoing as usize, || format!("{undoing} undoing, counted {}", state.undoing))?;
    let scheduled = count(&|_, phase| matches!(phase, ItemPhase::Scheduled(_) | ItemPhase::UndoScheduled(_)));
    ensure(scheduled == state.timers.len(), || format!("{scheduled} scheduled, {} timers", state.timers.len()))?;
    let remaining = state.steps.iter().filter(|step| !step.is_complete()).count();
    ensure(remaining == state.remaining as usize, || format!("{remaining} remain, counted {}", state.remaining))
}

fn dependencies_came_first(plan: &Plan, state: &State) -> Result<(), Violation> {
    for (index, step) in plan.steps().iter().enumerate() {
        if state.steps[index].started {
            for dep in &step.deps {
                let done = state.steps[dep.at()].is_complete()
                    // It may have been undone since.
                    || state.steps[dep.at()].items.iter().any(|item| item.undo_attempts > 0 || item.phase == ItemPhase::Undone);
                ensure(done, || format!("step {} started before its dependency {dep}", step.name))?;
            }
        }
    }
    Ok(())
}

fn nothing_is_undone_before_its_dependents(plan: &Plan, state: &State) -> Result<(), Violation> {
    let touched = |phase: ItemPhase| {
        matches!(phase, ItemPhase::UndoScheduled(_) | ItemPhase::Undoing | ItemPhase::UndoFailed | ItemPhase::Undone)
    };
    for (of, phase) in items(state).filter(|(_, phase)| touched(*phase)) {
        ensure(plan.step(of.step).is_compensable(), || format!("item {of:?} is undone, it is not compensable"))?;
        ensure(state.phase != Phase::Forward, || format!("item {of:?} is {phase:?} while the run goes forward"))?;
        for dependent in &plan.step(of.step).dependents {
            ensure(state.steps[dependent.at()].unwound, || format!("item {of:?} is undone before step {dependent}"))?;
        }
    }
    Ok(())
}

fn what_stands_is_not_undone(plan: &Plan, state: &State) -> Result<(), Violation> {
    for (of, phase) in items(state) {
        let undo = matches!(phase, ItemPhase::Undoing | ItemPhase::UndoFailed | ItemPhase::Undone);
        if undo {
            let fate = state.steps[of.step.at()].fate;
            ensure(fate == Fate::Unwinds, || format!("item {of:?} is undone, its fate is {fate:?}"))?;
        }
        let halts = phase == ItemPhase::Failed
            && plan.step(of.step).is_non_compensable()
            && state.effect(of) == Effect::Unknown;
        if halts && state.phase == Phase::Draining && !state.guard_answered {
            ensure(state.halting.contains(&of), || format!("item {of:?} must halt the run"))?;
        }
    }
    Ok(())
}

/// Every state but an end has something to do, or something that it waits for.
fn something_is_to_be_done(plan: &Plan, state: &State) -> Result<(), Violation> {
    let waits = state.in_flight > 0 || state.undoing > 0;
    let has_next = match state.phase {
        Phase::Unstarted | Phase::Ended | Phase::Resting | Phase::Finalizing => true,
        Phase::Abandoning => state.abandoned.is_some(),
        Phase::Forward => {
            let ends = state.remaining == 0 || state.surfaced.is_some();
            waits || ends || !state.agenda.starts.is_empty() || !state.timers.is_empty()
        }
        // With nothing in flight it halts or rolls back, and a rollback with nothing to do is at its end; but for the
        // guard, who is asked in between.
        Phase::Draining => state.draining == 0 || waits || plan.is_guarded(),
        Phase::RollingBack => true,
    };
    ensure(has_next, || format!("nothing is to be done, and nothing is awaited, in phase {:?}", state.phase))
}
