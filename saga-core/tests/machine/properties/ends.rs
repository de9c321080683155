//! How runs end, and whether what they then say is true.

use std::collections::BTreeSet;

use saga_core::journal::{Event, ProbeAnswer, Rest, Verb};
use saga_core::machine::{Effect, Observation, Phase, decide, observe, operate, outcome};
use saga_core::plan::{Plan, Recovery, Shape};
use saga_core::{Actor, Epoch, ItemRef, Left, Outcome, Place, StepIndex, Timestamp, WorkerId};

use crate::support::{Check, History, Ledger, ensure, failure, for_all_runs, output};

fn place(plan: &Plan, of: ItemRef) -> Place {
    let step = plan.step(of.step);
    Place { step: step.name.clone(), item: (step.shape != Shape::Single).then_some(of.item) }
}

fn ended(history: &History) -> Option<Outcome<saga_core::Payload>> {
    history.state.is_settled().then(|| outcome(&history.plan, &history.state)).flatten()
}

/// A run that has ended is never moved again: nothing that is seen makes an event, nothing follows, no operator may act.
#[test]
fn an_end_is_an_end() {
    for_all_runs(|history| {
        if history.state.phase() != Phase::Ended {
            return Ok(());
        }
        let by = Actor::new("anyone", "whatever");
        let mut seen = vec![
            Observation::Resumed { epoch: Epoch(99), worker: WorkerId::new("w").unwrap() },
            Observation::Guard { gone: true },
            Observation::SubjectGone,
            Observation::Cancel { by: by.clone() },
            Observation::Finalizer { result: Ok(()) },
        ];
        for of in history.ledger().items.keys().copied() {
            for attempt in 1..4 {
                let failed = || Err((failure(saga_core::FailureKind::Failed), None));
                seen.push(Observation::Attempt { of, attempt, result: Ok(output(0)) });
                seen.push(Observation::Attempt { of, attempt, result: failed() });
                seen.push(Observation::Undo { of, attempt, result: Ok(()) });
            }
            seen.push(Observation::Checkpoint { of, value: output(0) });
            seen.push(Observation::Probe { of, answer: ProbeAnswer::NotDone });
        }
        let later = Timestamp(u64::MAX);
        for seen in seen {
            let event = observe(&history.plan, &history.state, seen, later, 0.0);
            ensure(event.is_none(), || format!("{event:?} after the end"))?;
        }
        let decision = decide(&history.plan, &mut history.state.clone(), later).map_err(|e| e.to_string())?;
        ensure(decision == Default::default(), || format!("{decision:?} after the end"))?;
        ensure(history.state.next_wake().is_none(), || "it wakes after the end".to_owned())?;
        for verb in [Verb::Retry, Verb::RollBack, Verb::Abandon] {
            ensure(operate(&history.state, verb, by.clone()).is_err(), || "an operator acts after the end".into())?;
        }
        Ok(())
    });
}

/// A run completes exactly when every step has succeeded, and then nothing was undone.
#[test]
fn a_completed_run_did_everything_and_undid_nothing() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::Rested { rest: Rest::Completed } = event else { return Ok(()) };
            ensure(before.all_steps().all(|step| before.is_complete(step)), || "a step is not done".to_owned())?;
            ensure(before.items.values().all(|entry| entry.undo_attempts == 0), || "something was undone".to_owned())
        })
    });
}

/// After a rollback `kept` names exactly the items whose effect stands, or may: finished forward steps, non-compensable
/// steps that succeeded or whose effect is unknown, and compensable ones that are pinned.
#[test]
fn kept_is_exactly_what_stands() {
    for_all_runs(|history| {
        let Some(Outcome::RolledBack(end)) = ended(history) else { return Ok(()) };
        let ledger = history.ledger();
        let kept: BTreeSet<Place> = end.kept.iter().cloned().collect();
        let stands = ledger.items.iter().filter(|(of, entry)| {
            let may_stand = entry.effect != Effect::None && !entry.undone;
            may_stand && ledger.plan.step(of.step).recovery != Recovery::ReadOnly
        });
        let stands: BTreeSet<Place> = stands.map(|(of, _)| place(ledger.plan, *of)).collect();
        ensure(kept.len() == end.kept.len(), || "something is named twice".to_owned())?;
        ensure(kept == stands, || format!("kept {kept:?}, but {stands:?} stands"))
    });
}

/// Whatever exists in the outside world when a run comes to rest is named: by `kept`, or by the residue; unless it is
/// where a completed run put it. (A stuck run has both: what stands by right, and what should not be there.)
#[test]
fn nothing_is_left_unnamed() {
    for_all_runs(|history| {
        let Some(end) = ended(history) else { return Ok(()) };
        let ledger = history.ledger();
        let named: BTreeSet<Place> = match &end {
            Outcome::Completed(_) => return Ok(()),
            Outcome::RolledBack(end) => end.kept.iter().cloned().collect(),
            Outcome::Stuck(end) => {
                let left = end.residue.iter().map(|left| left.place.clone());
                ensure(left.clone().all(|place| !end.kept.contains(&place)), || format!("named twice in {end:?}"))?;
                end.kept.iter().cloned().chain(left).collect()
            }
            other => other.residue().iter().map(|left| left.place.clone()).collect(),
        };
        let unnamed = history
            .world
            .existing()
            .filter(|of| ledger.plan.step(of.step).recovery != Recovery::ReadOnly)
            .find(|of| !named.contains(&place(ledger.plan, *of)));
        ensure(unnamed.is_none(), || format!("{unnamed:?} is left, and not named in {end:?}"))
    });
}

/// The residue of a run that rests halted, stuck or abandoned lists exactly what may be left, each once, and why.
#[test]
fn the_residue_is_exactly_what_is_left() {
    for_all_runs(|history| {
        let Some(end) = ended(history) else { return Ok(()) };
        let all = match end {
            Outcome::Halted(_) | Outcome::Abandoned(_) => true,
            Outcome::Stuck(_) => false,
            Outcome::Completed(_) | Outcome::RolledBack(_) => return Ok(()),
        };
        let ledger = history.ledger();
        let mut left: Vec<(Place, &str)> = end.residue().iter().map(|it| (it.place.clone(), kind(&it.why))).collect();
        let mut expected = expected_residue(&ledger, all);
        left.sort();
        expected.sort();
        ensure(left == expected, || format!("left {left:?}, expected {expected:?}"))
    });
}

fn kind(why: &Left) -> &'static str {
    match why {
        Left::Stands => "stands",
        Left::EffectUnknown { .. } => "unknown",
        Left::UndoFailed { .. } => "undo failed",
        Left::Blocked => "blocked",
        Left::Unfinished { .. } => "unfinished",
        _ => "?",
    }
}

fn expected_residue(ledger: &Ledger<'_>, all: bool) -> Vec<(Place, &'static str)> {
    let to_undo = |of: &ItemRef| ledger.verdict.as_ref().is_some_and(|verdict| verdict.to_undo.contains(of));
    let mut expected = Vec::new();
    for (of, entry) in &ledger.items {
        let step = ledger.plan.step(of.step);
        let why = if step.recovery == Recovery::ReadOnly || entry.undone {
            continue;
        } else if entry.undo_failed {
            "undo failed"
        } else if to_undo(of) {
            "blocked"
        } else if step.is_forward() && !entry.succeeded {
            "unfinished"
        } else if entry.succeeded {
            if !all {
                continue;
            }
            "stands"
        } else if entry.effect == Effect::Unknown {
            "unknown"
        } else {
            continue;
        };
        expected.push((place(ledger.plan, *of), why));
    }
    let committed = ledger.verdict.iter().flat_map(|verdict| &verdict.committed);
    let unstarted = committed.filter(|step| !ledger.started.contains_key(step)).map(|step: &StepIndex| {
        let step = ledger.plan.step(*step);
        (Place { step: step.name.clone(), item: None }, "unfinished")
    });
    expected.extend(unstarted);
    expected
}

/// Each effect that the world ever saw and that is to be undone was undone: in a rolled back run nothing exists that is
/// not kept, whatever the actions reported of themselves.
#[test]
fn a_rolled_back_run_leaks_nothing() {
    for_all_runs(|history| {
        let Some(Outcome::RolledBack(_)) = ended(history) else { return Ok(()) };
        let ledger = history.ledger();
        let verdict = ledger.verdict.as_ref().ok_or("no rollback has begun")?;
        let leaked = verdict.to_undo.iter().find(|of| history.world.fact(**of).exists);
        ensure(leaked.is_none(), || format!("{leaked:?} leaked"))
    });
}

/// The finalizer is told whenever the run comes to rest, after everything else and before anything new; never otherwise.
#[test]
fn the_finalizer_is_told_of_every_rest_and_last() {
    for_all_runs(|history| {
        let mut telling = false;
        for event in history.events() {
            let by_finalizer = matches!(event, Event::Finalized | Event::FinalizerFailed { .. });
            let allowed = if telling { by_finalizer || matches!(event, Event::Resumed { .. }) } else { !by_finalizer };
            ensure(allowed, || format!("{event:?} came at the wrong time"))?;
            match event {
                Event::Rested { .. } => telling = history.plan.is_finalized(),
                Event::Finalized => telling = false,
                _ => {}
            }
        }
        let settled = history.state.is_settled();
        let rests = history.events().filter(|event| matches!(event, Event::Rested { .. })).count() as u32;
        let told: Check = ensure(!settled || !history.plan.is_finalized() || history.world.told >= rests, || {
            format!("{rests} rests, told {} times", history.world.told)
        });
        told
    });
}

/// Nothing is at work when a run comes to rest.
#[test]
fn nothing_is_at_work_in_a_run_at_rest() {
    for_all_runs(|history| {
        history.walk(|before, event| {
            let Event::Rested { .. } = event else { return Ok(()) };
            let busy = before.items.iter().find(|(_, entry)| entry.in_flight() || entry.undoing);
            ensure(busy.is_none(), || format!("{busy:?} is at work"))
        })
    });
}
