//! Several stores on one schema.

use std::time::Duration;

use futures::future::join_all;
use saga_core::store::{Append, Hint, Hints, MemoryStore, Query, Refused, RunStatus, Store};
use saga_core::{Epoch, ExclusiveKey, Seq};
use saga_postgres::{Database, PostgresStore, testing};
use tokio::time::timeout;

use super::{LEASE, append, id, known, next, start, start_with_key, taken, under, worker};

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn two() -> (PostgresStore, PostgresStore) {
    let url = testing::database().await;
    let (one, other) = (PostgresStore::connect(&url), PostgresStore::connect(&url));
    (one.await.expect("the server works"), other.await.expect("the server works"))
}

/// What one claims, the other is fenced off from, also in the middle of a batch.
#[tokio::test]
async fn a_claim_fences_the_other_store() {
    let (one, other) = two().await;
    taken(&one, start("a")).await;
    taken(&one, start("b")).await;
    one.release(&[(id("a"), Epoch(1))]).await.expect("the store works");
    assert_eq!(other.claim(&worker("v"), &[known()], LEASE, 9).await.expect("the store works").len(), 1);
    let batch = [next("a", 1, RunStatus::Running), next("b", 1, RunStatus::Running)];
    let answers = one.append(&batch).await.expect("the store works");
    assert_eq!(answers, [Err(Refused::Stale { run: id("a"), current: Epoch(2), found: Epoch(1) }), Ok(())]);
    taken(&other, under(2, next("a", 1, RunStatus::Completed))).await;
}

/// Of many starts with one id or one key, from two stores and in batches that overlap, exactly one is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_race() {
    let (one, other) = two().await;
    for round in 0..20 {
        let name = |number: usize| format!("{round}-{number}");
        let key = |number: usize| format!("key-{round}-{number}");
        let by_id: Vec<_> = (0..20).map(|number| start(&name(number))).collect();
        let mut backwards = by_id.clone();
        backwards.reverse();
        let by_key: Vec<_> =
            (0..20).map(|number| start_with_key(&format!("one-{}", name(number)), &key(number))).collect();
        let rivals: Vec<_> =
            (0..20).rev().map(|number| start_with_key(&format!("other-{}", name(number)), &key(number))).collect();
        let answers =
            tokio::join!(one.append(&by_id), other.append(&backwards), one.append(&by_key), other.append(&rivals));
        let [first, mut second, third, mut fourth] =
            [answers.0, answers.1, answers.2, answers.3].map(|answers| answers.expect("the store works"));
        second.reverse();
        fourth.reverse();
        for number in 0..20 {
            let (a, b) = (&first[number], &second[number]);
            assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
            assert!([a, b].contains(&&Err(Refused::Exists { run: id(&name(number)) })), "{a:?} {b:?}");
            let (c, d) = (&third[number], &fourth[number]);
            assert!(c.is_ok() != d.is_ok(), "{c:?} {d:?}");
            let key = ExclusiveKey::new(key(number)).expect("a sound key");
            let holder = one.holder(&key).await.expect("the store works").expect("somebody holds it");
            assert!([c, d].contains(&&Err(Refused::KeyHeld { key, holder })), "{c:?} {d:?}");
        }
    }
}

/// Claims, renewals and appends of the same runs, in all orders, end in one journal without gaps for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hands_at_once() {
    const RUNS: usize = 12;
    let (one, other) = two().await;
    let name = |number: usize| format!("run-{number:02}");
    for number in 0..RUNS {
        let mut first = start(&name(number));
        first.start.as_mut().expect("it starts a run").claim = None;
        taken(&one, first).await;
    }
    // Each hand claims what it can, appends to all of it in one batch, forwards or backwards, and lets go.
    let hand = async |store: &PostgresStore, who: &str, backwards: bool| {
        let mut written = 0;
        while written < 200 {
            let mut claims = store.claim(&worker(who), &[known()], LEASE, 8).await.expect("the store works");
            if backwards {
                claims.reverse();
            }
            let held: Vec<_> = claims.iter().map(|claim| (claim.summary.run.clone(), claim.summary.epoch)).collect();
            let batch: Vec<_> = claims
                .iter()
                .map(|claim| {
                    let epoch = claim.summary.epoch.0;
                    under(epoch, next(claim.summary.run.as_str(), claim.summary.seq.0, RunStatus::Running))
                })
                .collect();
            let who = worker(who);
            let (renewed, answers) = tokio::join!(store.renew(&who, &held, LEASE), store.append(&batch));
            assert!(renewed.expect("the store works").is_empty());
            written += answers.expect("the store works").iter().filter(|answer| answer.is_ok()).count();
            store.release(&held).await.expect("the store works");
        }
        written
    };
    let counts =
        tokio::join!(hand(&one, "a", false), hand(&other, "b", true), hand(&one, "c", true), hand(&other, "d", false));
    let written = counts.0 + counts.1 + counts.2 + counts.3;
    let mut found = 0;
    for number in 0..RUNS {
        let records = one.read(&id(&name(number)), Seq::ZERO, usize::MAX).await.expect("it can be read");
        assert!(records.iter().map(|record| record.seq.0).eq(1..=records.len() as u64));
        found += records.len() - 1;
    }
    assert_eq!(found, written, "nothing is lost, nothing is twice");
}

/// Whatever a batch holds, it has the effect and the answers that the reference store gives.
#[tokio::test]
async fn batches_are_answered_as_by_the_reference() {
    let store = PostgresStore::connect(&testing::database().await).await.expect("the server works");
    let reference = MemoryStore::new();
    // A small generator with a fixed seed: the same batches every time.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for round in 0..300 {
        let batch: Vec<_> = (0..1 + below(12))
            .map(|_| {
                let run = format!("run-{}", round / 10 * 4 + below(5));
                let status = RunStatus::ALL[below(6) as usize];
                let mut append = match below(4) {
                    0 => start(&run),
                    1 => start_with_key(&run, &format!("k{}", below(2))),
                    _ => next(&run, below(4), status),
                };
                if below(8) == 0 {
                    append.status = status;
                }
                append
            })
            .collect();
        let expected = reference.append(&batch).await.expect("it works");
        let answers = store.append(&batch).await.expect("the store works");
        if answers != expected {
            let briefly = |append: &saga_core::store::Append| {
                let key = append.start.as_ref().map(|new| new.key.clone());
                format!("{} {} {} {key:?}", append.run, append.expected, append.status)
            };
            let batch: Vec<_> = batch.iter().map(briefly).collect();
            assert_eq!(answers, expected, "round {round}: {batch:#?}");
        }
    }
    let all = Query { limit: 10_000, ..Query::default() };
    let (expected, found) = (reference.list(&all).await, store.list(&all).await);
    let (expected, found) = (expected.expect("it works").runs, found.expect("the store works").runs);
    assert!(expected.len() > 50, "{}", expected.len());
    assert_eq!(found, expected);
    for head in expected {
        let journal = reference.read(&head.run, Seq::ZERO, 100).await.expect("it works");
        assert_eq!(store.read(&head.run, Seq::ZERO, 100).await.expect("the store works"), journal);
    }
}

/// A batch as large as the committer makes them, and one that is too large for a single statement.
#[tokio::test]
async fn large_batches_are_one_call() {
    let store = PostgresStore::connect(&testing::database().await).await.expect("the server works");
    let name = |number: usize| format!("run-{number:04}");
    let starts: Vec<_> = (0..4096).map(|number| start_with_key(&name(number), &name(number))).collect();
    assert!(store.append(&starts).await.expect("the store works").iter().all(Result::is_ok));
    let ends: Vec<_> = (0..4096).map(|number| next(&name(number), 1, RunStatus::Completed)).collect();
    assert!(store.append(&ends).await.expect("the store works").iter().all(Result::is_ok));
    let large: Vec<_> = (0..9)
        .map(|number| {
            let mut append = start(&format!("large-{number}"));
            append.records[0].bytes = vec![number; 15 * 1024 * 1024];
            append
        })
        .collect();
    assert!(store.append(&large).await.expect("the store works").iter().all(Result::is_ok));
    let read = store.read(&id("large-8"), Seq::ZERO, 1).await.expect("the store works");
    assert!(read == large[8].records, "it came back changed");
}

/// Waits for a hint, whatever else is told before.
async fn until(hints: &mut Hints, hint: Hint) {
    let told = async { while hints.next().await.expect("the store is there") != hint {} };
    timeout(PATIENCE, told).await.expect("it is told");
}

/// Waits for what is told when a connection has begun to listen, because something may have been missed: both hints, and
/// work once more when offers to others have passed.
async fn listening(hints: &mut Hints) {
    until(hints, Hint::Requests).await;
    while timeout(Duration::from_millis(100), hints.next()).await.is_ok() {}
}

/// Workers are told of what there is to claim, and of requests, without asking.
#[tokio::test]
async fn hints_arrive() {
    let (one, other) = two().await;
    let mut hints = other.hints().expect("it gives hints");
    listening(&mut hints).await;
    taken(&one, start("held")).await;
    taken(&one, next("held", 1, RunStatus::Running)).await;
    let mut first = start("free");
    first.start.as_mut().expect("it starts a run").claim = None;
    taken(&one, first).await;
    until(&mut hints, Hint::Work).await;
    one.release(&[(id("held"), Epoch(1))]).await.expect("the store works");
    until(&mut hints, Hint::Work).await;
    one.request_cancel(&id("held"), &saga_core::Actor::new("ada", "why not")).await.expect("the store works");
    until(&mut hints, Hint::Requests).await;
    let summary = saga_core::store::RunSummary {
        run: id("restored"),
        ..one.get(&id("held")).await.expect("the store works").expect("it is there")
    };
    let journal = one.read(&id("held"), Seq::ZERO, 10).await.expect("the store works");
    one.restore(&summary, &journal).await.expect("the store works").expect("nothing is in the way");
    until(&mut hints, Hint::Work).await;
    assert_eq!(other.claim(&worker("v"), &[known()], LEASE, 10).await.expect("the store works").len(), 3);
}

/// What a worker wants after a claim, and a client after the end, comes along; what is long or not so simple is read.
#[tokio::test]
async fn short_journals_come_along() {
    let (one, other) = two().await;
    let free = |mut append: Append| {
        append.start.as_mut().expect("it starts a run").claim = None;
        append
    };
    let long = |mut append: Append| {
        append.records[0].bytes = vec![7; 3000];
        append
    };
    taken(&one, free(start("short"))).await;
    taken(&one, free(long(start("long")))).await;
    taken(&one, start("taken over")).await;
    taken(&one, next("taken over", 1, RunStatus::Running)).await;
    one.release(&[(id("taken over"), Epoch(1))]).await.expect("the store works");
    let claims = other.claim(&worker("v"), &[known()], LEASE, 9).await.expect("the store works");
    assert_eq!(claims.len(), 3);
    for claim in claims {
        let journal = one.read(&claim.summary.run, Seq::ZERO, 9).await.expect("the store works");
        let along = (claim.summary.run == id("short")).then_some(journal);
        assert_eq!(claim.journal, along, "of {}", claim.summary.run);
    }

    taken(&other, under(2, next("short", 1, RunStatus::Running))).await;
    taken(&other, under(2, next("long", 1, RunStatus::Completed))).await;
    taken(&other, under(2, next("taken over", 2, RunStatus::Halted))).await;
    taken(&one, start("many")).await;
    for seq in 1..32 {
        taken(&one, next("many", seq, RunStatus::Running)).await;
    }
    taken(&one, next("many", 32, RunStatus::Completed)).await;
    for found in one.look(&["short", "long", "taken over", "many"].map(id)).await.expect("the store works") {
        let journal = one.read(&found.summary.run, Seq::ZERO, 99).await.expect("the store works");
        let along = (found.summary.run == id("taken over")).then_some(journal);
        assert_eq!(found.journal, along, "of {}", found.summary.run);
    }
}

/// A connection that listens and is lost is made anew, and what may have been missed is hinted at.
#[tokio::test]
async fn hints_survive_a_lost_connection() {
    let url = testing::database().await;
    let store = PostgresStore::connect(&url).await.expect("the server works");
    let mut hints = store.hints().expect("it gives hints");
    listening(&mut hints).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    testing::execute(&url, cut).await;
    until(&mut hints, Hint::Requests).await;
    store.close().await.expect("it can be closed");
    assert!(store.hints().is_none(), "a store that is closed listens no more");
}

/// Others keep tables beside the store's, in one pool, and cannot disturb it by leaving transactions open.
#[tokio::test]
async fn a_database_is_shared_with_other_tables() {
    let url = testing::database().await;
    let database = Database::options().schema("odd \"name\" of 'ours'").pool_size(1).database(&url).await;
    let database = database.expect("the server works");
    let made = ["CREATE TABLE {schema}.notes (id bigint PRIMARY KEY)", "ALTER TABLE {schema}.notes ADD note text"];
    database.migrate("notes", &made[..1]).await.expect("it can be made");
    database.migrate("notes", &made).await.expect("it can be changed");
    let store = PostgresStore::open(&database).await.expect("the server works");
    taken(&store, start("a")).await;
    let insert = database.sql("INSERT INTO {schema}.notes VALUES ($1, $2)");
    let connection = database.connection().await.expect("the server works");
    connection.begin().await.expect("the server works");
    connection.execute(&insert, &[&1_i64, &"undone"]).await.expect("the server works");
    drop(connection);
    let connection = database.connection().await.expect("the server works");
    connection.begin().await.expect("the server works");
    connection.execute(&insert, &[&2_i64, &"done"]).await.expect("the server works");
    connection.commit().await.expect("the server works");
    let all = database.sql("SELECT string_agg(note, ',') FROM {schema}.notes");
    let notes: String = connection.query_one(&all, &[]).await.expect("the server works").get(0);
    assert_eq!(notes, "done");
    drop(connection);
    taken(&store, next("a", 1, RunStatus::Completed)).await;
    store.close().await.expect("it can be closed");
    database.connection().await.expect("the database is still open");
}

/// Workers that delete what has ended take different runs, and together all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_is_shared() {
    let (one, other) = two().await;
    let starts: Vec<_> = (0..2000).map(|number| start(&format!("run-{number}"))).collect();
    let ends: Vec<_> = (0..2000).map(|number| next(&format!("run-{number}"), 1, RunStatus::Completed)).collect();
    for batch in [starts, ends] {
        assert!(one.append(&batch).await.expect("the store works").iter().all(Result::is_ok));
    }
    let before = saga_core::Timestamp(5000);
    let pruned = join_all([one.prune(before, 1500), other.prune(before, 1500)]).await;
    let pruned: usize = pruned.into_iter().map(|pruned| pruned.expect("the store works")).sum();
    let rest = one.prune(before, 2000).await.expect("the store works");
    assert_eq!(pruned + rest, 2000);
    let connection = one.database().connection().await.expect("the server works");
    let journals = one.database().sql("SELECT count(*) FROM {schema}.journal");
    assert_eq!(connection.query_one(&journals, &[]).await.expect("the server works").get::<_, i64>(0), 0);
    assert_eq!(append(&one, start("run-1")).await.expect("the store works"), Ok(()));
}
