//! A run goes on until it rests, within its limits.

use std::collections::BTreeMap;

use saga_core::journal::Event;
use saga_core::machine::{Command, check_invariants, decide, evolve};
use saga_core::machine::{Phase, State};
use saga_core::plan::Shape;
use saga_core::{Timestamp, machine::Observation, machine::observe};

use crate::support::{Draft, ensure, for_all_runs, for_all_tapes, output, run_started};

/// A run that is not at rest has a command outstanding, or a time at which it goes on by itself.
#[test]
fn a_live_run_always_waits_for_something() {
    for_all_runs(|history| {
        ensure(!history.hung, || "it hangs".to_owned())?;
        history.turns.iter().try_for_each(|turn| {
            let waits = !turn.outstanding.is_empty() || turn.state.next_wake().is_some();
            ensure(waits || turn.state.is_settled(), || format!("it hangs after event {}", turn.to))?;
            let busy = turn.state.is_settled() && !turn.outstanding.is_empty();
            ensure(!busy, || format!("after event {} it rests, but {:?}", turn.to, turn.outstanding))
        })
    });
}

/// The invariants of the state hold after every single event.
#[test]
fn the_invariants_hold_after_every_event() {
    for_all_runs(|history| {
        let mut state = State::new(&history.plan);
        history.journal.iter().try_for_each(|record| {
            evolve(&history.plan, &mut state, record.at, &record.event).map_err(|error| error.to_string())?;
            check_invariants(&history.plan, &state).map_err(|error| format!("after event {}: {error}", record.seq))
        })
    });
}

/// At no time are more items of a fan-out at work, or being undone, than its concurrency allows.
#[test]
fn a_fan_out_never_exceeds_its_concurrency() {
    for_all_runs(|history| {
        history.turns.iter().try_for_each(|turn| {
            let mut busy = BTreeMap::new();
            for command in &turn.outstanding {
                if let Command::Run { of, .. } | Command::Undo { of, .. } = command {
                    *busy.entry(of.step).or_insert(0) += 1;
                }
            }
            busy.into_iter().try_for_each(|(step, count)| match history.plan.step(step).shape {
                Shape::Each { concurrency } if count > concurrency => {
                    Err(format!("after event {}: {count} items of step {step} are at work", turn.to))
                }
                _ => Ok(()),
            })
        })
    });
}

/// Commands follow from the events that came with them: one for each start, and none without.
#[test]
fn every_start_is_one_command() {
    for_all_runs(|history| {
        history.turns.iter().try_for_each(|turn| {
            let events = history.journal[turn.from..turn.to].iter().map(|record| &record.event);
            let mut starts: Vec<Command> = events
                .filter_map(|event| match event {
                    Event::StepStarted { step, items: None, .. } => {
                        Some(Command::Run { of: saga_core::ItemRef::new(*step, 0), attempt: 1 })
                    }
                    Event::AttemptStarted { of, attempt } => Some(Command::Run { of: *of, attempt: *attempt }),
                    Event::UndoStarted { of, attempt } => Some(Command::Undo { of: *of, attempt: *attempt }),
                    _ => None,
                })
                .collect();
            starts.retain(|start| !turn.then.contains(start));
            ensure(starts.is_empty(), || format!("after event {}: no command for {starts:?}", turn.to))?;
            let runs = turn.then.iter().filter(|c| matches!(c, Command::Run { .. } | Command::Undo { .. })).count();
            let events = &history.journal[turn.from..turn.to];
            let begun = events.iter().filter(|record| {
                let event = &record.event;
                matches!(event, Event::StepStarted { items: None, .. })
                    || matches!(event, Event::AttemptStarted { .. } | Event::UndoStarted { .. })
            });
            ensure(runs == begun.count(), || format!("after event {}: a command without an event", turn.to))
        })
    });
}

/// A linear saga of n steps that goes well costs n + 1 appends, and one more for its finalizer.
#[test]
fn a_linear_saga_costs_one_append_per_step_and_one() {
    for_all_tapes(|mut tape| {
        let count = 1 + tape.below(20);
        let names: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
        let mut draft = Draft::new();
        for (at, name) in names.iter().enumerate() {
            let after: Vec<&str> = at.checked_sub(1).map(|before| names[before].as_str()).into_iter().collect();
            draft = match tape.below(4) {
                0 => draft.compensable(name, &after),
                1 => draft.read_only(name, &after),
                2 => draft.non_compensable(name, &after),
                _ => draft.forward(name, &after),
            };
        }
        let finalized = tape.chance(30);
        let plan = if finalized { draft.finalized().plan() } else { draft.plan() };
        let mut state = State::new(&plan);
        let now = Timestamp(0);
        evolve(&plan, &mut state, now, &run_started(&plan, output(1), None)).unwrap();
        let (mut appends, mut todo) = (1, decide(&plan, &mut state, now).unwrap().then);
        while let Some(command) = todo.pop() {
            let seen = match command {
                Command::Run { of, attempt } => Observation::Attempt { of, attempt, result: Ok(output(1)) },
                _ => Observation::Finalizer { result: Ok(()) },
            };
            let event = observe(&plan, &state, seen, now, 0.0).unwrap();
            evolve(&plan, &mut state, now, &event).unwrap();
            appends += 1;
            todo.extend(decide(&plan, &mut state, now).unwrap().then);
        }
        ensure(state.phase() == Phase::Ended, || "it did not end".to_owned())?;
        let expected = count + 1 + usize::from(finalized);
        ensure(appends == expected, || format!("{appends} appends for {count} steps"))
    });
}
