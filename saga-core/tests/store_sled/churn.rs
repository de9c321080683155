//! Room on the disk: what is deleted makes room, whatever lives on in between.

use saga_core::Timestamp;
use saga_core::store::{Append, RunStatus, SledStore, Store};
use tempfile::TempDir;

use crate::{append, assert_journal, id, taken};

const RECORD: usize = 400;
const BATCH: usize = 200;

/// Starts and ends `BATCH` runs, in three commits.
async fn generation(store: &SledStore, number: u64) {
    let runs: Vec<_> = (0..BATCH).map(|run| id(format!("g-{number:04}-{run:03}"))).collect();
    for (expected, status) in [(0, RunStatus::Running), (1, RunStatus::Running), (2, RunStatus::Completed)] {
        let batch: Vec<Append> =
            runs.iter().map(|run| Append { at: Timestamp(number), ..append(run, expected, RECORD, status) }).collect();
        taken(store, &batch).await;
    }
}

#[tokio::test]
async fn disk_use_stays_bounded_under_steady_churn() {
    let directory = TempDir::new().unwrap();
    let mut store = SledStore::open(directory.path()).unwrap();
    // These live through all of it: two that say something now and then, and one that ended and is kept.
    let (young, old, kept) = (id("young"), id("old"), id("kept"));
    taken(&store, &[append(&old, 0, 20_000, RunStatus::Running)]).await;
    taken(&store, &[append(&old, 1, 20_000, RunStatus::Running)]).await;
    let end = Append { at: Timestamp(1_000_000), ..append(&kept, 1, RECORD, RunStatus::Completed) };
    taken(&store, &[append(&kept, 0, RECORD, RunStatus::Running), end]).await;
    let mut written = 0;
    let mut largest = 0;
    let mut said = 0;
    for number in 1..=80 {
        generation(&store, number).await;
        written += 3 * BATCH * RECORD;
        if number % 4 == 0 {
            taken(&store, &[append(&young, said, RECORD, RunStatus::Running)]).await;
            said += 1;
        }
        // Ended runs are kept for three generations.
        store.prune(Timestamp(number.saturating_sub(3)), 10 * BATCH).await.unwrap();
        if number % 40 == 0 {
            store.close().await.unwrap();
            store = SledStore::open(directory.path()).unwrap();
            assert_eq!(store.damage().unwrap(), []);
        }
        largest = largest.max(store.size_on_disk().unwrap());
    }
    assert_journal(&store, &old, 2, 20_000).await;
    assert_journal(&store, &young, said, RECORD).await;
    assert_journal(&store, &kept, 2, RECORD).await;
    // What exists at any time is less than 1 MiB of records. sled writes a byte several times and gives room back by
    // segments of 512 KiB, some of them later; without cleaning, the file grows beyond all that was written.
    assert!(largest <= 14 * 1024 * 1024 && largest < written as u64, "{written} bytes written, {largest} in the file");
}
