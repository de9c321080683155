//! Requests that are left with a run for whoever drives it.

use super::{Factory, LEASE, known, next, run_id, start, taken, worker};
use crate::id::{Epoch, RunId};
use crate::journal::Actor;
use crate::store::{RunStatus, Store, StoreError};

async fn told<S: Store>(store: &S, who: &str) -> Vec<(RunId, Actor)> {
    store.cancel_requests(&worker(who)).await.expect("the store works")
}

/// The holder is told as often as it asks, and only of its own runs; the first one who asked for it counts.
pub async fn a_request_reaches_the_holder<F: Factory>(factory: &F) {
    let (store, run, other) = (factory.open().await, run_id("run"), run_id("other"));
    taken(&store, start(&run)).await;
    taken(&store, start(&other)).await;
    assert_eq!(told(&store, "w").await, []);
    let (ada, bob) = (Actor::new("ada", "changed her mind"), Actor::new("bob", "so did he"));
    assert_eq!(store.request_cancel(&run, &ada).await.expect("the store works"), RunStatus::Running);
    assert_eq!(store.request_cancel(&run, &bob).await.expect("the store works"), RunStatus::Running);
    for _ in 0..2 {
        assert_eq!(told(&store, "w").await, [(run.clone(), ada.clone())]);
        assert_eq!(told(&store, "v").await, []);
    }
    taken(&store, next(&run, 1, RunStatus::Running)).await;
    assert_eq!(told(&store, "w").await, [(run.clone(), ada.clone())], "a run that goes on is still to be cancelled");
    store.release(&[(run.clone(), Epoch(1))]).await.expect("the store works");
    assert_eq!(told(&store, "w").await, []);
    assert_eq!(store.claim(&worker("v"), &[known("s")], LEASE, 10).await.expect("the store works").len(), 1);
    assert_eq!(told(&store, "v").await, [(run, ada)]);
}

/// A request waits for whoever claims the run next.
pub async fn a_request_is_passed_on_with_the_claim<F: Factory>(factory: &F) {
    let (store, run, by) = (factory.open().await, run_id("run"), Actor::new("ada", "changed her mind"));
    taken(&store, start(&run)).await;
    store.release(&[(run.clone(), Epoch(1))]).await.expect("the store works");
    store.request_cancel(&run, &by).await.expect("the store works");
    let claims = store.claim(&worker("v"), &[known("s")], LEASE, 10).await.expect("the store works");
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].cancel, Some(by.clone()));
    let claim = store.claim_run(&worker("v"), &run, LEASE).await.expect("it is its own");
    assert_eq!(claim.cancel, Some(by));
}

/// A request is over when its run comes to rest: if that is set going again, it is not cancelled for what was asked before.
pub async fn a_request_ends_when_the_run_rests<F: Factory>(factory: &F) {
    let (store, run, by) = (factory.open().await, run_id("run"), Actor::new("ada", "changed her mind"));
    taken(&store, start(&run)).await;
    store.request_cancel(&run, &by).await.expect("the store works");
    taken(&store, next(&run, 1, RunStatus::Halted)).await;
    assert_eq!(store.request_cancel(&run, &by).await.expect("the store works"), RunStatus::Halted);
    let claim = store.claim_run(&worker("w"), &run, LEASE).await.expect("nobody holds it");
    assert_eq!(claim.cancel, None);
    let mut on = next(&run, 2, RunStatus::Running);
    on.epoch = Epoch(2);
    taken(&store, on).await;
    assert_eq!(told(&store, "w").await, []);
}

/// Nothing is left with a run that has ended, or that is not there, and the caller is told.
pub async fn a_request_needs_a_live_run<F: Factory>(factory: &F) {
    let (store, run, by) = (factory.open().await, run_id("run"), Actor::new("ada", "changed her mind"));
    let unknown = store.request_cancel(&run, &by).await.expect_err("there is none");
    assert!(matches!(unknown, StoreError::UnknownRun { .. }), "{unknown}");
    taken(&store, start(&run)).await;
    taken(&store, next(&run, 1, RunStatus::RolledBack)).await;
    assert_eq!(store.request_cancel(&run, &by).await.expect("the store works"), RunStatus::RolledBack);
}
