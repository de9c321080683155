//! Policies that are bounded by time, and the patience of the finalizer.

use std::time::Duration;

use saga_core::FailureKind::{Failed, Fatal};
use saga_core::Retry;
use saga_core::Timestamp;
use saga_core::journal::Event;
use saga_core::machine::{Observation, State, decide, evolve, observe};
use saga_core::plan::Recovery;

use crate::support::{Draft, Story, failure, output, run_started};

/// The time counts from the first attempt of the compensation, however old the run is by then.
#[test]
fn an_undo_is_given_up_so_long_after_its_first_attempt() {
    let undo_retry = Retry::fixed(100, Duration::from_millis(10)).max_elapsed(Duration::from_millis(25));
    let draft = Draft::new().step("a", Recovery::Compensable { undo_retry }, &[]).read_only("b", &["a"]);
    let story = Story::of(draft).done("a").later(1_000).fails("b", Fatal);
    let story = story.undo_fails("a").later(10).undo_fails("a").later(10).undo_fails("a");
    story.reads(
        "start a
        a done | start b

        b failed | abort: b failed | roll back | undo a
        undo of a failed, to be tried again
        undo a
        undo of a failed, to be tried again
        undo a
        undo of a failed | STUCK",
        &["a: could not be undone: no luck"],
    );
}

/// Each item of a fan-out has its own time, from its own first attempt on.
#[test]
fn an_item_is_given_up_so_long_after_its_first_attempt() {
    let policy = Retry::fixed(100, Duration::from_millis(10)).max_elapsed(Duration::from_millis(15));
    let story = Story::with(Draft::new().read_only("a", &[]).each(1).retry(policy), 2, None);
    let story = story.later(1_000).done("a[0]").fails("a[1]", Failed).later(10).fails("a[1]", Failed);
    story.reads(
        "a has 2 items | start a[0]

        a[0] done | start a[1]
        a[1] failed, to be tried again
        try a[1] again
        a[1] failed | abort: a failed | roll back | ROLLED BACK",
        &[],
    );
}

/// The finalizer is tried again for ever, later each time.
#[test]
fn the_finalizer_is_given_more_and_more_time() {
    let plan = Draft::new().read_only("a", &[]).finalized().plan();
    let (mut state, mut now) = (State::new(&plan), Timestamp(1));
    let see = |state: &mut State, now: Timestamp, seen: Observation| {
        let event = observe(&plan, state, seen, now, 0.0).expect("it is of consequence");
        evolve(&plan, state, now, &event).expect("it can happen");
        decide(&plan, state, now).expect("it can be folded");
        event
    };
    evolve(&plan, &mut state, now, &run_started(&plan, output(0), None)).expect("it can happen");
    decide(&plan, &mut state, now).expect("it can be folded");
    let of = saga_core::ItemRef::new(saga_core::StepIndex(0), 0);
    see(&mut state, now, Observation::Attempt { of, attempt: 1, result: Ok(output(1)) });
    let mut before = Duration::ZERO;
    for _ in 0..6 {
        let failed = Observation::Finalizer { result: Err((failure(Failed), None)) };
        let Event::FinalizerFailed { retry_at, .. } = see(&mut state, now, failed) else { panic!("it failed") };
        let delay = retry_at.since(now);
        assert!(delay > before, "{delay:?} after {before:?}");
        (before, now) = (delay, retry_at);
        decide(&plan, &mut state, now).expect("it can be folded");
    }
}
