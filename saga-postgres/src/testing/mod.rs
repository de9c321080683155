//! Throw-away PostgreSQL servers and databases, for tests, benchmarks and crash harnesses (feature `testing`).
//!
//! [`database`] is what most tests want: an empty database of their own. It is made on the server that
//! `SAGA_POSTGRES_URL` names, or else on a server of this process's own, which is gone when the process is, however it
//! ends. [`Server`] is for tests that stop, kill or promote servers.
//!
//! Everything here panics where it fails: a test that cannot have its database must not pass.

mod find;
mod server;

use std::sync::{Mutex, PoisonError};

use tokio_postgres::NoTls;

pub use self::server::{Server, ServerOptions};

/// Names a server whose user may create databases, for [`database`]: `postgresql://user@host/database`.
pub const URL_VARIABLE: &str = "SAGA_POSTGRES_URL";

/// Names the folder with `initdb` and `postgres`, where they are neither in `PATH` nor where Debian has them.
pub const BIN_VARIABLE: &str = "SAGA_POSTGRES_BIN";

/// The server of this process, once one was needed. A static is never dropped; the server ends with the process.
static SHARED: Mutex<Option<Server>> = Mutex::new(None);

/// The address of a server to make databases on: that of `SAGA_POSTGRES_URL`, or of one that this process has for itself.
///
/// # Panics
///
/// If there is neither, with what to install.
#[must_use]
pub fn server_url() -> String {
    if let Ok(url) = std::env::var(URL_VARIABLE) {
        return url;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    // Nothing that tests keep there has to survive the machine. Those that cut and kill start servers of their own.
    shared.get_or_insert_with(|| Server::options().fast(true).start()).url()
}

/// Makes an empty database that nobody else uses, and answers its address. It goes with the server.
///
/// # Panics
///
/// If there is no server, and none can be started: with what to install.
pub async fn database() -> String {
    let url = server_url();
    let name = format!("saga_test_{}", uuid::Uuid::now_v7().simple());
    execute(&url, &format!("CREATE DATABASE {name}")).await;
    with_database(&url, &name)
}

/// The same address with another database.
///
/// # Panics
///
/// If it is not an address of the form `postgresql://...`.
#[must_use]
pub fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("an address of the form postgresql://...");
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let hosts = path.split_once('/').map_or(path, |(hosts, _)| hosts);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{hosts}/{name}{query}")
}

/// Runs statements over a connection of their own.
///
/// # Panics
///
/// If that fails.
pub async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection to the test server");
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(client);
    // It ends when its client is gone; how, does not matter any more.
    let _ = connection.await;
}

/// Asks for one value over a connection of its own.
///
/// # Panics
///
/// If that fails, or answers other than one row.
pub async fn ask<T>(url: &str, sql: &str) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection to the test server");
    tokio::spawn(connection);
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}
