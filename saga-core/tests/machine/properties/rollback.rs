//! What is undone, what stands, what is finished, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::journal::{Event, Record, Rest};
use saga_core::machine::{Command, Effect};
use saga_core::{Cause, ItemRef, Timestamp};

use crate::support::{Check, Ledger, ensure, for_all_runs};

/// Only what was begun is undone: an item that was never tried, or is known to have changed nothing, is left alone.
#[test]
fn nothing_is_undone_that_did_not_happen() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::UndoStarted { of, .. } = event else { return Ok(()) };
            let entry = before.entry(*of);
            ensure(before.plan.step(of.step).is_compensable(), || format!("{of:?} has no compensation"))?;
            ensure(entry.attempts > 0 && entry.effect != Effect::None, || format!("{of:?} did nothing"))?;
            ensure(!entry.in_flight() && !entry.undone, || format!("{of:?} is in flight, or undone already"))
        })
    });
}

/// A compensation starts only when everything that was built on its step is undone, finished, or never was.
#[test]
fn an_undo_waits_for_all_that_was_built_on_it() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::UndoStarted { of, .. } = event else { return Ok(()) };
            let verdict = before.verdict.as_ref().ok_or("no rollback has begun")?;
            for step in before.descendants(of.step) {
                for (item, entry) in before.items_of(step) {
                    ensure(!entry.in_flight() && !entry.undoing, || format!("{item:?} is in flight"))?;
                    ensure(!verdict.to_undo.contains(&item) || entry.undone, || format!("{item:?} is not undone"))?;
                }
                let unfinished = verdict.committed.contains(&step) && !before.is_complete(step);
                ensure(!unfinished, || format!("step {step} is not finished"))?;
            }
            Ok(())
        })
    });
}

/// What an effective non-compensable step or a committed forward step was built on is never undone, nor are these two
/// themselves; unless the subject is gone.
#[test]
fn pinned_steps_stand() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::UndoStarted { of, .. } = event else { return Ok(()) };
            let verdict = before.verdict.as_ref().ok_or("no rollback has begun")?;
            ensure(!verdict.pinned.contains(&of.step), || format!("{of:?} is pinned"))
        })
    });
}

/// Nothing was undone in a run that halts.
#[test]
fn a_halted_run_undid_nothing() {
    for_all_runs(|history| {
        let mut undone = false;
        history.walk(|_, event| {
            undone |= matches!(event, Event::UndoStarted { .. });
            let halted = matches!(event, Event::Rested { rest: Rest::Halted { .. } });
            ensure(!halted || !undone, || "it halted after something was undone".to_owned())
        })
    });
}

/// A run halts if, and only if, a non-compensable step failed with its effect unknown, and the subject is not known to
/// be gone. In particular, a non-compensable step that failed with its effect known to be none does not halt it.
#[test]
fn a_run_halts_for_an_unknown_effect_and_for_nothing_else() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let why = before.items.keys().copied().find(|of| before.halts(*of)).filter(|_| !before.gone);
            match event {
                Event::RollbackBegan => ensure(why.is_none() || before.forced, || format!("{why:?} should halt it")),
                Event::Rested { rest: Rest::Halted { at, .. } } => {
                    ensure(before.halts(*at) && !before.gone, || format!("{at:?} does not halt it"))
                }
                _ => Ok(()),
            }
        })
    });
}

/// When a rolled back run rests, exactly those compensable items are undone whose action may have had its effect and
/// that nothing pins.
#[test]
fn a_rolled_back_run_undid_exactly_what_it_should() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::Rested { rest: Rest::RolledBack } = event else { return Ok(()) };
            let verdict = before.verdict.as_ref().ok_or("no rollback has begun")?;
            let undone = undone(before);
            ensure(undone == verdict.to_undo, || format!("undone {undone:?}, not {:?}", verdict.to_undo))
        })
    });
}

fn undone(ledger: &Ledger<'_>) -> BTreeSet<ItemRef> {
    ledger.items.iter().filter(|(_, entry)| entry.undone).map(|(of, _)| *of).collect()
}

/// Every committed forward step is finished when the run rests rolled back; a stuck run names each one that is not.
#[test]
fn committed_forward_steps_are_finished() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::Rested { rest: Rest::RolledBack } = event else { return Ok(()) };
            let verdict = before.verdict.as_ref().ok_or("no rollback has begun")?;
            let unfinished = verdict.committed.iter().find(|step| !before.is_complete(**step));
            ensure(unfinished.is_none(), || format!("step {unfinished:?} is not finished"))
        })
    });
}

/// When a run rests stuck, everything has been tried that does not wait for what failed: an item that should be undone
/// and was not even tried has something stuck among what was built on it, or is its fan-out's next.
#[test]
fn one_bad_undo_strands_no_independent_one() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::Rested { rest: Rest::Stuck } = event else { return Ok(()) };
            let verdict = before.verdict.as_ref().ok_or("no rollback has begun")?;
            for of in verdict.to_undo.iter().filter(|of| !before.entry(**of).undone) {
                let stuck_above = before.descendants(of.step).into_iter().any(|step| {
                    let unfinished = verdict.committed.contains(&step) && !before.is_complete(step);
                    unfinished || before.items_of(step).any(|(_, entry)| entry.undo_failed)
                });
                let tried = before.entry(*of).undo_failed;
                ensure(tried || stuck_above, || format!("{of:?} was neither undone nor tried"))?;
                ensure(!(tried && stuck_above), || format!("{of:?} was tried too early"))?;
            }
            for step in verdict.committed.iter().filter(|step| !before.is_complete(**step)) {
                let plan = before.plan.step(*step);
                let blocked = plan.deps.iter().any(|dep| !before.is_complete(*dep));
                let tried = before.started.contains_key(step);
                ensure(tried != blocked, || format!("step {step} was not tried, or too early"))?;
            }
            Ok(())
        })
    });
}

/// After the abort began no step starts, and no step is tried again, but committed forward ones.
#[test]
fn no_new_step_starts_after_the_abort() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            if !before.aborted {
                return Ok(());
            }
            match event {
                Event::StepStarted { step, .. } => {
                    let committed = before.verdict.as_ref().is_some_and(|verdict| verdict.committed.contains(step));
                    ensure(committed, || format!("step {step} started"))
                }
                Event::AttemptStarted { of, .. } => {
                    ensure(before.plan.step(of.step).is_forward(), || format!("{of:?} was tried again"))
                }
                _ => Ok(()),
            }
        })
    });
}

/// No compensation starts before everything that was in flight when the abort began has settled, and the guard, if an
/// error surfaced and there is one, has answered.
#[test]
fn compensations_wait_for_the_drain() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            if let Event::UndoStarted { of, .. } = event {
                ensure(before.verdict.is_some(), || format!("{of:?} is undone before the rollback began"))?;
            }
            if *event == Event::RollbackBegan {
                let busy = |of: &ItemRef| before.entry(*of).in_flight() && !before.plan.step(of.step).is_forward();
                let busy = before.items.keys().find(|of| busy(of));
                ensure(busy.is_none(), || format!("{busy:?} is in flight"))?;
            }
            Ok(())
        })?;
        history.turns.iter().try_for_each(|turn| {
            let undoes = turn.then.iter().any(|command| matches!(command, Command::Undo { .. }));
            ensure(!undoes || !turn.outstanding.contains(&Command::AskGuard), || "the guard has not answered".into())
        })
    });
}

/// Where the subject is known to be gone when the rollback begins, that is its cause, nothing is pinned, nothing halts.
#[test]
fn without_a_subject_nothing_is_protected() {
    for_all_runs(|history| {
        let ledger = history.ledger();
        if ledger.gone {
            let cause = history.state.cause();
            ensure(cause == Some(&Cause::SubjectGone), || format!("the cause is {cause:?}"))?;
            let halted = matches!(ledger.rest, Some(Rest::Halted { .. }));
            ensure(!halted, || "it halted".to_owned())?;
        }
        Ok(())
    });
}

/// An item is worked upon by one thing at a time: an attempt, a probe, or a compensation.
#[test]
fn an_item_is_worked_upon_by_one_thing_at_a_time() {
    for_all_runs(|history| {
        history.turns.iter().try_for_each(|turn| {
            let mut seen = BTreeSet::new();
            turn.outstanding.iter().try_for_each(|command| {
                let (Command::Run { of, .. } | Command::Undo { of, .. } | Command::Probe { of }) = command else {
                    return Ok(());
                };
                ensure(seen.insert(*of), || format!("{of:?} twice in {:?}", turn.outstanding))
            })
        })
    });
}

/// Nothing is tried again before its time, nor after its policy is spent, unless an operator asks for it.
#[test]
fn policies_are_kept() {
    for_all_runs(|history| {
        let (mut due, mut undo_due) = (BTreeMap::new(), BTreeMap::new());
        for Record { seq, at, event } in &history.journal {
            match event {
                Event::AttemptFailed { of, retry_at, .. } => drop(due.insert(*of, *retry_at)),
                Event::UndoFailed { of, retry_at, .. } => drop(undo_due.insert(*of, *retry_at)),
                Event::Operated { .. } => (due, undo_due) = Default::default(),
                Event::AttemptStarted { of, .. } => {
                    // A forward step whose policy is spent is tried by its patient one.
                    let spent = !history.plan.step(of.step).is_forward();
                    on_time(due.remove(of), *at, spent).map_err(|why| format!("event {seq}: {why}"))?;
                }
                Event::UndoStarted { of, .. } => {
                    on_time(undo_due.remove(of), *at, true).map_err(|why| format!("event {seq}: {why}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    });
}

fn on_time(due: Option<Option<Timestamp>>, at: Timestamp, spent: bool) -> Check {
    match due {
        Some(Some(due)) => ensure(at >= due, || format!("tried at {at:?}, due at {due:?}")),
        Some(None) => ensure(!spent, || "tried though its policy was spent".to_owned()),
        None => Ok(()),
    }
}
