//! Operators: retry, skip, roll back, abandon; what is refused, and what happens at the same moment.

use saga_core::machine::NotAllowed;
use saga_core::store::{MemoryStore, RunStatus};
use saga_core::{
    Actor, Coordinator, Ctx, OperatorError, Outcome, Payload, Place, RunHandle, Saga, StartError, StepError, Undo,
};

use crate::world::{World, ada, chain, coordinator, gate, id, make, rolled_back, unmake};

fn place(step: &str) -> Place {
    Place { step: step.parse().unwrap(), item: None }
}

/// `a`, then `b`, which halts until `fixed` is raised, then `c`.
fn halts() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("halts", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga
        .step("b", a, async |ctx: Ctx<World>, n: u32| {
            ctx.note("do b");
            if ctx.is_raised("fixed") { Ok(n + 1) } else { Err(StepError::failed("broken")) }
        })
        .non_compensable();
    let c = saga.step("c", b, make).compensate(unmake);
    saga.build(c).unwrap()
}

/// `a`, whose compensation fails until `fixed` is raised, then `b`, which is rejected.
fn sticks() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("sticks", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).undo_retry(saga_core::Retry::never()).compensate(
        async |ctx: Ctx<World>, _: Undo<u32, u32>| {
            if !ctx.is_raised("fixed") {
                return Err(StepError::failed("cannot"));
            }
            ctx.kill(&ctx.idempotency_key());
            Ok(())
        },
    );
    let b = saga.step("b", a, crate::world::reject).nothing_to_undo();
    saga.build(b).unwrap()
}

async fn resting(saga: &Saga<World, u32, u32>) -> (MemoryStore, World, Coordinator<World>, RunHandle<World, u32>) {
    let (store, world) = (MemoryStore::new(), World::default());
    let coordinator = coordinator(&store, &world, saga).await;
    let run = coordinator.start_with(saga, 1, id("r").key("k".parse().unwrap())).await.unwrap();
    assert!(run.outcome().await.unwrap().is_resting());
    (store, world, coordinator, run)
}

#[tokio::test(start_paused = true)]
async fn a_halted_step_is_tried_again() {
    let saga = halts();
    let (_, world, coordinator, run) = resting(&saga).await;
    let still = coordinator.retry(run.id(), ada()).await.unwrap();
    assert!(matches!(still.outcome().await.unwrap(), Outcome::Halted(_)));
    world.raise("fixed");
    coordinator.retry(run.id(), ada()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(4));
    assert_eq!(still.outcome().await.unwrap().completed(), Some(Payload::encode(&4).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_halted_step_is_skipped_with_an_output_of_its_type_only() {
    let saga = halts();
    let (store, world, coordinator, run) = resting(&saga).await;
    let before = store.faults().appends();
    let skip = |step: &'static str, output: Option<&'static str>| {
        let output = output.map(|json| Payload::from_json(json).unwrap());
        let coordinator = coordinator.clone();
        let run = run.id().clone();
        async move { coordinator.skip(&run, &place(step), output, ada()).await }
    };
    assert!(matches!(skip("b", Some("\"no number\"")).await, Err(OperatorError::Output { .. })));
    assert!(matches!(skip("b", None).await, Err(OperatorError::NotAllowed { why: NotAllowed::OutputMissing, .. })));
    assert!(matches!(skip("a", Some("7")).await, Err(OperatorError::NotAllowed { why: NotAllowed::NotFailed, .. })));
    assert!(matches!(skip("z", Some("7")).await, Err(OperatorError::UnknownStep { .. })));
    let item = Place { step: "b".parse().unwrap(), item: Some(3) };
    assert!(matches!(coordinator.skip(run.id(), &item, None, ada()).await, Err(OperatorError::UnknownStep { .. })));
    assert_eq!(store.faults().appends(), before, "it rests as before");
    assert_eq!(run.summary().await.unwrap().status, RunStatus::Halted);
    skip("b", Some("40")).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(41));
    assert_eq!(world.notes(), ["do a", "do b", "do c"]);
}

#[tokio::test(start_paused = true)]
async fn a_halted_run_is_rolled_back_on_purpose() {
    let saga = halts();
    let (_, world, coordinator, run) = resting(&saga).await;
    coordinator.roll_back(run.id(), ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());
    assert!(matches!(
        coordinator.roll_back(run.id(), ada()).await,
        Err(OperatorError::NotAllowed { why: NotAllowed::Ended, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_ends_frees_its_key_and_says_what_is_left() {
    for saga in [halts(), sticks()] {
        let (_, world, coordinator, run) = resting(&saga).await;
        let key = || id("other").key("k".parse().unwrap());
        assert!(matches!(coordinator.start_with(&saga, 1, key()).await, Err(StartError::KeyHeld { .. })));
        coordinator.abandon(run.id(), ada()).await.unwrap();
        let Outcome::Abandoned(end) = run.outcome().await.unwrap() else { panic!("not abandoned") };
        assert_eq!(end.by, ada());
        assert!(end.residue.iter().any(|left| left.place == place("a")), "{:?}", end.residue);
        assert_eq!(world.things().len(), 1);
        assert!(coordinator.start_with(&saga, 1, key()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_run_is_tried_again_or_settled_by_hand() {
    let saga = sticks();
    let (_, world, coordinator, run) = resting(&saga).await;
    assert!(matches!(
        coordinator.roll_back(run.id(), ada()).await,
        Err(OperatorError::NotAllowed { why: NotAllowed::NotHalted, .. })
    ));
    world.raise("fixed");
    coordinator.retry(run.id(), ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert!(world.things().is_empty());

    let (_, world, coordinator, run) = resting(&saga).await;
    let output = Some(Payload::encode(&1).unwrap());
    assert!(matches!(
        coordinator.skip(run.id(), &place("a"), output, ada()).await,
        Err(OperatorError::NotAllowed { why: NotAllowed::OutputUnwanted, .. })
    ));
    coordinator.skip(run.id(), &place("a"), None, ada()).await.unwrap();
    rolled_back(run.outcome().await.unwrap());
    assert_eq!(world.things().len(), 1, "by hand means by hand");
}

#[tokio::test(start_paused = true)]
async fn verbs_are_for_resting_runs() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), gate());
    let coordinator = coordinator(&store, &world, &saga).await;
    let unknown = coordinator.retry(&"who".parse().unwrap(), ada()).await;
    assert!(matches!(unknown, Err(OperatorError::UnknownRun(_))));
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("a began").await;
    for refused in [coordinator.retry(run.id(), ada()).await, coordinator.abandon(run.id(), ada()).await] {
        assert!(matches!(refused, Err(OperatorError::NotAllowed { why: NotAllowed::NotAtRest, .. })));
    }
    world.raise("a may end");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(3), "and it was not disturbed");
    assert_eq!(world.notes(), ["do a", "do b"]);
}

#[tokio::test(start_paused = true)]
async fn of_operators_who_act_at_the_same_moment_one_is_heard() {
    let saga = halts();
    for _ in 0..20 {
        let (store, world, coordinator, run) = resting(&saga).await;
        world.raise("fixed");
        let by = |n: usize| Actor::new(format!("operator {n}"), "race");
        let verbs = (0..6).map(|n| {
            let (coordinator, run) = (coordinator.clone(), run.id().clone());
            tokio::spawn(async move {
                match n % 3 {
                    0 => coordinator.retry(&run, by(n)).await.map(drop),
                    1 => coordinator.abandon(&run, by(n)).await.map(drop),
                    _ => coordinator.roll_back(&run, by(n)).await.map(drop),
                }
            })
        });
        let answers = futures::future::join_all(verbs).await;
        let heard = answers.iter().filter(|answer| answer.as_ref().unwrap().is_ok()).count();
        assert_eq!(heard, 1);
        for answer in answers {
            match answer.unwrap() {
                Ok(()) | Err(OperatorError::Busy(_) | OperatorError::NotAllowed { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let before = tokio::time::Instant::now();
        let outcome = run.outcome().await.unwrap();
        assert!(!outcome.is_resting());
        assert_eq!(before.elapsed(), std::time::Duration::ZERO, "nobody took the run away from the one who was heard");
        assert!(world.count("do b") <= 2);
        drop(store);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_finds_what_an_earlier_process_left_resting() {
    let saga = halts();
    let (store, world, first, run) = resting(&saga).await;
    drop(first);
    let store = store.reopen();
    let second = coordinator(&store, &world, &saga).await;
    assert_eq!(second.in_memory(), 0, "resting runs are not taken up");
    world.raise("fixed");
    let moved = second.retry(run.id(), ada()).await.unwrap();
    assert!(moved.outcome().await.unwrap().is_completed());
    // And one whose saga this build does not have is left alone.
    let other = coordinator(&MemoryStore::new(), &world, &chain(1)).await;
    assert!(matches!(other.retry(run.id(), ada()).await, Err(OperatorError::UnknownRun(_))));
    let unknown = coordinator(&store, &world, &chain(1)).await;
    assert!(matches!(unknown.retry(run.id(), ada()).await, Err(OperatorError::NotAllowed { .. })));
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_for_a_verb_does_not_strand_the_run() {
    let saga = halts();
    let (store, world, coordinator, run) = resting(&saga).await;
    world.raise("fixed");
    store.faults().hold();
    let retrying = tokio::time::timeout(std::time::Duration::from_secs(1), coordinator.retry(run.id(), ada()));
    assert!(retrying.await.is_err());
    let before = tokio::time::Instant::now();
    store.faults().release();
    while run.summary().await.unwrap().status == RunStatus::Halted {
        tokio::task::yield_now().await;
    }
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(4));
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
}
