//! A journal: events that anybody may have written are folded or refused.

use std::sync::OnceLock;

use saga_core::journal::{Event, ProbeAnswer, Record};
use saga_core::machine::{Command, Observation, State, check_invariants, decide, evolve, observe, outcome};
use saga_core::plan::{Plan, Shape};
use saga_core::{Epoch, ItemRef, Payload, StepIndex, Timestamp, WorkerId};

use crate::support::{Draft, History, Tape, run_started};

/// The sagas whose journals these are to be: together they have something of everything.
fn drafts() -> [Draft; 3] {
    [
        Draft::new().compensable("a", &[]).compensable("b", &["a"]).attempts(2).non_compensable("c", &["b"]),
        Draft::new()
            .non_compensable("a", &[])
            .probed()
            .forward("b", &["a"])
            .compensable("c", &["a"])
            .each_of("a", 2)
            .non_compensable("d", &["c"])
            .guarded()
            .finalized(),
        Draft::new().compensable("a", &[]).each(1).probed().read_only("b", &["a"]).forward("c", &[]).each(2),
    ]
}

fn plans() -> &'static [Plan] {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    PLANS.get_or_init(|| drafts().map(Draft::plan).into())
}

/// The first byte says whose journal it is; each line after it is an event, or it is passed over.
pub fn journal(data: &[u8]) {
    let Some((which, text)) = data.split_first() else { return };
    let plan = &plans()[usize::from(*which) % plans().len()];
    let mut state = State::new(plan);
    let mut now = Timestamp(1_000);
    let started = run_started(plan, Payload::from_json("[1,2,3]").expect("JSON"), None);
    evolve(plan, &mut state, now, &started).expect("a run starts with its first event");
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        now = Timestamp(now.0.saturating_add(7));
        // A state is of no more use after an event was refused, so each is tried on a copy.
        let mut next = state.clone();
        match evolve(plan, &mut next, now, &event) {
            Ok(()) => state = next,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        check(plan, &state, now);
        // What follows from an event may be decided here, or come from the journal: a space says which.
        if line.last() == Some(&b' ') {
            decide(plan, &mut state, now).expect("what is decided can be folded");
        }
    }
    take_up(plan, state, now);
}

/// Whatever was accepted is sound, and can be asked for all that it tells.
fn check(plan: &Plan, state: &State, now: Timestamp) {
    if let Err(violation) = check_invariants(plan, state) {
        panic!("{violation}\n{state:?}");
    }
    let _ = (state.status(), state.next_wake(), state.output(plan), outcome(plan, state));
    for at in 0..plan.steps().len() {
        let step = StepIndex(u32::try_from(at).expect("few steps"));
        for item in 0..state.items(step).min(8) {
            let of = ItemRef::new(step, item);
            let fan_out = plan.step(step).shape != Shape::Single;
            assert!(!fan_out || state.item_input(plan, of).is_some(), "an item of a fan-out has an input");
            let seen = Observation::Attempt { of, attempt: 1, result: Ok(Payload::null()) };
            if let Some(event) = observe(plan, state, seen, now, 0.5) {
                evolve(plan, &mut state.clone(), now, &event).expect("what was observed can be folded");
            }
        }
    }
}

/// A worker takes the run up and drives it on for a while, with actions that all succeed.
fn take_up(plan: &Plan, mut state: State, mut now: Timestamp) {
    let worker = WorkerId::new("another").expect("an id");
    let Some(event) = observe(plan, &state, Observation::Resumed { epoch: Epoch(2), worker }, now, 0.0) else { return };
    evolve(plan, &mut state, now, &event).expect("a run that has not ended can be taken up");
    let mut decision = decide(plan, &mut state, now).expect("what is decided can be folded");
    // Longer than any of these sagas takes: each turn ends at least one attempt.
    for _ in 0..400 {
        let outputs = Payload::from_json("[1,2]").expect("JSON");
        let seen: Vec<Observation> = std::mem::take(&mut decision.then)
            .into_iter()
            .map(|command| match command {
                Command::Run { of, attempt } => Observation::Attempt { of, attempt, result: Ok(outputs.clone()) },
                Command::Undo { of, attempt } => Observation::Undo { of, attempt, result: Ok(()) },
                Command::Probe { of } => Observation::Probe { of, answer: ProbeAnswer::Unknown },
                Command::AskGuard => Observation::Guard { gone: false },
                Command::Finalize => Observation::Finalizer { result: Ok(()) },
            })
            .collect();
        if seen.is_empty() {
            match state.next_wake() {
                Some(wake) => now = now.max(wake),
                None => break,
            }
        }
        for seen in seen {
            if let Some(event) = observe(plan, &state, seen, now, 0.0) {
                evolve(plan, &mut state, now, &event).expect("what was observed can be folded");
            }
        }
        decision = decide(plan, &mut state, now).expect("what is decided can be folded");
        check_invariants(plan, &state).expect("a sound state stays sound");
    }
    assert!(state.is_settled(), "a run whose actions succeed comes to rest: {state:?}");
}

/// Journals that the machine wrote, as the lines that [`journal`] reads.
pub fn legal_journals() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut journals = Vec::new();
    for (which, draft) in drafts().into_iter().enumerate() {
        for _ in 0..12 {
            let mut tape = Tape::new((0..300).map(|_| random.u32(..)).collect());
            let history = History::of(draft.clone(), &mut tape).expect("a run of this saga");
            let mut lines = vec![u8::try_from(which).expect("few plans")];
            for Record { event, .. } in &history.journal[1..] {
                serde_json::to_writer(&mut lines, event).expect("an event has a JSON form");
                lines.push(b'\n');
            }
            journals.push(lines);
        }
    }
    journals
}
