//! Runs from start to end on a memory store: success, rollback, halting, retries, cancellation, fan-out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::store::{MemoryStore, RunStatus};
use saga_core::{
    Actor, Cause, Coordinator, Ctx, FailureOrigin, Outcome, Probe, Retry, Saga, Shutdown, StartError, StartOptions,
    StepError, Undo,
};

/// A world that writes down what is done to it.
#[derive(Default, Clone)]
struct World(Arc<Mutex<Vec<String>>>);

impl World {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
    fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn coordinator<In, Out>(store: &MemoryStore, world: &World, saga: &Saga<World, In, Out>) -> Coordinator<World> {
    Coordinator::builder(store.clone(), world.clone()).register(saga).start().await.unwrap()
}

async fn add(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.note(format!("do {}", ctx.step()));
    Ok(n + 1)
}

async fn sub<Out>(ctx: Ctx<World>, _: Undo<u32, Out>) -> Result<(), StepError> {
    ctx.note(format!("undo {}", ctx.step()));
    Ok(())
}

fn chain(n: usize) -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("chain", 1);
    let mut last = saga.input();
    for i in 0..n {
        last = saga.step(format!("s{i}"), last, add).compensate(sub);
    }
    saga.build(last).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_linear_saga_of_n_steps_costs_n_plus_one_appends() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(5));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 10).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(15));
    assert_eq!(store.faults().appends(), 6);
    assert_eq!(coordinator.in_memory(), 0, "an ended run leaves memory");
}

#[tokio::test(start_paused = true)]
async fn a_failure_undoes_what_was_done_in_reverse_order() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("fails", 1);
    let input = saga.input();
    let a = saga.step("a", input, add).compensate(sub);
    let b = saga.step("b", a, add).compensate(sub);
    let c = saga
        .step("c", b, async |_: Ctx<World>, _: u32| -> Result<u32, StepError> { Err(StepError::rejected("no")) })
        .compensate(sub);
    let saga = saga.build(c).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let Outcome::RolledBack(end) = run.outcome().await.unwrap() else { panic!("not rolled back") };
    assert!(matches!(end.cause, Cause::StepFailed { ref step, .. } if step.as_str() == "c"));
    assert!(end.kept.is_empty());
    assert_eq!(world.notes(), ["do a", "do b", "undo b", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_step_and_nothing_else() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("panics", 1);
    let input = saga.input();
    let a = saga.step("a", input, add).compensate(sub);
    let b = saga
        .step("b", a, async |_: Ctx<World>, n: u32| -> Result<u32, StepError> {
            assert!(n == 0, "boom");
            Ok(n)
        })
        .compensate(sub);
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let Outcome::RolledBack(end) = run.outcome().await.unwrap() else { panic!("not rolled back") };
    let Cause::StepFailed { error, .. } = end.cause else { panic!("{}", end.cause) };
    assert_eq!((error.origin, error.message.as_str()), (FailureOrigin::Panicked, "panicked: boom"));
    assert_eq!(world.notes(), ["do a", "undo b", "undo a"], "what a panic did is unknown, so it is undone");
}

#[tokio::test(start_paused = true)]
async fn a_non_compensable_failure_halts_and_an_operator_moves_it_on() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a = saga.step("a", input, add).compensate(sub);
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, n: u32| {
            ctx.note("do b");
            if ctx.attempt() == 1 { Err(StepError::failed("flaky")) } else { Ok(n) }
        })
        .non_compensable();
    saga.finally(async |ctx: Ctx<World>, _: u32, end: Outcome<saga_core::Payload>| {
        ctx.note(format!("finally {end}"));
        Ok(())
    });
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let options = StartOptions::new().id("r".parse().unwrap()).key("k".parse().unwrap());
    let run = coordinator.start_with(&saga, 1, options.clone()).await.unwrap();
    let Outcome::Halted(end) = run.outcome().await.unwrap() else { panic!("not halted") };
    assert_eq!(end.at.to_string(), "b");
    assert_eq!(end.residue.len(), 2);
    assert_eq!(run.summary().await.unwrap().status, RunStatus::Halted);

    let other = StartOptions::new().key("k".parse().unwrap());
    let refused = coordinator.start_with(&saga, 1, other).await.unwrap_err();
    assert!(matches!(refused, StartError::KeyHeld { holder, .. } if holder == *run.id()));
    let same = coordinator.start_with(&saga, 1, options).await.unwrap();
    assert!(matches!(same.outcome().await.unwrap(), Outcome::Halted(_)), "the same id is the same run");

    let moved = coordinator.retry(run.id(), Actor::new("ada", "fixed the network")).await.unwrap();
    assert!(moved.outcome().await.unwrap().is_completed());
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2));
    assert_eq!(
        world.notes(),
        ["do a", "do b", "finally halted at `b`: flaky", "do b", "finally completed"],
        "the finalizer is told at every rest, last"
    );
}

#[tokio::test(start_paused = true)]
async fn retries_wait_and_a_probe_settles_a_timeout() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("probed", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, n: u32| {
            ctx.note(format!("attempt {}", ctx.attempt()));
            if ctx.attempt() < 3 { Err(StepError::failed("not yet")) } else { Ok(n) }
        })
        .retry(Retry::exponential(5))
        .nothing_to_undo();
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, n: u32| {
            ctx.note("b hangs");
            std::future::pending::<()>().await;
            Ok(n)
        })
        .timeout(Duration::from_secs(60))
        .probe(async |ctx: Ctx<World>, n: u32| {
            ctx.note("b asked");
            Ok(Probe::Done(n * 100))
        })
        .non_compensable();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 7).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(700));
    assert_eq!(world.notes(), ["attempt 1", "attempt 2", "attempt 3", "b hangs", "b asked"]);
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_runs_each_item_and_undoes_each_item() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, Vec<u32>>::builder("fans", 1);
    let input = saga.input();
    let made = saga
        .for_each("make", input, async |ctx: Ctx<World>, n: u32| {
            ctx.checkpoint(&format!("half of {n}")).await?;
            if n == 3 { Err(StepError::failed("three is bad")) } else { Ok(n * 2) }
        })
        .concurrency(2)
        .compensate(async |ctx: Ctx<World>, undo: Undo<u32, u32>| {
            ctx.note(format!("undo {} {:?} {}", undo.input, undo.output, undo.checkpoints.len()));
            Ok(())
        });
    let saga = saga.build(made).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let good = coordinator.start(&saga, vec![1, 2, 4]).await.unwrap();
    assert_eq!(good.outcome().await.unwrap(), Outcome::Completed(vec![2, 4, 8]));
    let none = coordinator.start(&saga, vec![]).await.unwrap();
    assert_eq!(none.outcome().await.unwrap(), Outcome::Completed(vec![]));
    let bad = coordinator.start(&saga, vec![1, 2, 3, 4, 5]).await.unwrap();
    assert!(matches!(bad.outcome().await.unwrap(), Outcome::RolledBack(_)));
    let mut notes = world.notes();
    notes.sort();
    assert!(notes.contains(&"undo 1 Some(2) 1".to_owned()) && notes.contains(&"undo 3 None 1".to_owned()), "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_ends_and_the_run_is_rolled_back() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("waits", 1);
    let input = saga.input();
    let a = saga.step("a", input, add).compensate(sub);
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, _: u32| {
            ctx.note("waiting");
            let hour = Duration::from_secs(3600);
            Ok(ctx.poll(Duration::from_secs(1), hour, async || Ok(None::<u32>)).await?)
        })
        .nothing_to_undo();
    let saga = saga.build(b).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    while !world.notes().contains(&"waiting".to_owned()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run.cancel(Actor::new("ada", "changed her mind")).await.unwrap();
    let Outcome::RolledBack(end) = run.outcome().await.unwrap() else { panic!("not rolled back") };
    assert_eq!(end.cause, Cause::Cancelled { by: Actor::new("ada", "changed her mind") });
    assert_eq!(world.notes(), ["do a", "waiting", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_every_append_ends_like_an_undisturbed_run() {
    for crash_at in 1..=6 {
        let (store, world, saga) = (MemoryStore::new(), World::default(), chain(5));
        store.faults().crash_after_append(crash_at);
        let first = coordinator(&store, &world, &saga).await;
        let options = StartOptions::new().id("r".parse().unwrap());
        let starting = tokio::time::timeout(Duration::from_secs(1), first.start_with(&saga, 10, options.clone())).await;
        if let Ok(run) = starting {
            let _ = tokio::time::timeout(Duration::from_secs(1), run.unwrap().outcome()).await;
        }
        drop(first);
        let store = store.reopen();
        let second = coordinator(&store, &world, &saga).await;
        let run = second.start_with(&saga, 10, options).await.unwrap();
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(15), "crashed after append {crash_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_runs_than_places_wait_for_their_turn() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), chain(3));
    let coordinator =
        Coordinator::builder(store.clone(), world.clone()).register(&saga).max_in_flight(2).start().await.unwrap();
    let mut runs = Vec::new();
    for n in 0..50 {
        runs.push(coordinator.start(&saga, n).await.unwrap());
    }
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(u32::try_from(n).unwrap() + 3));
    }
    coordinator.shutdown(Shutdown::Drain).await.unwrap();
    assert!(matches!(coordinator.start(&saga, 1).await, Err(StartError::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_an_error_asks_for_does_not_outlast_the_policy() {
    let (store, world) = (MemoryStore::new(), World::default());
    let mut saga = Saga::<World, u32>::builder("busy", 1);
    let input = saga.input();
    let a = saga
        .step("a", input, async |ctx: Ctx<World>, _: u32| -> Result<u32, StepError> {
            ctx.note(format!("attempt {}", ctx.attempt()));
            let minutes = if ctx.attempt() == 1 { 5 } else { 60 };
            Err(StepError::retry_after("busy", Duration::from_secs(60 * minutes)))
        })
        .retry(Retry::fixed(10, Duration::from_secs(1)).max_elapsed(Duration::from_secs(15 * 60)))
        .nothing_to_undo();
    let saga = saga.build(a).unwrap();
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    assert!(matches!(run.outcome().await.unwrap(), Outcome::RolledBack(_)));
    assert_eq!(world.notes(), ["attempt 1", "attempt 2"], "an hour is more than the policy gives");
}
