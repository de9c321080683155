//! What can be chosen before connecting.

use std::time::Duration;

use saga_core::store::StoreError;

use crate::{Database, PostgresStore};

/// How to connect: [`PostgresStore::options`], [`Database::options`].
///
/// ```no_run
/// # async fn connect() -> Result<(), saga_core::store::StoreError> {
/// use std::time::Duration;
/// use saga_postgres::PostgresStore;
///
/// let store = PostgresStore::options()
///     .schema("orders")
///     .pool_size(4)
///     .call_timeout(Duration::from_secs(10))
///     .connect("postgresql://orders@db1,db2/orders?sslmode=require")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) schema: String,
    pub(crate) pool_size: usize,
    pub(crate) call_timeout: Duration,
    pub(crate) application_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: "saga".into(),
            pool_size: 8,
            call_timeout: Duration::from_secs(30),
            application_name: "saga".into(),
        }
    }
}

impl Options {
    /// The schema in which all tables are. `saga` by default. Workers that share their runs name the same one. It is made
    /// if it is not there and the user may make it.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// How many connections are opened at most, not counting the one that listens for hints. 8 by default, at least 1.
    /// Appends use one at a time; more serve readers and claims beside it.
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// How long a call may take before it is given up, together with its connection. 30 s by default. The server is told
    /// to give up on it too.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// The name under which the server lists the connections, unless the address has one. `saga` by default.
    #[must_use]
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// Connects, and makes or brings up to date the tables of a store.
    ///
    /// # Errors
    ///
    /// See [`PostgresStore::connect`].
    pub async fn connect(self, url: &str) -> Result<PostgresStore, StoreError> {
        PostgresStore::with_options(self, url).await
    }

    /// Connects, and makes nothing: for tables of one's own beside those of a store.
    ///
    /// # Errors
    ///
    /// See [`Database::connect`].
    pub async fn database(self, url: &str) -> Result<Database, StoreError> {
        Database::with_options(self, url).await
    }
}
