//! What a state tells of its run, held against the journal.

use std::collections::BTreeMap;

use saga_core::journal::{Event, ProbeAnswer, Rest, Verb};
use saga_core::machine::{Command, ItemPhase, Phase, State, decide, evolve};
use saga_core::store::RunStatus;
use saga_core::{Epoch, ExclusiveKey, ItemRef, Payload, Seq, StepIndex, Timestamp};

use crate::support::{Check, Draft, History, Ledger, Turn, ensure, for_all_runs, output, run_started};

#[test]
fn a_state_tells_how_its_run_was_started() {
    let plan = Draft::new().read_only("check", &[]).plan();
    let mut state = State::new(&plan);
    assert_eq!((state.phase(), state.seq(), state.status()), (Phase::Unstarted, Seq::ZERO, RunStatus::Running));
    assert_eq!((state.key(), state.next_wake(), state.items(StepIndex(0))), (None, None, 0));

    let mut started = run_started(&plan, output(2), Some(Timestamp(5_000)));
    let disk = ExclusiveKey::new("disk-1").unwrap();
    if let Event::RunStarted { key, .. } = &mut started {
        *key = Some(disk.clone());
    }
    evolve(&plan, &mut state, Timestamp(1_000), &started).unwrap();
    assert_eq!((state.phase(), state.seq(), state.epoch()), (Phase::Forward, Seq(1), Epoch::FIRST));
    assert_eq!((state.key(), state.input()), (Some(&disk), &output(2)));
    assert_eq!((state.started_at(), state.next_wake()), (Timestamp(1_000), Some(Timestamp(5_000))));
}

#[test]
fn a_state_tells_what_goes_into_an_action_and_what_comes_out() {
    let draft = Draft::new().read_only("sizes", &[]).read_only("disks", &["sizes"]).each_of("sizes", 2);
    let plan = draft.read_only("boot", &["sizes", "disks"]).gives(&["boot", "sizes"]).plan();
    let (mut state, at) = (State::new(&plan), Timestamp(1));
    let of = |step: u32, item: u32| ItemRef::new(StepIndex(step), item);
    let json = |text: &str| Some(Payload::from_json(text).unwrap());
    evolve(&plan, &mut state, at, &run_started(&plan, output(0), None)).unwrap();
    decide(&plan, &mut state, at).unwrap();

    let done = |state: &mut State, of: ItemRef, input: &str, output: &str| {
        assert_eq!((state.item_input(&plan, of), state.item_output(of)), (json(input), None));
        assert_eq!(state.output(&plan), None);
        evolve(&plan, state, at, &Event::Succeeded { of, output: json(output).unwrap() }).unwrap();
        assert_eq!(state.item_output(of), json(output).as_ref());
        decide(&plan, state, at).unwrap();
    };
    assert_eq!(state.item_input(&plan, of(2, 0)), None);
    done(&mut state, of(0, 0), "[]", "[10,20]");
    assert_eq!(state.item_input(&plan, of(1, 2)), None);
    done(&mut state, of(1, 1), "20", "\"large\"");
    assert_eq!(state.item_input(&plan, of(2, 0)), None);
    done(&mut state, of(1, 0), "10", "\"small\"");
    done(&mut state, of(2, 0), "[[10,20],[\"small\",\"large\"]]", "true");
    assert_eq!((state.status(), state.output(&plan)), (RunStatus::Completed, json("[true,[10,20]]")));
}

#[test]
fn a_state_tells_what_its_journal_says() {
    for_all_runs(|history| history.turns.iter().try_for_each(|turn| tells(history, turn)));
}

fn tells(history: &History, turn: &Turn) -> Check {
    let (state, records) = (&turn.state, &history.journal[..turn.to]);
    let mut ledger = Ledger::new(&history.plan);
    let mut epoch = Epoch::FIRST;
    let mut outputs: BTreeMap<ItemRef, &Payload> = BTreeMap::new();
    let mut checkpoints: BTreeMap<ItemRef, Vec<Payload>> = BTreeMap::new();
    for event in records.iter().map(|record| &record.event) {
        ledger.add(event);
        match event {
            Event::Resumed { epoch: newer, .. } => epoch = *newer,
            Event::Checkpointed { of, value } => checkpoints.entry(*of).or_default().push(value.clone()),
            Event::Succeeded { of, output }
            | Event::Probed { of, answer: ProbeAnswer::Done(output) }
            | Event::Operated { verb: Verb::Skip { of, output: Some(output) }, .. } => {
                outputs.insert(*of, output);
            }
            _ => {}
        }
    }
    ensure(state.seq() == Seq(turn.to as u64), || format!("it is at {:?}, not {}", state.seq(), turn.to))?;
    ensure(state.epoch() == epoch, || format!("its claim is {:?}, not {epoch:?}", state.epoch()))?;
    for step in ledger.all_steps() {
        let items = ledger.started.get(&step);
        ensure(state.has_started(step) == items.is_some(), || format!("step {step}: {items:?}"))?;
        ensure(state.items(step) == items.copied().unwrap_or(0), || format!("step {step}: {items:?}"))?;
    }
    for (of, entry) in &ledger.items {
        let recorded = checkpoints.get(of).map_or(&[][..], Vec::as_slice);
        ensure(state.effect(*of) == entry.effect, || format!("{of:?} had effect {:?}", state.effect(*of)))?;
        ensure(state.item_output(*of) == outputs.get(of).copied(), || format!("{of:?} has another output"))?;
        ensure(state.checkpoints(*of) == recorded, || format!("{of:?} recorded {recorded:?}"))?;
    }
    let aborting = ledger.aborted && ledger.rest.is_none();
    ensure(state.is_aborting() == aborting, || format!("what is in flight should end: {aborting}"))?;
    let status = match &ledger.rest {
        Some(rest) if state.is_settled() => match rest {
            Rest::Completed => RunStatus::Completed,
            Rest::RolledBack => RunStatus::RolledBack,
            Rest::Halted { .. } => RunStatus::Halted,
            Rest::Stuck => RunStatus::Stuck,
            Rest::Abandoned { .. } => RunStatus::Abandoned,
        },
        _ => RunStatus::Running,
    };
    ensure(state.status() == status, || format!("it is {:?}, not {status:?}", state.status()))
}

/// Whoever drives a run sleeps until then. What is due already has been done, so it is never in the past.
#[test]
fn a_state_tells_when_to_look_at_it_again() {
    for_all_runs(|history| history.turns.iter().try_for_each(|turn| wakes(history, turn)));
}

fn wakes(history: &History, turn: &Turn) -> Check {
    let state = &turn.state;
    let mut ledger = Ledger::new(&history.plan);
    history.journal[..turn.to].iter().for_each(|record| ledger.add(&record.event));
    let failed = |of: ItemRef| state.item_phase(of) == Some(ItemPhase::Failed);
    let halts = !ledger.gone && !ledger.forced && ledger.items.keys().any(|of| failed(*of) && ledger.halts(*of));
    let scheduled = ledger.items.keys().filter_map(|of| match state.item_phase(*of)? {
        ItemPhase::Scheduled(at) | ItemPhase::UndoScheduled(at) => Some(at),
        _ => None,
    });
    let (wake, due) = (state.next_wake(), scheduled.min());
    ensure(wake.is_none_or(|wake| wake > turn.at), || format!("it wakes at {wake:?}, it is {:?}", turn.at))?;
    match state.phase() {
        Phase::Forward => ensure(due.is_none_or(|due| wake.is_some_and(|wake| wake <= due)), || format!("{due:?}")),
        Phase::Draining if halts => ensure(wake.is_none(), || format!("it halts, but wakes at {wake:?}")),
        Phase::Draining | Phase::RollingBack => ensure(wake == due, || format!("{due:?} is due, it wakes at {wake:?}")),
        Phase::Finalizing => {
            let told = turn.outstanding.contains(&Command::Finalize);
            ensure(wake.is_some() != told, || format!("the finalizer is at work: {told}, it wakes at {wake:?}"))
        }
        _ => ensure(wake.is_none(), || format!("it is at rest, but wakes at {wake:?}")),
    }
}
