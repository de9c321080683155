//! Stores that fail: runs wait, nothing is acted on, and nobody is left in the dark.

use std::time::Duration;

use saga_core::store::{Fault, MemoryStore, Store, StoreError};
use saga_core::{Coordinator, Ctx, Outcome, OutcomeError, ParkReason, Saga, Seq, StartError, StartOptions, StepError};

use crate::world::{World, ada, chain, coordinator, gate, id, make, unmake};
use crate::wrapped::Wrapped;

#[tokio::test(start_paused = true)]
async fn while_a_store_fails_runs_wait_and_nothing_is_acted_on() {
    for fault in [Fault::Unavailable, Fault::Full] {
        let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
        let coordinator = coordinator(&store, &world, &saga).await;
        let run = coordinator.start(&saga, 1).await.unwrap();
        world.raised("a began").await;
        store.faults().fail_appends(20, fault);
        world.raise("a may end");
        let waiting = tokio::time::timeout(Duration::from_secs(10), run.outcome()).await;
        assert!(waiting.is_err(), "the end of a is not durable");
        assert_eq!(world.notes(), ["do a"], "so b is not begun");
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3), "when the store works again, so does the run");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_a_store_that_fails_for_a_while() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(1));
    let coordinator = coordinator(&store, &world, &saga).await;
    store.faults().fail_appends(5, Fault::Unavailable);
    let run = coordinator.start(&saga, 1).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_found_in_the_journal() {
    for steps in 1..=4 {
        let (store, world, saga) = (MemoryStore::new(), World::default(), chain(steps));
        let coordinator = coordinator(&store, &world, &saga).await;
        store.faults().lose_answers(steps);
        let run = coordinator.start(&saga, 0).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(u32::try_from(steps).unwrap()));
        assert_eq!(world.notes().len(), steps, "each step ran once");
        assert_eq!(store.faults().appends(), steps as u64 + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_found_even_if_reading_fails_too() {
    let (store, world, saga) = (Wrapped::default(), World::default(), chain(3));
    let coordinator = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    store.inner.faults().lose_answers(2);
    store.fail_reads(3);
    let run = coordinator.start(&saga, 0).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do s0", "do s1", "do s2"]);
}

#[tokio::test(start_paused = true)]
async fn starts_of_one_id_are_one_run_even_while_the_store_loses_answers() {
    for lost in [false, true] {
        let (store, world, saga) = (MemoryStore::new(), World::default(), chain(2));
        let coordinator = coordinator(&store, &world, &saga).await;
        if lost {
            store.faults().lose_answers(1);
        } else {
            store.faults().fail_appends(1, Fault::Unavailable);
        }
        let starts = (0..8).map(|_| coordinator.start_with(&saga, 1, id("same")));
        for run in futures::future::join_all(starts).await {
            assert_eq!(run.unwrap().outcome().await.unwrap(), Outcome::Completed(3));
        }
        assert_eq!(world.notes(), ["do s0", "do s1"], "driven once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_store_is_told_to_everybody() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    store.faults().poison("fsync failed");
    world.raise("a may end");
    let Err(OutcomeError::Store(error)) = run.outcome().await else { panic!("not told") };
    assert!(matches!(&*error, StoreError::Poisoned { .. }));
    assert!(matches!(coordinator.start(&saga, 1).await, Err(StartError::Store(_))));
    assert_eq!(world.notes(), ["do a"]);
    assert_eq!(coordinator.in_memory(), 0);
    drop(coordinator);
    let store = store.reopen();
    let second = self::coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_hangs_nobody() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let coordinator = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    store.panic(1);
    world.raise("a may end");
    assert!(matches!(run.outcome().await, Err(OutcomeError::Store(_))));
    store.panic(1);
    assert!(matches!(coordinator.start(&saga, 1).await, Err(StartError::Store(_))));
    store.cut_answers(1);
    assert!(matches!(coordinator.start(&saga, 1).await, Err(StartError::Store(_))));
    let run = coordinator.start(&saga, 1).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3), "the committer lives on");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_at_once_and_panics_does_so_to_nobody() {
    let (store, world, saga) = (Wrapped::immediate(), World::default(), gate());
    let coordinator = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    store.panic(1);
    world.raise("a may end");
    assert!(matches!(run.outcome().await, Err(OutcomeError::Store(_))));
    store.panic(1);
    assert!(matches!(coordinator.start(&saga, 1).await, Err(StartError::Store(_))));
    let run = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    store.panic_reads(1);
    let again = coordinator.start_with(&saga, 1, id("r")).await;
    let Err(StartError::Store(error)) = again else { panic!("started") };
    assert!(matches!(&*error, StoreError::Poisoned { reason } if reason.contains("cannot read")), "{error}");
    assert_eq!(coordinator.start_with(&saga, 1, id("r")).await.unwrap().id(), run.id(), "it can be tried again");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do a", "do b"]);
}

#[tokio::test(start_paused = true)]
async fn reading_is_tried_again_when_a_run_is_taken_up() {
    let (store, world, saga) = (Wrapped::default(), World::default(), chain(2));
    let first = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    store.inner.faults().crash_after_append(2);
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        first.start_with(&saga, 1, id("r")).await.unwrap().outcome().await
    })
    .await;
    drop(first);
    let store = store.reopen();
    store.fail_reads(3);
    let second = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert!(second.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_parks_its_run_only() {
    let (store, world) = (Wrapped::default(), World::default());
    let mut saga = Saga::<World, usize>::builder("large", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, n: usize| {
            ctx.note("do a");
            Ok("x".repeat(n))
        })
        .nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let coordinator = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
    store.limit(Some(1_000));
    let large = coordinator.start(&saga, 2_000).await.unwrap();
    let small = coordinator.start(&saga, 10).await.unwrap();
    let Err(OutcomeError::Parked { reason, .. }) = large.outcome().await else { panic!("not parked") };
    assert!(matches!(&*reason, ParkReason::TooLarge(_)));
    assert!(small.outcome().await.unwrap().is_completed());
    let parked = coordinator.parked();
    assert_eq!((parked.len(), &parked[0].run), (1, large.id()));
    assert!(large.cancel(ada()).await.is_err());
    assert_eq!(coordinator.in_memory(), 0);
    let large_input: StartOptions = StartOptions::new();
    store.limit(Some(10));
    assert!(matches!(coordinator.start_with(&saga, 1, large_input).await, Err(StartError::TooLarge(_))));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_journal_parks_its_run_and_changes_nothing_of_it() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    for run in ["r0", "r1", "r2"] {
        first.start_with(&saga, 1, id(run)).await.unwrap();
    }
    world.raised("a began").await;
    drop(first);
    tokio::task::yield_now().await;
    let bad = "r1".parse().unwrap();
    let store = store.reopen();
    assert!(store.faults().corrupt(&bad, Seq(2)));
    let before = store.read(&bad, Seq::ZERO, 99).await.unwrap();
    world.raise("a may end");
    let second = coordinator(&store, &world, &saga).await;
    let run = second.attach::<u32>(&bad).await.unwrap();
    let Err(OutcomeError::Parked { reason, .. }) = run.outcome().await else { panic!("not parked") };
    assert!(matches!(&*reason, ParkReason::Unreadable(_)), "{reason}");
    assert!(reason.to_string().contains("record 2 is damaged"), "{reason}");
    for run in ["r0", "r2"] {
        let run = second.attach::<u32>(&run.parse().unwrap()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(store.read(&bad, Seq::ZERO, 99).await.unwrap(), before);
    assert!(second.retry(&bad, ada()).await.is_err());
    let events: Vec<_> = futures::StreamExt::collect(run.events()).await;
    assert!(matches!(events[..], [Ok(_), Err(OutcomeError::Parked { .. })]), "its stream ends, and says why");
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_a_journal_parks_its_run() {
    for hidden in [1, 2] {
        let (store, world, saga) = (Wrapped::default(), World::default(), gate());
        let first = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
        first.start_with(&saga, 1, id("r")).await.unwrap();
        world.raised("a began").await;
        drop(first);
        tokio::task::yield_now().await;
        let store = store.reopen();
        store.hide(Some(Seq(hidden)));
        let second = Coordinator::builder(store.clone(), world.clone()).register(&saga).start().await.unwrap();
        let run = second.attach::<u32>(&"r".parse().unwrap()).await.unwrap();
        let Err(OutcomeError::Parked { reason, .. }) = run.outcome().await else { panic!("not parked") };
        assert!(reason.to_string().contains("record"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_is_no_json_and_an_input_that_does_not_decode_fail_their_step() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("odd", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga
        .step("b", a, async |_: Ctx<World>, _: u32| -> Result<std::collections::BTreeMap<(u8, u8), u8>, StepError> {
            Ok([((1, 2), 3)].into())
        })
        .compensate(async |ctx: Ctx<World>, undo: saga_core::Undo<u32, std::collections::BTreeMap<(u8, u8), u8>>| {
            ctx.note(format!("undo b {}", undo.output.is_none()));
            Ok(())
        });
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::RolledBack(_)));
    assert_eq!(world.notes(), ["do a", "undo b true", "undo a"]);
}
