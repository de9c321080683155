//! A saga with everything in it, that is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::testkit::Kind;
use saga_core::{Ctx, Outcome, Payload, Probe, Retry, Saga, StepError, Undo};

use crate::world::{Cloud, call, kit, make, unmake};

/// Makes a part, records it, then makes the whole.
async fn in_parts(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
    let part = format!("{}/part", ctx.idempotency_key());
    ctx.effects.make(&part);
    if ctx.checkpoints().is_empty() {
        ctx.checkpoint(&part).await?;
    }
    make(ctx, n).await
}

async fn undo_parts(ctx: Ctx<Cloud>, undo: Undo<u32, u32>) -> Result<(), StepError> {
    if let Some(part) = undo.last_checkpoint::<String>()? {
        ctx.effects.unmake(part);
    }
    ctx.effects.unmake(format!("{}/part", ctx.idempotency_key()));
    unmake(ctx, undo).await
}

async fn is_made(ctx: Ctx<Cloud>, n: u32) -> Result<Probe<u32>, StepError> {
    call().await;
    Ok(if ctx.effects.stands(ctx.idempotency_key()) { Probe::Done(n + 1) } else { Probe::NotDone })
}

/// Makes a thing, and waits until it is up.
async fn until_up(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
    let made = make(ctx.clone(), n).await?;
    let asked = AtomicBool::new(false);
    let is_up = async || Ok(asked.swap(true, Ordering::Relaxed).then_some(made));
    Ok(ctx.poll(Duration::from_secs(1), Duration::from_secs(60), is_up).await?)
}

/// Ten steps: `base` → `list` → `each`, and `left`, `probed`, `forward` beside them → `join` → `pivot` → `sign` → `last`.
fn ten_steps() -> Saga<Cloud, u32, u32> {
    let limit = Duration::from_secs(60);
    let mut saga = Saga::<Cloud, u32>::builder("ten", 1);
    let input = saga.input();
    let base = saga.step("base", input, in_parts).retry(Retry::exponential(3)).compensate(undo_parts);
    let list = saga.step("list", base, async |_: Ctx<Cloud>, _: u32| Ok(vec![1, 2, 3])).nothing_to_undo();
    let each = saga.for_each("each", list, make).concurrency(2).timeout(limit).compensate(unmake);
    let left = saga.step("left", base, until_up).timeout(limit).retry(Retry::fixed(2, limit)).compensate(unmake);
    let probed = saga.step("probed", base, make).probe(is_made).compensate(unmake);
    let forward = saga.step("forward", base, make).finish_forward(Retry::fixed(3, limit));
    let join = saga
        .step(
            "join",
            (each, left, probed, forward),
            async |_: Ctx<Cloud>, (each, n, _, _): (Vec<u32>, u32, u32, u32)| {
                call().await;
                Ok(n + u32::try_from(each.len())?)
            },
        )
        .nothing_to_undo();
    let pivot = saga.step("pivot", join, make).probe(is_made).non_compensable();
    let sign = saga.step("sign", pivot, make).retry(Retry::forever()).finish_forward(Retry::forever());
    let last = saga.step("last", sign, make).compensate(unmake);
    saga.guard(async |ctx: Ctx<Cloud>, _: u32| Ok(!ctx.has_said("gone")));
    saga.finally(async |ctx: Ctx<Cloud>, _: u32, _: Outcome<Payload>| {
        call().await;
        ctx.say("finally");
        Ok(())
    });
    saga.build(last).unwrap()
}

#[test]
fn a_sound_saga_of_ten_steps_passes() {
    let saga = ten_steps();
    let sound = kit(&saga).vanish(Cloud::lose).check(|cloud: &Cloud, outcome| {
        assert!(cloud.has_said("finally"));
        cloud.effects.agree_with(outcome)
    });
    let report = sound.everything();
    println!("{report}");
    report.assert();
    let least = [
        (Kind::Failure, 250),
        (Kind::Question, 300),
        (Kind::Crash, 1000),
        (Kind::Repeat, 20),
        (Kind::Cancel, 300),
        (Kind::Deadline, 100),
        (Kind::Rest, 300),
    ];
    for (kind, least) in least {
        assert!(report.points(kind) >= least, "{report}");
    }
}

#[test]
fn two_failures_at_once_in_another_order() {
    let saga = ten_steps();
    let report = kit(&saga).seed(7).failures_at_once(2).every_failure();
    report.assert();
    assert!(report.points(Kind::Failure) > kit(&saga).every_failure().points(Kind::Failure));
}

#[tokio::test]
async fn it_can_be_called_within_a_runtime() {
    let mut saga = Saga::<Cloud, u32>::builder("one", 1);
    let input = saga.input();
    let made = saga.step("made", input, make).compensate(unmake);
    kit(&saga.build(made).unwrap()).thorough().everything().assert();
}
