//! Many runs that end in one commit are on few pages of the index by end: deleting and pruning take them off one by one.

use std::collections::BTreeSet;

use saga_core::store::{Append, Query, RunStatus, SledStore, Store};
use saga_core::{RunId, Timestamp};
use tempfile::TempDir;

use crate::{append, id, open_sled, taken};

/// Ids as long as they may be, so that this many take several pages.
const RUNS: u64 = 100;

fn long(number: u64) -> RunId {
    id(format!("{number:0200}"))
}

/// Runs that end in one commit, at 0 to 99.
async fn fill(store: &SledStore) {
    let starts: Vec<_> = (0..RUNS).map(|number| append(&long(number), 0, 10, RunStatus::Running)).collect();
    taken(store, &starts).await;
    // Not in the order of their ends, so that every page has early and late ones.
    let end = |number: u64| Append { at: Timestamp(number), ..append(&long(number), 1, 10, RunStatus::Completed) };
    let ends: Vec<_> = (0..RUNS).map(|number| end(number * 37 % RUNS)).collect();
    taken(store, &ends).await;
}

async fn left(store: &SledStore) -> BTreeSet<u64> {
    let query = Query { limit: 1000, ..Query::default() };
    let runs = store.list(&query).await.unwrap().runs;
    runs.iter().map(|run| run.run.as_str().parse().unwrap()).collect()
}

#[tokio::test]
async fn pruning_takes_those_of_a_commit_that_ended_before_and_no_others() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    fill(&store).await;
    assert_eq!(store.prune(Timestamp(30), 1000).await.unwrap(), 30);
    assert_eq!(left(&store).await, (30..RUNS).collect());
    assert_eq!(store.prune(Timestamp(30), 1000).await.unwrap(), 0);
    // No more than the limit, and the rest of them later.
    assert_eq!(store.prune(Timestamp(50), 7).await.unwrap(), 7);
    assert_eq!(left(&store).await.len(), 63);
    assert_eq!(store.prune(Timestamp(50), 0).await.unwrap(), 0);
    store.close().await.unwrap();
    drop(store);

    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.prune(Timestamp(50), 1000).await.unwrap(), 13);
    assert_eq!(left(&store).await, (50..RUNS).collect());
    assert_eq!(store.prune(Timestamp(1000), 1000).await.unwrap(), 50);
    assert_eq!(store.prune(Timestamp(1000), 1000).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_deleted_is_off_its_page_and_a_later_run_of_its_id_is_another_one() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    fill(&store).await;
    for number in 0..RUNS - 1 {
        store.delete(&long(number)).await.unwrap();
    }
    assert_eq!(left(&store).await, [RUNS - 1].into());
    // The same ids again: what the index said of the first ones must not take these.
    let start = append(&long(3), 0, 10, RunStatus::Running);
    let end = Append { at: Timestamp(500), ..append(&long(3), 1, 10, RunStatus::Completed) };
    taken(&store, &[start, end]).await;
    assert_eq!(store.prune(Timestamp(500), 1000).await.unwrap(), 1);
    assert_eq!(left(&store).await, [3].into());
    store.close().await.unwrap();
    drop(store);

    // Nothing is left in the index but what is there.
    {
        let db = open_sled(directory.path());
        assert_eq!(db.open_tree("by_end").unwrap().len(), 1);
    }
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.prune(Timestamp(501), 1000).await.unwrap(), 1);
    assert_eq!(left(&store).await, [].into());
}
