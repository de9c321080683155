//! Operators, and the finalizer.

use saga_core::FailureKind::{Failed, Fatal};
use saga_core::journal::{ProbeAnswer, Verb};

use crate::support::{Draft, Story, output};

fn halted(draft: Draft) -> Story {
    Story::of(draft).done("nodes").fails("configure", Fatal)
}

fn configure() -> Draft {
    Draft::new().compensable("nodes", &[]).non_compensable("configure", &["nodes"])
}

const HALTED: &str = "start nodes
    nodes done | start configure
    configure failed | abort: configure failed | HALTED at configure\n";

#[test]
fn a_halted_run_is_retried_and_goes_forward() {
    let story = halted(configure()).operator(Verb::Retry).done("configure");
    story.reads(&format!("{HALTED}operator: retry | try configure again\nconfigure done | COMPLETED"), &[]);
}

#[test]
fn a_halted_run_is_retried_and_halts_again() {
    let story = halted(configure()).operator(Verb::Retry).fails("configure", Failed);
    story.reads(
        &format!(
            "{HALTED}operator: retry | try configure again
            configure failed | abort: configure failed | HALTED at configure"
        ),
        &["nodes: stands", "configure: effect unknown: no luck"],
    );
}

#[test]
fn a_step_that_was_settled_by_hand_is_skipped() {
    let story = halted(configure().read_only("check", &["configure"])).skips("configure", Some(output(1)));
    story.done("check").reads(&format!("{HALTED}operator: skip | start check\ncheck done | COMPLETED"), &[]);
}

#[test]
fn a_halted_run_is_rolled_back_on_purpose() {
    halted(configure()).operator(Verb::RollBack).undone("nodes").reads(
        &format!("{HALTED}operator: roll back | roll back | undo nodes\nnodes undone | ROLLED BACK"),
        &["configure"],
    );
}

#[test]
fn a_halted_run_is_abandoned() {
    halted(configure()).operator(Verb::Abandon).reads(
        &format!("{HALTED}operator: abandon | ABANDONED"),
        &["nodes: stands", "configure: effect unknown: no luck"],
    );
}

#[test]
fn a_step_with_a_probe_is_asked_for_before_it_is_retried() {
    let story = Story::of(configure().probed()).done("nodes").fails("configure", Failed);
    let story = story.answer("configure", ProbeAnswer::Unknown).operator(Verb::Retry).happened("configure");
    story.reads(
        "start nodes
        nodes done | start configure
        configure failed | did configure happen?
        who knows if configure happened | abort: configure failed | HALTED at configure
        operator: retry | did configure happen?
        configure did happen | COMPLETED",
        &[],
    );
}

fn stuck() -> Story {
    let draft = Draft::new().compensable("disk", &[]).compensable("node", &["disk"]).read_only("check", &["node"]);
    Story::of(draft).done("disk").done("node").fails("check", Failed).undo_fails("node")
}

const STUCK: &str = "start disk
    disk done | start node
    node done | start check
    check failed | abort: check failed | roll back | undo node
    undo of node failed | STUCK\n";

#[test]
fn a_stuck_run_is_retried_and_goes_on_with_its_rollback() {
    stuck()
        .operator(Verb::Retry)
        .undone("node")
        .undone("disk")
        .reads(&format!("{STUCK}operator: retry | undo node\nnode undone | undo disk\ndisk undone | ROLLED BACK"), &[]);
}

#[test]
fn an_undo_that_was_done_by_hand_is_skipped() {
    stuck()
        .skips("node", None)
        .undone("disk")
        .reads(&format!("{STUCK}operator: skip | undo disk\ndisk undone | ROLLED BACK"), &[]);
}

#[test]
fn a_stuck_run_is_abandoned_and_names_what_is_left() {
    stuck().operator(Verb::Abandon).reads(
        &format!("{STUCK}operator: abandon | ABANDONED"),
        &["disk: not undone: something that depends on it could not be", "node: could not be undone: no luck"],
    );
}

#[test]
fn many_stuck_items_are_retried_in_their_turn() {
    let draft = Draft::new().compensable("nodes", &[]).each(1).read_only("check", &["nodes"]);
    let story = Story::with(draft, 2, None).done("nodes[0]").done("nodes[1]").fails("check", Failed);
    let story = story.undo_fails("nodes[0]").undo_fails("nodes[1]").operator(Verb::Retry);
    story.undone("nodes[0]").undone("nodes[1]").reads(
        "nodes has 2 items | start nodes[0]
        nodes[0] done | start nodes[1]
        nodes[1] done | start check
        check failed | abort: check failed | roll back | undo nodes[0]
        undo of nodes[0] failed | undo nodes[1]
        undo of nodes[1] failed | STUCK
        operator: retry | undo nodes[0]
        nodes[0] undone | undo nodes[1]
        nodes[1] undone | ROLLED BACK",
        &[],
    );
}

#[test]
fn the_finalizer_is_told_last_and_again_when_an_operator_moved_the_run_on() {
    let story = halted(configure().finalized()).told().operator(Verb::Retry).done("configure").crash().told();
    story.reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | HALTED at configure | tell the finalizer
        the finalizer knows
        operator: retry | try configure again
        configure done | COMPLETED | tell the finalizer
        crash | tell the finalizer
        the finalizer knows",
        &[],
    );
}

#[test]
fn a_retry_starts_with_the_ordinary_policy_again() {
    let draft = Draft::new().forward("announce", &[]).patience(1).non_compensable("configure", &[]);
    let story = Story::of(draft).fails("announce", Failed).fails("announce", Failed).fails("configure", Failed);
    let story = story.operator(Verb::Retry).fails("announce", Failed).done("configure").done("announce");
    story.reads(
        "start announce | start configure
        announce failed | abort: announce failed | try announce again
        announce failed
        configure failed | HALTED at configure
        operator: retry | try announce again | try configure again
        announce failed | abort: announce failed | try announce again
        configure done | roll back
        announce done | ROLLED BACK",
        &["announce", "configure"],
    );
}

#[test]
fn the_guard_is_asked_again_after_a_retry() {
    let story = halted(configure().guarded()).guard(false).operator(Verb::Retry).fails("configure", Failed);
    story.guard(true).undone("nodes").reads(
        "start nodes
        nodes done | start configure
        configure failed | abort: configure failed | is the subject there?
        the subject is there | HALTED at configure
        operator: retry | try configure again
        configure failed | abort: configure failed | is the subject there?
        the subject is gone | roll back | undo nodes
        nodes undone | ROLLED BACK",
        &["configure"],
    );
}

#[test]
fn probes_are_asked_at_once_but_actions_take_their_turn() {
    let draft = Draft::new().forward("terminate", &[]).patience(1).each(1).probed();
    let mut story = Story::with(draft, 2, None);
    for item in ["terminate[0]", "terminate[0]", "terminate[1]"] {
        story = story.fails(item, Failed).answer(item, ProbeAnswer::Unknown);
    }
    let story = story.fails("terminate[1]", Failed).answer("terminate[1]", ProbeAnswer::Unknown).operator(Verb::Retry);
    let story = story.answer("terminate[0]", ProbeAnswer::NotDone).answer("terminate[1]", ProbeAnswer::NotDone);
    story.done("terminate[1]").done("terminate[0]").reads(
        "terminate has 2 items | start terminate[0]
        terminate[0] failed | did terminate[0] happen?
        who knows if terminate[0] happened | abort: terminate failed | try terminate[0] again | roll back
        terminate[0] failed | did terminate[0] happen?
        who knows if terminate[0] happened | start terminate[1]
        terminate[1] failed | did terminate[1] happen?
        who knows if terminate[1] happened | try terminate[1] again
        terminate[1] failed | did terminate[1] happen?
        who knows if terminate[1] happened | STUCK
        operator: retry | did terminate[0] happen? | did terminate[1] happen?
        terminate[0] did not happen
        terminate[1] did not happen | try terminate[1] again
        terminate[1] done | try terminate[0] again
        terminate[0] done | ROLLED BACK",
        &["terminate[0]", "terminate[1]"],
    );
}

#[test]
fn what_waits_to_be_retried_is_not_forgotten_by_an_abort() {
    let draft = |concurrency| Draft::new().non_compensable("configure", &[]).each(concurrency);
    let story = Story::with(draft(2), 2, None).fails("configure[0]", Fatal).fails("configure[1]", Fatal);
    let story = story.upgraded(draft(1)).operator(Verb::Retry).cancelled().done("configure[0]");
    story.reads(
        "configure has 2 items | start configure[0] | start configure[1]
        configure[0] failed | abort: configure failed
        configure[1] failed | HALTED at configure[0]
        crash
        operator: retry | try configure[0] again
        abort: cancelled
        configure[0] done | HALTED at configure[1]",
        &["configure[0]: stands", "configure[1]: effect unknown: no luck"],
    );
}
