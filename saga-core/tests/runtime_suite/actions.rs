//! What a user's code may do to a run: fail at the same moment, panic, hang, come too late.

use std::time::Duration;

use saga_core::store::MemoryStore;
use saga_core::{Cause, Ctx, FailureOrigin, Left, Outcome, Payload, Probe, Retry, Saga, StepError, Undo};

use crate::world::{World, ada, coordinator, make, rolled_back, unmake};

#[tokio::test(start_paused = true)]
async fn two_steps_that_fail_at_the_same_moment_are_one_abort() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("both", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let fail = async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
        ctx.make(ctx.idempotency_key());
        ctx.raised("now").await;
        Err(StepError::failed("at once"))
    };
    let b = saga.step("b", a, fail).compensate(unmake);
    let c = saga.step("c", a, fail).compensate(unmake);
    let d = saga.step("d", (b, c), async |_: Ctx<World>, _: (u32, u32)| Ok(())).nothing_to_undo();
    let saga = saga.build(d).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    tokio::task::yield_now().await;
    world.raise("now");
    let end = rolled_back(run.outcome().await.unwrap());
    assert!(matches!(end.cause, Cause::StepFailed { .. }));
    assert!(world.things().is_empty(), "both were undone, and what was before them");
    assert_eq!(world.notes().len(), 4);
    assert_eq!(world.notes().last().unwrap(), "undo a");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_compensation_leaves_its_step_and_no_other() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("undo-panics", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga
        .step("b", a, make)
        .compensate(async |_: Ctx<World>, _: Undo<u32, u32>| -> Result<(), StepError> { panic!("cannot undo") });
    let c = saga.step("c", a, make).compensate(unmake);
    let d = saga
        .step("d", (b, c), async |_: Ctx<World>, _: (u32, u32)| -> Result<(), StepError> {
            Err(StepError::rejected("no"))
        })
        .nothing_to_undo();
    let saga = saga.build(d).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let Outcome::Stuck(end) = run.outcome().await.unwrap() else { panic!("not stuck") };
    let left: Vec<_> = end.residue.iter().map(|left| left.place.to_string()).collect();
    assert_eq!(left, ["a", "b"], "c was undone, a is below what could not be");
    let Left::UndoFailed { error } = &end.residue[1].why else { panic!("{}", end.residue[1].why) };
    assert_eq!((error.origin, error.message.as_str()), (FailureOrigin::Panicked, "panicked: cannot undo"));
    assert_eq!(world.count("undo c"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_hangs_or_fails_cannot_tell() {
    for how in 0..3 {
        let (store, world) = (MemoryStore::new(), World::default());
        let mut saga = Saga::<World, u32>::builder("probe", 1);
        let input = saga.input();
        let a = saga
            .step("a", input, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::failed("eh")) })
            .probe(move |_: Ctx<World>, _: u32| async move {
                match how {
                    0 => panic!("no idea"),
                    1 => std::future::pending().await,
                    _ => Err(StepError::failed("no idea")),
                }
            })
            .non_compensable();
        let saga = saga.build(a).unwrap();
        let coordinator = coordinator(&store, &world, &saga).await;
        let run = coordinator.start(&saga, 1).await.unwrap();
        assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_panics_hangs_or_fails_is_asked_again() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("guarded", 1);
    let input = saga.input();
    saga.guard(async |ctx: Ctx<World>, _: u32| {
        ctx.note("asked");
        match ctx.count("asked") {
            1 => panic!("no idea"),
            2 => std::future::pending().await,
            3 => Err(StepError::failed("no idea")),
            _ => Ok(false),
        }
    });
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga
        .step("b", a, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::fatal("404")) })
        .non_compensable();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::SubjectGone, "only a certain no counts, whatever error surfaced");
    assert!(world.things().is_empty(), "and nothing is protected any more");
    assert_eq!(world.count("asked"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_is_told_until_it_succeeds_and_last() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("finalized", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    saga.finally(async |ctx: Ctx<World>, _: u32, end: Outcome<Payload>| {
        ctx.note(format!("told: {end}"));
        ctx.note("told");
        ctx.raise("told");
        match ctx.count("told") {
            1 => Err(StepError::failed("not now")),
            2 => Err(StepError::rejected("not now either")),
            3 => panic!("oh"),
            _ => Ok(()),
        }
    });
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let options = saga_core::StartOptions::new().key("k".parse().unwrap());
    let run = coordinator.start_with(&saga, 1, options).await.unwrap();
    world.raised("told").await;
    assert_eq!(coordinator.holder(&"k".parse().unwrap()).await.unwrap().as_ref(), Some(run.id()));
    run.cancel(ada()).await.unwrap();
    assert!(run.outcome().await.unwrap().is_completed(), "it is too late to cancel what is done");
    assert_eq!((world.count("told"), world.count("told: completed")), (4, 4));
    assert_eq!(coordinator.holder(&"k".parse().unwrap()).await.unwrap(), None);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_drop_is_a_failure_of_its_step() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("bomb", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |_: Ctx<World>, n: u32| {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
            Ok(n)
        })
        .timeout(Duration::from_secs(1))
        .compensate(unmake);
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    let Cause::StepFailed { error, .. } = end.cause else { panic!("{}", end.cause) };
    assert_eq!(error.origin, FailureOrigin::Panicked);
    // And where the whole run is stopped in the middle, nobody is kept waiting.
    let other = coordinator.start(&saga, 1).await.unwrap();
    tokio::task::yield_now().await;
    drop(coordinator);
    assert!(matches!(other.outcome().await, Err(saga_core::OutcomeError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_comes_after_its_attempt_is_refused() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("late", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, n: u32| {
            if ctx.attempt() == 1 {
                let late = ctx.clone();
                tokio::spawn(async move {
                    late.raised("second").await;
                    let refused = late.checkpoint("late").await.is_err();
                    late.note(format!("refused {refused}"));
                    late.raise("tried");
                });
                return Err(StepError::failed("once more"));
            }
            ctx.raise("second");
            ctx.raised("tried").await;
            assert!(ctx.checkpoints().is_empty());
            ctx.checkpoint("in time").await?;
            Ok(n)
        })
        .retry(Retry::fixed(2, Duration::ZERO))
        .compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
            ctx.note(format!("{:?}", undo.checkpoints));
            Ok(())
        });
    let b = saga
        .step("b", a, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::fatal("undo it")) })
        .nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.notes(), ["refused true", "[\"in time\"]"]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_a_timeout_cut_short_is_kept_if_it_was_asked_for() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("cut", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
            // Asked for, but given up before it is durable.
            let asked = tokio::time::timeout(Duration::ZERO, ctx.checkpoint("made"));
            let _ = asked.await;
            Err(StepError::failed("gave up"))
        })
        .compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
            ctx.note(format!("{:?}", undo.checkpoints));
            Ok(())
        });
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.notes(), ["[\"made\"]"], "the compensation hears of it");
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_times_out_is_tried_again() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("slow-undo", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, make)
        .undo_timeout(Duration::from_secs(5))
        .undo_retry(Retry::fixed(3, Duration::from_secs(1)))
        .compensate(async |ctx: Ctx<World>, _: Undo<u32, u32>| {
            ctx.note("undo");
            if ctx.count("undo") < 3 {
                std::future::pending::<()>().await;
            }
            ctx.kill(&ctx.idempotency_key());
            Ok(())
        });
    let b = saga
        .step("b", a, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::fatal("no")) })
        .nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.count("undo"), 3);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_probe_asked_during_an_abort_may_wait() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("probed", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
            ctx.raise("began");
            ctx.cancelled().await;
            Err(StepError::failed("cancelled in the middle"))
        })
        .probe(async |ctx: Ctx<World>, _: u32| {
            let second = Duration::from_secs(1);
            let mut asked = 0;
            ctx.poll(second, 60 * second, || {
                asked += 1;
                std::future::ready(Ok((asked > 3).then_some(Probe::NotDone)))
            })
            .await
            .map_err(StepError::from)
        })
        .non_compensable();
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("began").await;
    run.cancel(ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
}
