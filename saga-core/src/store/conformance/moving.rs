//! Runs that come from another store.

use super::{
    Factory, LEASE, append, get, key, known, next, read_all, records, run_id, start, start_with_key, taken, worker,
};
use crate::id::{Epoch, Seq, Timestamp};
use crate::store::{Refused, RunStatus, RunSummary, Store};

/// A run of so many records, as another store tells it.
async fn foreign<F: Factory>(factory: &F, name: &str, status: RunStatus, count: u64) -> RunSummary {
    let (store, run) = (factory.open().await, run_id(name));
    taken(&store, start_with_key(&run, "k")).await;
    let epoch = store.claim_run(&worker("w"), &run, LEASE).await.expect("it is its own").summary.epoch;
    let mut last = next(&run, 1, status);
    (last.epoch, last.records) = (epoch, records(&run, 1, count - 1));
    taken(&store, last).await;
    RunSummary { owner: None, ..get(&store, &run).await }
}

/// A run comes as it was, whatever its status: its head, its journal, its key; and goes on from there.
pub async fn a_restored_run_is_as_it_was<F: Factory>(factory: &F) {
    for status in RunStatus::ALL {
        let summary = foreign(factory, "run", status, 300).await;
        let run = summary.run.clone();
        let records = records(&run, 0, 300);
        let store = factory.open().await;
        let restored = RunSummary { owner: Some(worker("long gone")), ..summary.clone() };
        assert_eq!(store.restore(&restored, &records).await.expect("the store works"), Ok(()), "{status}");
        assert_eq!(get(&store, &run).await, summary, "nobody holds it");
        assert!(read_all(&store, &run).await == records, "the journal");
        let holder = store.holder(&key("k")).await.expect("the store works");
        assert_eq!(holder.is_some(), !status.is_ended(), "{status}");
        let claims = store.claim(&worker("v"), &[known("s")], LEASE, 10).await.expect("the store works");
        assert_eq!(claims.len(), usize::from(status.is_live()), "{status}");
        let Some(store) = factory.reopen(store).await else { continue };
        assert_eq!(get(&store, &run).await.epoch, if status.is_live() { Epoch(3) } else { Epoch(2) });
        assert!(read_all(&store, &run).await == records, "the journal, after a restart");
        if status.is_ended() {
            assert_eq!(store.prune(Timestamp(u64::MAX >> 1), 10).await.expect("the store works"), 1);
        }
    }
}

/// What is there already is not touched, and the reason is told.
pub async fn a_restored_run_replaces_nothing<F: Factory>(factory: &F) {
    let summary = foreign(factory, "run", RunStatus::Running, 3).await;
    let run = summary.run.clone();
    let journal = records(&run, 0, 3);
    let store = factory.open().await;
    taken(&store, start_with_key(&run_id("holder"), "k")).await;
    let refused = store.restore(&summary, &journal).await.expect("the store works");
    assert_eq!(refused, Err(Refused::KeyHeld { key: key("k"), holder: run_id("holder") }));
    assert_eq!(store.get(&run).await.expect("the store works"), None);
    taken(&store, start(&run)).await;
    let other_key = RunSummary { key: Some(key("another")), ..summary.clone() };
    let refused = store.restore(&other_key, &journal).await.expect("the store works");
    assert_eq!(refused, Err(Refused::Exists { run: run.clone() }));
    assert_eq!(store.holder(&key("another")).await.expect("the store works"), None);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 1));
    // An ended run holds no key, so none is in its way.
    let ended = RunSummary { run: run_id("ended"), status: RunStatus::Completed, ..summary };
    assert_eq!(store.restore(&ended, &journal).await.expect("the store works"), Ok(()));
    assert_eq!(append(&store, start_with_key(&run_id("new"), "another")).await, Ok(()));
}

/// A journal that is not whole is not taken.
pub async fn a_restored_journal_is_whole<F: Factory>(factory: &F) {
    let summary = foreign(factory, "run", RunStatus::Running, 3).await;
    let run = summary.run.clone();
    let store = factory.open().await;
    let mut gap = records(&run, 0, 3);
    gap.remove(1);
    for wrong in [Vec::new(), records(&run, 0, 2), records(&run, 0, 4), records(&run, 1, 3), gap] {
        let refused = store.restore(&summary, &wrong).await.expect("the store works");
        assert!(matches!(refused, Err(Refused::Malformed { .. })), "{refused:?}");
    }
    assert_eq!(store.get(&run).await.expect("the store works"), None);
    assert_eq!(summary.seq, Seq(3));
}
