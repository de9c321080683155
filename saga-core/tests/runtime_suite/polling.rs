//! `ctx.poll`, the one way to wait.

use std::time::Duration;

use saga_core::store::MemoryStore;
use saga_core::{Cause, Ctx, Outcome, PollError, Saga, StepError};

use crate::world::{World, ada, coordinator, make, rolled_back, unmake};

const SECOND: Duration = Duration::from_secs(1);

/// `a`, then `b`, which waits for `ready` and answers a poll that came to nothing as told.
fn waits(then: fn(PollError) -> StepError) -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("waits", 1);
    let input = saga.input();
    saga.guard(
        async |ctx: Ctx<World>, _: u32| {
            if ctx.is_raised("unsure") { Err(StepError::failed("unsure")) } else { Ok(!ctx.is_raised("gone")) }
        },
    );
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga
        .step("b", a, move |ctx: Ctx<World>, n: u32| async move {
            ctx.raise("waiting");
            let answer = ctx.poll(SECOND, 100 * SECOND, async || Ok(ctx.is_raised("ready").then_some(n))).await;
            answer.map_err(|error| {
                ctx.note(format!("{error:?}"));
                then(error)
            })
        })
        .non_compensable();
    saga.build(b).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_answer_is_there() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), waits(StepError::from));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("waiting").await;
    world.raise("unsure");
    tokio::time::sleep(10 * SECOND).await;
    world.raise("ready");
    assert_eq!(run.outcome().await.unwrap(), Outcome::Completed(2), "a guard that cannot tell is no reason to stop");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_is_a_failure() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), waits(StepError::from));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    let began = tokio::time::Instant::now();
    let Outcome::Halted(end) = run.outcome().await.unwrap() else { panic!("not halted") };
    assert_eq!(end.error.message, "gave up waiting after 100s");
    assert_eq!(began.elapsed(), 100 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn when_the_subject_is_gone_that_is_the_cause_whatever_the_action_says() {
    let answers: [fn(PollError) -> StepError; 4] =
        [StepError::from, |_| StepError::fatal("???"), |_| StepError::rejected("nothing"), |_| panic!("oh no")];
    for answer in answers {
        let (store, world, saga) = (MemoryStore::new(), World::default(), waits(answer));
        let coordinator = coordinator(&store, &world, &saga).await;
        let run = coordinator.start(&saga, 1).await.unwrap();
        world.raised("waiting").await;
        let began = tokio::time::Instant::now();
        world.raise("gone");
        let end = rolled_back(run.outcome().await.unwrap());
        assert_eq!(end.cause, Cause::SubjectGone);
        assert!(began.elapsed() <= SECOND, "promptly");
        assert_eq!(world.notes(), ["do a", "SubjectGone", "undo a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_run_is_cancelled() {
    let (store, world, saga) = (MemoryStore::new(), World::default(), waits(|_| StepError::rejected("only waited")));
    let coordinator = coordinator(&store, &world, &saga).await;
    let run = coordinator.start(&saga, 1).await.unwrap();
    world.raised("waiting").await;
    let began = tokio::time::Instant::now();
    run.cancel(ada()).await.unwrap();
    assert_eq!(rolled_back(run.outcome().await.unwrap()).cause, Cause::Cancelled { by: ada() });
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(world.notes(), ["do a", "Cancelled", "undo a"]);
}
