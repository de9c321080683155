//! Planted bugs that show when a run rests, and an operator moves it on.

use std::time::Duration;

use saga_core::testkit::Kit;
use saga_core::{Builder, Ctx, Outcome, Payload, Retry, Saga, StepError, Undo};

use crate::world::{Cloud, assert_wrong, call, kit, make, names, unmake};

/// `first`, and then a pivot.
fn pivoting(finally: impl FnOnce(&mut Builder<Cloud, u32>)) -> Saga<Cloud, u32, u32> {
    let mut saga = Saga::<Cloud, u32>::builder("pivoting", 1);
    let input = saga.input();
    let first = saga.step("first", input, make).compensate(unmake);
    let pivot = saga.step("pivot", first, make).non_compensable();
    let last = saga.step("last", pivot, make).compensate(unmake);
    finally(&mut saga);
    saga.build(last).unwrap()
}

fn kind<Out>(outcome: &Outcome<Out>) -> &'static str {
    match outcome {
        Outcome::Completed(_) => "completed",
        Outcome::RolledBack(_) => "rolled back",
        Outcome::Halted(_) => "halted",
        Outcome::Stuck(_) => "stuck",
        Outcome::Abandoned(_) => "abandoned",
    }
}

/// It is told again whenever an operator has moved the run on, and takes that for a repetition.
#[test]
fn a_finalizer_that_speaks_only_once() {
    let saga = pivoting(|saga| {
        saga.finally(async |ctx: Ctx<Cloud>, _: u32, outcome: Outcome<Payload>| {
            if ctx.say("told") {
                ctx.say(kind(&outcome));
            }
            Ok(())
        });
    });
    let kit = Kit::new(&saga, || 3, Cloud::default).check(|cloud: &Cloud, outcome: &Outcome<u32>| {
        assert!(cloud.has_said(kind(outcome)), "the status is not {}", kind(outcome));
    });
    kit.every_failure().assert();
    kit.every_crash().assert();
    let report = kit.every_rest();
    let after = "when `pivot` fails fatally after its effect";
    assert_wrong(&report, &format!("retry of `pivot`, {after}"), "the status is not completed");
    assert_wrong(&report, &format!("skip of `pivot`, {after}"), "the status is not completed");
    assert_wrong(&report, &format!("abandon at `pivot`, {after}"), "the status is not abandoned");
    let before = "when `pivot` fails fatally before its effect";
    assert_wrong(&report, &format!("roll back at `pivot`, {before}"), "the status is not rolled back");
    assert!(!names(&report).iter().any(|point| point.contains("in vain")), "{report}");
}

/// A lock is to be held for as long as the run holds its key: as long as somebody may move it on.
#[test]
fn a_lock_that_is_released_at_rest() {
    let saga = pivoting(|saga| {
        saga.finally(async |ctx: Ctx<Cloud>, _: u32, outcome: Outcome<Payload>| {
            if !matches!(outcome, Outcome::Stuck(_)) {
                ctx.say("released");
            }
            Ok(())
        });
    });
    let kit = Kit::new(&saga, || 3, Cloud::default).check(|cloud: &Cloud, outcome: &Outcome<u32>| {
        assert_eq!(cloud.has_said("released"), !outcome.is_resting(), "the lock, when {outcome}");
    });
    let report = kit.every_rest();
    for ask in ["retry of", "skip of", "abandon at"] {
        let point = format!("{ask} `pivot`, when `pivot` fails fatally after its effect");
        assert_wrong(&report, &point, "where it rests: assertion `left == right` failed: the lock, when halted");
    }
    assert!(names(&report).iter().all(|point| point.contains("`pivot`")), "only where it halts: {report}");
}

/// Nobody has thought of it.
#[test]
fn a_finalizer_that_does_not_know_that_runs_are_given_up() {
    let saga = pivoting(|saga| {
        saga.finally(async |_: Ctx<Cloud>, _: u32, outcome: Outcome<Payload>| match outcome {
            Outcome::Abandoned(_) => Err(StepError::fatal("impossible")),
            _ => Ok(()),
        });
    });
    let point = "abandon at `pivot`, when `pivot` fails fatally after its effect";
    let patient = kit(&saga).only(point).patience(Duration::from_secs(3600));
    assert_wrong(&patient.every_rest(), point, "not at rest after 3600s of virtual time");
}

/// What could not be undone is undone by hand, or on a second try: it need not be there any more.
#[test]
fn an_undo_that_cannot_be_tried_again() {
    async fn strict(ctx: Ctx<Cloud>, _: Undo<u32, u32>) -> Result<(), StepError> {
        call().await;
        match ctx.effects.unmake(ctx.idempotency_key()) {
            0 => Err(StepError::fatal("it is not there")),
            _ => Ok(()),
        }
    }
    let mut saga = Saga::<Cloud, u32>::builder("strict", 1);
    let input = saga.input();
    let first = saga.step("first", input, make).compensate(strict);
    let last = saga.step("last", first, async |_: Ctx<Cloud>, n: u32| Ok(n)).nothing_to_undo();
    let saga = saga.build(last).unwrap();
    let report = kit(&saga).every_rest();
    let when = "when `last` fails fatally after its effect and the undo of `first` fails fatally";
    let point = format!("retry of `first`, {when} after its effect each time");
    assert_wrong(&report, &point, "moved on from where it rests (stuck: ");
    assert!(!names(&report).contains(&format!("retry of `first`, {when} before its effect each time").as_str()));
    assert!(!names(&report).contains(&format!("skip of `first`, {when} after its effect each time").as_str()));
}

/// A forward step that nobody can finish rests too; an operator's retry finishes it.
#[test]
fn a_forward_step_that_makes_another_one_when_it_is_finished() {
    async fn again(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        ctx.effects.add(ctx.idempotency_key());
        Ok(n)
    }
    let mut saga = Saga::<Cloud, u32>::builder("forward", 1);
    let input = saga.input();
    let first = saga.step("first", input, make).compensate(unmake);
    let forward = saga.step("forward", first, again).finish_forward(Retry::fixed(2, Duration::from_secs(60)));
    let saga = saga.build(forward).unwrap();
    let report = kit(&saga).every_rest();
    let when = "when `forward` fails fatally after its effect each time";
    assert_wrong(&report, &format!("retry of `forward`, {when}"), "there more than once: testkit/forward/0\n");
    let before = "when `forward` fails fatally before its effect each time";
    assert!(!names(&report).contains(&format!("retry of `forward`, {before}").as_str()), "{report}");
}
