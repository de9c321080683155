//! Connections, servers and disks that fail.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use saga_core::Seq;
use saga_core::store::{RunStatus, Store, StoreError};
use saga_postgres::testing::{self, Server};
use saga_postgres::{Database, PostgresStore};

use super::{append, id, next, start, taken, taken_at_last};

async fn open(url: &str) -> PostgresStore {
    PostgresStore::connect(url).await.expect("the server works")
}

/// Calls go on after every connection was cut.
#[tokio::test]
async fn cut_connections_are_made_anew() {
    let url = testing::database().await;
    let store = open(&url).await;
    taken(&store, start("a")).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for at in 1..6 {
        testing::execute(&url, cut).await;
        taken_at_last(&store, next("a", at, RunStatus::Running)).await;
    }
    assert_eq!(store.read(&id("a"), Seq::ZERO, 100).await.expect("the store works").len(), 6);
}

/// An append whose connection is cut while it waits is told as one that may have been done, and was not.
#[tokio::test]
async fn a_cut_in_the_middle_of_an_append_is_told() {
    let url = testing::database().await;
    let store = open(&url).await;
    taken(&store, start("a")).await;
    let database = Database::connect(&url).await.expect("the server works");
    let blocker = database.connection().await.expect("the server works");
    blocker.begin().await.expect("the server works");
    blocker.execute("SELECT FROM saga.runs FOR UPDATE", &[]).await.expect("the server works");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { append(&store, next("a", 1, RunStatus::Running)).await }
    });
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while blocker.execute(cut, &[]).await.expect("the server works") == 0 {}
    let error = waiting.await.expect("it does not panic").expect_err("its connection was cut");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    blocker.rollback().await.expect("the server works");
    taken_at_last(&store, next("a", 1, RunStatus::Running)).await;
}

/// A call that is given up in the middle leaves no open transaction and no half-read answer to the next one.
#[tokio::test]
async fn a_call_that_is_given_up_harms_no_other() {
    let url = testing::database().await;
    let store = PostgresStore::options().pool_size(1).connect(&url).await.expect("the server works");
    taken(&store, start("a")).await;
    for at in 1..50 {
        let dropped =
            tokio::time::timeout(Duration::from_micros(at * 20), append(&store, next("a", at, RunStatus::Running)));
        let _given_up_or_done = dropped.await;
        taken_or_there(&store, at).await;
    }
}

/// After an append that was perhaps done: it is done, once.
async fn taken_or_there(store: &PostgresStore, at: u64) {
    let answer = append(store, next("a", at, RunStatus::Running)).await.expect("the store works");
    if answer.is_err() {
        assert_eq!(store.read(&id("a"), Seq(at), 9).await.expect("the store works").len(), 1, "{answer:?}");
    }
}

/// A statement that takes too long is given up, and what is in its way keeps nobody else.
#[tokio::test]
async fn a_blocked_call_ends_in_time() {
    let url = testing::database().await;
    let patient = open(&url).await;
    taken(&patient, start("a")).await;
    taken(&patient, start("b")).await;
    let options = PostgresStore::options().call_timeout(Duration::from_millis(200));
    // On a machine that is busy enough anything may take that long.
    let store = loop {
        match options.clone().connect(&url).await {
            Ok(store) => break store,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    let database = Database::connect(&url).await.expect("the server works");
    let blocker = database.connection().await.expect("the server works");
    blocker.begin().await.expect("the server works");
    blocker.execute("SELECT FROM saga.runs WHERE run = 'a' FOR UPDATE", &[]).await.expect("the server works");
    let error = append(&store, next("a", 1, RunStatus::Running)).await.expect_err("it waits for the lock");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    taken_at_last(&store, next("b", 1, RunStatus::Running)).await;
    blocker.rollback().await.expect("the server works");
    taken_at_last(&store, next("a", 1, RunStatus::Running)).await;
}

/// What was acknowledged is there after the server was killed, again and again, and the store goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_is_found_again() {
    let server = Server::start();
    let store = open(&server.url()).await;
    taken(&store, start("a")).await;
    let mut at = 1;
    for round in 0..4 {
        for _ in 0..10 {
            taken_at_last(&store, next("a", at, RunStatus::Running)).await;
            at += 1;
        }
        if round % 2 == 0 {
            server.kill();
            let error = append(&store, next("a", at, RunStatus::Running)).await.expect_err("the server is dead");
            assert!(error.is_transient(), "{error}");
            server.resume();
        } else {
            // In the middle of a write.
            let writing = tokio::spawn({
                let store = store.clone();
                async move { taken_at_last(&store, next("a", at, RunStatus::Running)).await }
            });
            server.restart();
            writing.await.expect("it is taken at last");
            at += 1;
        }
        let journal = loop {
            match store.read(&id("a"), Seq::ZERO, 1000).await {
                Ok(journal) => break journal,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        };
        assert_eq!(journal.len() as u64, at, "what was acknowledged, and nothing else");
    }
}

/// A standby alone is no store; with its primary it is found when it has taken the primary's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_takes_over() {
    let primary = Server::start();
    let standby = primary.standby();
    let alone = PostgresStore::connect(&standby.url()).await.map(|_| ()).expect_err("it takes no writes");
    assert!(matches!(alone, StoreError::ReadOnly { .. }), "{alone}");
    assert!(alone.is_transient());
    for servers in [[&primary, &standby], [&standby, &primary]] {
        taken(&open(&Server::url_of(&servers)).await, start(&format!("by-{}", servers[0].host().display()))).await;
    }
    let store = open(&Server::url_of(&[&primary, &standby])).await;
    taken(&store, start("a")).await;
    let newest: String = testing::ask(&primary.url(), "SELECT pg_current_wal_lsn()::text").await;
    let follows = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{newest}', false)");
    while !testing::ask::<bool>(&standby.url(), &follows).await {}
    primary.kill();
    standby.promote();
    taken_at_last(&store, next("a", 1, RunStatus::Completed)).await;
    assert_eq!(store.read(&id("a"), Seq::ZERO, 10).await.expect("the store works").len(), 2);
}

/// Prepared statements that somebody has thrown away, as some poolers do, cost one call.
#[tokio::test]
async fn lost_statements_are_prepared_again() {
    let url = testing::database().await;
    let store = PostgresStore::options().pool_size(1).connect(&url).await.expect("the server works");
    taken(&store, start("a")).await;
    store.database().connection().await.expect("the server works").batch("DEALLOCATE ALL").await.expect("it can");
    let error = append(&store, next("a", 1, RunStatus::Running)).await.expect_err("there is no such statement");
    assert!(error.is_transient(), "{error}");
    taken(&store, next("a", 1, RunStatus::Running)).await;
}

/// A server without a place left says so, and is tried again.
#[tokio::test]
async fn too_many_connections_pass() {
    let server = Server::options().fast(true).setting("max_connections = 6").setting("max_wal_senders = 0").start();
    // One user who is no superuser: the last places are kept for those.
    testing::execute(&server.url(), "CREATE ROLE ada LOGIN; GRANT CREATE ON DATABASE postgres TO ada").await;
    let url = server.url().replace("postgres@", "ada@");
    let store = open(&url).await;
    let mut others = Vec::new();
    let error = loop {
        match Database::options().pool_size(1).database(&url).await {
            Ok(database) => others.push(database),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, StoreError::Unavailable { message, .. } if message.contains("53300")), "{error}");
    taken(&store, start("a")).await;
    others.clear();
    loop {
        match PostgresStore::connect(&url).await {
            Ok(store) => break taken(&store, next("a", 1, RunStatus::Completed)).await,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// A transaction of a server that was made read-only is refused as such, and passes when it is not any more.
#[tokio::test]
async fn a_read_only_server_is_told() {
    let url = testing::database().await;
    let store = open(&url).await;
    taken(&store, start("a")).await;
    let connection = store.database().connection().await.expect("the server works");
    connection.batch("SET default_transaction_read_only = on").await.expect("the server works");
    drop(connection);
    let error = append(&store, next("a", 1, RunStatus::Running)).await.expect_err("it takes no writes");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    taken(&store, next("a", 1, RunStatus::Running)).await;
}

/// A full disk is told as such; with room again, what waited is taken.
#[tokio::test]
async fn a_full_disk_is_told_and_passes() {
    let server = Server::start();
    let Some(disk) = SmallDisk::mount("48m", server.host()) else {
        eprintln!("*** NOT TESTED: a full disk (it takes root on Linux to mount a small file system) ***");
        return;
    };
    // Only the data of this database is there: a server that cannot write its log at all would stop.
    let small = format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder.join("data").display());
    testing::execute(&server.url(), &small).await;
    testing::execute(&server.url(), "CREATE DATABASE small TABLESPACE small").await;
    let store = open(&testing::with_database(&server.url(), "small")).await;
    taken(&store, start("a")).await;
    let large = |at: u64| {
        let mut append = next("a", at, RunStatus::Running);
        // Bytes that cannot be made smaller.
        let mut seed = at;
        let random = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        });
        append.records[0].bytes = random.take(1 << 20).collect();
        append
    };
    let mut at = 1;
    let error = loop {
        match append(&store, large(at)).await {
            Ok(answer) => answer.expect("nothing is in the way"),
            Err(error) => break error,
        }
        at += 1;
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.is_transient());
    std::fs::remove_file(disk.folder.join("ballast")).expect("it is there");
    taken_at_last(&store, large(at)).await;
    assert_eq!(store.read(&id("a"), Seq::ZERO, 1000).await.expect("the store works").len() as u64, at + 1);
}

/// A file system of a few megabytes, with a folder `data` for a server, and a file `ballast` that can be thrown off.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one whose data belongs to whom `like` belongs to.
    fn mount(size: &str, like: &Path) -> Option<Self> {
        // Beside the server's folder, where that can enter.
        let folder = PathBuf::from(format!("{}-disk", like.display()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "saga"]).arg(&folder).output();
        let disk = Self { folder };
        if !mounted.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let owner = std::fs::metadata(like).expect("the server has a folder");
        let data = disk.folder.join("data");
        std::fs::create_dir(&data).expect("there is room");
        std::os::unix::fs::chown(&data, Some(owner.uid()), Some(owner.gid())).expect("it can be given away");
        std::fs::write(disk.folder.join("ballast"), vec![0; 8 << 20]).expect("there is room");
        Some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may never have been mounted; then there is nothing to undo. Lazily, because the server is still there.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        let _ = std::fs::remove_dir(&self.folder);
    }
}
