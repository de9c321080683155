//! Runs that wait for long: they leave their state to the journal, and read it again when something happens to them.
//!
//! That they do is seen by the store, which is asked for the journal once whenever such a run goes on.

use std::time::Duration;

use saga_core::machine::NotAllowed;
use saga_core::store::Store;
use saga_core::{
    Cause, Coordinator, Ctx, OperatorError, Outcome, OutcomeError, Retry, RunHandle, Saga, Shutdown, StartOptions,
    StepError,
};
use tokio::time::{Instant, sleep};

use crate::workers::{LEASE, worker};
use crate::world::{World, ada, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

const HOUR: Duration = Duration::from_secs(3600);
/// By then every run that waits has made itself small.
const LONG: Duration = Duration::from_secs(60);

/// `a`, then `b`, which fails once and is tried again after an hour.
fn tries_again() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("tries-again", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga.step("b", a, async |ctx: Ctx<World>, n: u32| {
        ctx.note(format!("do b {}", ctx.attempt()));
        if ctx.attempt() == 1 { Err(StepError::failed("not yet")) } else { Ok(n + 1) }
    });
    let b = b.retry(Retry::fixed(2, HOUR).cap(HOUR)).compensate(unmake);
    saga.build(b).unwrap()
}

/// `a`, then `b`, which waits for `ready` and then records that it was.
fn polls() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("polls", 1);
    let input = saga.input();
    saga.guard(async |ctx: Ctx<World>, _: u32| Ok(!ctx.is_raised("gone")));
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga.step("b", a, async |ctx: Ctx<World>, n: u32| {
        let second = Duration::from_secs(1);
        let ready = ctx.poll(second, 24 * HOUR, async || Ok(ctx.is_raised("ready").then_some(n + 1))).await;
        let ready = ready.map_err(|_| StepError::rejected("only waited"))?;
        ctx.checkpoint(&ready).await?;
        ctx.note(format!("do b under {}", ctx.epoch()));
        Ok(ready)
    });
    let b = b.compensate(unmake);
    saga.build(b).unwrap()
}

/// A run that has waited for long, and what has been read until now: nothing, unless it was moved on.
async fn waiting(
    saga: &Saga<World, u32, u32>,
    options: StartOptions,
) -> (Wrapped, World, Coordinator<World>, RunHandle<World, u32>) {
    let (store, world) = (Wrapped::shared(), World::default());
    let one = worker(&store.by_another_line(), &world, saga, "one").await;
    let run = one.start_with(saga, 1, options).await.unwrap();
    sleep(LONG).await;
    assert_eq!((store.reads(), one.in_memory()), (0, 1));
    (store, world, one, run)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_moment_keeps_its_state() {
    let (store, world, saga) = (Wrapped::shared(), World::default(), polls());
    let one = worker(&store, &world, &saga, "one").await;
    let run = one.start(&saga, 1).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    world.raise("ready");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(store.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn its_own_timer_wakes_it() {
    let began = Instant::now();
    let (store, world, _one, run) = waiting(&tries_again(), id("r")).await;
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!((began.elapsed(), store.reads()), (HOUR, 1));
    assert_eq!(world.notes(), ["do a", "do b 1", "do b 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_it_has_in_flight_wakes_it() {
    let (store, world, _one, run) = waiting(&polls(), id("r")).await;
    world.raise("ready");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(store.reads(), 1, "for its checkpoint; after that the state was there");
    assert_eq!(run.summary().await.unwrap().seq.0, 7, "the checkpoint was not lost");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_wakes_it() {
    for (saga, notes) in
        [(tries_again(), ["do a", "do b 1", "undo b", "undo a"].as_slice()), (polls(), &["do a", "undo a"])]
    {
        let (store, world, _one, run) = waiting(&saga, id("r")).await;
        let asked = Instant::now();
        run.cancel(ada()).await.unwrap();
        assert_eq!(store.reads(), 1);
        assert_eq!(rolled_back(run.outcome().await.unwrap()).cause, Cause::Cancelled { by: ada() });
        assert_eq!(asked.elapsed(), Duration::ZERO);
        assert_eq!(world.notes(), notes);
        assert!(world.things().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn its_deadline_wakes_it() {
    for saga in [tries_again(), polls()] {
        let began = Instant::now();
        let (store, world, _one, run) = waiting(&saga, id("r").deadline(HOUR / 2)).await;
        assert_eq!(rolled_back(run.outcome().await.unwrap()).cause, Cause::DeadlinePassed);
        assert_eq!((began.elapsed(), store.reads()), (HOUR / 2, 1));
        assert!(world.things().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_its_subject_wakes_it() {
    let (store, world, _one, run) = waiting(&polls(), id("r")).await;
    world.raise("gone");
    assert_eq!(rolled_back(run.outcome().await.unwrap()).cause, Cause::SubjectGone);
    assert_eq!(store.reads(), 1);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_rests_again_whenever_it_waits_again() {
    let mut saga = Saga::<World, u32>::builder("waits-often", 1);
    let input = saga.input();
    let a = saga.step(
        "a",
        input,
        async |ctx: Ctx<World>, n: u32| {
            if ctx.attempt() < 5 { Err(StepError::failed("not yet")) } else { Ok(n) }
        },
    );
    let a = a.retry(Retry::fixed(5, HOUR).cap(HOUR)).nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let began = Instant::now();
    let (store, _world, _one, run) = waiting(&saga, id("r")).await;
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(1));
    assert_eq!((began.elapsed(), store.reads()), (4 * HOUR, 4));
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_that_it_does_not_rest_by_its_journal_and_it_goes_on() {
    let (store, _world, one, run) = waiting(&tries_again(), id("r")).await;
    let refused = one.retry(run.id(), ada()).await.err();
    assert!(matches!(refused, Some(OperatorError::NotAllowed { why: NotAllowed::NotAtRest, .. })), "{refused:?}");
    let read = store.reads();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(store.reads(), read + 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_an_operator_has_moved_on_rests_while_it_waits() {
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a = saga.step("a", input, async |ctx: Ctx<World>, n: u32| {
        if !ctx.is_raised("fixed") {
            return Err(StepError::fatal("broken"));
        }
        ctx.raised("ready").await;
        Ok(n)
    });
    let a = a.non_compensable();
    let saga = saga.build(a).unwrap();
    let (store, world) = (Wrapped::shared(), World::default());
    let one = worker(&store, &world, &saga, "one").await;
    let run = one.start(&saga, 1).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)));
    world.raise("fixed");
    let run = one.retry(run.id(), ada()).await.unwrap();
    sleep(LONG).await;
    let read = store.reads();
    world.raise("ready");
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Completed(_)));
    assert_eq!(store.reads(), read + 1);
}

#[tokio::test(start_paused = true)]
async fn one_whose_claim_runs_out_is_let_go_of_without_being_read() {
    for saga in [tries_again(), polls()] {
        let (store, world) = (Wrapped::shared(), World::default());
        let line = store.by_another_line();
        let one = worker(&line, &world, &saga, "one").await;
        let run = one.start_with(&saga, 1, id("r")).await.unwrap();
        sleep(LONG).await;
        line.cut(true);
        sleep(LEASE + Duration::from_secs(1)).await;
        assert_eq!((one.in_memory(), store.reads()), (0, 0));
        let two = worker(&store, &world, &saga, "two").await;
        world.raise("ready");
        let run = two.attach::<u32>(run.id()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_only_waits_is_parked_without_being_read() {
    let saga = tries_again();
    let began = Instant::now();
    let (store, world, one, run) = waiting(&saga, id("r")).await;
    one.shutdown(Shutdown::Park { grace: HOUR }).await.unwrap();
    assert_eq!((began.elapsed(), store.reads()), (LONG, 0));
    assert!(matches!(run.outcome().await, Err(OutcomeError::Stopped(_))));
    let two = worker(&store, &world, &saga, "two").await;
    let run = two.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do b 1", "do b 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_ends_within_the_grace_is_written_down() {
    let saga = polls();
    let (store, world, one, run) = waiting(&saga, id("r")).await;
    let ready = async {
        sleep(LONG).await;
        assert_eq!(store.reads(), 0);
        world.raise("ready");
    };
    let parked = Instant::now();
    tokio::join!(one.shutdown(Shutdown::Park { grace: HOUR }), ready).0.unwrap();
    assert!(parked.elapsed() <= LONG + Duration::from_secs(1), "{:?}", parked.elapsed());
    assert_eq!(store.reads(), 1);
    let two = worker(&store, &world, &saga, "two").await;
    let run = two.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do b under 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_it() {
    let (store, _world, one, run) = waiting(&tries_again(), id("r")).await;
    one.shutdown(Shutdown::Drain).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_for_a_while_is_waited_for() {
    let (store, world, _one, run) = waiting(&tries_again(), id("r")).await;
    store.fail_reads(3);
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(store.reads(), 4);
    assert_eq!(world.notes(), ["do a", "do b 1", "do b 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_does_not_hold_up_the_parking() {
    let saga = tries_again();
    let (store, world, one, run) = waiting(&saga, id("r")).await;
    store.fail_reads(usize::MAX);
    sleep(HOUR).await;
    assert!(store.reads() > 1, "it is due, and tries to go on");
    let parked = Instant::now();
    one.shutdown(Shutdown::Park { grace: HOUR }).await.unwrap();
    assert_eq!(parked.elapsed(), Duration::ZERO);
    assert!(matches!(run.outcome().await, Err(OutcomeError::Stopped(_))));
    store.fail_reads(0);
    let two = worker(&store, &world, &saga, "two").await;
    let run = two.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
}

#[tokio::test(start_paused = true)]
async fn with_something_to_write_down_the_parking_waits_for_the_store_as_long_as_the_grace_allows() {
    let (store, _world, one, run) = waiting(&polls(), id("r")).await;
    store.fail_reads(usize::MAX);
    let parked = Instant::now();
    let cancelling = tokio::spawn(async move { run.cancel(ada()).await });
    sleep(LONG).await;
    assert!(store.reads() > 1 && !cancelling.is_finished());
    one.shutdown(Shutdown::Park { grace: LONG }).await.unwrap();
    assert_eq!(parked.elapsed(), 2 * LONG);
    assert!(cancelling.await.unwrap().is_err(), "it is not durable");
    assert_eq!(one.in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_whose_journal_was_damaged_meanwhile_is_parked() {
    let (store, _world, one, run) = waiting(&tries_again(), id("r")).await;
    store.hide(Some(saga_core::Seq(2)));
    assert!(matches!(run.outcome().await, Err(OutcomeError::Parked { .. })));
    assert_eq!((one.in_memory(), one.parked().len()), (0, 1));
    store.hide(None);
    assert_eq!(store.get(run.id()).await.unwrap().unwrap().epoch, saga_core::Epoch::FIRST);
}
