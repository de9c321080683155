//! The proof that the checker can fail: faults are built into the machine or the store, and each is found, under its name.

use saga_core::journal::{Actor, Event, Record, Rest, Verb};
use saga_core::machine::{self, Command, Decision, IllegalEvent, ItemPhase, NotAllowed, Observation, Phase, State};
use saga_core::plan::Plan;
use saga_core::{ItemRef, Outcome, Payload, StepIndex, Timestamp};
use saga_model::bounds::{Bounds, Policies};
use saga_model::explore::explore;
use saga_model::journal::{Condition, Head};
use saga_model::model::Model;
use saga_model::property::Property;
use saga_model::report::tell;
use saga_model::saga::{Class, Label, Saga};
use saga_model::steps::Steps;
use saga_model::system::{Real, System};

const POLICIES: Policies = Policies::USUAL;
const BOUNDS: Bounds = Bounds { vanishings: 0, ..Bounds::one_of_each(2) };

/// The fault is found in that saga as a violation of that property; without the fault there is none.
#[track_caller]
fn is_found(saga: &str, fault: &dyn System, property: Property) {
    let saga: Saga = saga.parse().unwrap();
    if let Err(found) = explore(&Model::new(&saga, POLICIES, BOUNDS, &Real)) {
        panic!("{}", tell(&found, POLICIES, BOUNDS, &Real));
    }
    let found = explore(&Model::new(&saga, POLICIES, BOUNDS, fault)).expect_err("the fault is found");
    let story = tell(&found, POLICIES, BOUNDS, fault);
    assert_eq!(found.violation.property, property, "{story}");
    assert!(story.contains(property.name()) && story.contains(&format!("--saga '{saga}'")), "{story}");
}

fn item(step: u32) -> ItemRef {
    ItemRef::new(StepIndex(step), 0)
}

/// Decides as the machine does, and changes the decision.
struct Decides<F>(F);

impl<F: Fn(&Plan, &mut State, &mut Decision) + Sync> System for Decides<F> {
    fn decide(&self, plan: &Plan, state: &mut State, now: Timestamp) -> Result<Decision, IllegalEvent> {
        let mut decision = machine::decide(plan, state, now)?;
        (self.0)(plan, state, &mut decision);
        Ok(decision)
    }
}

/// Takes the saga for another one.
struct Misreads<F>(F);

impl<F: Fn(&mut Vec<(Label, Steps)>) + Sync> System for Misreads<F> {
    fn reads(&self, saga: &Saga) -> Saga {
        let mut parts = saga.parts();
        (self.0)(&mut parts);
        Saga::new(&parts, saga.guarded, saga.finalized)
    }
}

fn takes_for(from: Class, to: Class) -> impl System {
    Misreads(move |parts: &mut Vec<(Label, Steps)>| {
        parts.iter_mut().filter(|(label, _)| label.class == from).for_each(|(label, _)| label.class = to);
    })
}

fn succeeded(state: &State, step: u32) -> bool {
    state.item_phase(item(step)) == Some(ItemPhase::Succeeded)
}

fn begins(decision: &Decision, wanted: fn(&Event) -> bool) -> bool {
    decision.append.iter().any(wanted)
}

#[test]
fn an_undo_that_is_never_given() {
    let fault = Decides(|_: &Plan, _: &mut State, decision: &mut Decision| {
        decision.then.retain(|command| !matches!(command, Command::Undo { .. }));
    });
    is_found("a:C b:R(a)", &fault, Property::StartIsOneCommand);
}

#[test]
fn an_undo_that_is_neither_given_nor_written_down() {
    // It is forgotten from the moment when the rollback begins: the run waits for it for ever.
    struct Forgets;
    impl System for Forgets {
        fn decide(&self, plan: &Plan, state: &mut State, now: Timestamp) -> Result<Decision, IllegalEvent> {
            if state.phase() == Phase::RollingBack { Ok(Decision::default()) } else { forgetful(plan, state, now) }
        }
    }
    fn forgetful(plan: &Plan, state: &mut State, now: Timestamp) -> Result<Decision, IllegalEvent> {
        let mut trial = state.clone();
        let decision = machine::decide(plan, &mut trial, now)?;
        let Some(at) = decision.append.iter().position(|event| *event == Event::RollbackBegan) else {
            *state = trial;
            return Ok(decision);
        };
        let append = decision.append[..=at].to_vec();
        append.iter().try_for_each(|event| machine::evolve(plan, state, now, event))?;
        Ok(Decision { append, then: Vec::new() })
    }
    is_found("a:C b:R(a)", &Forgets, Property::LiveRunWaits);
}

#[test]
fn an_undo_of_a_pinned_step() {
    let fault = Decides(|_: &Plan, state: &mut State, decision: &mut Decision| {
        if begins(decision, |event| *event == Event::RollbackBegan) && succeeded(state, 1) {
            decision.then.push(Command::Undo { of: item(0), attempt: 1 });
        }
    });
    is_found("a:C b:N(a) c:R(b)", &fault, Property::PinnedStands);
}

#[test]
fn a_non_compensable_step_that_does_not_halt_the_run() {
    is_found("a:C b:N(a)", &takes_for(Class::NonCompensable, Class::ReadOnly), Property::HaltsForUnknownEffect);
}

#[test]
fn a_forward_step_that_is_not_finished() {
    is_found("a:F", &takes_for(Class::Forward, Class::ReadOnly), Property::CommittedIsFinished);
}

#[test]
fn an_undo_of_what_never_started() {
    let fault = Decides(|plan: &Plan, state: &mut State, decision: &mut Decision| {
        if begins(decision, |event| *event == Event::RollbackBegan) {
            let never = (0..plan.steps().len() as u32).map(StepIndex).filter(|step| !state.has_started(*step));
            decision.then.extend(never.map(|step| Command::Undo { of: ItemRef::new(step, 0), attempt: 1 }));
        }
    });
    is_found("a:R b:C(a)", &fault, Property::NothingUndoneThatDidNotHappen);
}

#[test]
fn an_undo_before_what_was_built_on_it() {
    let fault = Decides(|_: &Plan, _: &mut State, decision: &mut Decision| {
        for command in &mut decision.then {
            if let Command::Undo { of, .. } = command
                && of.step.0 == 1
            {
                *of = item(0);
            }
        }
    });
    is_found("a:C b:C(a)", &fault, Property::UndoWaits);
}

#[test]
fn an_undo_while_the_run_halts() {
    let fault = Decides(|_: &Plan, state: &mut State, decision: &mut Decision| {
        if begins(decision, |event| matches!(event, Event::AbortBegan { .. })) && succeeded(state, 0) {
            decision.then.push(Command::Undo { of: item(0), attempt: 1 });
        }
    });
    is_found("a:C b:N(a)", &fault, Property::HaltedUndidNothing);
}

#[test]
fn an_undo_before_the_rollback() {
    let fault = Decides(|_: &Plan, state: &mut State, decision: &mut Decision| {
        if state.phase() == Phase::Draining && succeeded(state, 0) {
            decision.then.push(Command::Undo { of: item(0), attempt: 1 });
        }
    });
    is_found("a:C b:R(a) c:R(a)", &fault, Property::UndoWaitsForDrain);
}

#[test]
fn a_step_that_starts_after_the_abort() {
    let fault = Decides(|_: &Plan, state: &mut State, decision: &mut Decision| {
        if begins(decision, |event| *event == Event::RollbackBegan) && !state.has_started(StepIndex(1)) {
            decision.then.push(Command::Run { of: item(1), attempt: 1 });
        }
    });
    is_found("a:C b:C(a)", &fault, Property::NoNewStepAfterAbort);
}

#[test]
fn a_step_that_does_not_wait_for_another() {
    let forgets_edges =
        Misreads(|parts: &mut Vec<(Label, Steps)>| parts.iter_mut().for_each(|(_, deps)| *deps = Steps::NONE));
    is_found("a:C b:R(a)", &forgets_edges, Property::StartsAfterDependencies);
}

/// The first undo that fails stops those that do not depend on it, as if they did.
#[test]
fn a_bad_undo_that_strands_another_one() {
    let adds_an_edge = Misreads(|parts: &mut Vec<(Label, Steps)>| parts[1].1 = Steps::one(0));
    is_found("a:C b:C", &adds_an_edge, Property::BadUndoStrandsNone);
}

#[test]
fn an_event_that_is_lost_in_a_crash() {
    struct Loses;
    impl System for Loses {
        fn reload<'a>(&self, mut records: Vec<&'a Record>) -> Vec<&'a Record> {
            records.pop();
            records
        }
    }
    is_found("a:C", &Loses, Property::NoAcknowledgedEventIsLost);
}

#[test]
fn a_stale_epoch_that_is_accepted() {
    struct ComparesTheSequenceOnly;
    impl System for ComparesTheSequenceOnly {
        fn admits(&self, head: Head, append: Condition) -> bool {
            append.expected == head.seq
        }
    }
    is_found("a:C", &ComparesTheSequenceOnly, Property::StaleEpochNeverAppends);
}

#[test]
fn an_append_that_is_taken_twice() {
    struct ComparesTheEpochOnly;
    impl System for ComparesTheEpochOnly {
        fn admits(&self, head: Head, append: Condition) -> bool {
            append.epoch == head.epoch
        }
    }
    is_found("a:C", &ComparesTheEpochOnly, Property::LateChangesNothing);
}

#[test]
fn a_late_end_that_is_believed() {
    struct Believes;
    impl System for Believes {
        fn observe(&self, plan: &Plan, state: &State, mut seen: Observation, now: Timestamp) -> Option<Event> {
            if let Observation::Attempt { attempt, .. } = &mut seen {
                // Two attempts are all that there are.
                *attempt = 2;
            }
            let first = machine::observe(plan, state, seen.clone(), now, 0.0);
            first.or_else(|| {
                if let Observation::Attempt { attempt, .. } = &mut seen {
                    *attempt = 1;
                }
                machine::observe(plan, state, seen, now, 0.0)
            })
        }
    }
    is_found("a:C", &Believes, Property::LateChangesNothing);
}

#[test]
fn work_that_recovery_forgets() {
    // Who takes a run up does not begin undos again that were under way.
    struct Forgets;
    impl System for Forgets {
        fn evolve(&self, plan: &Plan, state: &mut State, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
            let undoing = (0..plan.steps().len() as u32).map(item).filter(|of| {
                matches!(event, Event::Resumed { .. }) && state.item_phase(*of) == Some(ItemPhase::Undoing)
            });
            let undoing: Vec<ItemRef> = undoing.collect();
            machine::evolve(plan, state, at, event)?;
            for of in undoing {
                let attempt = 2;
                machine::evolve(plan, state, at, &Event::UndoStarted { of, attempt })?;
                machine::evolve(plan, state, at, &Event::Undone { of })?;
            }
            Ok(())
        }
    }
    is_found("a:C b:R(a)", &Forgets, Property::RecoveryTakesUp);
}

#[test]
fn a_rest_that_says_too_little() {
    struct NamesNothing;
    impl System for NamesNothing {
        fn outcome(&self, plan: &Plan, state: &State) -> Option<Outcome<Payload>> {
            let mut outcome = machine::outcome(plan, state)?;
            if let Outcome::RolledBack(end) = &mut outcome {
                end.kept.clear();
            }
            Some(outcome)
        }
    }
    is_found("a:C b:N(a) c:R(b)", &NamesNothing, Property::NothingUnnamed);
}

#[test]
fn a_residue_that_says_too_much() {
    struct SaysItStands;
    impl System for SaysItStands {
        fn outcome(&self, plan: &Plan, state: &State) -> Option<Outcome<Payload>> {
            let mut outcome = machine::outcome(plan, state)?;
            if let Outcome::Halted(end) = &mut outcome {
                end.residue.iter_mut().for_each(|left| left.why = saga_core::Left::Stands);
            }
            Some(outcome)
        }
    }
    is_found("a:C b:N(a)", &SaysItStands, Property::ResidueIsWhatIsLeft);
}

#[test]
fn an_end_that_is_not_the_end() {
    struct Reopens;
    impl System for Reopens {
        fn operate(&self, state: &State, verb: Verb, by: Actor) -> Result<Event, NotAllowed> {
            if matches!(state.rest(), Some(Rest::RolledBack)) {
                return Ok(Event::Operated { verb, by });
            }
            machine::operate(state, verb, by)
        }
    }
    is_found("a:C b:R(a)", &Reopens, Property::EndIsEnd);
}

#[test]
fn a_finalizer_that_is_told_before_the_end() {
    let fault = Decides(|_: &Plan, _: &mut State, decision: &mut Decision| {
        if begins(decision, |event| *event == Event::RollbackBegan)
            && !begins(decision, |event| matches!(event, Event::Rested { .. }))
        {
            decision.then.push(Command::Finalize);
        }
    });
    is_found("a:C b:R(a) +finally", &fault, Property::FinalizerIsTold);
}

#[test]
fn a_step_that_is_run_twice_at_once() {
    let fault = Decides(|_: &Plan, _: &mut State, decision: &mut Decision| {
        let again: Vec<Command> =
            decision.then.iter().filter(|command| matches!(command, Command::Run { .. })).cloned().collect();
        decision.then.extend(again);
    });
    is_found("a:C", &fault, Property::OneThingAtATime);
}
