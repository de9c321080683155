//! A crash at every append, before it and after it, going forward, rolling back, and again inside of the recovery.

use std::time::Duration;

use futures::future::BoxFuture;
use saga_core::store::MemoryStore;
use saga_core::{Ctx, Outcome, Probe, Retry, Saga, StepError, Undo};

use crate::world::{World, coordinator, id, unmake};

const RETRY: Retry = Retry::fixed(9, Duration::from_secs(1));

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Completes,
    /// Its last step fails, behind a non-compensable one that took effect.
    FailsBehindPivot,
    /// Its last step fails, and there is no non-compensable one.
    Fails,
}

async fn effect(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.make(ctx.idempotency_key());
    Ok(n)
}

/// Each first attempt fails after it had its effect.
async fn flaky(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.make(ctx.idempotency_key());
    if ctx.attempt() == 1 { Err(StepError::failed("flaky")) } else { Ok(n) }
}

/// Makes a part, records it, then makes the whole.
async fn in_parts(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    let part = format!("{}/part", ctx.idempotency_key());
    ctx.make(part.clone());
    if ctx.checkpoints().is_empty() {
        ctx.checkpoint(&part).await?;
    }
    ctx.make(ctx.idempotency_key());
    Ok(n)
}

async fn undo_parts(ctx: Ctx<World>, undo: Undo<u32, u32>) -> Result<(), StepError> {
    if let Some(part) = undo.last_checkpoint::<String>()? {
        ctx.kill(&part);
    }
    ctx.kill(&format!("{}/part", ctx.idempotency_key()));
    ctx.kill(&ctx.idempotency_key());
    Ok(())
}

async fn flaky_unmake(ctx: Ctx<World>, _: Undo<u32, u32>) -> Result<(), StepError> {
    ctx.kill(&ctx.idempotency_key());
    if ctx.attempt() == 1 { Err(StepError::failed("flaky")) } else { Ok(()) }
}

/// A diamond of all that there is: `made` → (a fan-out, a probed step, a forward step) → maybe a pivot → `last`.
fn diamond(ends: Ends) -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("diamond", 1);
    let input = saga.input();
    saga.guard(async |_: Ctx<World>, _: u32| Ok(true));
    saga.finally(async |ctx: Ctx<World>, _: u32, end: Outcome<saga_core::Payload>| {
        ctx.note(format!("finally {}", class(&end)));
        Ok(())
    });
    let made = saga.step("made", input, in_parts).retry(RETRY).compensate(undo_parts);
    let list =
        saga.step("list", made, async |_: Ctx<World>, n: u32| Ok((0..n).collect::<Vec<u32>>())).nothing_to_undo();
    let each =
        saga.for_each("each", list, flaky).concurrency(2).retry(RETRY).undo_retry(RETRY).compensate(flaky_unmake);
    let probed = saga
        .step("probed", made, flaky)
        .probe(async |ctx: Ctx<World>, n: u32| {
            Ok(if ctx.exists(&ctx.idempotency_key()) { Probe::Done(n) } else { Probe::NotDone })
        })
        .compensate(unmake);
    let forward = saga.step("forward", made, effect).finish_forward(Retry::forever());
    let mut before_last = saga
        .step("join", (each, probed, forward), async |_: Ctx<World>, (each, n, _): (Vec<u32>, u32, u32)| {
            assert_eq!(each.len(), n as usize);
            Ok(n)
        })
        .nothing_to_undo();
    if ends == Ends::FailsBehindPivot {
        before_last = saga.step("pivot", before_last, flaky).retry(RETRY).non_compensable();
    }
    let last = saga
        .step("last", before_last, move |ctx: Ctx<World>, n: u32| async move {
            if ends != Ends::Completes {
                return Err(StepError::rejected("no"));
            }
            effect(ctx, n).await
        })
        .compensate(unmake);
    saga.build(last).unwrap()
}

fn class<T>(outcome: &Outcome<T>) -> String {
    match outcome {
        Outcome::Completed(_) => "completed".to_owned(),
        other => other.to_string(),
    }
}

/// Starts the run, or takes it up, and drives it to its end, or to the crash that is planned.
async fn life(store: &MemoryStore, world: &World, saga: &Saga<World, u32, u32>) -> Option<Outcome<u32>> {
    let faults = store.faults();
    let driving: BoxFuture<'_, _> = Box::pin(async {
        let coordinator = coordinator(store, world, saga).await;
        let run = coordinator.start_with(saga, 3, id("r")).await.unwrap();
        let outcome = run.outcome().await.unwrap();
        assert_eq!(coordinator.in_memory(), 0);
        assert!(coordinator.parked().is_empty());
        outcome
    });
    tokio::select! {
        biased;
        () = faults.crashed() => None,
        outcome = driving => Some(outcome),
    }
}

/// What an undisturbed run comes to, and how many appends that takes.
async fn undisturbed(saga: &Saga<World, u32, u32>) -> (String, Vec<String>, u64) {
    let (store, world) = (MemoryStore::new(), World::default());
    let outcome = life(&store, &world, saga).await.unwrap();
    (class(&outcome), world.things(), store.faults().appends())
}

async fn crash_everywhere(ends: Ends) {
    let saga = diamond(ends);
    let (class_of_end, things, appends) = undisturbed(&saga).await;
    for before in [true, false] {
        for first in 1..=appends {
            // Inside of the recovery: none (0), or after so many appends of it.
            for second in [0, 1, 2, 3, 5, 8] {
                let (store, world) = (MemoryStore::new(), World::default());
                plan(&store, before, first);
                let mut outcome = life(&store, &world, &saga).await;
                assert!(outcome.is_none(), "it crashed");
                let mut store = store;
                let mut lives = 1;
                while outcome.is_none() {
                    tokio::task::yield_now().await;
                    store = store.reopen();
                    if lives == 1 && second > 0 {
                        plan(&store, before, store.faults().appends() + second);
                    }
                    lives += 1;
                    assert!(lives <= 3);
                    outcome = life(&store, &world, &saga).await;
                }
                let told = format!("crash at {first}, then at {second}, before: {before}");
                assert_eq!(class(&outcome.unwrap()), class_of_end, "{told}");
                assert_eq!(world.things(), things, "{told}");
                assert_eq!(world.notes().last().unwrap(), &format!("finally {class_of_end}"), "{told}");
            }
        }
    }
}

fn plan(store: &MemoryStore, before: bool, k: u64) {
    if before { store.faults().crash_before_append(k) } else { store.faults().crash_after_append(k) }
}

#[tokio::test(start_paused = true)]
async fn what_these_runs_come_to_undisturbed() {
    let keys = |names: &[&str]| names.iter().map(|name| format!("r/{name}")).collect::<Vec<_>>();
    let (class, things, _) = undisturbed(&diamond(Ends::Completes)).await;
    assert_eq!(class, "completed");
    let all = ["each/0", "each/1", "each/2", "forward/0", "last/0", "made/0", "made/0/part", "probed/0"];
    assert_eq!(things, keys(&all));
    let (class, things, _) = undisturbed(&diamond(Ends::FailsBehindPivot)).await;
    // The pivot was built on all of it.
    assert_eq!(
        class,
        "rolled back: step `last` failed: no; \
         kept: `made`, `each[0]`, `each[1]`, `each[2]`, `probed`, `forward`, `pivot`"
    );
    assert_eq!(things.len(), 8);
    let (class, things, _) = undisturbed(&diamond(Ends::Fails)).await;
    assert_eq!(class, "rolled back: step `last` failed: no; kept: `made`, `forward`");
    assert_eq!(things, keys(&["forward/0", "made/0", "made/0/part"]));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_every_append_of_a_run_that_completes() {
    crash_everywhere(Ends::Completes).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_every_append_of_a_run_that_rolls_back() {
    crash_everywhere(Ends::Fails).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_every_append_of_a_run_that_fails_behind_a_pivot() {
    crash_everywhere(Ends::FailsBehindPivot).await;
}
