//! Deleting and pruning.

use super::{Factory, list_all, next, read_all, records, run_id, start, start_with_key, taken};
use crate::id::{RunId, Seq, Timestamp};
use crate::store::{Query, RunStatus, Store, StoreError};

/// An ended run can be deleted, with its journal; a live or resting one cannot.
pub async fn only_ended_runs_are_deleted<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in RunStatus::ALL {
        let run = run_id(status.as_str());
        taken(&store, start(&run)).await;
        taken(&store, next(&run, 1, status)).await;
        let answer = store.delete(&run).await;
        if status.is_ended() {
            answer.expect("an ended run can be deleted");
            assert_eq!(store.get(&run).await.expect("the store works"), None);
            let error = store.read(&run, Seq::ZERO, 1).await.expect_err("it is gone");
            assert!(matches!(error, StoreError::UnknownRun { .. }), "{error}");
            let error = store.delete(&run).await.expect_err("it is gone");
            assert!(matches!(error, StoreError::UnknownRun { .. }), "{error}");
        } else {
            assert!(matches!(answer, Err(StoreError::NotEnded { .. })), "{status}: {answer:?}");
            assert_eq!(read_all(&store, &run).await, records(&run, 0, 2));
        }
    }
}

/// The id of a deleted run is as good as new.
pub async fn a_deleted_run_can_be_started_anew<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    for _ in 0..3 {
        taken(&store, start_with_key(&run, "k")).await;
        taken(&store, next(&run, 1, RunStatus::Completed)).await;
        store.delete(&run).await.expect("an ended run can be deleted");
    }
    taken(&store, start(&run)).await;
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 1));
}

/// Pruning deletes runs that ended before the given time, those that ended first before others, and no others.
pub async fn pruning_takes_what_ended_first<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let run = |number: u64| run_id(&format!("run-{}", 9 - number));
    for number in 0..8 {
        taken(&store, start(&run(number))).await;
        let status = if number == 2 { RunStatus::Stuck } else { RunStatus::Completed };
        let mut end = next(&run(number), 1, status);
        end.at = Timestamp(10_000 + number * 10);
        taken(&store, end).await;
    }
    let left = |numbers: &[u64]| -> Vec<RunId> {
        let mut left: Vec<_> = numbers.iter().map(|number| run(*number)).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(store.prune(Timestamp(10_000), 100).await.expect("the store works"), 0, "`before` does not mean `at`");
    assert_eq!(store.prune(Timestamp(10_051), 0).await.expect("the store works"), 0);
    assert_eq!(store.prune(Timestamp(10_051), 2).await.expect("the store works"), 2);
    assert_eq!(list_all(&store, Query::default()).await, left(&[2, 3, 4, 5, 6, 7]), "a stuck run has not ended");
    assert_eq!(store.prune(Timestamp(10_051), 100).await.expect("the store works"), 3);
    assert_eq!(list_all(&store, Query::default()).await, left(&[2, 6, 7]));
    assert_eq!(store.prune(Timestamp(10_051), 100).await.expect("the store works"), 0);
}
