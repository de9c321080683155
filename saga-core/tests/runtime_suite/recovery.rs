//! Runs that another build left behind: unknown sagas, several versions, changed structures.

use saga_core::store::{MemoryStore, Query, RunStatus};
use saga_core::{
    CancelError, Coordinator, Ctx, OperatorError, Outcome, OutcomeError, ParkReason, RecoverError, Saga, StartError,
};

use crate::world::{World, ada, coordinator, gated, id, make, unmake};

/// Version 1 has a gate and one step behind it, version 2 has two.
fn versioned(version: u32, behind: usize) -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("versioned", version);
    let input = saga.input();
    let mut last = saga.step("a", input, gated).compensate(unmake);
    for i in 0..behind {
        last = saga.step(format!("b{i}"), last, make).compensate(unmake);
    }
    saga.build(last).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_run_is_resumed_with_the_version_that_it_started_under() {
    let (store, world) = (MemoryStore::new(), World::default());
    let (one, two) = (versioned(1, 1), versioned(2, 2));
    let both = |store: &MemoryStore| {
        Coordinator::builder(store.clone(), world.clone()).register(&one).register(&two).register(&two)
    };
    let first = both(&store).start().await.unwrap();
    first.start_with(&one, 0, id("one")).await.unwrap();
    first.start_with(&two, 0, id("two")).await.unwrap();
    world.raised("a began").await;
    tokio::task::yield_now().await;
    drop(first);
    tokio::task::yield_now().await;
    world.raise("a may end");
    let store = store.reopen();
    let second = both(&store).start().await.unwrap();
    for (run, output) in [("one", 2), ("two", 3)] {
        let run = second.attach::<u32>(&run.parse().unwrap()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(output));
    }
    assert!(second.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_this_build_does_not_know_is_parked_and_all_else_goes_on() {
    let (store, world) = (MemoryStore::new(), World::default());
    let (one, two) = (versioned(1, 1), versioned(2, 2));
    let first = Coordinator::builder(store.clone(), world.clone()).register(&one).register(&two).start().await.unwrap();
    first.start_with(&one, 0, id("one")).await.unwrap();
    first.start_with(&two, 0, id("two")).await.unwrap();
    world.raised("a began").await;
    tokio::task::yield_now().await;
    drop(first);
    tokio::task::yield_now().await;
    world.raise("a may end");
    let run = "one".parse().unwrap();

    // Another version only.
    let store = store.reopen();
    let other = coordinator(&store, &world, &two).await;
    let two_run = other.attach::<u32>(&"two".parse().unwrap()).await.unwrap();
    assert_eq!(two_run.outcome().await.unwrap(), Outcome::Completed(3));
    let [parked] = &other.parked()[..] else { panic!("one is parked") };
    assert_eq!(
        parked.reason.to_string(),
        "this build has no saga `versioned` version 1; register it, or run a build that has it"
    );
    let handle = other.attach::<u32>(&run).await.unwrap();
    assert!(matches!(handle.outcome().await, Err(OutcomeError::Parked { .. })));
    assert!(matches!(other.cancel(&run, ada()).await, Err(CancelError::Parked { .. })));
    assert!(matches!(other.abandon(&run, ada()).await, Err(OperatorError::Parked { .. })));
    assert!(matches!(other.start(&one, 1).await, Err(StartError::NotRegistered { version: 1, .. })));
    drop(other);

    // The version, but not as it was.
    let store = store.reopen();
    let changed = coordinator(&store, &world, &versioned(1, 7)).await;
    let handle = changed.attach::<u32>(&run).await.unwrap();
    let Err(OutcomeError::Parked { reason, .. }) = handle.outcome().await else { panic!("not parked") };
    assert!(matches!(&*reason, ParkReason::Changed { .. }), "{reason}");
    assert!(matches!(changed.start(&one, 1).await, Err(StartError::NotRegistered { .. })));
    drop(changed);

    // As it was: nothing has happened to it.
    let store = store.reopen();
    let right = coordinator(&store, &world, &one).await;
    let handle = right.attach::<u32>(&run).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap(), Outcome::Completed(2));
    let query = Query { statuses: vec![RunStatus::Completed], ..Query::default() };
    assert_eq!(right.list(&query).await.unwrap().runs.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_structures_under_one_version_are_refused() {
    let builder = Coordinator::builder(MemoryStore::new(), World::default());
    let refused = builder.register(&versioned(1, 1)).register(&versioned(1, 2)).start().await;
    assert!(matches!(refused.err(), Some(RecoverError::RegisteredTwice(twice)) if twice.version == 1));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_one_run_and_no_other() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), versioned(1, 1));
    let coordinator = coordinator(&store, &world, &saga).await;
    world.raise("a may end");
    let run = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    assert!(matches!(coordinator.start_with(&saga, 2, id("r")).await, Err(StartError::IdTaken { .. })));
    run.outcome().await.unwrap();
    let same = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    assert_eq!(same.outcome().await.unwrap(), Outcome::Completed(3), "also when it has ended");
}

#[tokio::test(start_paused = true)]
async fn the_same_input_in_another_order_is_the_same_input() {
    use std::collections::HashMap;
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, HashMap<String, u32>>::builder("map", 1);
    let input = saga.input();
    let a = saga.step("a", input, async |_: Ctx<World>, _: HashMap<String, u32>| Ok(())).nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    for _ in 0..10 {
        // Each map has an order of its own.
        let map: HashMap<String, u32> = (0..20).map(|n| (format!("k{n}"), n)).collect();
        coordinator.start_with(&saga, map, id("r")).await.unwrap();
    }
}
