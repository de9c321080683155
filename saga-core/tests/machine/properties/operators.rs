//! What an operator may do with a run at rest.

use saga_core::journal::{Event, Rest, Verb};
use saga_core::machine::{Command, ItemPhase, Phase, decide, evolve, operate};
use saga_core::{Actor, Cause, ItemRef};

use crate::support::{History, ensure, for_all_runs};

/// Every run that rests halted or stuck, at the time when it did so.
fn resting(history: &History) -> impl Iterator<Item = &crate::support::Turn> {
    history.turns.iter().filter(|turn| turn.state.phase() == Phase::Resting)
}

fn by() -> Actor {
    Actor::new("operator", "looked into it")
}

/// `retry` of a halted run goes forward again, and whatever had failed is tried or asked for once more, in its turn.
#[test]
fn retry_of_a_halted_run_goes_forward_again() {
    for_all_runs(|history| {
        resting(history).filter(|turn| turn.state.rest() != Some(&Rest::Stuck)).try_for_each(|turn| {
            let mut state = turn.state.clone();
            let event = operate(&state, Verb::Retry, by()).map_err(|error| error.to_string())?;
            evolve(&history.plan, &mut state, turn.at, &event).map_err(|error| error.to_string())?;
            ensure(state.phase() == Phase::Forward && state.cause().is_none(), || "it does not go forward".into())?;
            let given = decide(&history.plan, &mut state, turn.at).map_err(|error| error.to_string())?.then;
            ensure(!given.is_empty(), || "nothing is tried again".to_owned())?;
            let failed = history.ledger().items.into_keys().find(|of| state.item_phase(*of) == Some(ItemPhase::Failed));
            ensure(failed.is_none(), || format!("{failed:?} is not tried again"))
        })
    });
}

/// `retry` of a stuck run tries again what it is stuck at, and goes on with the rollback.
#[test]
fn retry_of_a_stuck_run_tries_what_it_is_stuck_at() {
    for_all_runs(|history| {
        resting(history).filter(|turn| turn.state.rest() == Some(&Rest::Stuck)).try_for_each(|turn| {
            let mut state = turn.state.clone();
            let event = operate(&state, Verb::Retry, by()).map_err(|error| error.to_string())?;
            evolve(&history.plan, &mut state, turn.at, &event).map_err(|error| error.to_string())?;
            let given = decide(&history.plan, &mut state, turn.at).map_err(|error| error.to_string())?.then;
            ensure(state.phase() == Phase::RollingBack, || "it does not go on".to_owned())?;
            ensure(!given.is_empty(), || "nothing is tried again".to_owned())?;
            given.iter().try_for_each(|command| match command {
                Command::Run { of, .. } | Command::Probe { of } => {
                    ensure(history.plan.step(of.step).is_forward(), || format!("{of:?} is run"))
                }
                Command::Undo { of, .. } => {
                    let was = turn.state.item_phase(*of);
                    ensure(was == Some(ItemPhase::UndoFailed), || format!("{of:?} was {was:?}"))
                }
                other => Err(format!("{other:?}")),
            })
        })
    });
}

/// `skip` settles one item by hand: it is never run or undone again, and what waited for it goes on.
#[test]
fn a_skipped_item_is_left_alone() {
    for_all_runs(|history| {
        let mut skipped: Vec<(ItemRef, bool)> = Vec::new();
        history.walk(|before, event| match event {
            Event::Operated { verb: Verb::Skip { of, .. }, .. } => {
                skipped.push((*of, before.entry(*of).undo_failed));
                Ok(())
            }
            Event::AttemptStarted { of, .. } => {
                ensure(skipped.iter().all(|(skipped, _)| skipped != of), || format!("{of:?} was tried again"))
            }
            Event::UndoStarted { of, .. } => {
                ensure(!skipped.contains(&(*of, true)), || format!("{of:?} was undone again"))
            }
            _ => Ok(()),
        })
    });
}

/// `roll back` makes a halted run roll back, for the same cause; a stuck one refuses it.
#[test]
fn a_halted_run_can_be_rolled_back_on_purpose() {
    for_all_runs(|history| {
        resting(history).try_for_each(|turn| {
            let mut state = turn.state.clone();
            let stuck = state.rest() == Some(&Rest::Stuck);
            let Ok(event) = operate(&state, Verb::RollBack, by()) else {
                return ensure(stuck, || "a halted run refuses to roll back".to_owned());
            };
            ensure(!stuck, || "a stuck run is rolled back again".to_owned())?;
            let cause: Option<Cause> = state.cause().cloned();
            evolve(&history.plan, &mut state, turn.at, &event).map_err(|error| error.to_string())?;
            let decision = decide(&history.plan, &mut state, turn.at).map_err(|error| error.to_string())?;
            let began = decision.append.contains(&Event::RollbackBegan);
            ensure(began, || format!("it does not roll back: {decision:?}"))?;
            ensure(state.cause() == cause.as_ref(), || "the cause has changed".to_owned())
        })
    });
}

/// `abandon` ends a run as it stands: nothing more is done but to tell the finalizer.
#[test]
fn an_abandoned_run_ends_as_it_stands() {
    for_all_runs(|history| {
        resting(history).try_for_each(|turn| {
            let mut state = turn.state.clone();
            let event = operate(&state, Verb::Abandon, by()).map_err(|error| error.to_string())?;
            evolve(&history.plan, &mut state, turn.at, &event).map_err(|error| error.to_string())?;
            let decision = decide(&history.plan, &mut state, turn.at).map_err(|error| error.to_string())?;
            let rested = [Event::Rested { rest: Rest::Abandoned { by: by() } }];
            ensure(decision.append == rested, || format!("{decision:?}"))?;
            let told = if history.plan.is_finalized() { vec![Command::Finalize] } else { Vec::new() };
            ensure(decision.then == told, || format!("{decision:?}"))
        })
    });
}

/// Operators act on resting runs only.
#[test]
fn a_run_at_work_refuses_its_operator() {
    for_all_runs(|history| {
        history.turns.iter().filter(|turn| turn.state.phase() != Phase::Resting).try_for_each(|turn| {
            [Verb::Retry, Verb::RollBack, Verb::Abandon].into_iter().try_for_each(|verb| {
                let refused = operate(&turn.state, verb, by()).is_err();
                ensure(refused, || format!("an operator acts after event {}", turn.to))
            })
        })
    });
}
