//! A store that an older release wrote still opens, and is carried on.

use std::path::Path;

use saga_core::store::{Query, RunStatus, SledStore, Store};
use saga_core::{ExclusiveKey, RunId, Seq, Timestamp};
use tempfile::TempDir;

use crate::{append, assert_journal, id, record, taken};

/// All values of a store of format 1: a line for each, with the tree, the key and the value in hexadecimal digits.
///
/// It was filled by [`fill`].
const FORMAT_1: &str = include_str!("../fixtures/sled-format-1.txt");

const LONG: u64 = 700;

/// Puts into a store what the fixtures hold: `live` goes on, `keyed` rests halted with a key, `done` and `late` have ended, and
/// so has `long`, whose entry takes more than one value; `gone` has been deleted.
async fn fill(store: &SledStore) {
    taken(store, &[append(&id("live"), 0, 50, RunStatus::Running)]).await;
    let mut keyed = append(&id("keyed"), 0, 50, RunStatus::Halted);
    keyed.start.as_mut().unwrap().key = Some(ExclusiveKey::new("key").unwrap());
    taken(store, &[keyed]).await;
    for (name, status) in
        [("done", RunStatus::Completed), ("late", RunStatus::RolledBack), ("gone", RunStatus::Abandoned)]
    {
        let start = append(&id(name), 0, 40, RunStatus::Running);
        let end = append(&id(name), 1, 40, status);
        taken(store, &[start]).await;
        taken(store, &[end]).await;
    }
    let status = |seq| if seq + 1 < LONG { RunStatus::Running } else { RunStatus::Completed };
    let long: Vec<_> = (0..LONG).map(|seq| append(&id("long"), seq, 0, status(seq))).collect();
    taken(store, &long).await;
    store.delete(&id("gone")).await.unwrap();
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Makes the store that a fixture tells of.
fn restore(fixture: &str, path: &Path) {
    let db = sled::open(path).unwrap();
    for line in fixture.lines().filter(|line| !line.starts_with('#')) {
        let [tree, key, value] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (key, value) = (unhex(key), unhex(value));
        match tree {
            "-" => db.insert(key, value).unwrap(),
            tree => db.open_tree(tree).unwrap().insert(key, value).unwrap(),
        };
    }
    db.flush().unwrap();
}

async fn status(store: &SledStore, run: &RunId) -> Option<RunStatus> {
    store.get(run).await.unwrap().map(|summary| summary.status)
}

async fn assert_filled(store: &SledStore, at: &str) {
    assert_eq!(store.damage().unwrap(), [], "{at}");
    assert_journal(store, &id("live"), 1, 50).await;
    assert_journal(store, &id("keyed"), 1, 50).await;
    assert_journal(store, &id("done"), 2, 40).await;
    assert_journal(store, &id("late"), 2, 40).await;
    assert_journal(store, &id("long"), LONG, 0).await;
    assert_eq!(store.holder(&ExclusiveKey::new("key").unwrap()).await.unwrap(), Some(id("keyed")), "{at}");
    let all = store.list(&Query::default()).await.unwrap().runs;
    let all: Vec<_> =
        all.iter().map(|run| (run.run.as_str(), run.status, run.seq, run.created_at, run.updated_at)).collect();
    let expected = [
        ("done", RunStatus::Completed, Seq(2), Timestamp(1000), Timestamp(1001)),
        ("keyed", RunStatus::Halted, Seq(1), Timestamp(1000), Timestamp(1000)),
        ("late", RunStatus::RolledBack, Seq(2), Timestamp(1000), Timestamp(1001)),
        ("live", RunStatus::Running, Seq(1), Timestamp(1000), Timestamp(1000)),
        ("long", RunStatus::Completed, Seq(LONG), Timestamp(1000), Timestamp(1000 + LONG - 1)),
    ];
    assert_eq!(all, expected, "{at}");
}

#[tokio::test]
async fn a_store_of_format_1_is_read_and_carried_on() {
    let directory = TempDir::new().unwrap();
    restore(FORMAT_1, directory.path());
    {
        let store = SledStore::open(directory.path()).unwrap();
        assert_filled(&store, "as it was written").await;
        // What ends now is kept in the newer format, beside the others.
        let end = append(&id("live"), 1, 50, RunStatus::Completed);
        taken(&store, &[end]).await;
        store.close().await.unwrap();
    }
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    assert_eq!(status(&store, &id("live")).await, Some(RunStatus::Completed));
    assert_eq!(status(&store, &id("late")).await, Some(RunStatus::RolledBack));
    assert_eq!(store.read(&id("live"), Seq(1), 9).await.unwrap(), [record(&id("live"), 2, 50)]);

    // Deleting one by one and pruning find the runs of both.
    store.delete(&id("done")).await.unwrap();
    assert_eq!(store.prune(Timestamp(1002), 1).await.unwrap(), 1);
    assert_eq!(store.prune(Timestamp(1002), 9).await.unwrap(), 1);
    assert_eq!(store.prune(Timestamp(1002), 9).await.unwrap(), 0);
    assert_eq!(status(&store, &id("long")).await, Some(RunStatus::Completed));
    assert_eq!(store.prune(Timestamp(9999), 9).await.unwrap(), 1);
    let left = store.list(&Query::default()).await.unwrap().runs;
    assert_eq!(left.iter().map(|run| run.run.as_str()).collect::<Vec<_>>(), ["keyed"]);
}

/// What fills the fixtures is judged by the same eyes: so these are not blind.
#[tokio::test]
async fn a_store_of_the_present_format_is_read() {
    let directory = TempDir::new().unwrap();
    {
        let store = SledStore::open(directory.path()).unwrap();
        fill(&store).await;
        assert_filled(&store, "as it was filled").await;
        store.close().await.unwrap();
    }
    assert_filled(&SledStore::open(directory.path()).unwrap(), "opened again").await;
}
