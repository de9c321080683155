//! Draining, parking, dropping: what becomes of runs and of those who wait for them.

use std::sync::Mutex;
use std::time::Duration;

use saga_core::store::{MemoryStore, RunStatus, Store};
use saga_core::{
    CancelError, Cause, Coordinator, Ctx, Outcome, OutcomeError, Retry, Saga, Seq, Shutdown, StartError, StepError,
};

use crate::world::{World, ada, chain, coordinator, gate, gated, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn draining_drives_what_was_started_and_refuses_what_was_not() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    let draining = coordinator.shutdown(Shutdown::Drain);
    let meanwhile = async {
        tokio::task::yield_now().await;
        assert!(matches!(coordinator.start(&saga, 2).await, Err(StartError::ShuttingDown)));
        world.raise("a may end");
    };
    let (drained, ()) = tokio::join!(draining, meanwhile);
    drained.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    coordinator.shutdown(Shutdown::Drain).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_under_way_is_drained_too() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(3));
    let coordinator = coordinator(&store, &world, &saga).await;
    store.faults().hold();
    let starting = coordinator.start(&saga, 1);
    let ending = async {
        store.faults().held(1).await;
        let release = async {
            tokio::task::yield_now().await;
            store.faults().release();
        };
        tokio::join!(coordinator.shutdown(Shutdown::Drain), release).0.unwrap();
    };
    let (started, ()) = tokio::join!(starting, ending);
    assert_eq!(started.unwrap().outcome().await.unwrap(), Outcome::Completed(4));
}

#[tokio::test(start_paused = true)]
async fn parking_lets_what_is_in_flight_end_and_begins_nothing() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    let run = first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    let end = async {
        tokio::task::yield_now().await;
        world.raise("a may end");
    };
    tokio::join!(first.shutdown(Shutdown::Park { grace: HOUR }), end).0.unwrap();
    assert!(matches!(run.outcome().await, Err(OutcomeError::Stopped(_))));
    assert_eq!(world.notes(), ["do a"], "b was not begun");
    assert_eq!(first.in_memory(), 0);

    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do b"], "what had ended did not run again");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_within_the_grace_is_stopped_and_runs_again() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    first.shutdown(Shutdown::Park { grace: Duration::from_secs(5) }).await.unwrap();
    world.raise("a may end");
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do a", "do b"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_can_be_cut_short() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    let (drained, parked) = tokio::join!(
        coordinator.shutdown(Shutdown::Drain),
        coordinator.shutdown(Shutdown::Park { grace: Duration::from_secs(1) })
    );
    drained.unwrap();
    parked.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_that_wait_for_a_retry_or_for_their_turn_park_at_once() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("waits", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, n: u32| {
            ctx.raise("tried");
            if ctx.attempt() == 1 { Err(StepError::retry_after("later", HOUR)) } else { Ok(n) }
        })
        .retry(Retry::fixed(2, Duration::ZERO))
        .nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let first =
        Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(1).start().await.unwrap();
    let tried = first.start_with(&saga, 1, id("tried")).await.unwrap();
    let queued = first.start_with(&saga, 2, id("queued")).await.unwrap();
    world.raised("tried").await;
    let before = tokio::time::Instant::now();
    first.shutdown(Shutdown::Park { grace: HOUR }).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(matches!(tried.outcome().await, Err(OutcomeError::Stopped(_))));
    assert!(matches!(queued.outcome().await, Err(OutcomeError::Stopped(_))));
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    for (run, output) in [("tried", 1), ("queued", 2)] {
        let run = second.attach::<u32>(&run.parse().unwrap()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(output));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_while_parking_is_kept() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("parks", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, n: u32| {
            ctx.make(ctx.idempotency_key());
            ctx.raise("a began");
            ctx.raised("a may end").await;
            // Recorded while the run is being parked.
            ctx.checkpoint("late").await?;
            Ok(n)
        })
        .compensate(unmake);
    let b = saga.step("b", a, make).compensate(unmake);
    let saga = saga.build(b).unwrap();
    let first = coordinator(&store, &world, &saga).await;
    let run = first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    let cancel = async {
        tokio::task::yield_now().await;
        run.cancel(ada()).await.unwrap();
        world.raise("a may end");
    };
    tokio::join!(first.shutdown(Shutdown::Park { grace: HOUR }), cancel).0.unwrap();
    assert!(matches!(run.cancel(ada()).await, Err(CancelError::Stopped(_) | CancelError::Store(_))));
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::RolledBack(_)));
    assert_eq!(world.notes(), ["undo a"]);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_comes_while_the_last_turn_is_written_is_kept() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("parks", 1);
    let input = saga.input();
    let a = saga.step("a", input, async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
        ctx.raise("a began");
        ctx.raised("a may fail").await;
        Err(StepError::retry_after("later", HOUR))
    });
    let a = a.retry(Retry::fixed(2, Duration::ZERO)).nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let first = coordinator(&store, &world, &saga).await;
    let run = first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    store.faults().hold();
    world.raise("a may fail");
    store.faults().held(1).await;
    // From here on nothing is in flight, and the run waits for nothing but its append.
    let release = async {
        tokio::task::yield_now().await;
        store.faults().release();
    };
    let parking = first.shutdown(Shutdown::Park { grace: HOUR });
    let (parked, cancelled, ()) = tokio::join!(parking, run.cancel(ada()), release);
    parked.unwrap();
    cancelled.unwrap();
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
    assert_eq!(rolled_back(run.outcome().await.unwrap()).cause, Cause::Cancelled { by: ada() });
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_over_at_once() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let worker = || Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(1);
    let first = worker().start().await.unwrap();
    let driven = first.start_with(&saga, 1, id("driven")).await.unwrap();
    let queued = first.start_with(&saga, 1, id("queued")).await.unwrap();
    world.raised("a began").await;
    first.shutdown(Shutdown::Park { grace: Duration::from_secs(1) }).await.unwrap();
    for run in [&driven, &queued] {
        let summary = store.get(run.id()).await.unwrap().unwrap();
        assert_eq!((summary.status, summary.owner), (RunStatus::Running, None));
    }
    world.raise("a may end");
    let before = tokio::time::Instant::now();
    let second = worker().start().await.unwrap();
    for run in [&driven, &queued] {
        let run = second.attach::<u32>(run.id()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "no lease had to expire");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_coordinator_is_a_crash() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    let clone = first.clone();
    let run = first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    drop(first);
    run.summary().await.unwrap();
    assert_eq!(clone.in_memory(), 1, "a clone keeps it going");
    drop(clone);
    assert!(matches!(run.outcome().await, Err(OutcomeError::Stopped(_))));
    assert!(matches!(run.cancel(ada()).await, Err(CancelError::Stopped(_))));
    world.raise("a may end");
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    let again = second.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(again.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do a", "do b"]);
}

/// An application that owns its coordinator, until an action has enough of it.
struct Owner(Mutex<Option<Coordinator<Owner>>>);

#[tokio::test(start_paused = true)]
async fn nothing_is_written_once_the_coordinator_is_gone() {
    let mut saga = Saga::<Owner, u32>::builder("gives-up", 1);
    let input = saga.input();
    let a = saga.step("a", input, async |ctx: Ctx<Owner>, n: u32| {
        drop(ctx.0.lock().unwrap().take());
        Ok::<_, StepError>(n)
    });
    let a = a.nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let store = MemoryStore::new();
    let coordinator =
        Coordinator::builder(store.clone(), Owner(Mutex::default())).register(&saga).start().await.unwrap();
    *coordinator.app().0.lock().unwrap() = Some(coordinator.clone());
    let run = coordinator.start(&saga, 1).await.unwrap();
    drop(coordinator);
    assert!(matches!(run.outcome().await, Err(OutcomeError::Stopped(_))));
    assert_eq!(store.read(run.id(), Seq::ZERO, 10).await.unwrap().len(), 2, "that it began, and no more");
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_for_a_start_does_not_strand_the_run() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(2));
    let coordinator = coordinator(&store, &world, &saga).await;
    store.faults().hold();
    let starting = tokio::time::timeout(Duration::from_secs(1), coordinator.start_with(&saga, 1, id("r")));
    assert!(starting.await.is_err());
    let before = tokio::time::Instant::now();
    store.faults().release();
    let run = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody had to wait for a lease to expire");
    assert_eq!(world.notes(), ["do s0", "do s1"]);
}

#[tokio::test(start_paused = true)]
async fn a_resting_run_is_not_in_the_way_of_a_shutdown() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::fatal("bad")) })
        .non_compensable();
    let b = saga.step("b", a, gated).compensate(unmake);
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)));
    coordinator.shutdown(Shutdown::Drain).await.unwrap();
    assert!(matches!(run.outcome().await, Ok(Outcome::Halted(_)) | Err(OutcomeError::Stopped(_))));
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn a_run_goes_on_where_it_was_parked_on_the_embedded_store() {
    use saga_core::store::SledStore;
    let directory = tempfile::tempdir().unwrap();
    let (world, saga) = (World::default(), gate());
    let open = || SledStore::open(directory.path()).unwrap();
    let first = Coordinator::builder(open(), world.clone()).register(&saga).start().await.unwrap();
    let run = first.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    first.shutdown(Shutdown::Park { grace: Duration::ZERO }).await.unwrap();
    let id = run.id().clone();
    // What holds the store open goes with the last of those who hold the coordinator or one of its runs.
    drop((first, run));
    world.raise("a may end");
    let second = Coordinator::builder(open(), world.clone()).register(&saga).start().await.unwrap();
    let run = second.attach::<u32>(&id).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do a", "do b"]);
    second.shutdown(Shutdown::Drain).await.unwrap();
}
