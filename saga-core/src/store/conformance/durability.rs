//! What outlives the process. Passed over by stores that do not.

use super::{
    Factory, LEASE, append, get, key, known, list_all, next, read_all, records, run_id, start, start_with_key, taken,
    worker,
};
use crate::id::{Epoch, Seq};
use crate::store::{Query, Refused, RunStatus, Store, StoreError};

/// Every run is there again, with its head and its records; without an owner, if that one process was the only one.
pub async fn what_is_acknowledged_outlives_a_restart<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let mut expected = Vec::new();
    for (number, status) in (0..).zip(RunStatus::ALL) {
        let run = run_id(&format!("run-{number}"));
        taken(&store, start_with_key(&run, &format!("key-{number}"))).await;
        for at in 1..=number {
            taken(&store, next(&run, at, RunStatus::Running)).await;
        }
        let mut last = next(&run, number + 1, status);
        last.records = records(&run, number + 1, 300);
        taken(&store, last).await;
        expected.push((number + 301, run));
    }
    let mut heads = Vec::new();
    for (_, run) in &expected {
        heads.push(get(&store, run).await);
    }
    let Some(store) = factory.reopen(store).await else { return };
    for (mut head, (count, run)) in heads.into_iter().zip(expected) {
        if !store.is_shared() {
            head.owner = None;
        }
        assert_eq!(get(&store, &run).await, head);
        assert!(read_all(&store, &run).await == records(&run, 0, count), "the journal of {run}");
    }
    // And it goes on from there.
    let run = run_id("run-0");
    taken(&store, next(&run, 301, RunStatus::Running)).await;
    assert_eq!(read_all(&store, &run).await.len(), 302);
}

/// If no other process can have the store open, nobody holds a run after a restart, and its lease need not be waited for.
/// Else the lease goes on: for all that is known its holder lives.
pub async fn leases_end_with_the_only_process<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let Some(store) = factory.reopen(store).await else { return };
    let claims = store.claim(&worker("v"), &[known("s")], LEASE, 10).await.expect("the store works");
    if store.is_shared() {
        assert!(claims.is_empty(), "{claims:?}");
    } else {
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].summary.epoch, Epoch(2));
    }
}

/// An epoch that was given out is never given out again.
pub async fn epochs_outlive_a_restart<F: Factory>(factory: &F) {
    let (mut store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    for epoch in 2..6 {
        let claim = store.claim_run(&worker("w"), &run, LEASE).await.expect("nobody else holds it");
        assert_eq!(claim.summary.epoch, Epoch(epoch));
        let Some(reopened) = factory.reopen(store).await else { return };
        store = reopened;
        assert_eq!(get(&store, &run).await.epoch, Epoch(epoch));
    }
    assert!(matches!(append(&store, next(&run, 1, RunStatus::Running)).await, Err(Refused::Stale { .. })));
}

/// Live and resting runs hold their keys, ended ones do not.
pub async fn keys_outlive_a_restart<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in RunStatus::ALL {
        let run = run_id(status.as_str());
        taken(&store, start_with_key(&run, status.as_str())).await;
        taken(&store, next(&run, 1, status)).await;
    }
    let Some(store) = factory.reopen(store).await else { return };
    for status in RunStatus::ALL {
        let holder = store.holder(&key(status.as_str())).await.expect("the store works");
        assert_eq!(holder, (!status.is_ended()).then(|| run_id(status.as_str())), "{status}");
    }
    let refused = append(&store, start_with_key(&run_id("new"), "running")).await;
    assert_eq!(refused, Err(Refused::KeyHeld { key: key("running"), holder: run_id("running") }));
}

/// What was deleted stays away, and what was started under its id since is there.
pub async fn deletions_outlive_a_restart<F: Factory>(factory: &F) {
    let (store, gone, again) = (factory.open().await, run_id("gone"), run_id("again"));
    for run in [&gone, &again] {
        taken(&store, start(run)).await;
        taken(&store, next(run, 1, RunStatus::Completed)).await;
        store.delete(run).await.expect("an ended run can be deleted");
    }
    taken(&store, start(&again)).await;
    let Some(store) = factory.reopen(store).await else { return };
    assert_eq!(list_all(&store, Query::default()).await, std::slice::from_ref(&again));
    assert_eq!(read_all(&store, &again).await, records(&again, 0, 1));
    let Some(store) = factory.reopen(store).await else { return };
    assert_eq!(list_all(&store, Query::default()).await, [again]);
}

/// A closed store refuses every call, and closing it again is no mistake.
pub async fn a_closed_store_refuses<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.close().await.expect("it can be closed");
    store.close().await.expect("twice, too");
    let closed = |error: StoreError| assert!(matches!(error, StoreError::Closed), "{error}");
    closed(store.append(&[next(&run, 1, RunStatus::Running)]).await.expect_err("it is closed"));
    closed(store.read(&run, Seq::ZERO, 1).await.expect_err("it is closed"));
    closed(store.get(&run).await.expect_err("it is closed"));
    closed(store.list(&Query::default()).await.expect_err("it is closed"));
    closed(store.renew(&worker("w"), &[], LEASE).await.expect_err("it is closed"));
}
