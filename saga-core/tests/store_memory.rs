//! The faults of the store in memory.

use std::time::Duration;

use futures::FutureExt;
use saga_core::journal::EncodedRecord;
use saga_core::store::{Append, Fault, FirstClaim, MemoryStore, NewRun, RunStatus, Store, StoreError};
use saga_core::{Epoch, RunId, SagaName, Seq, Timestamp, WorkerId};

fn run() -> RunId {
    RunId::new("run").unwrap()
}

fn append(expected: u64) -> Append {
    let start = NewRun {
        saga: SagaName::new("s").unwrap(),
        version: 1,
        fingerprint: serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").unwrap(),
        key: None,
        claim: Some(FirstClaim { worker: WorkerId::new("w").unwrap(), lease: Duration::from_secs(30) }),
    };
    Append {
        run: run(),
        epoch: Epoch::FIRST,
        expected: Seq(expected),
        records: vec![EncodedRecord { seq: Seq(expected + 1), bytes: b"record".to_vec() }],
        status: RunStatus::Running,
        at: Timestamp(1),
        start: (expected == 0).then_some(start),
    }
}

async fn length(store: &MemoryStore) -> u64 {
    store.get(&run()).await.unwrap().map_or(0, |head| head.seq.0)
}

#[tokio::test]
async fn a_failed_append_has_no_effect() {
    let store = MemoryStore::new();
    store.faults().fail_appends(2, Fault::Full);
    for _ in 0..2 {
        let error = store.append(&[append(0)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }
    assert_eq!(length(&store).await, 0);
    store.append(&[append(0)]).await.unwrap()[0].as_ref().unwrap();
    store.faults().fail_appends(1, Fault::Unavailable);
    let error = store.append(&[append(1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert_eq!((store.faults().appends(), store.faults().records(), store.faults().batches()), (1, 1, 4));
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let store = MemoryStore::new();
    store.faults().lose_answers(1);
    let error = store.append(&[append(0)]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(length(&store).await, 1);
    assert!(store.append(&[append(1)]).await.is_ok());
}

#[tokio::test]
async fn held_appends_go_on_when_released() {
    let store = MemoryStore::new();
    let faults = store.faults();
    faults.hold();
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.append(&[append(0)]).await }
    });
    faults.held(1).await;
    assert_eq!(length(&store).await, 0, "reads are not held, and there is nothing to be seen");
    faults.release();
    assert!(held.await.unwrap().unwrap()[0].is_ok());
    assert_eq!(length(&store).await, 1);
}

#[tokio::test]
async fn a_poisoned_store_must_be_reopened() {
    let store = MemoryStore::new();
    store.append(&[append(0)]).await.unwrap()[0].as_ref().unwrap();
    store.faults().poison("the disk is on fire");
    let error = store.append(&[append(1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
    assert!(store.get(&run()).await.is_err());
    assert_eq!(length(&store.reopen()).await, 1);
}

#[tokio::test]
async fn a_crash_before_an_append_leaves_what_was_before_it() {
    let store = MemoryStore::new();
    let faults = store.faults();
    faults.crash_before_append(3);
    for expected in 0..2 {
        assert!(store.append(&[append(expected)]).await.unwrap()[0].is_ok());
    }
    assert!(!faults.has_crashed());
    assert!(store.append(&[append(2)]).now_or_never().is_none(), "it never returns");
    faults.crashed().await;
    assert!(store.get(&run()).now_or_never().is_none(), "nor does any other call");
    let reopened = store.reopen();
    assert_eq!(length(&reopened).await, 2);
    assert_eq!(reopened.get(&run()).await.unwrap().unwrap().owner, None, "nobody holds it");
    assert!(store.get(&run()).now_or_never().is_none(), "who died stays dead");
    assert!(reopened.append(&[append(2)]).await.unwrap()[0].is_ok());
}

#[tokio::test]
async fn a_crash_after_an_append_leaves_it_too() {
    let store = MemoryStore::new();
    store.faults().crash_after_append(2);
    assert!(store.append(&[append(0)]).await.unwrap()[0].is_ok());
    assert!(store.append(&[append(1)]).now_or_never().is_none(), "nobody hears of it");
    assert_eq!(length(&store.reopen()).await, 2);
    assert_eq!(store.faults().appends(), 2);
}

/// A held append of a process that dies must not come to life when the store is reopened.
#[tokio::test]
async fn what_was_held_dies_with_its_process() {
    let store = MemoryStore::new();
    store.faults().hold();
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.append(&[append(0)]).await }
    });
    store.faults().held(1).await;
    let reopened = store.reopen();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!held.is_finished());
    assert_eq!(length(&reopened).await, 0);
    assert!(reopened.append(&[append(0)]).await.unwrap()[0].is_ok());
    held.abort();
}

#[tokio::test]
async fn a_record_can_be_damaged() {
    let store = MemoryStore::new();
    store.append(&[append(0)]).await.unwrap()[0].as_ref().unwrap();
    assert!(!store.faults().corrupt(&run(), Seq(2)), "there is no such record");
    assert!(store.faults().corrupt(&run(), Seq(1)));
    assert_ne!(store.read(&run(), Seq::ZERO, 1).await.unwrap(), append(0).records);
    assert!(store.faults().edit(&run(), Seq(1), |bytes| *bytes = b"record".to_vec()));
    assert_eq!(store.read(&run(), Seq::ZERO, 1).await.unwrap(), append(0).records);
}
