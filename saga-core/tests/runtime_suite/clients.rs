//! Clients: whoever has the store, and drives nothing.

use std::time::Duration;

use futures::TryStreamExt;
use saga_core::store::{RunStatus, Store};
use saga_core::{
    CancelError, Client, Coordinator, Ctx, OperatorError, Outcome, Payload, Saga, Shutdown, StartError, StartOptions,
    StepError,
};
use tokio::time::Instant;

use crate::world::{World, ada, chain, gate, gated, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

const LEASE: Duration = Duration::from_secs(30);

fn client(store: &Wrapped, saga: &Saga<World, u32, u32>) -> Client<World> {
    Client::builder(store.clone()).register(saga).build().unwrap()
}

async fn worker(store: &Wrapped, world: &World, saga: &Saga<World, u32, u32>) -> Coordinator<World> {
    Coordinator::builder(store.clone(), world.clone()).register(saga).lease(LEASE).start().await.unwrap()
}

/// A saga whose only step halts it the first time, waits at a gate from then on, and tells its finalizer.
fn halts_once() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a = saga
        .step(
            "a",
            input,
            async |ctx: Ctx<World>, n: u32| {
                if ctx.attempt() == 1 { Err(StepError::fatal("no")) } else { gated(ctx, n).await }
            },
        )
        .non_compensable();
    saga.finally(async |ctx: Ctx<World>, _: u32, end: Outcome<Payload>| {
        let end = match end {
            Outcome::Halted(_) => "halted",
            Outcome::Abandoned(_) => "abandoned",
            _ => "ended",
        };
        ctx.note(format!("finally {end}"));
        Ok(())
    });
    saga.build(a).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_client_starts_is_driven_by_a_worker_at_once() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), chain(3));
    let worker = worker(&store, &world, &saga).await;
    let client = client(&store, &saga);
    let before = Instant::now();
    let run = client.start(&saga, 1).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(4));
    assert!(before.elapsed() < Duration::from_secs(1), "by a hint, not by looking: {:?}", before.elapsed());
    let events: Vec<_> = run.events().try_collect().await.unwrap();
    assert_eq!(events.len() as u64, run.summary().await.unwrap().seq.0);
    assert_eq!(worker.in_memory(), 0);
}

/// Nobody can have driven it there yet, and with many short sagas every look counts.
#[tokio::test(start_paused = true)]
async fn a_client_does_not_look_for_the_end_of_what_it_has_just_started() {
    let (store, saga) = (Wrapped::shared(), chain(3));
    let client = client(&store, &saga);
    let run = client.start(&saga, 1).await.unwrap();
    let outcome_within = |millis| tokio::time::timeout(Duration::from_millis(millis), run.outcome());
    outcome_within(5).await.expect_err("nobody drives it");
    assert_eq!(store.heads(), 0);
    outcome_within(100).await.expect_err("nobody drives it");
    assert!(store.heads() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_starts_waits_for_a_worker() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), chain(3));
    let client = client(&store, &saga);
    let run = client.start_with(&saga, 1, id("r")).await.unwrap();
    let again = client.start_with(&saga, 1, id("r")).await.unwrap();
    assert_eq!(run.id(), again.id());
    let taken = client.start_with(&saga, 2, id("r")).await;
    assert!(matches!(taken, Err(StartError::IdTaken { .. })));
    let summary = run.summary().await.unwrap();
    assert_eq!((summary.status, summary.owner, summary.seq.0), (RunStatus::Running, None, 1));
    drop(client);
    let _worker = worker(&store, &world, &saga).await;
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(4), "a handle does without its client");
    assert_eq!(world.notes(), ["do s0", "do s1", "do s2"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_run_is_not_sent_away_by_a_disturbance() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let _worker = worker(&store, &world, &saga).await;
    let client = client(&store, &saga);
    let run = client.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    let (watching, waiting) = (run.events().try_collect::<Vec<_>>(), run.outcome());
    let disturbing = async {
        store.fail_heads(7);
        store.fail_reads(7);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.raise("a may end");
        store.fail_heads(7);
        store.fail_reads(7);
    };
    let (events, outcome, ()) = tokio::join!(watching, waiting, disturbing);
    assert_eq!(outcome.unwrap(), Outcome::Completed(3));
    assert_eq!(events.unwrap().len() as u64, run.summary().await.unwrap().seq.0);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_to_know_what_it_starts() {
    let (store, saga) = (Wrapped::shared(), chain(3));
    let client: Client<World> = Client::builder(store).build().unwrap();
    assert!(matches!(client.start(&saga, 1).await, Err(StartError::NotRegistered { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_holder_among_clients_too() {
    let (store, saga) = (Wrapped::shared(), chain(3));
    let clients = [client(&store, &saga), client(&store, &saga)];
    let key = || StartOptions::new().key("cluster/42".parse().unwrap());
    let starts = futures::future::join_all((0..10).map(|n| clients[n % 2].start_with(&saga, 1, key()))).await;
    assert_eq!(starts.iter().filter(|start| start.is_ok()).count(), 1);
    assert_eq!(starts.iter().filter(|start| matches!(start, Err(StartError::KeyHeld { .. }))).count(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_client_cancels_a_run_that_a_worker_drives() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let _worker = worker(&store, &world, &saga).await;
    let run = client(&store, &saga).start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    // One that does not even know the saga.
    let stranger: Client<World> = Client::builder(store.clone()).build().unwrap();
    let before = Instant::now();
    stranger.cancel(run.id(), ada()).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(1), "by a hint, not by looking: {:?}", before.elapsed());
    stranger.cancel(run.id(), ada()).await.or_else(over).unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());
    let late = stranger.cancel(run.id(), ada()).await;
    assert!(matches!(late, Err(CancelError::NotLive { status: RunStatus::RolledBack, .. })), "{late:?}");
}

/// Between two looks of the client the run can come to its end: that it is not aborted then must not be missed.
#[tokio::test(start_paused = true)]
async fn a_run_that_completes_while_it_is_being_cancelled_was_not_cancelled() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let _worker = worker(&store, &world, &saga).await;
    let run = client(&store, &saga).start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    let (stranger, id) = (client(&store, &saga), run.id().clone());
    store.pause_read();
    let cancelling = tokio::spawn(async move { stranger.cancel(&id, ada()).await });
    // It has seen the run live, and goes on to look into the journal.
    store.paused().await;
    world.raise("a may end");
    let summary = loop {
        let summary = run.summary().await.unwrap();
        if summary.status != RunStatus::Running {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(summary.status, RunStatus::Completed);
    store.go_on();
    let cancelled = cancelling.await.unwrap();
    assert!(matches!(cancelled, Err(CancelError::NotLive { status: RunStatus::Completed, .. })), "{cancelled:?}");
}

/// A second cancellation may find that the first one is done already.
fn over(error: CancelError) -> Result<(), CancelError> {
    if matches!(error, CancelError::NotLive { .. }) { Ok(()) } else { Err(error) }
}

#[tokio::test(start_paused = true)]
async fn a_worker_cancels_a_run_that_another_one_drives() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let one = worker(&store, &world, &saga).await;
    let run = one.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    let two = worker(&store, &world, &saga).await;
    two.cancel(run.id(), ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.notes(), ["do a", "undo a"], "by the one that had it");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_turn_elsewhere_can_be_cancelled() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let busy = Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(1);
    let busy = busy.start().await.unwrap();
    busy.start(&saga, 1).await.unwrap();
    let queued = busy.start(&saga, 1).await.unwrap();
    client(&store, &saga).cancel(queued.id(), ada()).await.unwrap();
    world.raise("a may end");
    rolled_back(queued.outcome().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_cancels_a_run_that_nobody_drives() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let client = client(&store, &saga);
    let run = client.start(&saga, 1).await.unwrap();
    client.cancel(run.id(), ada()).await.unwrap();
    let summary = run.summary().await.unwrap();
    assert_eq!((summary.status, summary.owner), (RunStatus::Running, None), "left to a worker");
    let _worker = worker(&store, &world, &saga).await;
    rolled_back(run.outcome().await.unwrap());
    assert!(world.notes().is_empty(), "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn a_client_cancels_a_run_whose_worker_is_dead() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let one = worker(&store, &world, &saga).await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    drop(one);
    let client = client(&store, &saga);
    let before = Instant::now();
    client.cancel(run.id(), ada()).await.unwrap();
    assert!(before.elapsed() <= LEASE + Duration::from_secs(1), "{:?}", before.elapsed());
    let _two = worker(&store, &world, &saga).await;
    let run = client.attach::<u32>(run.id()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_to_cancel_outlives_the_worker_that_was_asked() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let one = worker(&store, &world, &saga).await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    drop(one);
    store.request_cancel(run.id(), &ada()).await.unwrap();
    let two = worker(&store, &world, &saga).await;
    let run = two.attach::<u32>(run.id()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.notes(), ["do a", "undo a"], "not begun again");
}

#[tokio::test(start_paused = true)]
async fn a_client_moves_on_what_rests() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), halts_once());
    let worker = worker(&store, &world, &saga).await;
    let client = client(&store, &saga);
    let run = client.start(&saga, 1).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)));
    let moved = client.retry(run.id(), ada()).await.unwrap();
    world.raised("a began").await;
    let busy = client.retry(run.id(), ada()).await;
    assert!(matches!(busy, Err(OperatorError::Busy(_) | OperatorError::NotAllowed { .. })), "{:?}", busy.err());
    world.raise("a may end");
    assert_eq!(moved.outcome().await.unwrap().decode::<u32>().unwrap(), Outcome::Completed(2));
    assert_eq!(world.notes(), ["finally halted", "do a", "finally ended"]);
    assert_eq!(worker.in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_up_what_rests_and_the_finalizer_is_told() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), halts_once());
    let key = StartOptions::new().key("cluster/42".parse().unwrap());
    let client = client(&store, &saga);
    let run = client.start_with(&saga, 1, key).await.unwrap();
    let one = worker(&store, &world, &saga).await;
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)));
    one.shutdown(Shutdown::Drain).await.unwrap();
    let given_up = client.abandon(run.id(), ada()).await.unwrap();
    assert!(client.holder(&"cluster/42".parse().unwrap()).await.unwrap().is_some(), "until the finalizer was told");
    let _two = worker(&store, &world, &saga).await;
    assert!(matches!(given_up.outcome().await.unwrap(), Outcome::Abandoned(_)));
    while client.holder(&"cluster/42".parse().unwrap()).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.notes(), ["finally halted", "finally abandoned"]);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_is_a_client() {
    async fn submit(client: &Client<World>, saga: &Saga<World, u32, u32>) -> Outcome<u32> {
        client.start(saga, 1).await.unwrap().outcome().await.unwrap()
    }
    let (store, world) = (Wrapped::shared(), World::default());
    let mut saga = Saga::<World, u32>::builder("one", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let saga = saga.build(a).unwrap();
    let worker = worker(&store, &world, &saga).await;
    assert_eq!(submit(&worker, &saga).await, Outcome::Completed(2));
    assert_eq!(submit(&client(&store, &saga), &saga).await, Outcome::Completed(2));
}
