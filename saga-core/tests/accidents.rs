//! Accidents that were seen in other workflow engines, each of which must be impossible here.

#[path = "runtime_suite/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::Event;
use saga_core::store::{MemoryStore, RunStatus, Store};
use saga_core::{
    Actor, Cause, Coordinator, Ctx, Outcome, Payload, Saga, Seq, StartOptions, StepError, Timestamp, Undo,
};

use crate::world::{World, ada, chain, coordinator, gate, gated, id, make, reject, rolled_back, unmake};

/// TaskFlow, steno: the first failing undo stopped all remaining undos.
#[tokio::test(start_paused = true)]
async fn a_failing_undo_does_not_stop_the_others() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("undo", 1);
    let input = saga.input();
    let bad = saga
        .step("bad", input, make)
        .compensate(async |_: Ctx<World>, _: Undo<u32, u32>| -> Result<(), StepError> { Err(StepError::fatal("no")) });
    let others: Vec<_> = (0..5).map(|i| saga.step(format!("other{i}"), input, make).compensate(unmake)).collect();
    let all = saga.step("all", others, async |_: Ctx<World>, _: Vec<u32>| Ok(0)).nothing_to_undo();
    let last = saga
        .step("last", (bad, all), async |_: Ctx<World>, _: (u32, u32)| -> Result<u32, StepError> {
            Err(StepError::rejected("no"))
        })
        .nothing_to_undo();
    let saga = saga.build(last).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start_with(&saga, 1, id("r")).await.unwrap();
    let Outcome::Stuck(end) = run.outcome().await.unwrap() else { panic!("not stuck") };
    assert_eq!(end.residue.len(), 1);
    assert_eq!(world.things(), ["r/bad/0"]);
}

/// steno: two steps that failed at the same moment panicked the executor, and every other saga died with it.
#[tokio::test(start_paused = true)]
async fn two_failures_at_once_harm_nobody() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("twice", 1);
    let input = saga.input();
    let both = [saga.step("a", input, reject).nothing_to_undo(), saga.step("b", input, reject).nothing_to_undo()];
    let last = saga.step("last", both.to_vec(), async |_: Ctx<World>, _: Vec<u32>| Ok(0)).nothing_to_undo();
    let (saga, other) = (saga.build(last).unwrap(), gate());
    let coordinator =
        Coordinator::builder(store.clone(), world.clone()).register(&saga).register(&other).start().await.unwrap();
    let bystander = coordinator.start(&other, 1).await.unwrap();
    world.raised("a began").await;
    for _ in 0..100 {
        let run = coordinator.start(&saga, 1).await.unwrap();
        rolled_back(run.outcome().await.unwrap());
    }
    world.raise("a may end");
    assert_eq!(bystander.outcome().await.unwrap(), Outcome::Completed(3));
}

/// steno: a panicking action hung its saga for ever.
#[tokio::test(start_paused = true)]
async fn a_panicking_action_ends_its_run() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("panics", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b =
        saga.step("b", a, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { panic!("oh") }).compensate(unmake);
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());
}

/// steno: a legal journal was refused at recovery: a failed step, an undone sibling, a join that never started.
#[tokio::test(start_paused = true)]
async fn every_journal_that_was_written_can_be_read() {
    let mut saga = Saga::<World, u32>::builder("legal", 1);
    let input = saga.input();
    let first = saga.step("first", input, make).compensate(unmake);
    let done = saga.step("done", first, make).compensate(unmake);
    let fails = saga.step("fails", first, reject).compensate(unmake);
    let join = saga.step("join", (done, fails), async |_: Ctx<World>, _: (u32, u32)| Ok(0)).nothing_to_undo();
    let saga = saga.build(join).unwrap();
    let mut met = false;
    for crash_at in 1..20 {
        let (store, world) = (MemoryStore::new(), World::default());
        store.faults().crash_after_append(crash_at);
        let first = coordinator(&store, &world, &saga).await;
        let starting = async { first.start_with(&saga, 1, id("r")).await.unwrap().outcome().await };
        let crashed = tokio::select! {
            biased;
            () = async { store.faults().crashed().await } => true,
            _ = starting => false,
        };
        drop(first);
        let store = store.reopen();
        let records = store.read(&"r".parse().unwrap(), Seq::ZERO, 99).await.unwrap();
        let events: Vec<Event> = records.iter().map(|record| record.decode().unwrap().event).collect();
        let undone = |event: &Event| matches!(event, Event::Undone { of } if of.step.0 == 1);
        let ended = |event: &Event| matches!(event, Event::Rested { .. });
        met |= events.iter().any(undone) && !events.iter().any(ended);
        let second = coordinator(&store, &world, &saga).await;
        let run = second.start_with(&saga, 1, id("r")).await.unwrap();
        rolled_back(run.outcome().await.unwrap());
        assert!(world.things().is_empty() && second.parked().is_empty());
        if !crashed {
            break;
        }
    }
    assert!(met, "the journal of the accident was among them");
}

/// steno: the cost per step grew with the saga, and exponentially in stacked parallel stages.
#[tokio::test]
async fn a_step_costs_the_same_in_any_saga() {
    let costs = |steps: u32| async move {
        let (store, world, saga) = (MemoryStore::new(), World::default(), chain(steps as usize));
        let coordinator = coordinator(&store, &world, &saga).await;
        let run = coordinator.start(&saga, 0).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(steps));
        let records = store.read(run.id(), Seq::ZERO, usize::MAX).await.unwrap();
        let largest = records.iter().map(|record| record.bytes.len()).max().unwrap();
        (store.faults().appends() - u64::from(steps), records.len() - 2 * steps as usize, largest)
    };
    let (small, large) = (costs(5).await, costs(5_000).await);
    assert_eq!((small.0, small.1), (large.0, large.1));
    assert!(large.2 < small.2 + 32, "what is written of a step does not grow");

    let mut saga = Saga::<World, u32>::builder("stacked", 1);
    let mut last = saga.input();
    for i in 0..60 {
        let both = (0..2).map(|j| saga.step(format!("s{i}-{j}"), last, make).compensate(unmake)).collect::<Vec<_>>();
        last = saga.step(format!("j{i}"), both, async |_: Ctx<World>, n: Vec<u32>| Ok(n[0])).nothing_to_undo();
    }
    let saga = saga.build(last).unwrap();
    let (store, world) = (MemoryStore::new(), World::default());
    let coordinator = coordinator(&store, &world, &saga).await;
    // 2^60 ways through it.
    assert_eq!(coordinator.start(&saga, 0).await.unwrap().outcome().await.unwrap(), Outcome::Completed(60));
}

/// steno: finished sagas stayed in memory, 19 KiB each.
#[tokio::test(start_paused = true)]
async fn a_finished_run_leaves_memory() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(3));
    let coordinator = coordinator(&store, &world, &saga).await;
    let idle = Arc::strong_count(coordinator.app());
    for n in 0..200 {
        coordinator.start(&saga, n).await.unwrap().outcome().await.unwrap();
        assert_eq!(coordinator.in_memory(), 0);
    }
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(coordinator.app()), idle, "all that a run has holds the application");
}

/// Omicron: one unrecoverable saga stopped the recovery of all others.
#[tokio::test(start_paused = true)]
async fn an_unreadable_run_does_not_stop_the_recovery_of_others() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let first = coordinator(&store, &world, &saga).await;
    for n in 0..20 {
        first.start_with(&saga, 1, id(&format!("r{n:02}"))).await.unwrap();
    }
    drop(first);
    let store = store.reopen();
    // The first of them, where it hurts most.
    assert!(store.faults().corrupt(&"r00".parse().unwrap(), Seq(1)));
    world.raise("a may end");
    let second = coordinator(&store, &world, &saga).await;
    for n in 1..20 {
        let run = second.attach::<u32>(&format!("r{n:02}").parse().unwrap()).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3));
    }
    assert_eq!(second.parked().len(), 1);
}

/// Omicron: events were never pruned, 55 million of them.
#[tokio::test(start_paused = true)]
async fn what_has_ended_can_be_pruned_and_what_has_not_is_kept() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    world.raise("a may end");
    for _ in 0..10 {
        coordinator.start(&saga, 1).await.unwrap().outcome().await.unwrap();
    }
    world.lower("a may end");
    let live = coordinator.start(&saga, 1).await.unwrap();
    assert_eq!(coordinator.store().prune(Timestamp(u64::MAX), 99).await.unwrap(), 10);
    world.raise("a may end");
    assert_eq!(live.outcome().await.unwrap(), Outcome::Completed(3));
}

/// Octavia: the revert returned early when the step itself had failed, and the half-made resource leaked.
#[tokio::test(start_paused = true)]
async fn a_step_that_failed_half_way_is_undone_with_what_it_had_made() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("half", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
            ctx.make("half-made");
            ctx.checkpoint("half-made").await?;
            Err(StepError::failed("the other half"))
        })
        .compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
            assert_eq!(undo.output, None);
            ctx.kill(&undo.last_checkpoint::<String>()?.unwrap());
            Ok(())
        });
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let end = rolled_back(coordinator.start(&saga, 1).await.unwrap().outcome().await.unwrap());
    assert!(end.kept.is_empty() && world.things().is_empty());
}

/// Octavia: the status was released early in the revert, and the object could be changed in mid-compensation.
#[tokio::test(start_paused = true)]
async fn nothing_is_released_before_all_is_undone() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("released", 1);
    let input = saga.input();
    saga.finally(async |ctx: Ctx<World>, _: u32, _: Outcome<Payload>| {
        ctx.note("released");
        Ok(())
    });
    let a = saga.step("a", input, make).compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
        ctx.raise("undoing");
        ctx.raised("go on").await;
        unmake(ctx, undo).await
    });
    let b = saga.step("b", a, reject).nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let key = || StartOptions::new().key("object/1".parse().unwrap());
    let run = coordinator.start_with(&saga, 1, key()).await.unwrap();
    world.raised("undoing").await;
    assert_eq!(world.count("released"), 0);
    assert!(coordinator.start_with(&saga, 1, key()).await.is_err(), "the object is not free");
    world.raise("go on");
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.notes(), ["do a", "reject b", "undo a", "released"]);
    assert!(coordinator.start_with(&saga, 1, key()).await.is_ok());
}

/// cano: after an upgrade, a resumed run with another definition version erred and was never rolled back.
#[tokio::test(start_paused = true)]
async fn an_upgrade_does_not_strand_what_was_started_before() {
    let version = |version: u32| {
        let mut saga = Saga::<World, u32>::builder("upgraded", version);
        let input = saga.input();
        let a = saga.step("a", input, make).compensate(unmake);
        let mut last = saga.step("wait", a, gated).compensate(unmake);
        if version > 1 {
            last = saga.step("new", last, make).compensate(unmake);
        }
        saga.build(last).unwrap()
    };
    let (store, world) = (MemoryStore::new(), World::default());
    let first = coordinator(&store, &world, &version(1)).await;
    let run = first.start_with(&version(1), 1, id("r")).await.unwrap();
    world.raised("wait began").await;
    drop(first);
    let store = store.reopen();
    let both = Coordinator::builder(store.clone(), world.clone()).register(&version(2)).register(&version(1));
    let both = both.start().await.unwrap();
    both.cancel(run.id(), ada()).await.unwrap();
    let run = both.attach::<u32>(run.id()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());
    // And without its version it waits, with a clear error, for a build that has it.
    let left = both.start_with(&version(1), 1, id("left")).await.unwrap();
    drop(both);
    let store = store.reopen();
    let new = coordinator(&store, &world, &version(2)).await;
    assert!(new.parked()[0].reason.to_string().contains("register it, or run a build that has it"));
    assert_eq!(store.get(left.id()).await.unwrap().unwrap().status, RunStatus::Running);
}

/// Temporal SDKs: the cancellation also cancelled the compensation.
#[tokio::test(start_paused = true)]
async fn a_cancellation_does_not_reach_the_compensation() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("shielded", 1);
    let input = saga.input();
    let a = saga.step("a", input, gated).compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
        ctx.raise("undoing");
        let mut asked = 0;
        let wait = ctx.poll(Duration::from_secs(1), Duration::from_secs(60), || {
            asked += 1;
            std::future::ready(Ok((asked > 30).then_some(())))
        });
        wait.await?;
        assert!(!ctx.is_cancelled());
        unmake(ctx, undo).await
    });
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let options = StartOptions::new().deadline(Duration::from_secs(10));
    let run = coordinator.start_with(&saga, 1, options).await.unwrap();
    world.raised("a began").await;
    run.cancel(ada()).await.unwrap();
    world.raised("undoing").await;
    run.cancel(Actor::new("bob", "again")).await.unwrap();
    let end = rolled_back(run.outcome().await.unwrap());
    assert_eq!(end.cause, Cause::Cancelled { by: ada() });
    assert!(world.things().is_empty());
}
