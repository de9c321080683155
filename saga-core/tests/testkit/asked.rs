//! Planted bugs that show when a probe or the guard does not answer as it should, when the subject is gone, or when the
//! run is stopped from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::{Builder, Ctx, Outcome, Payload, PollError, Probe, StepError, Undo};

use crate::world::{Cloud, around, assert_wrong, call, kit, make, names, unmake};

async fn is_made(ctx: Ctx<Cloud>, n: u32) -> Result<Probe<u32>, StepError> {
    call().await;
    Ok(if ctx.effects.stands(ctx.idempotency_key()) { Probe::Done(n + 1) } else { Probe::NotDone })
}

/// As long as the probe answers there is always an output.
#[test]
fn a_compensation_that_relies_on_the_probe() {
    async fn by_output(ctx: Ctx<Cloud>, undo: Undo<u32, u32>) -> Result<(), StepError> {
        if undo.output.is_some() {
            ctx.effects.unmake(ctx.idempotency_key());
        }
        Ok(())
    }
    let saga = around(|saga, first| saga.step("middle", first, make).probe(is_made).compensate(by_output));
    let kit = kit(&saga);
    kit.every_failure().assert();
    let report = kit.every_question();
    let when = "when `middle` fails fatally after its effect";
    for probe in ["does not know", "fails", "panics with its answer ready", "hangs", "hangs in wait 1"] {
        assert_wrong(&report, &format!("the probe of `middle` {probe}, {when}"), "leaked: testkit/middle/0\n");
    }
    // It is tried again after a crash, so it has an output in the end.
    assert!(names(&report).iter().all(|point| point.ends_with(when)), "{report}");
}

/// Whoever is stopped says what it did; this one says that it was nothing.
async fn made_in_a_wait(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
    ctx.effects.make(ctx.idempotency_key());
    let asked = AtomicBool::new(false);
    let is_up = async || Ok(asked.swap(true, Ordering::Relaxed).then_some(n));
    match ctx.poll(Duration::from_secs(1), Duration::from_secs(10), is_up).await {
        Ok(up) => Ok(up),
        Err(PollError::SubjectGone) => Err(StepError::rejected("not wanted any more")),
        Err(PollError::TimedOut(_)) => Err(StepError::rejected("it does not come up")),
        Err(other) => Err(other.into()),
    }
}

fn is_wanted(saga: &mut Builder<Cloud, u32>) {
    saga.guard(async |ctx: Ctx<Cloud>, _: u32| Ok(!ctx.has_said("gone")));
}

#[test]
fn a_wait_that_ends_with_a_lie() {
    let saga = around(|saga, first| {
        is_wanted(saga);
        saga.step("middle", first, made_in_a_wait).compensate(unmake)
    });
    let kit = kit(&saga);
    kit.every_failure().assert();
    kit.every_cancel().assert();
    let report = kit.every_question();
    assert_eq!(
        names(&report),
        ["the guard of a wait hangs once", "the guard of a wait is late once", "the guard of a wait says `gone`"]
    );
    for point in names(&report) {
        assert_wrong(&report, point, "leaked: testkit/middle/0\n");
    }
    // The same, when the world really loses it.
    let report = kit.vanish(Cloud::lose).every_question();
    assert_wrong(&report, "subject gone before `middle`", "leaked: testkit/middle/0\n");
    assert_wrong(&report, "subject gone after append 2", "leaked: testkit/middle/0\n");
    assert!(!names(&report).contains(&"subject gone before `last`"), "{report}");
}

/// It asks once, and believes that for ever.
#[test]
fn a_guard_with_a_memory() {
    let known = Arc::new(AtomicBool::new(false));
    let saga = around(|saga, first| {
        let known = Arc::clone(&known);
        saga.guard(move |ctx: Ctx<Cloud>, _: u32| {
            let there = known.swap(true, Ordering::Relaxed) || !ctx.has_said("gone");
            async move { Ok(there) }
        });
        saga.step("middle", first, make).compensate(unmake)
    });
    let kit = kit(&saga).vanish(Cloud::lose);
    let report = kit.every_question();
    let when = "when `last` fails fatally after its effect";
    let wrong = "the subject is gone, and the guard says that it is there";
    assert_wrong(&report, &format!("the guard says `gone`, {when}"), wrong);
    // Without the means to lose it the guard is made to say so, and nobody notices.
    crate::world::kit(&saga).every_question().assert();
}

/// It writes a status into what is gone, for ever.
#[test]
fn a_finalizer_that_needs_the_subject() {
    let saga = around(|saga, first| {
        is_wanted(saga);
        saga.finally(
            async |ctx: Ctx<Cloud>, _: u32, _: Outcome<Payload>| {
                if ctx.has_said("gone") { Err(StepError::failed("there is no such record")) } else { Ok(()) }
            },
        );
        saga.step("middle", first, make).compensate(unmake)
    });
    let kit = kit(&saga).vanish(Cloud::lose).patience(Duration::from_secs(3600));
    let wrong = "not at rest after 3600s of virtual time";
    let when = "when `middle` fails fatally after its effect";
    assert_wrong(&kit.clone().only("subject gone during `last`").every_question(), "subject gone during `last`", wrong);
    let point = format!("subject gone after the undo of `first`, {when}");
    assert_wrong(&kit.only(&point).every_question(), &point, wrong);
}

/// It is asked to stop, and does not say that it had begun.
#[test]
fn an_action_that_forgets_what_it_did_when_it_is_stopped() {
    async fn stops(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        ctx.effects.make(ctx.idempotency_key());
        tokio::select! {
            () = ctx.cancelled() => Err(StepError::rejected("stopped")),
            () = call() => Ok(n),
        }
    }
    let saga = around(|saga, first| saga.step("middle", first, stops).compensate(unmake));
    kit(&saga).every_failure().assert();
    let report = kit(&saga).every_deadline();
    assert_eq!(names(&report), ["deadline during `middle`"]);
    assert_wrong(&report, "deadline during `middle`", "leaked: testkit/middle/0\n");
    let point = report.failures().last().unwrap();
    assert!(point.about[0].starts_with("the deadline: "), "{report}");
    assert_wrong(&kit(&saga).every_cancel(), "cancel during `middle`", "leaked: testkit/middle/0\n");
}
