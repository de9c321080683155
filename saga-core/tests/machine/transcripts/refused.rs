//! What cannot have happened is refused, and what is seen twice or too late is of no consequence.

use saga_core::FailureKind::{Failed, Fatal};
use saga_core::journal::{Event, Rest, Verb};
use saga_core::machine::{AttemptResult, NotAllowed, Observation};
use saga_core::{ItemRef, StepIndex};

use crate::support::{Draft, Story, failure, output};

const IN_FLIGHT: &str = "something is in flight";
const NOT_LIKE_THIS: &str = "the run cannot come to rest like this";
const NOT_ANY_MORE: &str = "nothing is tried any more";

fn rested(rest: Rest) -> Event {
    Event::Rested { rest }
}

fn first_attempt(step: u32, item: u32) -> Event {
    Event::AttemptStarted { of: ItemRef::new(StepIndex(step), item), attempt: 1 }
}

#[test]
fn no_rest_comes_while_a_committed_step_is_being_finished() {
    let draft = Draft::new().forward("announce", &[]).read_only("check", &[]);
    Story::of(draft).fails("check", Fatal).refuses(rested(Rest::RolledBack), IN_FLIGHT).done("announce").reads(
        "start announce | start check
        check failed | abort: check failed | roll back
        announce done | ROLLED BACK",
        &["announce"],
    );
}

#[test]
fn no_rest_comes_while_something_is_being_undone() {
    let draft = Draft::new().compensable("disk", &[]).read_only("check", &["disk"]);
    let story = Story::of(draft).done("disk").fails("check", Fatal).refuses(rested(Rest::RolledBack), IN_FLIGHT);
    story.undone("disk").reads(
        "start disk
        disk done | start check
        check failed | abort: check failed | roll back | undo disk
        disk undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn no_rest_comes_before_an_undo_has_been_tried_again() {
    let draft = Draft::new().compensable("disk", &[]).undo_attempts(2).read_only("check", &["disk"]);
    let story = Story::of(draft).done("disk").fails("check", Fatal).undo_fails("disk");
    let story = story.refuses(rested(Rest::RolledBack), NOT_LIKE_THIS).refuses(rested(Rest::Stuck), NOT_LIKE_THIS);
    story.later(10).undone("disk").reads(
        "start disk
        disk done | start check
        check failed | abort: check failed | roll back | undo disk
        undo of disk failed, to be tried again
        undo disk
        disk undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn a_run_is_not_stuck_before_everything_has_been_tried_again() {
    let draft = Draft::new().compensable("disk", &[]).compensable("dns", &[]).undo_attempts(2);
    let story = Story::of(draft.read_only("check", &["disk", "dns"])).done("disk").done("dns").fails("check", Fatal);
    let story = story.undo_fails("disk").undo_fails("dns");
    let story = story.refuses(rested(Rest::Stuck), NOT_LIKE_THIS).refuses(rested(Rest::RolledBack), NOT_LIKE_THIS);
    story.later(10).undone("dns").reads(
        "start disk | start dns
        disk done
        dns done | start check
        check failed | abort: check failed | roll back | undo disk | undo dns
        undo of disk failed
        undo of dns failed, to be tried again
        undo dns
        dns undone | STUCK",
        &["disk: could not be undone: no luck"],
    );
}

#[test]
fn a_run_halts_at_what_halts_it() {
    let draft = Draft::new().compensable("disk", &[]).non_compensable("mail", &["disk"]).guarded();
    let at = ItemRef::new(StepIndex(0), 0);
    let elsewhere = rested(Rest::Halted { at, error: failure(Failed) });
    let story = Story::of(draft).done("disk").fails("mail", Failed).refuses(elsewhere, NOT_LIKE_THIS).guard(false);
    story.reads(
        "start disk
        disk done | start mail
        mail failed | abort: mail failed | is the subject there?
        the subject is there | HALTED at mail",
        &["disk: stands", "mail: effect unknown: no luck"],
    );
}

#[test]
fn a_run_is_not_complete_while_a_step_waits_to_be_tried_again() {
    let draft = Draft::new().compensable("disk", &[]).attempts(2);
    let story = Story::of(draft).fails("disk", Failed).refuses(rested(Rest::Completed), NOT_LIKE_THIS);
    story.later(10).done("disk").reads(
        "start disk
        disk failed, to be tried again
        try disk again
        disk done | COMPLETED",
        &[],
    );
}

#[test]
fn an_abort_lets_no_item_start() {
    let draft = Draft::new().compensable("nodes", &[]).each(1);
    let story = Story::with(draft, 2, None).cancelled().refuses(first_attempt(0, 1), NOT_ANY_MORE);
    story.done("nodes[0]").undone("nodes[0]").reads(
        "nodes has 2 items | start nodes[0]
        abort: cancelled
        nodes[0] done | roll back | undo nodes[0]
        nodes[0] undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn nothing_is_tried_in_a_run_that_rests() {
    let draft = Draft::new().forward("announce", &[]).each(1).non_compensable("mail", &[]);
    let story = Story::with(draft, 2, None).fails("mail", Failed).done("announce[0]");
    story.refuses(first_attempt(0, 1), NOT_ANY_MORE).reads(
        "announce has 2 items | start mail | start announce[0]
        mail failed | abort: mail failed
        announce[0] done | HALTED at mail",
        &["announce[0]: stands", "announce[1]: could not be finished", "mail: effect unknown: no luck"],
    );
}

/// Items that never started have not failed: no error reached the top, so the guard has nothing to say.
#[test]
fn a_cancellation_does_not_ask_for_the_subject() {
    let draft = Draft::new().compensable("nodes", &[]).each(1).guarded();
    Story::with(draft, 2, None).cancelled().done("nodes[0]").undone("nodes[0]").reads(
        "nodes has 2 items | start nodes[0]
        abort: cancelled
        nodes[0] done | roll back | undo nodes[0]
        nodes[0] undone | ROLLED BACK",
        &[],
    );
}

/// Nor has one that just got its place when the run turned out to be late.
#[test]
fn a_deadline_does_not_ask_for_the_subject() {
    let draft = Draft::new().compensable("nodes", &[]).each(1).guarded();
    Story::with(draft, 2, Some(50)).unnoticed(50).done("nodes[0]").undone("nodes[0]").reads(
        "nodes has 2 items | start nodes[0]
        nodes[0] done | abort: too late | roll back | undo nodes[0]
        nodes[0] undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn a_subject_that_vanishes_during_an_abort_is_noticed_once() {
    let draft = Draft::new().compensable("nodes", &[]).non_compensable("mail", &["nodes"]).guarded();
    let story = Story::of(draft).done("nodes").cancelled().subject_gone().ignores(Observation::SubjectGone);
    story.fails("mail", Failed).ignores(Observation::SubjectGone).undone("nodes").reads(
        "start nodes
        nodes done | start mail
        abort: cancelled
        the subject is gone
        mail failed | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &["mail"],
    );
}

#[test]
fn a_finalizer_that_has_failed_does_not_end_once_more() {
    let ended = |result: AttemptResult<()>| Observation::Finalizer { result };
    let story = Story::of(Draft::new().read_only("check", &[]).finalized()).ignores(ended(Ok(()))).done("check");
    let story = story.finalizer_fails().ignores(ended(Ok(()))).ignores(ended(Err((failure(Failed), None))));
    story.later(60_000).told().ignores(ended(Ok(()))).reads(
        "start check
        check done | COMPLETED | tell the finalizer
        the finalizer failed
        tell the finalizer
        the finalizer knows",
        &[],
    );
}

#[test]
fn an_operator_is_told_why_not() {
    let draft = Draft::new().compensable("disk", &[]).non_compensable("mail", &["disk"]).read_only("check", &["disk"]);
    let skip = |step: u32, given: bool| {
        let output = given.then(|| output(1));
        Verb::Skip { of: ItemRef::new(StepIndex(step), 0), output }
    };
    let story = Story::of(draft).forbids(Verb::Retry, NotAllowed::NotAtRest).done("disk").done("check");
    let story = story.fails("mail", Failed).forbids(skip(1, false), NotAllowed::OutputMissing);
    let story = story.forbids(skip(0, true), NotAllowed::NotFailed).operator(Verb::RollBack).undo_fails("disk");
    let story = story.forbids(skip(0, true), NotAllowed::OutputUnwanted).forbids(Verb::RollBack, NotAllowed::NotHalted);
    let story = story.forbids(skip(1, true), NotAllowed::NotFailed).skips("disk", None);
    story.forbids(Verb::Retry, NotAllowed::Ended).forbids(Verb::Abandon, NotAllowed::Ended).reads(
        "start disk
        disk done | start mail | start check
        check done
        mail failed | abort: mail failed | HALTED at mail
        operator: roll back | roll back | undo disk
        undo of disk failed | STUCK
        operator: skip | ROLLED BACK",
        &["mail"],
    );
}
