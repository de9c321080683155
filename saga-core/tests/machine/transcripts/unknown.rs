//! Error kinds, probes and crashes: what is known of an effect.

use saga_core::FailureKind::{Failed, Fatal, Rejected};
use saga_core::journal::ProbeAnswer;

use crate::support::{Draft, Story};

fn mail() -> Draft {
    Draft::new().compensable("charge", &[]).non_compensable("mail", &["charge"])
}

#[test]
fn failed_is_tried_again_as_the_policy_allows() {
    let draft = Draft::new().compensable("hotel", &[]).attempts(2);
    Story::of(draft).fails("hotel", Failed).later(9).later(1).fails("hotel", Failed).undone("hotel").reads(
        "start hotel
        hotel failed, to be tried again

        try hotel again
        hotel failed | abort: hotel failed | roll back | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn fatal_and_rejected_are_not() {
    let draft = || Draft::new().compensable("hotel", &[]).attempts(5);
    Story::of(draft()).fails("hotel", Fatal).undone("hotel").reads(
        "start hotel
        hotel failed | abort: hotel failed | roll back | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
    Story::of(draft()).fails("hotel", Rejected).reads(
        "start hotel
        hotel failed | abort: hotel failed | roll back | ROLLED BACK",
        &[],
    );
}

#[test]
fn once_unknown_an_effect_stays_unknown() {
    Story::of(mail().attempts(2)).done("charge").fails("mail", Failed).later(10).fails("mail", Rejected).reads(
        "start charge
        charge done | start mail
        mail failed, to be tried again
        try mail again
        mail failed | abort: mail failed | HALTED at mail",
        &["charge: stands", "mail: effect unknown: no luck"],
    );
}

#[test]
fn a_probe_says_that_it_happened() {
    Story::of(mail().probed()).done("charge").fails("mail", Failed).happened("mail").reads(
        "start charge
        charge done | start mail
        mail failed | did mail happen?
        mail did happen | COMPLETED",
        &[],
    );
}

#[test]
fn a_probe_says_that_it_did_not_happen_and_nothing_halts() {
    let story = Story::of(mail().probed()).done("charge").fails("mail", Fatal);
    story.answer("mail", ProbeAnswer::NotDone).undone("charge").reads(
        "start charge
        charge done | start mail
        mail failed | did mail happen?
        mail did not happen | abort: mail failed | roll back | undo charge
        charge undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn a_probe_that_cannot_tell_changes_nothing() {
    Story::of(mail().probed()).done("charge").fails("mail", Failed).answer("mail", ProbeAnswer::Unknown).reads(
        "start charge
        charge done | start mail
        mail failed | did mail happen?
        who knows if mail happened | abort: mail failed | HALTED at mail",
        &["charge: stands", "mail: effect unknown: no luck"],
    );
}

#[test]
fn a_probe_is_not_asked_where_nothing_can_have_happened() {
    Story::of(mail().probed()).done("charge").fails("mail", Rejected).undone("charge").reads(
        "start charge
        charge done | start mail
        mail failed | abort: mail failed | roll back | undo charge
        charge undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn a_probe_is_asked_before_a_retry() {
    let story = Story::of(mail().attempts(2).probed()).done("charge").fails("mail", Failed);
    story.answer("mail", ProbeAnswer::NotDone).later(10).fails("mail", Rejected).undone("charge").reads(
        "start charge
        charge done | start mail
        mail failed, to be tried again | did mail happen?
        mail did not happen
        try mail again
        mail failed | abort: mail failed | roll back | undo charge
        charge undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn a_crash_tries_again_what_was_in_flight_going_forward() {
    Story::of(mail()).crash().done("charge").crash().done("mail").reads(
        "start charge
        crash | try charge again
        charge done | start mail
        crash | try mail again
        mail done | COMPLETED",
        &[],
    );
}

#[test]
fn a_crash_asks_the_probe_first() {
    Story::of(mail().probed()).done("charge").crash().crash().happened("mail").reads(
        "start charge
        charge done | start mail
        crash | did mail happen?
        crash | did mail happen?
        mail did happen | COMPLETED",
        &[],
    );
}

#[test]
fn a_crash_while_a_cancelled_run_drains_leaves_its_effects_unknown() {
    let draft = Draft::new().compensable("hotel", &[]);
    Story::of(draft).cancelled().crash().undone("hotel").reads(
        "start hotel
        abort: cancelled
        crash | roll back | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
    Story::of(mail()).done("charge").cancelled().crash().reads(
        "start charge
        charge done | start mail
        abort: cancelled
        crash | HALTED at mail",
        &["charge: stands", "mail: effect unknown: the worker stopped while the attempt ran"],
    );
}

#[test]
fn a_crash_in_the_rollback_undoes_again_what_was_being_undone() {
    let draft = Draft::new().compensable("hotel", &[]).compensable("flight", &["hotel"]);
    Story::of(draft).done("hotel").fails("flight", Failed).crash().undone("flight").crash().undone("hotel").reads(
        "start hotel
        hotel done | start flight
        flight failed | abort: flight failed | roll back | undo flight
        crash | undo flight
        flight undone | undo hotel
        crash | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
}
