//! The sled store: crashes, damage, room on the disk.
#![cfg(feature = "sled")]

mod churn;
mod claims;
mod crash;
mod damage;
mod format;
mod model;
mod opening;
mod pruning;
mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use saga_core::journal::EncodedRecord;
use saga_core::plan::Fingerprint;
use saga_core::store::{Append, FirstClaim, NewRun, RunStatus, SledStore, Store};
use saga_core::{Epoch, RunId, SagaName, Seq, Timestamp, WorkerId};

fn id(name: impl AsRef<str>) -> RunId {
    RunId::new(name).unwrap()
}

fn fingerprint() -> Fingerprint {
    serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").unwrap()
}

/// What the record of a run at a place holds: text that names both, as long as asked for.
fn record(run: &RunId, seq: u64, bytes: usize) -> EncodedRecord {
    let mut text = format!("<{run}:{seq}>");
    while text.len() < bytes {
        text.push_str("0123456789abcdef");
    }
    EncodedRecord { seq: Seq(seq), bytes: text.into_bytes() }
}

/// An append of one record behind `expected`; behind 0, it starts the run.
fn append(run: &RunId, expected: u64, bytes: usize, status: RunStatus) -> Append {
    let start = NewRun {
        saga: SagaName::new("s").unwrap(),
        version: 1,
        fingerprint: fingerprint(),
        key: None,
        claim: Some(FirstClaim { worker: WorkerId::new("w").unwrap(), lease: Duration::from_secs(30) }),
    };
    Append {
        run: run.clone(),
        epoch: Epoch::FIRST,
        expected: Seq(expected),
        records: vec![record(run, expected + 1, bytes)],
        status,
        at: Timestamp(1000 + expected),
        start: (expected == 0).then_some(start),
    }
}

async fn taken(store: &SledStore, batch: &[Append]) {
    for answer in store.append(batch).await.unwrap() {
        answer.unwrap();
    }
}

/// Checks that a run has these records, of this length, and no others.
async fn assert_journal(store: &SledStore, run: &RunId, records: u64, bytes: usize) {
    let expected: Vec<_> = (1..=records).map(|seq| record(run, seq, bytes)).collect();
    let found = store.read(run, Seq::ZERO, usize::MAX).await.unwrap();
    assert!(found == expected, "the journal of {run} has {} records, or other ones", found.len());
}

/// Opens sled itself, behind the store's back. Whoever had it open a moment ago may still be letting go of its lock.
fn open_sled(path: &Path) -> sled::Db {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        match sled::open(path) {
            Err(error) if error.to_string().contains("lock") && Instant::now() < give_up => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// Runs one test of this binary in a process of its own, with a directory to work in.
fn child(test: &str, variable: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, path);
    command
}

/// Copies a directory as it is at one moment: sled writes into its files in the background, and a crash would not leave the
/// beginning of one from before that and its end from after.
fn copy_directory(from: &Path, to: &Path) {
    loop {
        let copied = contents(from);
        if copied == contents(from) {
            for (name, bytes) in copied {
                let target = to.join(name);
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                bytes.map_or_else(|| std::fs::create_dir(&target), |bytes| std::fs::write(&target, bytes)).unwrap();
            }
            return;
        }
    }
}

/// What is in a directory, by name; without bytes, if it is a directory itself. Files that come and go meanwhile may be in it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            let within = self::contents(&entry.path());
            contents.extend(within.into_iter().map(|(file, bytes)| (name.join(file), bytes)));
            contents.insert(name, None);
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            contents.insert(name, Some(bytes));
        }
    }
    contents
}
