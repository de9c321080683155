//! Two workers on one store: leases, takeover, fencing.

use std::time::Duration;

use saga_core::store::{Hint, HintSource, Hints, RunStatus, Store};
use saga_core::{Client, Coordinator, Outcome, OutcomeError, Saga, StartError, StartOptions};

use crate::world::{World, ada, chain, gate, gated, id, make, rolled_back, unmake};
use crate::wrapped::Wrapped;

pub(crate) const LEASE: Duration = Duration::from_secs(30);

pub(crate) async fn worker(
    store: &Wrapped,
    world: &World,
    saga: &Saga<World, u32, u32>,
    name: &str,
) -> Coordinator<World> {
    let name = name.parse().unwrap();
    let builder = Coordinator::builder(store.clone(), world.clone()).register(saga).lease(LEASE).worker(name);
    builder.start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_alive_keeps_its_runs() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let one = worker(&store, &world, &saga, "one").await;
    let two = worker(&store, &world, &saga, "two").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    tokio::time::sleep(10 * LEASE).await;
    assert_eq!(two.in_memory(), 0);
    assert_eq!(two.summary(run.id()).await.unwrap().unwrap().owner.unwrap().as_str(), "one");
    world.raise("a may end");
    let seen_by_two = two.attach::<u32>(run.id()).await.unwrap();
    assert_eq!(seen_by_two.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do b"]);
}

#[tokio::test(start_paused = true)]
async fn the_runs_of_a_worker_that_died_are_taken_over_when_its_lease_expires() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let one = worker(&store, &world, &saga, "one").await;
    let two = worker(&store, &world, &saga, "two").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    drop(one);
    let following = two.attach::<u32>(run.id()).await.unwrap();
    let died = tokio::time::Instant::now();
    while two.in_memory() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(died.elapsed() <= LEASE + LEASE / 3 + Duration::from_secs(1), "{:?}", died.elapsed());
    world.raise("a may end");
    assert_eq!(following.outcome().await.unwrap(), Outcome::Completed(3));
    assert_eq!(world.notes(), ["do a", "do a", "do b"]);
    assert_eq!(two.in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_worker_is_fenced_off_and_its_actions_stop() {
    let (store, world) = (Wrapped::default(), World::default());
    let mut saga = Saga::<World, u32>::builder("fenced", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: saga_core::Ctx<World>, n: u32| {
            ctx.note(format!("{} began", ctx.attempt()));
            ctx.raise(&format!("{} began", ctx.attempt()));
            let gate = format!("{} may end", ctx.attempt());
            ctx.raised(&gate).await;
            ctx.note(format!("{} ended", ctx.attempt()));
            Ok(n)
        })
        .compensate(unmake);
    let b = saga.step("b", a, make).compensate(unmake);
    let saga = saga.build(b).unwrap();
    let one = worker(&store, &world, &saga, "one").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("1 began").await;
    // As if one had been asleep for longer than its lease: another has claimed the run meanwhile.
    let summary = store.get(run.id()).await.unwrap().unwrap();
    store.release(&[(run.id().clone(), summary.epoch)]).await.unwrap();
    let two = worker(&store, &world, &saga, "two").await;
    world.raised("2 began").await;
    let before = store.get(run.id()).await.unwrap().unwrap().seq;
    // It ends its action before it has heard of that, and its append is refused.
    world.raise("1 may end");
    let seen_by_one = run.outcome();
    let second = async {
        while one.in_memory() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.get(run.id()).await.unwrap().unwrap().seq, before, "nothing of it is in the journal");
        assert_eq!(world.count("do b"), 0, "and nothing was built on it");
        world.raise("2 may end");
    };
    let (outcome, ()) = tokio::join!(seen_by_one, second);
    assert_eq!(outcome.unwrap(), Outcome::Completed(2), "the handle follows the run to its new worker");
    assert_eq!(world.count("do b"), 1);
    assert_eq!(two.in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_a_run_stops_its_actions() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let one = worker(&store, &world, &saga, "one").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    let summary = store.get(run.id()).await.unwrap().unwrap();
    store.release(&[(run.id().clone(), summary.epoch)]).await.unwrap();
    let two = worker(&store, &world, &saga, "two").await;
    tokio::time::sleep(LEASE / 3 + Duration::from_secs(1)).await;
    assert_eq!((one.in_memory(), two.in_memory()), (0, 1), "told as it renewed its claims");
    world.raise("a may end");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_turn_can_be_lost_too() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let one = Coordinator::builder(store.clone(), world.clone())
        .register(&saga)
        .lease(LEASE)
        .max_in_flight(1)
        .start()
        .await
        .unwrap();
    one.start(&saga, 1).await.unwrap();
    let queued = one.start_with(&saga, 1, id("queued")).await.unwrap();
    world.raised("a began").await;
    let summary = store.get(queued.id()).await.unwrap().unwrap();
    store.release(&[(queued.id().clone(), summary.epoch)]).await.unwrap();
    let two = worker(&store, &world, &saga, "two").await;
    tokio::time::sleep(LEASE / 3 + Duration::from_secs(1)).await;
    assert_eq!((one.in_memory(), two.in_memory()), (1, 1));
    world.raise("a may end");
    assert_eq!(queued.outcome().await.unwrap(), Outcome::Completed(3));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_drives_can_be_cancelled_at_once() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let one = worker(&store, &world, &saga, "one").await;
    let two = worker(&store, &world, &saga, "two").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    world.raised("a began").await;
    one.shutdown(saga_core::Shutdown::Park { grace: Duration::ZERO }).await.unwrap();
    let before = tokio::time::Instant::now();
    two.cancel(run.id(), ada()).await.unwrap();
    let run = two.attach::<u32>(run.id()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(world.things().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_holder_among_all_who_ask_at_once() {
    let (store, world, saga) = (Wrapped::default(), World::default(), gate());
    let workers = [worker(&store, &world, &saga, "one").await, worker(&store, &world, &saga, "two").await];
    let key = || StartOptions::new().key("cluster/42".parse().unwrap());
    let starts = (0..20).map(|n| workers[n % 2].start_with(&saga, 1, key()));
    let (won, lost): (Vec<_>, Vec<_>) = futures::future::join_all(starts).await.into_iter().partition(Result::is_ok);
    let [Ok(won)] = &won[..] else { panic!("{} have won", won.len()) };
    for lost in lost {
        let Err(StartError::KeyHeld { holder, key }) = lost else { panic!("not refused") };
        assert_eq!((&holder, key.as_str()), (won.id(), "cluster/42"));
    }
    assert_eq!(workers[1].holder(&"cluster/42".parse().unwrap()).await.unwrap().as_ref(), Some(won.id()));
    world.raise("a may end");
    won.outcome().await.unwrap();
    workers[1].start_with(&saga, 1, key()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starts_of_one_id_by_two_workers_are_one_run() {
    for lost in [0, 1] {
        let (store, world, saga) = (Wrapped::default(), World::default(), chain(3));
        let workers = [worker(&store, &world, &saga, "one").await, worker(&store, &world, &saga, "two").await];
        store.inner.faults().lose_answers(lost);
        let starts = (0..6).map(|n| workers[n % 2].start_with(&saga, 1, id("same")));
        for run in futures::future::join_all(starts).await {
            assert_eq!(run.unwrap().outcome().await.unwrap(), Outcome::Completed(4));
        }
        assert_eq!(world.notes().len(), 3, "driven once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_moved_on_is_not_lost_with_its_old_claim() {
    let (store, world) = (Wrapped::default(), World::default());
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a =
        saga.step("a", input, async |ctx: saga_core::Ctx<World>, n: u32| {
            if ctx.attempt() == 1 { Err(saga_core::StepError::fatal("no")) } else { gated(ctx, n).await }
        })
        .non_compensable();
    let saga = saga.build(a).unwrap();
    let one = worker(&store, &world, &saga, "one").await;
    let run = one.start_with(&saga, 1, id("r")).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::Halted(_)));
    one.retry(run.id(), ada()).await.unwrap();
    world.raised("a began").await;
    tokio::time::sleep(5 * LEASE).await;
    assert_eq!(store.get(run.id()).await.unwrap().unwrap().status, RunStatus::Running);
    world.raise("a may end");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
    assert_eq!(world.count("do a"), 1);
    drop(one);
    assert!(matches!(run.outcome().await, Ok(_) | Err(OutcomeError::Stopped(_))));
}

/// A store that hints at whatever the test wants it to, and at nothing else.
#[derive(Clone, Default)]
struct Hinting {
    inner: Wrapped,
    hints: HintSource,
}

impl saga_core::store::Layer for Hinting {
    type Below = Wrapped;

    fn below(&self) -> &Wrapped {
        &self.inner
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.hints.subscribe())
    }
}

/// Hints of one kind come again and again; what only the other kind would lead to is found all the same.
#[tokio::test(start_paused = true)]
async fn hints_of_one_kind_are_no_look_for_the_other() {
    for hint in [Hint::Work, Hint::Requests] {
        let (store, world, saga) = (Hinting::default(), World::default(), gate());
        let builder = Coordinator::builder(store.clone(), world.clone()).register(&saga).lease(LEASE);
        let worker = builder.start().await.unwrap();
        let client = Client::builder(store.inner.clone()).register(&saga).build().unwrap();
        let hints = store.hints.clone();
        let hinting = tokio::spawn(async move {
            loop {
                hints.tell(hint);
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        });
        let looked = LEASE / 10 + Duration::from_secs(1);
        let run = client.start_with(&saga, 1, id("r")).await.unwrap();
        tokio::time::timeout(looked, world.raised("a began")).await.expect("it is claimed");
        store.inner.request_cancel(run.id(), &ada()).await.unwrap();
        let outcome = tokio::time::timeout(looked, run.outcome()).await.expect("it is cancelled").unwrap();
        assert!(matches!(outcome, Outcome::RolledBack(_)), "{outcome:?}");
        hinting.abort();
        drop(worker);
    }
}
