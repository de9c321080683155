//! Who may open a store, and what is in the way.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use saga_core::store::{RunStatus, SledStore, Store, StoreError};
use tempfile::TempDir;

use crate::{append, assert_journal, child, id, open_sled, taken};

const HOLD: &str = "SAGA_STORE_TEST_HOLD";

#[tokio::test]
async fn a_second_opening_is_refused_and_says_who_has_it() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    let error = SledStore::open(directory.path()).unwrap_err();
    let StoreError::Locked { holder, path } = error else { panic!("{error}") };
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    assert_eq!(path, directory.path().display().to_string());
    drop(store);
    SledStore::open(directory.path()).unwrap();
}

/// Holds a store until its standard input ends. Only of use as a child.
#[test]
fn child_that_holds_the_store() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let _store = SledStore::open(path).unwrap();
    println!("\nopen");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn another_process_is_named() {
    let directory = TempDir::new().unwrap();
    let mut holder = child("opening::child_that_holds_the_store", HOLD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"), "the child opens the store");
    let error = SledStore::open(directory.path()).unwrap_err();
    let StoreError::Locked { holder: named, .. } = &error else { panic!("{error}") };
    assert!(named.contains(&format!("process {} (store_sled", holder.id())), "{named}");
    // The kernel lets go of the lock of a process that was killed.
    holder.kill().unwrap();
    holder.wait().unwrap();
    SledStore::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_half_written_snapshot_does_not_keep_it_from_opening() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    taken(&store, &[append(&id("run"), 0, 100, RunStatus::Running)]).await;
    drop(store);
    // It sorts behind every whole snapshot, so sled would take it for the newest.
    let half = directory.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&half, b"half").unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_journal(&store, &id("run"), 1, 100).await;
    assert!(!half.exists());
}

#[tokio::test]
async fn half_written_settings_of_a_store_that_never_was_do_not_keep_it_from_opening() {
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("blobs")).unwrap();
    std::fs::write(directory.path().join("conf"), b"segment_size: 524288\nuse_compr").unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    taken(&store, &[append(&id("run"), 0, 100, RunStatus::Running)]).await;
}

#[test]
fn a_store_of_a_newer_release_is_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(SledStore::open(directory.path()).unwrap());
    {
        let db = open_sled(directory.path());
        db.insert("saga-core/format", &7_u32.to_le_bytes()).unwrap();
        db.flush().unwrap();
    }
    let error = SledStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 7, supported: 2 }), "{error}");
}

#[test]
fn a_database_of_somebody_else_is_left_alone() {
    let directory = TempDir::new().unwrap();
    {
        let db = open_sled(directory.path());
        db.insert("mine", "all mine").unwrap();
        db.flush().unwrap();
    }
    let error = SledStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let db = open_sled(directory.path());
    assert_eq!(db.len(), 1);
}

#[tokio::test]
async fn a_full_device_is_told_before_anything_is_written() {
    let directory = TempDir::new().unwrap();
    let run = id("run");
    {
        let store = SledStore::options().min_free_bytes(u64::MAX / 8).open(directory.path()).unwrap();
        let error = store.append(&[append(&run, 0, 100, RunStatus::Running)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }) && error.is_transient(), "{error}");
        assert_eq!(store.get(&run).await.unwrap(), None);
    }
    let store = SledStore::open(directory.path()).unwrap();
    taken(&store, &[append(&run, 0, 100, RunStatus::Running)]).await;
}
