//! Appending and reading.

use super::{
    Factory, append, fingerprint, get, key, next, read_all, records, run_id, saga, start, start_with_key, taken, worker,
};
use crate::id::{Epoch, Seq, Timestamp};
use crate::journal::EncodedRecord;
use crate::store::{Refused, RunStatus, RunSummary, Store, StoreError};

/// A start leaves a run with the head and the records that it was given.
pub async fn a_start_creates_the_run<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    assert_eq!(store.get(&run).await.expect("the store works"), None);
    taken(&store, start_with_key(&run, "cluster/42")).await;
    let expected = RunSummary {
        run: run.clone(),
        saga: saga("s"),
        version: 1,
        fingerprint: fingerprint(),
        key: Some(key("cluster/42")),
        status: RunStatus::Running,
        seq: Seq(1),
        epoch: Epoch::FIRST,
        owner: Some(worker("w")),
        created_at: Timestamp(1000),
        updated_at: Timestamp(1000),
    };
    assert_eq!(get(&store, &run).await, expected);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 1));
}

/// An append moves sequence number, status and time, and leaves the rest of the head alone.
pub async fn appends_go_on_from_where_the_run_is<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let before = get(&store, &run).await;
    let mut three = next(&run, 1, RunStatus::Running);
    three.records = records(&run, 1, 3);
    three.at = Timestamp(5000);
    taken(&store, three).await;
    let expected = RunSummary { seq: Seq(4), updated_at: Timestamp(5000), ..before };
    assert_eq!(get(&store, &run).await, expected);
    taken(&store, next(&run, 4, RunStatus::Completed)).await;
    assert_eq!(get(&store, &run).await.status, RunStatus::Completed);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 5));
}

/// The sequence number must be that of the newest record, neither less nor more.
pub async fn an_append_at_another_place_is_refused<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    taken(&store, next(&run, 1, RunStatus::Running)).await;
    for wrong in [0, 1, 3] {
        let refused = append(&store, next(&run, wrong, RunStatus::Completed)).await;
        let expected = Refused::OutOfSequence { run: run.clone(), current: Seq(2), expected: Seq(wrong) };
        assert_eq!(refused, Err(expected));
    }
    assert_eq!(get(&store, &run).await.status, RunStatus::Running);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 2));
}

/// An append whose answer was lost is told apart when it is tried again, even if it ended the run.
pub async fn an_append_that_was_taken_answers_so_when_tried_again<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    assert_eq!(append(&store, start(&run)).await, Err(Refused::Exists { run: run.clone() }));
    for (expected, status) in [(1, RunStatus::Running), (2, RunStatus::Stuck), (3, RunStatus::Abandoned)] {
        taken(&store, next(&run, expected, status)).await;
        let refused = append(&store, next(&run, expected, status)).await;
        assert!(matches!(refused, Err(Refused::OutOfSequence { .. })), "{status}: {refused:?}");
    }
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 4));
}

/// A run that was never started cannot be appended to, nor read.
pub async fn an_unknown_run_takes_no_appends<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    let refused = append(&store, next(&run, 3, RunStatus::Running)).await;
    assert_eq!(refused, Err(Refused::UnknownRun { run: run.clone() }));
    let error = store.read(&run, Seq::ZERO, 10).await.expect_err("there is no such run");
    assert!(matches!(error, StoreError::UnknownRun { .. }), "{error}");
}

/// A second start of one id is told that there is such a run, whether that is live or ended.
pub async fn starting_twice_is_told<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    // The key is held, but by the run itself: that it exists is what the caller has to know.
    taken(&store, start_with_key(&run, "k")).await;
    assert_eq!(append(&store, start_with_key(&run, "k")).await, Err(Refused::Exists { run: run.clone() }));
    taken(&store, next(&run, 1, RunStatus::Completed)).await;
    assert_eq!(append(&store, start(&run)).await, Err(Refused::Exists { run: run.clone() }));
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 2));
}

/// Nothing is added behind the end.
pub async fn an_ended_run_takes_no_appends<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in RunStatus::ALL.into_iter().filter(|status| status.is_ended()) {
        let run = run_id(status.as_str());
        taken(&store, start(&run)).await;
        taken(&store, next(&run, 1, status)).await;
        let refused = append(&store, next(&run, 2, RunStatus::Running)).await;
        assert_eq!(refused, Err(Refused::Ended { run: run.clone() }));
        assert_eq!(get(&store, &run).await.seq, Seq(2));
    }
}

/// Only the newest epoch may write.
pub async fn a_stale_epoch_is_refused<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.claim_run(&worker("w"), &run, super::LEASE).await.expect("its own holder may claim it");
    let stale = append(&store, next(&run, 1, RunStatus::Running)).await;
    let expected = Refused::Stale { run: run.clone(), current: Epoch(2), found: Epoch(1) };
    assert_eq!(stale, Err(expected));
    // A stale writer is told that it is stale even where it is mistaken about the place too: it must stop.
    let stale = append(&store, next(&run, 7, RunStatus::Running)).await;
    assert!(matches!(stale, Err(Refused::Stale { .. })), "{stale:?}");
    let mut fresh = next(&run, 1, RunStatus::Running);
    fresh.epoch = Epoch(2);
    taken(&store, fresh).await;
    let mut early = next(&run, 2, RunStatus::Running);
    early.epoch = Epoch(3);
    assert!(matches!(append(&store, early).await, Err(Refused::Stale { .. })), "an epoch that was never given out");
}

/// A refused append holds up no other one of its batch.
pub async fn the_appends_of_a_batch_are_independent<F: Factory>(factory: &F) {
    let (store, a, b, c) = (factory.open().await, run_id("a"), run_id("b"), run_id("c"));
    taken(&store, start(&a)).await;
    let batch = [
        next(&a, 9, RunStatus::Running),
        start(&b),
        start(&a),
        next(&c, 1, RunStatus::Running),
        next(&a, 1, RunStatus::Completed),
    ];
    let answers = store.append(&batch).await.expect("the store works");
    assert_eq!(answers.len(), batch.len());
    assert!(matches!(answers[0], Err(Refused::OutOfSequence { .. })), "{:?}", answers[0]);
    assert_eq!(answers[1], Ok(()));
    assert!(matches!(answers[2], Err(Refused::Exists { .. })), "{:?}", answers[2]);
    assert!(matches!(answers[3], Err(Refused::UnknownRun { .. })), "{:?}", answers[3]);
    assert_eq!(answers[4], Ok(()));
    assert_eq!(read_all(&store, &a).await, records(&a, 0, 2));
    assert_eq!(read_all(&store, &b).await, records(&b, 0, 1));
    assert_eq!(store.get(&c).await.expect("the store works"), None);
}

/// The appends of a batch are taken in order, each on top of those before it.
pub async fn a_batch_can_start_a_run_and_go_on_with_it<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    let batch = [
        start(&run),
        next(&run, 1, RunStatus::Running),
        start(&run),
        next(&run, 2, RunStatus::RolledBack),
        next(&run, 3, RunStatus::Running),
    ];
    let answers = store.append(&batch).await.expect("the store works");
    assert!(answers[0].is_ok() && answers[1].is_ok() && answers[3].is_ok(), "{answers:?}");
    assert_eq!(answers[2], Err(Refused::Exists { run: run.clone() }));
    assert_eq!(answers[4], Err(Refused::Ended { run: run.clone() }));
    assert_eq!(get(&store, &run).await.status, RunStatus::RolledBack);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 3));
}

/// An append without records, with gaps, or that starts a run at another place than the first, has no effect.
pub async fn malformed_appends_are_refused<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let mut empty = next(&run, 1, RunStatus::Running);
    empty.records.clear();
    let mut gap = next(&run, 1, RunStatus::Running);
    gap.records = records(&run, 2, 1);
    let mut twice = next(&run, 1, RunStatus::Running);
    twice.records = [records(&run, 1, 1), records(&run, 1, 1)].concat();
    let mut late = start(&run_id("late"));
    (late.expected, late.records) = (Seq(1), records(&run, 1, 1));
    let mut epoch = start(&run_id("epoch"));
    epoch.epoch = Epoch(2);
    for (what, wrong) in [("empty", empty), ("gap", gap), ("twice", twice), ("late", late), ("epoch", epoch)] {
        let refused = append(&store, wrong).await;
        assert!(matches!(refused, Err(Refused::Malformed { .. })), "{what}: {refused:?}");
    }
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 1));
    assert_eq!(store.get(&run_id("late")).await.expect("the store works"), None);
}

/// A batch of nothing is taken.
pub async fn an_empty_batch_is_nothing<F: Factory>(factory: &F) {
    let store = factory.open().await;
    assert_eq!(store.append(&[]).await.expect("the store works"), Vec::new());
}

/// Records of any size up to the store's limit come back as they were; a larger one is refused, and nothing breaks.
pub async fn large_records_come_back_whole<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let mut expected = records(&run, 0, 1);
    for bytes in [0, 1, 4_000, 5_000, 5_103, 5_104, 6_000, 60_000, 130_000, 1_000_000] {
        let seq = Seq(expected.len() as u64 + 1);
        let mut large = next(&run, seq.0 - 1, RunStatus::Running);
        // A pattern without a short period, so that pieces in the wrong order are noticed.
        let pattern = (0..bytes as u64).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        large.records = vec![EncodedRecord { seq, bytes: pattern }];
        expected.extend(large.records.iter().cloned());
        match append(&store, large).await {
            Ok(()) => {}
            Err(Refused::TooLarge { limit, .. }) if limit >= 60_000 => drop(expected.pop()),
            other => panic!("{bytes} bytes: {other:?}"),
        }
    }
    assert!(read_all(&store, &run).await == expected, "a record came back changed");
}

/// A key is held from the start to the end of its run, and whoever wants it is told by whom.
pub async fn a_key_is_held_until_the_end<F: Factory>(factory: &F) {
    let (store, a, b) = (factory.open().await, run_id("a"), run_id("b"));
    assert_eq!(store.holder(&key("k")).await.expect("the store works"), None);
    taken(&store, start_with_key(&a, "k")).await;
    assert_eq!(store.holder(&key("k")).await.expect("the store works"), Some(a.clone()));
    let refused = append(&store, start_with_key(&b, "k")).await;
    assert_eq!(refused, Err(Refused::KeyHeld { key: key("k"), holder: a.clone() }));
    assert_eq!(store.get(&b).await.expect("the store works"), None, "a refused start leaves nothing");
    taken(&store, start_with_key(&run_id("other"), "another key")).await;
    taken(&store, next(&a, 1, RunStatus::Completed)).await;
    assert_eq!(store.holder(&key("k")).await.expect("the store works"), None);
    assert_eq!(get(&store, &a).await.key, Some(key("k")), "the head tells which key it held");
    taken(&store, start_with_key(&b, "k")).await;
    assert_eq!(store.holder(&key("k")).await.expect("the store works"), Some(b));
}

/// Halted and stuck runs hold their key.
pub async fn a_resting_run_holds_its_key<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in [RunStatus::Halted, RunStatus::Stuck] {
        let (run, held) = (run_id(status.as_str()), format!("{status}"));
        taken(&store, start_with_key(&run, &held)).await;
        taken(&store, next(&run, 1, status)).await;
        let refused = append(&store, start_with_key(&run_id("b"), &held)).await;
        assert_eq!(refused, Err(Refused::KeyHeld { key: key(&held), holder: run.clone() }));
        taken(&store, next(&run, 2, RunStatus::Abandoned)).await;
        assert_eq!(store.holder(&key(&held)).await.expect("the store works"), None);
    }
}

/// Within one batch, a key is taken and freed in order too.
pub async fn a_batch_sees_its_own_keys<F: Factory>(factory: &F) {
    let (store, a, b, c) = (factory.open().await, run_id("a"), run_id("b"), run_id("c"));
    let batch =
        [start_with_key(&a, "k"), start_with_key(&b, "k"), next(&a, 1, RunStatus::Completed), start_with_key(&c, "k")];
    let answers = store.append(&batch).await.expect("the store works");
    assert!(answers[0].is_ok() && answers[2].is_ok() && answers[3].is_ok(), "{answers:?}");
    assert_eq!(answers[1], Err(Refused::KeyHeld { key: key("k"), holder: a }));
    assert_eq!(store.holder(&key("k")).await.expect("the store works"), Some(c));
}

/// A page begins behind the given place, and has as many records as asked for, as long as there are so many.
pub async fn reading_is_paged<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let mut expected = 1;
    for count in [1, 2, 300, 1, 40] {
        let mut more = next(&run, expected, RunStatus::Running);
        more.records = records(&run, expected, count);
        expected += count;
        taken(&store, more).await;
    }
    for limit in [1, 2, 7, 299, 1000] {
        let mut after = Seq::ZERO;
        let mut all = Vec::new();
        loop {
            let page = store.read(&run, after, limit).await.expect("the journal can be read");
            let left = usize::try_from(expected - after.0).expect("few");
            assert_eq!(page.len(), limit.min(left), "pages of {limit} after {after}");
            let Some(last) = page.last() else { break };
            after = last.seq;
            all.extend(page);
        }
        assert!(all == records(&run, 0, expected), "pages of {limit}");
    }
    assert!(store.read(&run, Seq(expected + 10), 5).await.expect("the journal can be read").is_empty());
    assert!(store.read(&run, Seq(u64::MAX), 5).await.expect("the journal can be read").is_empty());
    assert!(store.read(&run, Seq::ZERO, 0).await.expect("the journal can be read").is_empty());
}

/// A store does not look into records: whatever their bytes are, they come back.
pub async fn the_records_come_back_as_they_were<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run \u{1f680} 'quoted' \"twice\" \\ /"));
    let mut odd = start_with_key(&run, "key 'quoted' \"twice\"");
    odd.records = vec![EncodedRecord { seq: Seq(1), bytes: (0..=255).collect() }];
    taken(&store, odd.clone()).await;
    assert_eq!(read_all(&store, &run).await, odd.records);
    assert_eq!(get(&store, &run).await.run, run);
}
