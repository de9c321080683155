//! A connection, for as long as one call takes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{Client, Object};
use saga_core::store::StoreError;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::database::Database;
use crate::error;

/// A connection of a [`Database`]'s pool, for one call. It goes back when it is dropped.
///
/// It is thrown away instead if it was dropped in the middle of something, if a transaction is still open, or after an
/// error that leaves its state unknown. So a call may be cancelled at any point, and no other call gets its remains.
pub struct Connection {
    /// `None` only while it is being dropped.
    client: Option<Client>,
    database: Database,
    deadline: Instant,
    /// Whether nothing is under way.
    idle: AtomicBool,
    /// Whether a transaction is open.
    in_transaction: AtomicBool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(client: Client, database: Database, deadline: Instant) -> Self {
        let (idle, in_transaction) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { client: Some(client), database, deadline, idle, in_transaction }
    }

    /// The client of `tokio-postgres`, with a cache of prepared statements, for what the methods here do not cover. What is
    /// asked of it is to be awaited inside of [`guard`](Self::guard).
    ///
    /// # Panics
    ///
    /// Never.
    pub fn client(&self) -> &Client {
        self.client.as_ref().expect("a connection is there until it is dropped")
    }

    /// Waits for something that was asked of the [`client`](Self::client), as long as the call may take, and tells its
    /// errors as those of a store.
    ///
    /// # Errors
    ///
    /// What the server or the network failed with, or [`StoreError::Unavailable`] if the time is up.
    pub async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        self.idle.store(false, Ordering::Relaxed);
        let Ok(done) = timeout_at(self.deadline, work).await else {
            return Err(error::timed_out("the server gave no answer", self.database.call_timeout()));
        };
        match done {
            Ok(value) => {
                self.idle.store(true, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                let told = error.as_db_error().is_some();
                let error = error::classify(error);
                if told && !error::spoils_connection(&error) {
                    self.idle.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Takes away the time limit of this connection, for what may take long.
    pub(crate) fn take_your_time(&mut self) {
        const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
        self.deadline = Instant::now() + DAY;
    }

    /// The rows that a statement answers. It is prepared once for each connection.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard).
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        self.guard(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().query(&statement, parameters).await
        })
        .await
    }

    /// The row that a statement answers, if it answers one.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard); more than one row is an error too.
    pub async fn query_opt(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, StoreError> {
        self.guard(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().query_opt(&statement, parameters).await
        })
        .await
    }

    /// The one row that a statement answers.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard); none or more than one row is an error too.
    pub async fn query_one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, StoreError> {
        self.guard(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().query_one(&statement, parameters).await
        })
        .await
    }

    /// Runs a statement, and says how many rows it changed.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard).
    pub async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        self.guard(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().execute(&statement, parameters).await
        })
        .await
    }

    /// Runs statements without parameters, separated by semicolons; as one transaction if none is open.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard).
    pub async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.guard(self.client().batch_execute(sql)).await
    }

    /// Begins a transaction. Without a [`commit`](Self::commit) all of it is undone when the connection is dropped.
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard).
    pub async fn begin(&self) -> Result<(), StoreError> {
        self.in_transaction.store(true, Ordering::Relaxed);
        self.batch("BEGIN").await
    }

    /// Makes all durable that was done since [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard). Unless the server told the error, it is not known whether all of it was done or nothing.
    pub async fn commit(&self) -> Result<(), StoreError> {
        self.batch("COMMIT").await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Undoes all that was done since [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// As [`guard`](Self::guard). It is undone all the same, in time.
    pub async fn rollback(&self) -> Result<(), StoreError> {
        self.batch("ROLLBACK").await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if !self.idle.load(Ordering::Relaxed) || client.is_closed() {
            drop(Object::take(client));
            self.database.forget_idle();
        } else if self.in_transaction.load(Ordering::Relaxed) {
            drop(Object::take(client));
        }
    }
}
