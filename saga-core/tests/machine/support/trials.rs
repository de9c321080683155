//! What is done to journals, whether the choices come from the tests' tapes or from a fuzzer.

use saga_core::journal::{Event, ProbeAnswer, Record, Rest, Verb};
use saga_core::machine::{State, check_invariants, decide, evolve, replay};
use saga_core::{Actor, Cause, Epoch, FailureKind, ItemRef, StepIndex, StepName, Timestamp, WorkerId};

use super::{Check, Draft, History, Tape, ensure, failure, output, run_started};

fn by() -> Actor {
    Actor::new("anyone", "whatever")
}

fn any_event(tape: &mut Tape) -> Event {
    let step = StepIndex(tape.below(10) as u32);
    let of = ItemRef::new(step, tape.pick(&[0, 0, 0, 1, 2, 9, u32::MAX]));
    let attempt = tape.pick(&[1, 1, 1, 2, 3, 0, u32::MAX]);
    let kind = tape.pick(&[FailureKind::Failed, FailureKind::Fatal, FailureKind::Rejected]);
    let retry_at = tape.pick(&[None, Some(Timestamp(0)), Some(Timestamp(1_500)), Some(Timestamp(u64::MAX))]);
    match tape.below(24) {
        0 | 1 => Event::StepStarted {
            step,
            name: StepName::new("any").unwrap(),
            items: tape.pick(&[None, None, Some(0), Some(1), Some(3), Some(u32::MAX)]),
        },
        2 | 3 => Event::AttemptStarted { of, attempt },
        4 => Event::Checkpointed { of, value: output(1) },
        5 => Event::AttemptFailed { of, attempt, error: failure(kind), retry_at },
        6 => Event::Probed { of, answer: ProbeAnswer::NotDone },
        7 => Event::Probed { of, answer: ProbeAnswer::Done(output(2)) },
        8 => Event::Succeeded { of, output: output(tape.below(4)) },
        9 => Event::AbortBegan { cause: Cause::Cancelled { by: by() } },
        10 => Event::AbortBegan { cause: Cause::SubjectGone },
        11 => Event::SubjectChecked { gone: tape.chance(50) },
        12 => Event::RollbackBegan,
        13 => Event::UndoStarted { of, attempt },
        14 => Event::UndoFailed { of, attempt, error: failure(kind), retry_at },
        15 => Event::Undone { of },
        16 => Event::Rested { rest: tape.pick(&[&Rest::Completed, &Rest::RolledBack, &Rest::Stuck]).clone() },
        17 => Event::Rested { rest: Rest::Halted { at: of, error: failure(kind) } },
        18 => Event::Rested { rest: Rest::Abandoned { by: by() } },
        19 => Event::Finalized,
        20 => Event::FinalizerFailed { error: failure(kind), retry_at: Timestamp(3_000) },
        21 => Event::Operated { verb: Verb::Skip { of, output: tape.chance(50).then(|| output(1)) }, by: by() },
        22 => Event::Operated { verb: tape.pick(&[&Verb::Retry, &Verb::RollBack, &Verb::Abandon]).clone(), by: by() },
        _ => Event::Resumed { epoch: Epoch(7), worker: WorkerId::new("any").unwrap() },
    }
}

/// Whatever events come in whatever order, each is folded or refused: the machine does not panic, and a state that it
/// accepts is sound, so that it can be decided upon.
pub fn any_events(mut tape: Tape) -> Check {
    let plan = Draft::random(&mut tape).plan();
    let mut state = State::new(&plan);
    let mut now = Timestamp(1_000);
    let first = if tape.chance(2) { any_event(&mut tape) } else { run_started(&plan, output(3), None) };
    let mut accepted = evolve(&plan, &mut state, now, &first).is_ok();
    while accepted && !tape.is_blank() {
        if tape.chance(30) {
            decide(&plan, &mut state, now).map_err(|error| error.to_string())?;
        }
        now = Timestamp(now.0 + u64::from(tape.next() % 20));
        let event = any_event(&mut tape);
        // A state is of no more use after an event was refused, so each is tried on a copy.
        let mut next = state.clone();
        accepted = match evolve(&plan, &mut next, now, &event) {
            Err(_) => true,
            Ok(()) => {
                check_invariants(&plan, &next).map_err(|error| format!("{event:?}: {error}"))?;
                state = next;
                true
            }
        };
    }
    Ok(())
}

/// A journal from which an event is missing, or in which one stands twice or at another's place, is folded or refused.
pub fn damaged_journal(mut tape: Tape) -> Check {
    let history = History::random(&mut tape)?;
    let events: Vec<Event> = history.events().cloned().collect();
    for at in (0..events.len()).step_by(1 + events.len() / 12) {
        let other = (at * 7 + 3) % events.len();
        let (mut missing, mut twice, mut swapped) = (events.clone(), events.clone(), events.clone());
        missing.remove(at);
        twice.insert(other, events[at].clone());
        swapped.swap(at, other);
        for damaged in [missing, twice, swapped] {
            let mut state = State::new(&history.plan);
            let mut now = Timestamp(1_000);
            for event in &damaged {
                now = Timestamp(now.0 + 1);
                if evolve(&history.plan, &mut state, now, event).is_err() {
                    break;
                }
                check_invariants(&history.plan, &state).map_err(|error| format!("{event:?}: {error}"))?;
            }
        }
    }
    Ok(())
}

/// A journal replays to the same end under other retry policies and concurrency limits: they are no part of a saga's
/// structure, so a later release may change them while runs are alive.
pub fn other_policies(mut tape: Tape) -> Check {
    let history = History::random(&mut tape)?;
    let changed = history.draft.clone().with_other_policies(&mut tape).plan();
    ensure(changed.fingerprint() == history.plan.fingerprint(), || "the structure has changed".to_owned())?;
    let mut state = State::new(&changed);
    replay(&changed, &mut state, &history.journal).map_err(|error| format!("{error}\n{history}"))?;
    ensure(state.rest() == history.state.rest(), || format!("{:?}\n{history}", state.rest()))?;
    for turn in &history.turns {
        let mut state = State::new(&changed);
        replay(&changed, &mut state, &history.journal[..turn.to]).map_err(|error| error.to_string())?;
        let resumed = Event::Resumed { epoch: Epoch(99), worker: WorkerId::new("newer").unwrap() };
        if evolve(&changed, &mut state, turn.at, &resumed).is_ok() {
            decide(&changed, &mut state, turn.at).map_err(|error| format!("{error}\n{history}"))?;
        }
    }
    Ok(())
}

/// A crash may leave any number of events behind, even a part of what was decided together: every prefix of a journal can
/// be taken up, and goes on.
pub fn every_prefix(history: &History) -> Check {
    (1..=history.journal.len()).try_for_each(|length| {
        let mut state = State::new(&history.plan);
        let prefix: &[Record] = &history.journal[..length];
        replay(&history.plan, &mut state, prefix).map_err(|error| error.to_string())?;
        let at = prefix[length - 1].at;
        let resumed = Event::Resumed { epoch: Epoch(99), worker: WorkerId::new("newer").unwrap() };
        if evolve(&history.plan, &mut state, at, &resumed).is_err() {
            return ensure(state.is_settled(), || format!("after event {length} it is not taken up"));
        }
        let decision = decide(&history.plan, &mut state, at).map_err(|error| error.to_string())?;
        let goes_on = !decision.then.is_empty() || state.next_wake().is_some() || state.is_settled();
        ensure(goes_on, || format!("after event {length} nothing goes on"))
    })
}
