//! Claims that run out, are lost, or are shared out among workers.

use std::time::Duration;

use saga_core::store::Store;
use saga_core::{Coordinator, Ctx, Epoch, Outcome, RunHandle, Saga, StepError, Undo};
use tokio::time::Instant;

use crate::workers::{LEASE, worker};
use crate::world::{World, ada, chain, gate, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

/// A worker in the middle of a run.
async fn at_work(
    store: &Wrapped,
    world: &World,
    saga: &Saga<World, u32, u32>,
) -> (Coordinator<World>, RunHandle<World, u32>) {
    let one = worker(store, world, saga, "one").await;
    let run = one.start_with(saga, 1, id("r")).await.unwrap();
    world.raised("a under 1").await;
    (one, run)
}

/// Says that it is there, and when it is told to stop.
async fn watchful(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.note(format!("{} under {}", ctx.step(), ctx.epoch()));
    ctx.raise(&format!("{} under {}", ctx.step(), ctx.epoch()));
    if ctx.epoch() > Epoch::FIRST {
        ctx.raise("taken up again");
    }
    tokio::select! {
        () = ctx.raised("go on") => Ok(n + 1),
        () = ctx.cancelled() => {
            ctx.note(format!("{} under {} told", ctx.step(), ctx.epoch()));
            Err(StepError::failed("told to stop"))
        }
    }
}

fn watchful_step() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("watchful", 1);
    let input = saga.input();
    let a = saga.step("a", input, watchful).compensate(unmake);
    saga.build(a).unwrap()
}

/// A saga whose compensation waits.
fn watchful_undo() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("watchful-undo", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, make)
        .compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| watchful(ctx, undo.input).await.map(drop));
    let b = saga.step("b", a, crate::world::reject).nothing_to_undo();
    saga.build(b).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_cut_off_stops_before_another_can_take_over() {
    for saga in [watchful_step(), watchful_undo()] {
        let (store, world) = (Wrapped::shared(), World::default());
        let line = store.by_another_line();
        let (one, run) = at_work(&line, &world, &saga).await;
        let two = worker(&store, &world, &saga, "two").await;
        let cut = Instant::now();
        line.cut(true);
        world.raised("a under 2").await;
        assert!(cut.elapsed() <= LEASE + LEASE / 10 + Duration::from_secs(1), "{:?}", cut.elapsed());
        let told = |note: &String| *note == "a under 1 told";
        let (notes, taken_over) = (world.notes(), |note: &String| *note == "a under 2");
        assert!(notes.iter().position(told).unwrap() < notes.iter().position(taken_over).unwrap(), "{notes:?}");
        assert_eq!(one.in_memory(), 0);
        let before = store.get(run.id()).await.unwrap().unwrap();
        line.cut(false);
        tokio::time::sleep(3 * LEASE).await;
        assert_eq!(store.get(run.id()).await.unwrap().unwrap().seq, before.seq, "nothing came of the old claim");
        assert_eq!((one.in_memory(), two.in_memory()), (0, 1));
        world.raise("go on");
        run.outcome().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_cut_off_takes_up_again_what_nobody_took() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let (one, run) = at_work(&store, &world, &saga).await;
    store.cut(true);
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(world.notes(), ["a under 1", "a under 1 told"]);
    assert_eq!(one.in_memory(), 0);
    store.cut(false);
    world.raised("taken up again").await;
    world.raise("go on");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
}

#[tokio::test(start_paused = true)]
async fn a_short_disturbance_costs_nothing() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let (_one, run) = at_work(&store, &world, &saga).await;
    for _ in 0..5 {
        store.cut(true);
        tokio::time::sleep(LEASE / 2).await;
        store.cut(false);
        tokio::time::sleep(LEASE / 2).await;
    }
    world.raise("go on");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
    assert_eq!(world.notes(), ["a under 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_asleep_does_not_take_its_runs_away_from_itself() {
    let (store, world, saga) = (Wrapped::default(), World::default(), watchful_step());
    let (_one, run) = at_work(&store, &world, &saga).await;
    for _ in 0..5 {
        tokio::time::advance(10 * LEASE).await;
        tokio::time::sleep(LEASE).await;
    }
    world.raise("go on");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
    assert_eq!(world.notes(), ["a under 1"], "nobody else could have had it");
}

#[tokio::test(start_paused = true)]
async fn every_claim_has_an_epoch_that_actions_can_fence_with() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let first = worker(&store, &world, &saga, "worker-1").await;
    let run = first.start_with(&saga, 1, id("r")).await.unwrap().id().clone();
    let mut before = first;
    for epoch in 1..4 {
        world.raised(&format!("a under {epoch}")).await;
        assert_eq!(store.get(&run).await.unwrap().unwrap().epoch, Epoch(epoch));
        let next = worker(&store, &world, &saga, &format!("worker-{}", epoch + 1)).await;
        drop(std::mem::replace(&mut before, next));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_claims_no_more_than_it_has_places_for() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), gate());
    let client = saga_core::Client::builder(store.clone()).register(&saga).build().unwrap();
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(client.start(&saga, 1).await.unwrap());
    }
    let limited = |limit| Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(limit);
    let one = limited(3).start().await.unwrap();
    let two = limited(4).start().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert_eq!((one.in_memory(), two.in_memory()), (3, 4), "the rest waits in the store");
    world.raise("a may end");
    for run in runs {
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_worked_off_without_waiting() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), chain(2));
    let client = saga_core::Client::builder(store.clone()).register(&saga).build().unwrap();
    let mut runs = Vec::new();
    for _ in 0..200 {
        runs.push(client.start(&saga, 1).await.unwrap());
    }
    let before = Instant::now();
    let worker = Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(2);
    let _worker = worker.start().await.unwrap();
    for run in runs {
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
    assert!(before.elapsed() < Duration::from_secs(2), "as places become free: {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_other_workers_sagas_are_not_this_ones_business() {
    let (store, world) = (Wrapped::shared(), World::default());
    let (known, other) = (chain(2), gate());
    let one = worker(&store, &world, &other, "one").await;
    let run = one.start_with(&other, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    drop(one);
    let two = worker(&store, &world, &known, "two").await;
    tokio::time::sleep(3 * LEASE).await;
    assert_eq!((two.in_memory(), two.parked().len()), (0, 0));
    // The same saga and version, built otherwise: a deployment that went wrong.
    let mut changed = Saga::<World, u32>::builder("gate", 1);
    let input = changed.input();
    let a = changed.step("another", input, make).compensate(unmake);
    let changed = changed.build(a).unwrap();
    let three = worker(&store, &world, &changed, "three").await;
    tokio::time::sleep(3 * LEASE).await;
    assert_eq!((three.in_memory(), three.parked().len()), (0, 0));
    let four = worker(&store, &world, &other, "four").await;
    world.raise("a may end");
    let run = four.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_lost_can_still_be_cancelled() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let line = store.by_another_line();
    let (one, run) = at_work(&line, &world, &saga).await;
    let two = worker(&store, &world, &saga, "two").await;
    line.cut(true);
    world.raised("a under 2").await;
    line.cut(false);
    one.cancel(run.id(), ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(two.in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_renewal_that_hangs_costs_no_claims() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let (_one, run) = at_work(&store, &world, &saga).await;
    store.hang_renewals(1);
    tokio::time::sleep(5 * LEASE).await;
    world.raise("go on");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
    assert_eq!(world.notes(), ["a under 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_late_renewal_kept_is_given_back() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let line = store.by_another_line();
    let (one, run) = at_work(&line, &world, &saga).await;
    let two = worker(&store, &world, &saga, "two").await;
    // Let go of by the one worker, by its own reckoning; and kept alive by a renewal that the store took late.
    line.cut(true);
    tokio::time::sleep(LEASE - Duration::from_secs(1)).await;
    store.renew(&"one".parse().unwrap(), &[(run.id().clone(), Epoch(1))], 100 * LEASE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((one.in_memory(), two.in_memory()), (0, 0));
    let mended = Instant::now();
    line.cut(false);
    world.raised("taken up again").await;
    assert!(mended.elapsed() <= LEASE, "{:?}", mended.elapsed());
    world.raise("go on");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_drained_can_be_cancelled_from_elsewhere() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), watchful_step());
    let (one, run) = at_work(&store, &world, &saga).await;
    let draining = one.clone();
    let drained = tokio::spawn(async move { draining.shutdown(saga_core::Shutdown::Drain).await });
    let client = saga_core::Client::builder(store.clone()).register(&saga).build().unwrap();
    client.cancel(run.id(), ada()).await.unwrap();
    drained.await.unwrap().unwrap();
    rolled_back(client.attach::<u32>(run.id()).await.unwrap().outcome().await.unwrap());
}
