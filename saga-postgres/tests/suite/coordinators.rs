//! Coordinators that share a database.

use std::sync::Arc;
use std::time::Duration;

use saga_core::{Actor, Coordinator, Ctx, Outcome, RunId, Saga, Shutdown, StepError, Undo, WorkerId};
use saga_postgres::{PostgresStore, testing};
use tokio::sync::Notify;

/// What the steps of one worker work with.
struct Worker {
    name: &'static str,
    /// Told when the second step has begun.
    begun: Notify,
    /// Whether the second step may end.
    may_end: bool,
}

async fn first(_: Ctx<Worker>, input: String) -> Result<String, StepError> {
    Ok(input + " first")
}

async fn second(ctx: Ctx<Worker>, input: String) -> Result<String, StepError> {
    ctx.begun.notify_one();
    if !ctx.may_end {
        ctx.cancelled().await;
        return Err(StepError::failed("cancelled"));
    }
    Ok(format!("{input} second by {}", ctx.name))
}

async fn undo(_: Ctx<Worker>, _: Undo<String, String>) -> Result<(), StepError> {
    Ok(())
}

fn saga() -> Saga<Worker, String, String> {
    let mut saga = Saga::<Worker, String>::builder("hand-over", 1);
    let input = saga.input();
    let one = saga.step("first", input, first).compensate(undo);
    let two = saga.step("second", one, second).compensate(undo);
    saga.build(two).expect("it is a saga")
}

async fn coordinator(url: &str, name: &'static str, may_end: bool, lease: Duration) -> Coordinator<Worker> {
    let store = PostgresStore::connect(url).await.expect("the server works");
    let worker = Worker { name, begun: Notify::new(), may_end };
    let builder = Coordinator::builder(store, worker).register(&saga()).lease(lease);
    builder.worker(WorkerId::new(name).expect("a sound id")).start().await.expect("it starts")
}

/// Starts a run on a worker whose second step does not end, and waits until that has begun.
async fn begun(by: &Coordinator<Worker>) -> RunId {
    let run = by.start(&saga(), "in".to_owned()).await.expect("it starts");
    by.app().begun.notified().await;
    run.id().clone()
}

async fn completed_by(coordinator: &Coordinator<Worker>, run: &RunId) -> String {
    let run = coordinator.attach::<String>(run).await.expect("it is there");
    match run.outcome().await.expect("it has an outcome") {
        Outcome::Completed(output) => output,
        other => panic!("{other:?}"),
    }
}

/// The run of a worker that died is taken over when its lease is over, by a worker that was there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_dead_worker_is_taken_over() {
    let url = testing::database().await;
    let lease = Duration::from_millis(600);
    let one = coordinator(&url, "one", false, lease).await;
    let run = begun(&one).await;
    // Not before: should this machine stand still for longer than a lease, it would take the run over, and end it.
    let two = coordinator(&url, "two", true, lease).await;
    drop(one);
    assert_eq!(completed_by(&two, &run).await, "in first second by two");
}

/// A worker that is shut down hands its runs over at once: nobody waits for its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_hands_over_at_once() {
    let url = testing::database().await;
    // A lease that no test outlives.
    let lease = Duration::from_secs(60 * 60);
    let one = coordinator(&url, "one", false, lease).await;
    let two = coordinator(&url, "two", true, lease).await;
    let run = begun(&one).await;
    one.shutdown(Shutdown::Park { grace: Duration::ZERO }).await.expect("the server works");
    assert_eq!(completed_by(&two, &run).await, "in first second by two");
}

/// A run is cancelled through any worker, whoever drives it, without waiting until the next renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_cancelled_from_elsewhere() {
    let url = testing::database().await;
    let lease = Duration::from_secs(60 * 60);
    let one = coordinator(&url, "one", false, lease).await;
    let two = coordinator(&url, "two", true, lease).await;
    let run = begun(&one).await;
    two.cancel(&run, Actor::new("ada", "changed her mind")).await.expect("it is left word");
    let run = two.attach::<String>(&run).await.expect("it is there");
    let outcome = run.outcome().await.expect("it has an outcome");
    assert!(matches!(&outcome, Outcome::RolledBack(rolled_back) if rolled_back.kept.is_empty()), "{outcome:?}");
}

/// Runs go on over a server that is killed under them, and each step is done exactly as often as its journal says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_outlive_a_killed_server() {
    let server = testing::Server::start();
    let worker = coordinator(&server.url(), "one", true, Duration::from_secs(60 * 60)).await;
    let worker = Arc::new(worker);
    let started: Vec<_> = (0..20)
        .map(|number| {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move {
                let run = worker.start(&saga(), format!("{number}")).await.expect("it starts in the end");
                completed_by(&worker, run.id()).await
            })
        })
        .collect();
    worker.app().begun.notified().await;
    server.kill();
    server.resume();
    for (number, run) in started.into_iter().enumerate() {
        assert_eq!(run.await.expect("it does not panic"), format!("{number} first second by one"));
    }
}
