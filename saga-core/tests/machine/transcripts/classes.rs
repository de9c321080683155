//! The recovery table: what becomes of a step of each class when a later step fails, and when it fails itself.

use saga_core::FailureKind::{Failed, Fatal, Rejected};

use crate::support::{Draft, Story};

#[test]
fn a_run_that_goes_well() {
    let draft =
        Draft::new().compensable("hotel", &[]).compensable("flight", &[]).read_only("mail", &["hotel", "flight"]);
    Story::of(draft).done("hotel").done("flight").done("mail").reads(
        "start hotel | start flight
        hotel done
        flight done | start mail
        mail done | COMPLETED",
        &[],
    );
}

#[test]
fn compensable_a_later_step_fails_and_it_is_undone() {
    let draft = Draft::new().compensable("hotel", &[]).compensable("flight", &["hotel"]).read_only("mail", &["flight"]);
    Story::of(draft).done("hotel").done("flight").fails("mail", Failed).undone("flight").undone("hotel").reads(
        "start hotel
        hotel done | start flight
        flight done | start mail
        mail failed | abort: mail failed | roll back | undo flight
        flight undone | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn compensable_it_fails_and_is_undone_too() {
    let draft = Draft::new().compensable("hotel", &[]).compensable("flight", &["hotel"]);
    Story::of(draft).done("hotel").fails("flight", Fatal).undone("flight").undone("hotel").reads(
        "start hotel
        hotel done | start flight
        flight failed | abort: flight failed | roll back | undo flight
        flight undone | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn compensable_it_fails_without_effect_and_is_left_alone() {
    let draft = Draft::new().compensable("hotel", &[]).compensable("flight", &["hotel"]);
    Story::of(draft).done("hotel").fails("flight", Rejected).undone("hotel").reads(
        "start hotel
        hotel done | start flight
        flight failed | abort: flight failed | roll back | undo hotel
        hotel undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn read_only_it_fails_and_the_saga_rolls_back() {
    let draft = Draft::new().compensable("nodes", &[]).read_only("configure", &["nodes"]);
    Story::of(draft).done("nodes").fails("configure", Failed).undone("nodes").reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn non_compensable_a_later_step_fails_and_it_stands_with_all_that_it_was_built_on() {
    let draft = Draft::new()
        .compensable("nodes", &[])
        .compensable("floating-ip", &[])
        .non_compensable("configure", &["nodes"])
        .read_only("check", &["configure", "floating-ip"]);
    let story = Story::of(draft).done("nodes").done("floating-ip").done("configure").fails("check", Failed);
    story.undone("floating-ip").reads(
        "start nodes | start floating-ip
        nodes done | start configure
        floating-ip done
        configure done | start check
        check failed | abort: check failed | roll back | undo floating-ip
        floating-ip undone | ROLLED BACK",
        &["nodes", "configure"],
    );
}

#[test]
fn non_compensable_it_fails_and_the_saga_halts() {
    let draft = Draft::new().compensable("nodes", &[]).non_compensable("configure", &["nodes"]);
    Story::of(draft).done("nodes").fails("configure", Failed).reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | HALTED at configure",
        &["nodes: stands", "configure: effect unknown: no luck"],
    );
}

#[test]
fn non_compensable_it_fails_without_effect_and_the_saga_rolls_back() {
    let draft = Draft::new().compensable("nodes", &[]).non_compensable("configure", &["nodes"]);
    Story::of(draft).done("nodes").fails("configure", Rejected).undone("nodes").reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn forward_a_later_step_fails_and_it_is_finished() {
    let draft = Draft::new()
        .non_compensable("decommission", &[])
        .forward("terminate", &["decommission"])
        .compensable("create", &["decommission"]);
    let story = Story::of(draft).done("decommission").fails("create", Failed).undone("create").done("terminate");
    story.reads(
        "start decommission
        decommission done | start terminate | start create
        create failed | abort: create failed | roll back | undo create
        create undone
        terminate done | ROLLED BACK",
        &["decommission", "terminate"],
    );
}

#[test]
fn forward_it_fails_and_is_retried_patiently_while_the_rest_rolls_back() {
    let draft = Draft::new()
        .non_compensable("decommission", &[])
        .forward("terminate", &["decommission"])
        .compensable("create", &["decommission"]);
    let story = Story::of(draft).done("decommission").done("create").fails("terminate", Fatal);
    let story = story.fails("terminate", Failed).undone("create").later(10).done("terminate");
    story.reads(
        "start decommission
        decommission done | start terminate | start create
        create done
        terminate failed | abort: terminate failed | try terminate again | roll back | undo create
        terminate failed, to be tried again
        create undone
        try terminate again
        terminate done | ROLLED BACK",
        &["decommission", "terminate"],
    );
}

#[test]
fn forward_it_is_committed_by_an_effect_and_starts_in_the_rollback() {
    let draft = Draft::new()
        .non_compensable("decommission", &[])
        .compensable("create", &[])
        .forward("terminate", &["decommission"])
        .forward("forget", &["terminate"]);
    let story = Story::of(draft).fails("create", Failed).done("decommission").undone("create").done("terminate");
    story.done("forget").reads(
        "start decommission | start create
        create failed | abort: create failed
        decommission done | roll back | start terminate | undo create
        create undone
        terminate done | start forget
        forget done | ROLLED BACK",
        &["decommission", "terminate", "forget"],
    );
}

#[test]
fn forward_it_is_not_committed_and_never_starts() {
    let draft = Draft::new().compensable("create", &[]).forward("announce", &["create"]);
    Story::of(draft).cancelled().done("create").undone("create").reads(
        "start create
        abort: cancelled
        create done | roll back | undo create
        create undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn forward_it_cannot_be_finished_and_the_run_is_stuck() {
    let draft = Draft::new()
        .compensable("create", &[])
        .forward("terminate", &["create"])
        .patience(1)
        .forward("forget", &["terminate"]);
    let story = Story::of(draft).done("create").fails("terminate", Failed).fails("terminate", Failed);
    story.reads(
        "start create
        create done | start terminate
        terminate failed | abort: terminate failed | try terminate again | roll back
        terminate failed | STUCK",
        &["terminate: could not be finished: no luck"],
    );
}
