//! One frame that cannot be read costs the runs that have records in it, and no others.

use std::path::Path;

use saga_core::store::{Append, Damage, Query, Refused, RunStatus, SledStore, Store, StoreError};
use saga_core::{RunId, Seq, Timestamp};
use tempfile::TempDir;

use crate::{append, assert_journal, id, open_sled, record, taken};

/// Changes the store's values behind its back.
fn tamper(path: &Path, tree: &str, change: impl FnOnce(&sled::Tree)) {
    let db = open_sled(path);
    change(&db.open_tree(tree).unwrap());
    db.flush().unwrap();
}

fn flip(path: &Path, frame: u64, at: usize) {
    tamper(path, "frames", |frames| {
        let mut bytes = frames.get(frame.to_be_bytes()).unwrap().unwrap().to_vec();
        bytes[at] ^= 1;
        frames.insert(frame.to_be_bytes(), bytes).unwrap();
    });
}

fn runs(damage: &[Damage]) -> Vec<RunId> {
    let mut runs: Vec<_> = damage.iter().filter_map(|damage| damage.run.clone()).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

async fn assert_parked(store: &SledStore, run: &RunId, next: u64) {
    let error = store.read(run, Seq::ZERO, 100).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let refused = store.append(&[append(run, next, 10, RunStatus::Running)]).await.unwrap();
    assert!(matches!(refused[0], Err(Refused::Damaged { .. })), "{refused:?}");
    let refused = store.append(&[append(run, 0, 10, RunStatus::Running)]).await.unwrap();
    assert!(matches!(refused[0], Err(Refused::Damaged { .. })), "{refused:?}");
}

/// One commit, so one frame, each: 0 `a` and `b`; 1 `a`; 2 `b`; 3 `a` and `c`; 4 `b`; 5 `c` ends; 6 `d`.
async fn fill(path: &Path) {
    let store = SledStore::open(path).unwrap();
    let (a, b, c, d) = (id("a"), id("b"), id("c"), id("d"));
    let go = RunStatus::Running;
    taken(&store, &[append(&a, 0, 50, go), append(&b, 0, 50, go)]).await;
    taken(&store, &[append(&a, 1, 50, go)]).await;
    taken(&store, &[append(&b, 1, 50, go)]).await;
    taken(&store, &[append(&a, 2, 50, go), append(&c, 0, 50, go)]).await;
    taken(&store, &[append(&b, 2, 50, go)]).await;
    taken(&store, &[append(&c, 1, 50, RunStatus::Completed)]).await;
    taken(&store, &[append(&d, 0, 50, go)]).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_gap_parks_the_run_that_has_it() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    flip(directory.path(), 1, 20);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("a")]);
    assert!(store.damage().unwrap().iter().any(|damage| damage.frame == Some(1)));
    assert_parked(&store, &id("a"), 3).await;
    assert_journal(&store, &id("b"), 3, 50).await;
    assert_journal(&store, &id("c"), 2, 50).await;
    assert_journal(&store, &id("d"), 1, 50).await;
    taken(&store, &[append(&id("b"), 3, 50, RunStatus::Running)]).await;
    assert_eq!(store.list(&Query::default()).await.unwrap().runs.len(), 4, "a parked run is listed");
    // What is left of it can be had, and it can be given up.
    let left = store.salvage(&id("a")).await.unwrap();
    assert_eq!(left, [record(&id("a"), 1, 50), record(&id("a"), 3, 50)]);
    store.discard(&id("a")).await.unwrap();
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    taken(&store, &[append(&id("a"), 0, 50, RunStatus::Running)]).await;
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), []);
    assert_journal(&store, &id("a"), 1, 50).await;
    assert_journal(&store, &id("b"), 4, 50).await;
}

/// The newest records of a run leave no gap when they are lost; to go on would be to forget what was done.
#[tokio::test]
async fn a_lost_tail_parks_the_run_too() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    flip(directory.path(), 3, 0);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("a"), id("c")], "`c` has ended, but lacks a record");
    assert_parked(&store, &id("a"), 2).await;
    assert_journal(&store, &id("b"), 3, 50).await;
    assert_journal(&store, &id("d"), 1, 50).await;
    let error = store.read(&id("c"), Seq::ZERO, 100).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(store.get(&id("c")).await.unwrap().unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn a_missing_frame_is_noticed() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    tamper(directory.path(), "frames", |frames| drop(frames.remove(4_u64.to_be_bytes()).unwrap()));
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("b")]);
    assert_parked(&store, &id("b"), 2).await;
    assert_journal(&store, &id("a"), 3, 50).await;
}

#[tokio::test]
async fn a_run_whose_start_is_lost_is_named_and_its_id_is_not_given_out() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    flip(directory.path(), 0, 30);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("a"), id("b")]);
    assert_parked(&store, &id("a"), 3).await;
    assert!(matches!(store.get(&id("b")).await, Err(StoreError::Corrupt { .. })));
    assert_eq!(store.salvage(&id("b")).await.unwrap(), [record(&id("b"), 2, 50), record(&id("b"), 3, 50)]);
    store.discard(&id("b")).await.unwrap();
    taken(&store, &[append(&id("b"), 0, 50, RunStatus::Running)]).await;
}

/// The end of a run may be lost while its entry says that it ended: it must not come to life again.
#[tokio::test]
async fn an_ended_run_stays_ended() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    flip(directory.path(), 5, 20);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("c")]);
    assert_eq!(store.get(&id("c")).await.unwrap().unwrap().status, RunStatus::Completed);
    store.delete(&id("c")).await.unwrap();
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_journal(&store, &id("a"), 3, 50).await;
    assert_journal(&store, &id("b"), 3, 50).await;
    assert_journal(&store, &id("d"), 1, 50).await;
}

/// The directory has a checksum, the records have their own: a flipped bit in one comes back as it is.
#[tokio::test]
async fn a_damaged_record_is_left_to_its_own_checksum() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    let mut length = 0;
    tamper(directory.path(), "frames", |frames| length = frames.get(4_u64.to_be_bytes()).unwrap().unwrap().len());
    flip(directory.path(), 4, length - 1);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    let found = store.read(&id("b"), Seq(2), 1).await.unwrap();
    assert_ne!(found, [record(&id("b"), 3, 50)]);
    assert_eq!(found[0].bytes.len(), record(&id("b"), 3, 50).bytes.len());
}

/// A commit of several frames counts when all are there.
#[tokio::test]
async fn a_commit_that_was_not_finished_is_dropped() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    let store = SledStore::open(directory.path()).unwrap();
    // What says how far the store was acknowledged is as it was before this commit, which will not be whole.
    let mark = std::fs::read(directory.path().join("acknowledged")).unwrap();
    let large = append(&id("a"), 3, 20_000, RunStatus::Completed);
    taken(&store, &[large.clone(), append(&id("b"), 3, 50, RunStatus::Completed)]).await;
    store.close().await.unwrap();
    tamper(directory.path(), "frames", |frames| {
        let (newest, _) = frames.last().unwrap().unwrap();
        frames.remove(newest).unwrap();
    });
    std::fs::write(directory.path().join("acknowledged"), mark).unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    for run in [id("a"), id("b")] {
        assert_journal(&store, &run, 3, 50).await;
        assert_eq!(store.get(&run).await.unwrap().unwrap().status, RunStatus::Running);
    }
    taken(&store, &[large]).await;
}

/// A drive may keep later writes and lose earlier ones. The end of a run is believed without its entry.
#[tokio::test]
async fn an_entry_that_was_lost_is_written_anew() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    tamper(directory.path(), "ended", |ended| ended.clear().unwrap());
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    assert_journal(&store, &id("c"), 2, 50).await;
    assert_eq!(store.get(&id("c")).await.unwrap().unwrap().status, RunStatus::Completed);
    store.delete(&id("c")).await.unwrap();
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.get(&id("c")).await.unwrap(), None, "a deleted run stays deleted");
}

/// The frame that says that a run was deleted may be the one that is lost: the run must not come back.
#[tokio::test]
async fn a_run_whose_deletion_is_lost_is_named_and_does_not_come_back() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    let store = SledStore::open(directory.path()).unwrap();
    store.delete(&id("c")).await.unwrap();
    taken(&store, &[append(&id("d"), 1, 50, RunStatus::Running)]).await;
    store.close().await.unwrap();
    flip(directory.path(), 7, 20);
    for _ in 0..2 {
        let store = SledStore::open(directory.path()).unwrap();
        assert_eq!(runs(&store.damage().unwrap()), [id("c")]);
        assert!(matches!(store.get(&id("c")).await, Err(StoreError::Corrupt { .. })));
        assert_journal(&store, &id("a"), 3, 50).await;
        assert_journal(&store, &id("d"), 2, 50).await;
    }
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.salvage(&id("c")).await.unwrap(), [record(&id("c"), 1, 50), record(&id("c"), 2, 50)]);
    store.discard(&id("c")).await.unwrap();
    assert!(matches!(store.salvage(&id("c")).await, Err(StoreError::UnknownRun { .. })));
    assert_eq!(store.get(&id("c")).await.unwrap(), None);
}

/// Nothing else tells of a run that began in a lost frame. So the frame is named until somebody gives it up, even when
/// nothing else in it is of use and it is the oldest, which would be cleaned away.
#[tokio::test]
async fn a_lost_frame_is_named_until_it_is_given_up() {
    for lost in [0_u64, 1] {
        let directory = TempDir::new().unwrap();
        let store = SledStore::open(directory.path()).unwrap();
        let go = RunStatus::Running;
        taken(&store, &[append(&id("a"), 0, 50, if lost == 0 { go } else { RunStatus::Completed })]).await;
        taken(&store, &[append(&id("b"), 0, 50, go)]).await;
        taken(&store, &[append(&id("c"), 0, 50, go)]).await;
        store.close().await.unwrap();
        flip(directory.path(), lost, 20);
        for seq in 1..4 {
            let store = SledStore::open(directory.path()).unwrap();
            let damage = store.damage().unwrap();
            assert!(damage.iter().any(|damage| damage.frame == Some(lost)), "opened {seq} times: {damage:?}");
            taken(&store, &[append(&id("c"), seq, 50, go)]).await;
            store.close().await.unwrap();
        }
        let store = SledStore::open(directory.path()).unwrap();
        store.discard_lost_frames().await.unwrap();
        taken(&store, &[append(&id("c"), 4, 50, go)]).await;
        store.close().await.unwrap();
        let store = SledStore::open(directory.path()).unwrap();
        assert_eq!(store.damage().unwrap(), []);
        assert_journal(&store, &id("c"), 5, 50).await;
    }
}

#[tokio::test]
async fn lost_frames_are_not_given_up_before_the_runs_that_they_hurt() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    flip(directory.path(), 3, 0);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [id("a"), id("c")], "`c` has ended");
    let refused = store.discard_lost_frames().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt { what } if what.contains("run c")), "{refused}");
    store.delete(&id("c")).await.unwrap();
    let refused = store.discard_lost_frames().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt { what } if what.contains("run a")), "{refused}");
    store.discard(&id("a")).await.unwrap();
    store.discard_lost_frames().await.unwrap();
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    assert_journal(&store, &id("b"), 3, 50).await;
    assert_journal(&store, &id("d"), 1, 50).await;
}

fn cut(file: &Path, bytes: u64) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - bytes).unwrap();
}

/// sled takes what makes no sense for the end of its log. What was acknowledged behind it would be gone without a word.
#[tokio::test]
async fn acknowledged_records_that_are_cut_off_are_missed() {
    let directory = TempDir::new().unwrap();
    {
        let store = SledStore::open(directory.path()).unwrap();
        let go = RunStatus::Running;
        taken(&store, &[append(&id("a"), 0, 50, go), append(&id("b"), 0, 50, go)]).await;
        taken(&store, &[append(&id("a"), 1, 50, go)]).await;
        taken(&store, &[append(&id("b"), 1, 50, go)]).await;
        store.close().await.unwrap();
    }
    cut(&directory.path().join("db"), 20);
    for _ in 0..2 {
        let store = SledStore::open(directory.path()).unwrap();
        let damage = store.damage().unwrap();
        assert!(damage.iter().any(|damage| damage.frame == Some(2) && damage.run.is_none()), "{damage:?}");
        assert_eq!(runs(&damage), [id("b")]);
        assert_parked(&store, &id("b"), 2).await;
        assert_journal(&store, &id("a"), 2, 50).await;
    }
    let store = SledStore::open(directory.path()).unwrap();
    taken(&store, &[append(&id("c"), 0, 50, RunStatus::Running)]).await;
    store.discard(&id("b")).await.unwrap();
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(runs(&store.damage().unwrap()), [], "that a frame is lost is still told, but nobody is parked for it");
    assert_journal(&store, &id("a"), 2, 50).await;
    assert_journal(&store, &id("c"), 1, 50).await;
}

#[tokio::test]
async fn a_damaged_mark_is_told_and_made_anew() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    cut(&directory.path().join("acknowledged"), 3);
    let store = SledStore::open(directory.path()).unwrap();
    let damage = store.damage().unwrap();
    assert!(damage.len() == 1 && damage[0].run.is_none() && damage[0].what.contains("mark"), "{damage:?}");
    assert_journal(&store, &id("a"), 3, 50).await;
    store.close().await.unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
}

/// sled refuses to open with a snapshot whose checksum is wrong, and needs none.
#[tokio::test]
async fn a_damaged_snapshot_is_set_aside() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    drop(SledStore::open(directory.path()).unwrap());
    let name = |file: std::fs::DirEntry| file.file_name().into_string().unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().map(|file| name(file.unwrap()));
    let snapshot = files().find(|name| name.starts_with("snap.")).expect("sled writes one when it is opened");
    cut(&directory.path().join(&snapshot), 3);
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.damage().unwrap(), []);
    assert_journal(&store, &id("a"), 3, 50).await;
    assert_journal(&store, &id("c"), 2, 50).await;
    assert!(files().any(|name| name == format!("damaged.{snapshot}")));
}

/// They are written in two pieces, and sled syncs neither: after a loss of power any part of them may be missing.
#[tokio::test]
async fn damaged_settings_are_set_aside() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    let conf = directory.path().join("conf");
    let whole = std::fs::read(&conf).unwrap();
    for (at, damaged) in [Vec::new(), whole[..20].to_vec(), vec![0; whole.len()]].into_iter().enumerate() {
        std::fs::write(&conf, &damaged).unwrap();
        let store = SledStore::open(directory.path()).unwrap();
        assert_eq!(store.damage().unwrap(), [], "{at}");
        assert_journal(&store, &id("a"), 3, 50).await;
        store.close().await.unwrap();
        assert_eq!(std::fs::read(&conf).unwrap(), whole, "{at}");
        assert_eq!(std::fs::read(directory.path().join("damaged.conf")).unwrap(), damaged, "{at}");
    }
}

#[tokio::test]
async fn damaged_settings_of_a_database_of_somebody_else_are_left_alone() {
    let directory = TempDir::new().unwrap();
    {
        let db = open_sled(directory.path());
        db.insert("mine", "all mine").unwrap();
        db.flush().unwrap();
    }
    cut(&directory.path().join("conf"), 10);
    let damaged = std::fs::read(directory.path().join("conf")).unwrap();
    assert!(SledStore::open(directory.path()).is_err());
    assert_eq!(std::fs::read(directory.path().join("conf")).unwrap(), damaged);
}

#[tokio::test]
async fn a_store_that_is_refused_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    fill(directory.path()).await;
    // sled keeps to what its settings say, even if it could not have written them for us.
    let settings = b"segment_size: 1048576\nuse_compression: false\nversion: 0.34\n".as_slice();
    let whole = [settings, &crc32fast::hash(settings).to_le_bytes()].concat();
    std::fs::write(directory.path().join("conf"), whole).unwrap();
    let error = SledStore::open(directory.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { what } if what.contains("from a copy")), "{error}");
}

/// Entries of the index by end that speak of no run are passed over: if none is pruned, none is left.
#[tokio::test]
async fn leftovers_do_not_end_the_pruning() {
    let directory = TempDir::new().unwrap();
    let store = SledStore::open(directory.path()).unwrap();
    let end = Append { at: Timestamp(1000), ..append(&id("a"), 1, 10, RunStatus::Completed) };
    taken(&store, &[append(&id("a"), 0, 10, RunStatus::Running), end]).await;
    store.close().await.unwrap();
    drop(store);
    tamper(directory.path(), "by_end", |tree| {
        for at in 0..7u64 {
            tree.insert([&at.to_be_bytes()[..], b"gone"].concat(), vec![]).unwrap();
        }
    });
    let store = SledStore::open(directory.path()).unwrap();
    assert_eq!(store.prune(Timestamp(2000), 2).await.unwrap(), 1);
    assert_eq!(store.prune(Timestamp(2000), 2).await.unwrap(), 0);
    assert_eq!(store.prune(Timestamp(2000), 0).await.unwrap(), 0);
}
