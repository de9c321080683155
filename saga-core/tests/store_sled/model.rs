//! Random histories, on the sled store and on the one in memory: nobody can tell them apart.

use saga_core::store::{Append, KnownSaga, MemoryStore, Query, RunStatus, SledStore, Store};
use saga_core::{Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp, WorkerId};
use tempfile::TempDir;

use crate::{append, fingerprint, id, record};

const STEPS: u64 = 250;

/// A batch of appends, most of them sound.
async fn batch(random: &mut fastrand::Rng, model: &MemoryStore, at: u64) -> Vec<Append> {
    let mut batch: Vec<Append> = Vec::new();
    for _ in 0..random.usize(1..8) {
        let run = id(format!("run-{}", random.u8(0..24)));
        let head = model.get(&run).await.unwrap();
        let in_batch = batch
            .iter()
            .rev()
            .find(|append| append.run == run)
            .map(|append| append.expected.plus(append.records.len()));
        let expected = in_batch.or(head.as_ref().map(|head| head.seq)).unwrap_or_default().0;
        let expected = if random.u8(0..20) == 0 { expected + 1 } else { expected };
        let status = RunStatus::ALL[random.usize(0..12).saturating_sub(6)];
        let bytes = [20, 20, 200, 200, 2_000, 12_000][random.usize(0..6)];
        let mut append = append(&run, expected, bytes, status);
        let more = if random.u8(0..20) == 0 { 300 } else { random.u64(0..3) };
        append.records.extend((0..more).map(|number| record(&run, expected + 2 + number, 20)));
        append.at = Timestamp(at);
        append.epoch = head.as_ref().map_or(Epoch::FIRST, |head| head.epoch);
        if let Some(new) = &mut append.start {
            append.epoch = Epoch::FIRST;
            new.key = random.bool().then(|| ExclusiveKey::new(format!("key-{}", random.u8(0..6))).unwrap());
        }
        batch.push(append);
    }
    batch
}

async fn assert_same(store: &SledStore, model: &MemoryStore, runs: impl Iterator<Item = RunId>) {
    for run in runs {
        let expected = model.get(&run).await.unwrap();
        assert_eq!(store.get(&run).await.unwrap(), expected);
        if expected.is_some() {
            let found = store.read(&run, Seq::ZERO, usize::MAX).await.unwrap();
            assert!(found == model.read(&run, Seq::ZERO, usize::MAX).await.unwrap(), "the journal of {run}");
        }
    }
    let all = Query { limit: 1_000, ..Query::default() };
    assert_eq!(store.list(&all).await.unwrap(), model.list(&all).await.unwrap());
    for number in 0..6 {
        let key = ExclusiveKey::new(format!("key-{number}")).unwrap();
        assert_eq!(store.holder(&key).await.unwrap(), model.holder(&key).await.unwrap());
    }
}

async fn history(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = TempDir::new().unwrap();
    let mut store = SledStore::open(directory.path()).unwrap();
    let mut model = MemoryStore::new();
    let (worker, lease) = (WorkerId::new("w").unwrap(), std::time::Duration::from_secs(30));
    for at in 0..STEPS {
        match random.u8(0..20) {
            0 => {
                store.close().await.unwrap();
                store = SledStore::open(directory.path()).unwrap();
                assert_eq!(store.damage().unwrap(), []);
                model = model.reopen();
                assert_same(&store, &model, (0..24).map(|number| id(format!("run-{number}")))).await;
            }
            1 => {
                let sagas = [KnownSaga { saga: SagaName::new("s").unwrap(), version: 1, fingerprint: fingerprint() }];
                // All that there are: which come first is for each store to choose.
                let mut claimed = store.claim(&worker, &sagas, lease, 100).await.unwrap();
                claimed.sort_unstable_by(|one, other| one.summary.run.cmp(&other.summary.run));
                assert_eq!(claimed, model.claim(&worker, &sagas, lease, 100).await.unwrap());
            }
            2 => {
                let run = id(format!("run-{}", random.u8(0..24)));
                let claimed = store.claim_run(&worker, &run, lease).await.map_err(|error| error.to_string());
                assert_eq!(claimed, model.claim_run(&worker, &run, lease).await.map_err(|error| error.to_string()));
            }
            3..6 => {
                let run = id(format!("run-{}", random.u8(0..24)));
                let deleted = store.delete(&run).await.map_err(|error| error.to_string());
                assert_eq!(deleted, model.delete(&run).await.map_err(|error| error.to_string()));
            }
            6 => {
                let before = Timestamp(at.saturating_sub(random.u64(0..50)));
                // Those of one time may go in any order, so all go.
                assert_eq!(store.prune(before, 100).await.unwrap(), model.prune(before, 100).await.unwrap());
            }
            _ => {
                let batch = batch(&mut random, &model, at).await;
                assert_eq!(store.append(&batch).await.unwrap(), model.append(&batch).await.unwrap());
                assert_same(&store, &model, batch.into_iter().map(|append| append.run)).await;
            }
        }
    }
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_same(&store, &model.reopen(), (0..24).map(|number| id(format!("run-{number}")))).await;
    assert_eq!(std::fs::read_dir(directory.path().join("blobs")).unwrap().count(), 0, "sled syncs no blob");
}

#[tokio::test(start_paused = true)]
async fn a_random_history_leaves_both_stores_the_same() {
    for seed in 0..4 {
        history(seed).await;
    }
}
