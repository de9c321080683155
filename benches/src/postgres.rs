//! The PostgreSQL server of a run: one that is named, or one of its own.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use saga_postgres::testing::{self, Server};
use tempfile::TempDir;

use crate::Failure;

/// A server on which each row gets a database of its own.
pub struct Postgres {
    url: String,
    databases: AtomicU32,
    /// Our own server, and the directory in which it is. The server goes first.
    own: Option<(Server, TempDir)>,
}

impl Postgres {
    /// A server that somebody else runs, whose user may create databases. They are left there.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), databases: AtomicU32::new(0), own: None }
    }

    /// A durable server of this run's own, with its data in a new folder in `directory`. It goes when this is dropped.
    ///
    /// # Errors
    ///
    /// That PostgreSQL is not installed, with what to install; or that it does not start, with what it says.
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("saga-pg-").tempdir_in(directory)?;
        // What starts servers for tests panics, so that these do not pass without.
        let server = catch_unwind(|| Server::options().folder(folder.path()).start()).map_err(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Failure::from(format!("there is no PostgreSQL server: {}", said.unwrap_or("it panicked")))
        })?;
        Ok(Self { url: server.url(), databases: AtomicU32::new(0), own: Some((server, folder)) })
    }

    /// Makes an empty database, and gives its URL. All rows begin with nothing left to be written back from rows before.
    ///
    /// # Panics
    ///
    /// If the server does not let us.
    pub async fn new_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("saga_bench_{}_{number}", std::process::id());
        testing::execute(&self.url, &format!("CREATE DATABASE {name}")).await;
        testing::execute(&self.url, "CHECKPOINT").await;
        testing::with_database(&self.url, &name)
    }

    /// The server's tables and indexes, without its log, if the server is our own.
    #[must_use]
    pub fn files(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|(_, folder)| folder.path().join("data/base"))
    }

    /// What the server has set, of what its durability depends on.
    ///
    /// # Panics
    ///
    /// If the server does not tell.
    pub async fn settings(&self) -> String {
        let sql = "SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name) FROM pg_settings \
                   WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'server_version')";
        testing::ask(&self.url, sql).await
    }
}
