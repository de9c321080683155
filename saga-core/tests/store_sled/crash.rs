//! What was acknowledged is there after a crash, whenever that comes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use saga_core::RunId;
use saga_core::store::{Query, RunStatus, SledStore, Store};
use tempfile::TempDir;

use crate::{append, assert_journal, child, copy_directory, id, taken};

const WRITE: &str = "SAGA_STORE_TEST_WRITE";

/// Records of this length: some fit many times into a frame, some not at all.
fn length(run: &RunId) -> usize {
    [30, 300, 3_000, 30_000][usize::from(*run.as_str().as_bytes().last().unwrap()) % 4]
}

/// A copy of the files of a store that is open is what a crash would have left behind.
#[tokio::test]
async fn a_copy_taken_at_any_moment_has_all_that_was_acknowledged() {
    let directory = TempDir::new().unwrap();
    let live = directory.path().join("live");
    let store = SledStore::open(&live).unwrap();
    let runs: Vec<_> = (0..8).map(|number| id(format!("run-{number}"))).collect();
    for round in 0..24 {
        let last = round == 23;
        let status = if last { RunStatus::Completed } else { RunStatus::Running };
        let batch: Vec<_> = runs.iter().map(|run| append(run, round, length(run), status)).collect();
        taken(&store, &batch).await;
        if round % 4 == 0 || last {
            let copy = directory.path().join(format!("copy-{round}"));
            copy_directory(&live, &copy);
            let copy = SledStore::open(copy).unwrap();
            assert_eq!(copy.damage().unwrap(), []);
            for run in &runs {
                assert_journal(&copy, run, round + 1, length(run)).await;
                assert_eq!(copy.get(run).await.unwrap().unwrap().status, status);
            }
        }
    }
    assert_eq!(std::fs::read_dir(live.join("blobs")).unwrap().count(), 0, "sled syncs no blob, so there may be none");
}

/// Appends until it is killed, and says what was acknowledged. Only of use as a child.
#[test]
fn child_that_writes() {
    let Some(path) = std::env::var_os(WRITE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SledStore::open(path).unwrap();
        assert_eq!(store.damage().unwrap(), []);
        let taken_up = store.list(&Query { limit: 10_000, ..Query::default() }).await.unwrap().runs.len();
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let run = id(format!("run-{taken_up}-{writer}-{number}"));
                    for expected in 0..5 {
                        let status = if expected == 4 { RunStatus::Completed } else { RunStatus::Running };
                        taken(&store, &[append(&run, expected, length(&run), status)]).await;
                        say(&format!("ack {run} {}", expected + 1));
                    }
                    // Every third run goes again, so that frames go too.
                    if number % 3 == 0 {
                        say(&format!("del {run}"));
                        store.delete(&run).await.unwrap();
                        say(&format!("deleted {run}"));
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Records(u64),
    /// It was asked for, so it may be there or not.
    Deleting,
    Deleted,
}

fn kill_in_mid_write(path: &Path, after: usize, told: &mut BTreeMap<RunId, Told>) {
    let mut writer = child("crash::child_that_writes", WRITE, path).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = 0;
    let mut killed = false;
    for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["ack", run, seq] => {
                told.insert(id(run), Told::Records(seq.parse().unwrap()));
                seen += 1;
            }
            ["del", run] => drop(told.insert(id(run), Told::Deleting)),
            ["deleted", run] => drop(told.insert(id(run), Told::Deleted)),
            _ => {}
        }
        if seen >= after && !killed {
            // SIGKILL. What it said before is read from the pipe all the same: it was acknowledged.
            writer.kill().unwrap();
            killed = true;
        }
    }
    writer.wait().unwrap();
    assert!(killed, "the child writes until it is killed");
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut told = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..15 {
        kill_in_mid_write(directory.path(), random.usize(0..120), &mut told);
        let store = SledStore::open(directory.path()).unwrap();
        assert_eq!(store.damage().unwrap(), []);
        for (run, told) in &told {
            let found = store.get(run).await.unwrap();
            match (told, found) {
                (Told::Deleted, found) => assert_eq!(found, None, "{run} was deleted"),
                (Told::Deleting, None) => {}
                (Told::Deleting, Some(found)) => {
                    assert_eq!(found.status, RunStatus::Completed);
                    assert_journal(&store, run, 5, length(run)).await;
                }
                (Told::Records(records), found) => {
                    let found = found.unwrap_or_else(|| panic!("{run} is lost, {records} records of it were told"));
                    // One more may be durable, that nobody heard of.
                    assert!(found.seq.0 == *records || found.seq.0 == records + 1, "{run}: {} of {records}", found.seq);
                    assert_eq!(found.status == RunStatus::Completed, found.seq.0 == 5, "{run}");
                    assert_journal(&store, run, found.seq.0, length(run)).await;
                }
            }
        }
        store.close().await.unwrap();
    }
    assert!(told.len() > 50, "only {} runs", told.len());
}
