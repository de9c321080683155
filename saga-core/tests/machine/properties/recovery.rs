//! Crashes, and what comes late or twice.

use std::collections::BTreeSet;

use saga_core::machine::{Command, Observation, Phase, State, decide, evolve, observe, replay};
use saga_core::{Epoch, Failure, FailureKind, FailureOrigin, ItemRef, WorkerId};

use crate::support::{Check, History, Turn, ensure, for_all_runs};

/// Folding the journal gives the very state that the live run had, and nothing more follows from it.
#[test]
fn a_replayed_journal_gives_the_same_state() {
    for_all_runs(|history| {
        history.turns.iter().try_for_each(|turn| {
            let mut state = replayed(history, turn)?;
            let decision = decide(&history.plan, &mut state, turn.at).map_err(|error| error.to_string())?;
            ensure(decision.append.is_empty(), || format!("after event {}: {decision:?}", turn.to))?;
            ensure(state == turn.state, || format!("after event {}: {state:?}\nlive: {:?}", turn.to, turn.state))
        })
    });
}

/// A driver that waits may forget the state, and read it again when something happens: without a trace, for it is not taken
/// up anew. It must be able to wherever nothing is asked, else no run that waits would ever be small.
#[test]
fn what_is_in_the_journal_can_be_forgotten() {
    for_all_runs(|history| {
        history.turns.iter().try_for_each(|turn| {
            let acts = |command: &Command| matches!(command, Command::Run { .. } | Command::Undo { .. });
            let asks_nothing = turn.outstanding.iter().all(acts);
            if !turn.state.is_in_journal() {
                return ensure(!asks_nothing, || {
                    format!("after event {}: nothing is asked: {:?}", turn.to, turn.state)
                });
            }
            let mut state = replayed(history, turn)?;
            state.found_in_journal();
            ensure(state == turn.state, || format!("after event {}: {state:?}\nlive: {:?}", turn.to, turn.state))
        })
    });
}

fn replayed(history: &History, turn: &Turn) -> Result<State, String> {
    let mut state = State::new(&history.plan);
    replay(&history.plan, &mut state, &history.journal[..turn.to]).map_err(|error| error.to_string())?;
    Ok(state)
}

type Work = BTreeSet<(&'static str, Option<ItemRef>)>;

fn work(commands: &[Command]) -> Work {
    let name = |command: &Command| match command {
        Command::Run { of, .. } => ("run", Some(*of)),
        Command::Probe { of } => ("probe", Some(*of)),
        Command::Undo { of, .. } => ("undo", Some(*of)),
        Command::AskGuard => ("ask guard", None),
        Command::Finalize => ("finalize", None),
    };
    commands.iter().map(name).collect()
}

/// A crash after any append changes nothing but that attempts are made again: whoever takes the run up has the same work
/// before them as the one who died. Actions cut short after the abort count as failed, their effect unknown.
#[test]
fn recovery_takes_up_where_the_run_stood() {
    for_all_runs(|history| history.turns.iter().try_for_each(|turn| recovers(history, turn)));
}

fn recovers(history: &History, turn: &Turn) -> Check {
    let (plan, now) = (&history.plan, turn.at);
    if turn.state.phase() == Phase::Ended {
        return Ok(());
    }
    let mut recovered = replayed(history, turn)?;
    let seen = Observation::Resumed { epoch: Epoch(99), worker: WorkerId::new("w").unwrap() };
    let resumed = observe(plan, &recovered, seen, now, 0.0).ok_or("a live run is not taken up")?;
    evolve(plan, &mut recovered, now, &resumed).map_err(|error| error.to_string())?;
    let given = decide(plan, &mut recovered, now).map_err(|error| error.to_string())?.then;

    // The one who lives on, but learns that what is cut short by an abort has failed.
    let mut live = turn.state.clone();
    let mut work_before = Work::new();
    for command in &turn.outstanding {
        match command {
            Command::Run { of, attempt } if live.phase() == Phase::Draining && !plan.step(of.step).is_forward() => {
                let error = Failure {
                    kind: FailureKind::Failed,
                    origin: FailureOrigin::Interrupted,
                    message: "cut short".to_owned(),
                };
                let seen = Observation::Attempt { of: *of, attempt: *attempt, result: Err((error, None)) };
                let event = observe(plan, &live, seen, now, 0.0).ok_or("its end is of no consequence")?;
                evolve(plan, &mut live, now, &event).map_err(|error| error.to_string())?;
            }
            Command::Run { of, .. } if plan.step(of.step).probed => drop(work_before.insert(("probe", Some(*of)))),
            other => work_before.extend(work(std::slice::from_ref(other))),
        }
    }
    let more = decide(plan, &mut live, now).map_err(|error| error.to_string())?.then;
    work_before.extend(work(&more));
    if work_before.iter().any(|(what, _)| *what == "run") && live.phase() == Phase::Draining {
        // A halting run does not go on with forward steps that were cut short: it awaits only what is in flight.
        return Ok(());
    }
    let after = work(&given);
    ensure(after == work_before, || format!("after event {}: {after:?}, live {work_before:?}", turn.to))?;
    let (then, now) = (recovered.phase(), live.phase());
    ensure(then == now, || format!("after event {}: {then:?}, live {now:?}", turn.to))
}

/// What comes twice, or from an attempt that a crash has ended, is of no consequence.
#[test]
fn what_comes_late_or_twice_changes_nothing() {
    for_all_runs(|history| ensure(history.believed.is_empty(), || format!("believed {:?}", history.believed)));
}
