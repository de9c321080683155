//! Claiming what an earlier process has left.

use std::time::Duration;

use saga_core::store::{KnownSaga, RunStatus, SledStore, Store};
use saga_core::{RunId, SagaName, WorkerId};
use tempfile::TempDir;

use crate::{append, fingerprint, id, taken};

/// Those who claim page by page go on where the last page ended, and begin again at the first.
#[tokio::test]
async fn claims_go_on_behind_the_last_and_around() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    let runs: Vec<RunId> = (0..5).map(|run| id(format!("r{run}"))).collect();
    let batch: Vec<_> = runs.iter().map(|run| append(run, 0, 20, RunStatus::Running)).collect();
    taken(&store, &batch).await;
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    let worker = WorkerId::new("w").unwrap();
    let saga = KnownSaga { saga: SagaName::new("s").unwrap(), version: 1, fingerprint: fingerprint() };
    let claim = async |limit| {
        let claims = store.claim(&worker, std::slice::from_ref(&saga), Duration::from_secs(30), limit).await.unwrap();
        claims.into_iter().map(|claim| (claim.summary.run, claim.summary.epoch)).collect::<Vec<_>>()
    };
    let first = claim(2).await;
    assert_eq!(first.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&runs[0], &runs[1]]);
    store.release(&first).await.unwrap();
    let second = claim(2).await;
    assert_eq!(second.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&runs[2], &runs[3]]);
    let third = claim(9).await;
    assert_eq!(third.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&runs[4], &runs[0], &runs[1]]);
    assert_eq!(claim(9).await, []);
}
