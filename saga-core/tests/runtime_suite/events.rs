//! `run.events()`: complete and in order, for slow readers, late ones, and those of a later process.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use saga_core::journal::{Event, Record};
use saga_core::store::MemoryStore;
use saga_core::{Coordinator, OutcomeError, RunId, Seq};

use crate::world::{World, ada, chain, coordinator, gate, id};

async fn journal(coordinator: &Coordinator<World>, run: &RunId) -> Vec<Record> {
    let records = coordinator.store().read(run, Seq::ZERO, usize::MAX).await.unwrap();
    records.iter().map(|record| record.decode().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_reader_is_told_of_every_event_in_order() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(700));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start_with(&saga, 0, id("r")).await.unwrap();
    let eager: Vec<_> = run.events().try_collect().await.unwrap();
    let whole = journal(&coordinator, run.id()).await;
    // More than a page.
    assert!(whole.len() > 1_000);
    assert!(matches!(whole.last().unwrap().event, Event::Rested { .. }));
    assert_eq!(eager, whole);
    let late: Vec<_> = run.events().try_collect().await.unwrap();
    assert_eq!(late, whole);
    drop(coordinator);
    let store = store.reopen();
    let second = self::coordinator(&store, &world, &saga).await;
    let attached = second.attach::<u32>(run.id()).await.unwrap();
    let later: Vec<_> = attached.events().try_collect().await.unwrap();
    assert_eq!(later, whole);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_misses_nothing_and_holds_nobody_up() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(30));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 0).await.unwrap();
    let slow = run.events().then(async |record| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        record
    });
    let (slow, outcome) = tokio::join!(slow.try_collect::<Vec<_>>(), async {
        let began = tokio::time::Instant::now();
        let outcome = run.outcome().await.unwrap();
        (outcome, began.elapsed())
    });
    assert!(outcome.0.is_completed() && outcome.1 == Duration::ZERO);
    assert_eq!(slow.unwrap(), journal(&coordinator, run.id()).await);
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_a_run_to_its_rest() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 0).await.unwrap();
    let mut events = Box::pin(run.events());
    assert!(matches!(events.next().await.unwrap().unwrap().event, Event::RunStarted { .. }));
    assert!(matches!(events.next().await.unwrap().unwrap().event, Event::StepStarted { .. }));
    assert!(tokio::time::timeout(Duration::from_secs(600), events.next()).await.is_err(), "it waits");
    run.cancel(ada()).await.unwrap();
    let rest: Vec<_> = events.try_collect().await.unwrap();
    assert!(matches!(rest.first().unwrap().event, Event::AbortBegan { .. }));
    assert!(matches!(rest.last().unwrap().event, Event::Rested { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_coordinator_and_says_so() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    let run = first.start_with(&saga, 0, id("r")).await.unwrap();
    world.raised("a began").await;
    let events = run.events();
    drop(first);
    let events: Vec<_> = events.collect().await;
    assert!(matches!(events[..], [Ok(_), Ok(_), Err(OutcomeError::Stopped(_))]), "{events:?}");
}
