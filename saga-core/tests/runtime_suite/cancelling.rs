//! Cancellation and deadlines.

use std::time::Duration;

use saga_core::store::MemoryStore;
use saga_core::{CancelError, Cause, Coordinator, Ctx, Outcome, Retry, Saga, StartOptions, StepError, Undo};

use crate::world::{World, ada, chain, coordinator, gate, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_turn_is_cancelled_at_once() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator =
        Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(1).start().await.unwrap();
    let first = coordinator.start(&saga, 1).await.unwrap();
    let queued = coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    queued.cancel(ada()).await.unwrap();
    queued.cancel(ada()).await.unwrap();
    world.raise("a may end");
    assert_eq!(first.outcome().await.unwrap(), Outcome::Completed(3));
    let end = rolled_back(queued.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::Cancelled { by: ada() });
    assert_eq!(world.notes(), ["do a", "do b"], "nothing of it was begun");
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_cancelled_at_every_append() {
    // Four steps are five appends.
    for at in 1..=5 {
        let (store, world, saga) = (Wrapped::default(), World::default(), chain(4));
        let coordinator = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
        store.pause_after(at);
        let cancelling = {
            let (store, coordinator) = (store.clone(), coordinator.clone());
            // In a task of its own, for the runtime to be as fair to it as to the run.
            tokio::spawn(async move {
                store.paused().await;
                let run = "r".parse().unwrap();
                let go_on = async { store.go_on() };
                tokio::join!(biased; coordinator.cancel(&run, ada()), go_on).0
            })
        };
        let outcome = coordinator.start_with(&saga, 0, id("r")).await.unwrap().outcome().await.unwrap();
        let cancelled = cancelling.await.unwrap();
        if at < 5 {
            cancelled.unwrap();
            assert_eq!(rolled_back(outcome).cause, Cause::Cancelled { by: ada() }, "at append {at}");
            assert!(world.things().is_empty(), "at append {at}");
            assert!(!world.notes().contains(&"do s4".to_owned()));
        } else {
            // It was over before the driver heard of it.
            assert_eq!(outcome, Outcome::Completed(4));
            assert!(matches!(cancelled, Ok(()) | Err(CancelError::NotLive { .. })));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_heard_by_a_busy_run() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("busy", 1);
    let items =
        saga.step("items", (), async |_: Ctx<World>, ()| Ok((0..5_000).collect::<Vec<u32>>())).nothing_to_undo();
    // Some of them always end while the ends of others are being written down.
    let all = saga
        .for_each("each", items, async |ctx: Ctx<World>, n: u32| {
            ctx.raise("busy");
            for _ in 0..n % 7 {
                tokio::task::yield_now().await;
            }
            Ok(n)
        })
        .concurrency(8)
        .nothing_to_undo();
    let saga = saga.build(all).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("busy").await;
    run.cancel(ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_aborts_what_goes_forward_and_nothing_else() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("deadline", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(async |ctx: Ctx<World>, _: Undo<u32, u32>| {
        assert!(!ctx.is_cancelled(), "a compensation is shielded");
        tokio::select! {
            () = ctx.cancelled() => panic!("cancelled"),
            () = tokio::time::sleep(100 * SECOND) => {}
        }
        ctx.note("undo a");
        ctx.kill(&ctx.idempotency_key());
        Ok(())
    });
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, n: u32| {
            let waited = ctx.poll(SECOND, 1000 * SECOND, async || Ok(None::<u32>)).await;
            ctx.note(waited.unwrap_err().to_string());
            Err::<u32, _>(StepError::failed(n))
        })
        .nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let began = tokio::time::Instant::now();
    let options = StartOptions::new().deadline(10 * SECOND);
    let run = coordinator.start_with(&saga, 1, options).await.unwrap();
    tokio::time::sleep(50 * SECOND).await;
    run.cancel(ada()).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::DeadlinePassed, "which came first");
    assert_eq!(began.elapsed(), 110 * SECOND, "nothing spins, nothing is interrupted");
    assert_eq!(world.notes(), ["do a", "stopped waiting: the run is being aborted", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passed_while_nobody_drove_the_run_aborts_it() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    let run = first.start_with(&saga, 1, id("r").deadline(60 * SECOND)).await.unwrap();
    world.raised("a began").await;
    drop(first);
    let _ = run.outcome().await;
    tokio::time::sleep(61 * SECOND).await;
    let store = store.reopen();
    // The clock of a worker follows the system's clock, which stands still in a test: so this one starts earlier.
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(run.id()).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::DeadlinePassed);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn forward_steps_are_not_disturbed_by_a_cancellation() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("forward", 1);
    let input = saga.input();
    saga.guard(async |ctx: Ctx<World>, _: u32| Ok(!ctx.is_raised("gone")));
    let a = saga.step("a", input, make).compensate(unmake);
    let _f = saga
        .step("f", input, async |ctx: Ctx<World>, n: u32| {
            ctx.raise("f began");
            let mut asked = 0;
            let answer = ctx.poll(SECOND, 100 * SECOND, || {
                asked += 1;
                std::future::ready(Ok((asked > 10).then_some(n)))
            });
            let answer = answer.await?;
            ctx.note("f finished");
            Ok(answer)
        })
        .finish_forward(Retry::forever());
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, n: u32| {
            ctx.cancelled().await;
            Err::<u32, _>(StepError::rejected(n))
        })
        .nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;

    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("f began").await;
    run.cancel(ada()).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.kept.iter().map(ToString::to_string).collect::<Vec<_>>(), ["f"]);
    assert_eq!(world.count("f finished"), 1);

    // Nor by the end of the subject, which it is the first to find out about.
    world.lower("f began");
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("f began").await;
    world.raise("gone");
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::SubjectGone);
    assert_eq!(world.count("f finished"), 2);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn errors_of_cancelling_say_what_is() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(1));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    run.outcome().await.unwrap();
    assert!(matches!(run.cancel(ada()).await, Err(CancelError::NotLive { .. })));
    assert!(matches!(coordinator.cancel(&"who".parse().unwrap(), ada()).await, Err(CancelError::UnknownRun(_))));
}
