//! What must hold in every state.

use crate::id::{ItemRef, StepIndex};
use crate::machine::item::{Effect, ItemPhase};
use crate::machine::state::{Fate, Phase, State};
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
    phases_agree_with_effects(state)?;
    dependencies_came_first(plan, state)?;
    nothing_is_undone_before_its_dependents(plan, state)?;
    what_stands_is_not_undone(plan, state)?;
    something_is_to_be_done(state)
}

fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { what: what() }) }
}

fn items(state: &State) -> impl Iterator<Item = (ItemRef, ItemPhase)> {
    (0u32..).zip(&state.steps).flat_map(|(step, this)| {
        (0u32..).zip(&*this.items).map(move |(at, item)| (ItemRef::new(StepIndex(step), at), item.phase))
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

/// An item has succeeded if and only if it did what it was meant to do.
fn phases_agree_with_effects(state: &State) -> Result<(), Violation> {
    for (of, phase) in items(state) {
        let done = state.effect(of) == Effect::Done;
        let agrees = match phase {
            ItemPhase::Succeeded => done,
            ItemPhase::Failed => !done,
            _ => true,
        };
        ensure(agrees, || format!("item {of:?} is {phase:?}, its effect is {:?}", state.effect(of)))?;
    }
    Ok(())
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
fn something_is_to_be_done(state: &State) -> Result<(), Violation> {
    let has_next = match state.phase {
        Phase::Abandoning => state.abandoned.is_some(),
        Phase::Forward => {
            let ends = state.remaining == 0 || state.surfaced.is_some();
            state.in_flight > 0 || ends || !state.agenda.starts.is_empty() || !state.timers.is_empty()
        }
        // With nothing in flight it asks the guard, halts or rolls back, and a rollback with nothing to do is at its end.
        Phase::Draining | Phase::RollingBack => true,
        Phase::Unstarted | Phase::Ended | Phase::Resting | Phase::Finalizing => true,
    };
    ensure(has_next, || format!("nothing is to be done, and nothing is awaited, in phase {:?}", state.phase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SagaName, StepName, Timestamp};
    use crate::journal::Event;
    use crate::machine::evolve;
    use crate::machine::item::{Item, Items};
    use crate::machine::state::count;
    use crate::payload::Payload;
    use crate::plan::{PlanParts, Recovery, Shape, StepParts, Wire};
    use crate::policy::Retry;

    /// Two steps in a row, the second of which has that class.
    fn plan(second: Recovery) -> Plan {
        let undone = Recovery::Compensable { undo_retry: Retry::never() };
        let step = |name: &str, recovery: Recovery, after: Vec<StepIndex>| StepParts {
            name: StepName::new(name).expect("a name"),
            recovery,
            shape: Shape::Single,
            input: Wire::Unit,
            after,
            retry: Retry::never(),
            timeout: None,
            undo_timeout: None,
            probed: false,
        };
        Plan::new(PlanParts {
            saga: SagaName::new("test").expect("a name"),
            version: 1,
            steps: vec![step("a", undone, Vec::new()), step("b", second, vec![StepIndex(0)])],
            output: Wire::Unit,
            guarded: false,
            finalized: false,
        })
        .expect("no cycle")
    }

    /// The first step is at work.
    fn state(plan: &Plan) -> State {
        let mut state = State::new(plan);
        let events = [
            Event::RunStarted {
                saga: plan.saga().clone(),
                version: plan.version(),
                fingerprint: plan.fingerprint(),
                input: Payload::null(),
                key: None,
                deadline: None,
            },
            Event::StepStarted { step: StepIndex(0), name: plan.step(StepIndex(0)).name.clone(), items: None },
        ];
        for event in events {
            evolve(plan, &mut state, Timestamp(1), &event).expect("it can happen");
        }
        check_invariants(plan, &state).expect("it is sound");
        state
    }

    #[track_caller]
    fn is_noticed(plan: &Plan, expected: &str, spoil: impl FnOnce(&mut State)) {
        let mut state = state(plan);
        spoil(&mut state);
        let violation = check_invariants(plan, &state).expect_err("it is unsound");
        assert!(violation.to_string().ends_with(expected), "{violation}");
    }

    const OF: ItemRef = ItemRef { step: StepIndex(0), item: 0 };

    #[test]
    fn a_wrong_counter_is_noticed() {
        let plan = plan(Recovery::ReadOnly);
        is_noticed(&plan, "1 in flight, counted 2", |state| state.in_flight += 1);
        is_noticed(&plan, "1 to drain, counted 0", |state| state.draining -= 1);
        is_noticed(&plan, "0 undoing, counted 1", |state| state.undoing += 1);
        is_noticed(&plan, "0 scheduled, 1 timers", |state| _ = state.timers.insert((Timestamp(1), OF)));
        is_noticed(&plan, "2 remain, counted 1", |state| state.remaining -= 1);
    }

    #[test]
    fn a_phase_that_is_not_that_of_the_effect_is_noticed() {
        let plan = plan(Recovery::ReadOnly);
        let ends = |state: &mut State, phase: ItemPhase, effect: Effect| {
            (state.in_flight, state.draining) = (0, 0);
            let item = &mut state.steps[0].items[0];
            (item.phase, item.effect) = (phase, effect);
        };
        is_noticed(&plan, "is Succeeded, its effect is Unknown", |state| {
            ends(state, ItemPhase::Succeeded, Effect::Unknown);
        });
        is_noticed(&plan, "is Failed, its effect is Done", |state| ends(state, ItemPhase::Failed, Effect::Done));
        for (phase, effect) in [(ItemPhase::Succeeded, Effect::Done), (ItemPhase::Failed, Effect::Unknown)] {
            let mut state = state(&plan);
            ends(&mut state, phase, effect);
            phases_agree_with_effects(&state).expect("they agree");
        }
    }

    #[test]
    fn a_step_that_started_too_early_is_noticed() {
        let plan = plan(Recovery::ReadOnly);
        let second = |state: &mut State| {
            state.steps[1].started = true;
            state.steps[1].items = Items::One([Item::new(ItemPhase::Waiting)]);
        };
        is_noticed(&plan, "step b started before its dependency 0", second);
        // Unless what it was built on has been undone since, or is being undone.
        for undone in [ItemPhase::Undone, ItemPhase::Undoing] {
            let mut state = state(&plan);
            second(&mut state);
            let item = &mut state.steps[0].items[0];
            item.phase = undone;
            item.undo_attempts = u32::from(undone == ItemPhase::Undoing);
            dependencies_came_first(&plan, &state).expect("it was there");
        }
    }

    #[test]
    fn an_undo_out_of_turn_is_noticed() {
        let undone = |state: &mut State, step: usize| {
            (state.phase, state.in_flight, state.draining) = (Phase::RollingBack, 0, 0);
            state.steps[0].items[0].phase = ItemPhase::Waiting;
            state.steps[step].items = Items::One([Item::new(ItemPhase::Undone)]);
            state.steps[step].fate = Fate::Unwinds;
            state.remaining = count(state.steps.iter().filter(|step| !step.is_complete()).count());
        };
        let plan = plan(Recovery::ReadOnly);
        is_noticed(&plan, "is undone before step 1", |state| undone(state, 0));
        is_noticed(&plan, "is undone, it is not compensable", |state| undone(state, 1));
        is_noticed(&plan, "while the run goes forward", |state| {
            undone(state, 0);
            state.phase = Phase::Forward;
        });
        is_noticed(&plan, "is undone, its fate is Stands", |state| {
            undone(state, 0);
            state.steps[1].unwound = true;
            state.steps[0].fate = Fate::Stands;
        });
    }

    #[test]
    fn a_failure_that_does_not_halt_is_noticed() {
        let plan = plan(Recovery::NonCompensable);
        let failed = |state: &mut State| {
            (state.phase, state.in_flight, state.draining) = (Phase::Draining, 0, 0);
            let item = &mut state.steps[0].items[0];
            (item.phase, item.effect) = (ItemPhase::Succeeded, Effect::Done);
            state.steps[0].succeeded = 1;
            state.remaining = 1;
            state.steps[1].started = true;
            state.steps[1].items = Items::One([Item::new(ItemPhase::Failed)]);
            state.steps[1].items[0].effect = Effect::Unknown;
        };
        is_noticed(&plan, "must halt the run", failed);
        let mut answered = state(&plan);
        failed(&mut answered);
        answered.guard_answered = true;
        check_invariants(&plan, &answered).expect("the subject may be gone, or an operator has looked");
    }

    #[test]
    fn a_run_that_waits_for_nothing_is_noticed() {
        let plan = plan(Recovery::ReadOnly);
        let idle = |state: &mut State| {
            (state.in_flight, state.draining) = (0, 0);
            state.steps[0].items[0].phase = ItemPhase::Waiting;
        };
        is_noticed(&plan, "nothing is awaited, in phase Forward", idle);
        is_noticed(&plan, "nothing is awaited, in phase Abandoning", |state| {
            idle(state);
            state.phase = Phase::Abandoning;
        });
    }
}
