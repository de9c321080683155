//! Connecting, and making the tables.

use futures::future::join_all;
use saga_core::store::{RunStatus, Store, StoreError};
use saga_postgres::{Database, PostgresStore, testing};

use super::{next, start, taken};

async fn refused(url: &str) -> StoreError {
    PostgresStore::connect(url).await.map(|_| ()).expect_err("it cannot be opened")
}

/// Workers that start at the same moment on an empty database all come up, on one set of tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_migrate_at_once() {
    let url = testing::database().await;
    let stores = join_all((0..8).map(|_| PostgresStore::connect(&url))).await;
    for (number, store) in stores.into_iter().enumerate() {
        let store = store.expect("the server works");
        taken(&store, start(&format!("run-{number}"))).await;
    }
    assert_eq!(testing::ask::<i64>(&url, "SELECT count(*) FROM saga.runs").await, 8);
}

/// A table that somebody keeps is changed once it is free, and until then nobody waits behind the change for long.
#[tokio::test]
async fn a_migration_gives_way() {
    let url = testing::database().await;
    let database = Database::connect(&url).await.expect("the server works");
    let made = ["CREATE TABLE {schema}.notes (id bigint)", "ALTER TABLE {schema}.notes ADD note text"];
    database.migrate("notes", &made[..1]).await.expect("it can be made");
    let dump = database.connection().await.expect("the server works");
    dump.begin().await.expect("the server works");
    dump.query("SELECT * FROM saga.notes", &[]).await.expect("the server works");
    let changing = tokio::spawn({
        let database = database.clone();
        async move { database.migrate("notes", &made).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'saga.notes'::regclass";
    for expected in [1, 0] {
        while testing::ask::<i64>(&url, waits).await != expected {
            tokio::task::yield_now().await;
        }
    }
    testing::execute(&url, "INSERT INTO saga.notes VALUES (1)").await;
    assert!(!changing.is_finished());
    dump.rollback().await.expect("the server works");
    changing.await.expect("no panic").expect("it can be changed");
    assert_eq!(testing::ask::<i64>(&url, "SELECT count(*) FROM saga.notes WHERE note IS NULL").await, 1);
}

/// Tables of a newer release are left alone.
#[tokio::test]
async fn newer_tables_are_left_alone() {
    let url = testing::database().await;
    PostgresStore::connect(&url).await.expect("the server works");
    testing::execute(&url, "INSERT INTO saga.migrations (part, version) VALUES ('store', 99)").await;
    let error = refused(&url).await;
    assert!(matches!(error, StoreError::NewerFormat { found: 99, supported: 2 }), "{error}");
}

/// A user who may only read and write rows can work on tables that somebody else has made, but cannot make them.
#[tokio::test]
async fn few_privileges_are_enough() {
    let url = testing::database().await;
    let user =
        format!("worker_{}", url.rsplit("saga_test_").next().expect("a name").split('?').next().expect("a name"));
    testing::execute(&url, &format!("CREATE ROLE {user} LOGIN PASSWORD 'hush'")).await;
    let (_, hosts) = url.split_once('@').expect("an address with a user");
    let theirs = format!("postgresql://{user}:hush@{hosts}");
    let error = refused(&theirs).await;
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    PostgresStore::connect(&url).await.expect("the owner may make them");
    testing::execute(
        &url,
        &format!(
            "GRANT USAGE ON SCHEMA saga TO {user};
             GRANT SELECT, INSERT, UPDATE, DELETE ON saga.runs, saga.journal TO {user};
             GRANT SELECT ON saga.migrations TO {user};
             GRANT USAGE ON SEQUENCE saga.run_numbers TO {user}"
        ),
    )
    .await;
    let store = PostgresStore::connect(&theirs).await.expect("it is enough");
    taken(&store, start("a")).await;
    taken(&store, next("a", 1, RunStatus::Completed)).await;
    store.delete(&super::id("a")).await.expect("it is enough");
    assert!(!format!("{store:?}").contains("hush"));
}

/// Whatever is wrong with an address is told, and never its password.
#[tokio::test]
async fn a_wrong_address_is_explained() {
    let url = testing::database().await;
    let nowhere = refused(&testing::with_database(&url, "nowhere")).await;
    assert!(matches!(&nowhere, StoreError::Denied { message } if message.contains("nowhere")), "{nowhere}");
    let wrong_port = refused("postgresql://ada:hush@127.0.0.1:1/d").await;
    assert!(matches!(wrong_port, StoreError::Unavailable { .. }), "{wrong_port}");
    assert!(wrong_port.to_string().contains("ada@127.0.0.1:1/d"), "{wrong_port}");
    let no_socket = refused("postgresql:///d?host=/nowhere/at/all&user=ada&password=hush").await;
    assert!(matches!(no_socket, StoreError::Unavailable { .. }), "{no_socket}");
    let nonsense = refused("postgresql://ada:hush@h:x/d").await;
    assert!(matches!(nonsense, StoreError::Denied { .. }), "{nonsense}");
    for error in [nowhere, wrong_port, no_socket, nonsense] {
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    let schema = PostgresStore::options().schema("").connect(&url).await.map(|_| ()).expect_err("no name");
    assert!(matches!(schema, StoreError::Denied { .. }), "{schema}");
}

/// Tables that somebody has dropped are told as what they are: gone.
#[tokio::test]
async fn dropped_tables_are_told() {
    let url = testing::database().await;
    let store = PostgresStore::connect(&url).await.expect("the server works");
    testing::execute(&url, "DROP TABLE saga.runs").await;
    let error = super::append(&store, start("a")).await.expect_err("its tables are gone");
    assert!(matches!(&error, StoreError::Corrupt { what } if what.contains("tables are not there")), "{error}");
}

/// Our sessions wait for the disk, whatever the default of the database is, and are set up against everything else that
/// would change what statements mean.
#[tokio::test]
async fn sessions_are_set_up() {
    let url = testing::database().await;
    let name: String = testing::ask(&url, "SELECT current_database()::text").await;
    for default in [
        "synchronous_commit = off",
        "default_transaction_isolation = 'serializable'",
        "search_path = public",
        "statement_timeout = 0",
    ] {
        testing::execute(&url, &format!("ALTER DATABASE {name} SET {default}")).await;
    }
    let store = PostgresStore::connect(&url).await.expect("the server works");
    let connection = store.database().connection().await.expect("the server works");
    for (setting, expected) in [
        ("synchronous_commit", "on"),
        ("transaction_isolation", "read committed"),
        ("search_path", "pg_catalog, pg_temp"),
        ("statement_timeout", "30s"),
        ("application_name", "saga"),
    ] {
        let value = connection.query_one("SELECT current_setting($1)", &[&setting]).await.expect("the server works");
        assert_eq!(value.get::<_, &str>(0), expected, "{setting}");
    }
}
