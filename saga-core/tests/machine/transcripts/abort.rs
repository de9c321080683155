//! The five rules of an abort, and the subject that is gone.

use saga_core::FailureKind::{Failed, Fatal, Rejected};

use crate::support::{Draft, Story};

#[test]
fn rule_1_no_new_step_starts_and_what_is_in_flight_is_awaited() {
    let draft = Draft::new().compensable("a", &[]).compensable("b", &[]).compensable("c", &["b"]);
    Story::of(draft).fails("a", Failed).done("b").undone("b").undone("a").reads(
        "start a | start b
        a failed | abort: a failed
        b done | roll back | undo a | undo b
        b undone
        a undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn rule_1_nothing_is_tried_again() {
    let draft = Draft::new().compensable("a", &[]).attempts(3).compensable("b", &[]);
    Story::of(draft).fails("a", Failed).fails("b", Rejected).undone("a").reads(
        "start a | start b
        a failed, to be tried again
        b failed | abort: b failed | roll back | undo a
        a undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn rule_1_the_items_of_a_fan_out_that_did_not_start_never_do() {
    let draft = Draft::new().compensable("nodes", &[]).each(2);
    let story = Story::with(draft, 4, None).done("nodes[0]").fails("nodes[1]", Rejected).done("nodes[2]");
    story.undone("nodes[0]").undone("nodes[2]").reads(
        "nodes has 4 items | start nodes[0] | start nodes[1]
        nodes[0] done | start nodes[2]
        nodes[1] failed | abort: nodes failed
        nodes[2] done | roll back | undo nodes[0] | undo nodes[2]
        nodes[0] undone
        nodes[2] undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn rule_1_a_deadline_aborts() {
    let draft = Draft::new().compensable("a", &[]).compensable("b", &["a"]);
    Story::with(draft, 0, Some(50)).later(50).done("a").undone("a").reads(
        "start a
        abort: too late
        a done | roll back | undo a
        a undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn rule_2_a_run_halts_whatever_else_failed_first() {
    let draft = Draft::new().compensable("a", &[]).compensable("b", &[]).non_compensable("c", &["b"]);
    Story::of(draft).done("b").fails("a", Failed).fails("c", Failed).reads(
        "start a | start b
        b done | start c
        a failed | abort: a failed
        c failed | HALTED at c",
        &["a: effect unknown: no luck", "b: stands", "c: effect unknown: no luck"],
    );
}

#[test]
fn rule_3_independent_steps_are_undone_together_and_dependent_ones_in_reverse() {
    let draft = Draft::new()
        .compensable("network", &[])
        .compensable("node-1", &["network"])
        .compensable("node-2", &["network"])
        .read_only("check", &["node-1", "node-2"]);
    let story = Story::of(draft).done("network").done("node-1").done("node-2").fails("check", Failed);
    story.undone("node-2").undone("node-1").undone("network").reads(
        "start network
        network done | start node-1 | start node-2
        node-1 done
        node-2 done | start check
        check failed | abort: check failed | roll back | undo node-1 | undo node-2
        node-2 undone
        node-1 undone | undo network
        network undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn rule_4_one_bad_undo_strands_no_other() {
    let draft = Draft::new()
        .compensable("network", &[])
        .compensable("node-1", &["network"])
        .undo_attempts(2)
        .compensable("node-2", &["network"])
        .compensable("dns", &[])
        .read_only("check", &["node-1", "node-2", "dns"]);
    let story = Story::of(draft).done("dns").done("network").done("node-1").done("node-2").fails("check", Failed);
    story.undo_fails("node-1").undone("node-2").undone("dns").later(10).undo_fails("node-1").reads(
        "start network | start dns
        dns done
        network done | start node-1 | start node-2
        node-1 done
        node-2 done | start check
        check failed | abort: check failed | roll back | undo node-1 | undo node-2 | undo dns
        undo of node-1 failed, to be tried again
        node-2 undone
        dns undone
        undo node-1
        undo of node-1 failed | STUCK",
        &["network: not undone: something that depends on it could not be", "node-1: could not be undone: no luck"],
    );
}

#[test]
fn rule_5_neither_a_cancellation_nor_the_deadline_interrupts_a_rollback() {
    let draft = Draft::new().compensable("a", &[]).read_only("b", &["a"]).guarded();
    let story = Story::with(draft, 0, Some(50)).done("a").fails("b", Failed).guard(false).later(100).undone("a");
    story.reads(
        "start a
        a done | start b
        b failed | abort: b failed | is the subject there?
        the subject is there | roll back | undo a

        a undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn without_its_subject_a_run_undoes_even_what_is_pinned() {
    let draft = Draft::new()
        .compensable("nodes", &[])
        .non_compensable("configure", &["nodes"])
        .read_only("check", &["configure"])
        .guarded();
    let story = Story::of(draft).done("nodes").done("configure").fails("check", Failed).guard(true).undone("nodes");
    story.reads(
        "start nodes
        nodes done | start configure
        configure done | start check
        check failed | abort: check failed | is the subject there?
        the subject is gone | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &["configure"],
    );
}

#[test]
fn without_its_subject_a_run_does_not_halt() {
    let draft = Draft::new().compensable("nodes", &[]).non_compensable("configure", &["nodes"]).guarded();
    let story = Story::of(draft).done("nodes").fails("configure", Failed).guard(true).undone("nodes");
    story.reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | is the subject there?
        the subject is gone | roll back | undo nodes
        nodes undone | ROLLED BACK",
        // Nobody knows whether it happened, so it is named.
        &["configure"],
    );
}

#[test]
fn a_wait_notices_that_the_subject_is_gone() {
    let draft = Draft::new().compensable("nodes", &[]).read_only("wait", &["nodes"]).guarded();
    Story::of(draft).done("nodes").subject_gone().fails("wait", Failed).undone("nodes").reads(
        "start nodes
        nodes done | start wait
        abort: subject gone
        wait failed | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn without_its_subject_a_committed_step_is_finished_before_what_it_was_built_on_is_undone() {
    let draft = Draft::new().compensable("nodes", &[]).forward("register", &["nodes"]).guarded();
    Story::of(draft).done("nodes").subject_gone().done("register").undone("nodes").reads(
        "start nodes
        nodes done | start register
        abort: subject gone | roll back
        register done | undo nodes
        nodes undone | ROLLED BACK",
        &["register"],
    );
}

#[test]
fn a_halted_run_leaves_nothing_of_what_changed_nothing() {
    let draft = Draft::new().compensable("disk", &[]).non_compensable("configure", &[]);
    Story::of(draft).fails("disk", Rejected).fails("configure", Fatal).reads(
        "start disk | start configure
        disk failed | abort: disk failed
        configure failed | HALTED at configure",
        &["configure: effect unknown: no luck"],
    );
}

#[test]
fn a_stuck_run_keeps_what_stands_and_names_apart_what_is_left() {
    let draft = Draft::new().non_compensable("configure", &[]).compensable("node", &[]).forward("announce", &[]);
    let story = Story::of(draft.patience(1)).done("configure").fails("announce", Failed);
    let story = story.fails("announce", Failed).done("node").undo_fails("node").keeps(&["configure"]);
    story.reads(
        "start configure | start node | start announce
        configure done
        announce failed | abort: announce failed | try announce again
        announce failed
        node done | roll back | undo node
        undo of node failed | STUCK",
        &["node: could not be undone: no luck", "announce: could not be finished: no luck"],
    );
}
