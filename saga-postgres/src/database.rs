//! A pool of connections to one schema of one database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{HookError, Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod};
use saga_core::store::StoreError;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::Connection;
use crate::options::Options;
use crate::{address, error, session};

/// A pool of connections to one schema of a PostgreSQL database: what [`PostgresStore`](crate::PostgresStore) works on, and
/// what others can keep tables of their own on, beside the store's. Clones share one pool.
///
/// Its connections go to the primary only, have their session set up, and are thrown away when a call on them fails in a
/// way that leaves their state unknown. Every error is told as a [`StoreError`].
///
/// ```no_run
/// # async fn example() -> Result<(), saga_core::store::StoreError> {
/// use saga_postgres::{Database, PostgresStore};
///
/// let database = Database::connect("postgresql://app@db/app").await?;
/// database.migrate("notes", &["CREATE TABLE {schema}.notes (id bigint PRIMARY KEY, note text NOT NULL)"]).await?;
/// let read = database.sql("SELECT note FROM {schema}.notes WHERE id = $1");
///
/// let connection = database.connection().await?;
/// let note: Option<String> = connection.query_opt(&read, &[&7_i64]).await?.map(|row| row.get(0));
///
/// let store = PostgresStore::open(&database).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    config: Config,
    tls: MakeRustlsConnect,
    options: Options,
    /// The schema's name, quoted.
    schema: String,
    /// Where it is, for messages: without a password.
    target: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("target", &self.inner.target).field("schema", &self.inner.schema).finish()
    }
}

impl Database {
    /// Connects by an address such as `postgresql://user:password@host:5432/database?sslmode=require`, with default
    /// [`Options`]. Several hosts, separated by commas, are tried in turn until one takes writes.
    ///
    /// Nothing is tried again here: if the server cannot be reached, the caller is told so at once.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Denied`]: the address makes no sense, there is no such database, the credentials are wrong, or the
    ///   server's certificate is not trusted. Correct the address.
    /// - [`StoreError::Unavailable`]: the server cannot be reached, has no connection left, or is starting. Try again.
    /// - [`StoreError::ReadOnly`]: the address leads to a replica only. Name the primary too.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::with_options(Options::default(), url).await
    }

    /// What can be chosen before connecting; see [`Options::database`].
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) async fn with_options(options: Options, url: &str) -> Result<Self, StoreError> {
        let schema = quote_schema(&options.schema)?;
        let (config, tls) = address::parse(url, &options)?;
        let target = address::describe(&config);
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let setup: Arc<str> = session::setup(&options).into();
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
            .queue_mode(QueueMode::Lifo)
            .post_create(deadpool_postgres::Hook::async_fn(move |client, _| {
                let setup = Arc::clone(&setup);
                Box::pin(async move { client.batch_execute(&setup).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| StoreError::Unavailable { message: error.to_string(), source: None })?;
        let database = Self { inner: Arc::new(Inner { pool, config, tls, options, schema, target }) };
        session::check_server(&database.connection().await?).await?;
        Ok(database)
    }

    /// The schema's name, quoted as SQL wants it.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.inner.schema
    }

    /// The schema's name as it was given.
    pub(crate) fn schema_name(&self) -> &str {
        &self.inner.options.schema
    }

    /// A statement with the quoted name of the schema in place of each `{schema}`. No connection has a search path, so
    /// every table is to be named with its schema. At the beginning of a string literal the name is escaped for that too.
    #[must_use]
    pub fn sql(&self, text: &str) -> String {
        let in_literal = format!("'{}", self.inner.schema.replace('\'', "''"));
        text.replace("'{schema}", &in_literal).replace("{schema}", &self.inner.schema)
    }

    /// How long a call may take.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.inner.options.call_timeout
    }

    /// A connection for one call, which has [`call_timeout`](Self::call_timeout) from now on, waiting for a connection
    /// included.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`], or as [`connect`](Self::connect).
    pub async fn connection(&self) -> Result<Connection, StoreError> {
        let timeout = self.call_timeout();
        let deadline = Instant::now() + timeout;
        let target = &self.inner.target;
        match timeout_at(deadline, self.inner.pool.get()).await {
            Ok(Ok(client)) => Ok(Connection::new(client, self.clone(), deadline)),
            Ok(Err(PoolError::Closed)) => Err(StoreError::Closed),
            Ok(Err(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)))) => {
                Err(at(target, error::classify(error)))
            }
            Ok(Err(other)) => Err(StoreError::Unavailable { message: format!("{target}: {other}"), source: None }),
            Err(_) => Err(error::timed_out(&format!("{target}: no connection"), timeout)),
        }
    }

    /// A connection beside the pool's, for listening: nothing is set up on it.
    pub(crate) fn listener(&self) -> (Config, MakeRustlsConnect) {
        (self.inner.config.clone(), self.inner.tls.clone())
    }

    /// Throws away the connections that nobody uses: one has just shown that the server is not what it was.
    pub(crate) fn forget_idle(&self) {
        self.inner.pool.retain(|_, _| false);
    }

    /// Closes the pool. Calls that come later answer [`StoreError::Closed`]; those under way are finished.
    pub fn close(&self) {
        self.inner.pool.close();
    }
}

/// Says where an error came from.
fn at(target: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { message, source } => {
            StoreError::Unavailable { message: format!("{target}: {message}"), source }
        }
        StoreError::Denied { message } => StoreError::Denied { message: format!("{target}: {message}") },
        StoreError::ReadOnly { message } => StoreError::ReadOnly { message: format!("{target}: {message}") },
        other => other,
    }
}

/// The longest name that PostgreSQL does not cut.
const MAX_NAME_BYTES: usize = 63;

fn quote_schema(name: &str) -> Result<String, StoreError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') || name.starts_with("pg_") {
        let message =
            format!("{name:?} cannot be a schema's name: 1 to {MAX_NAME_BYTES} bytes, not beginning with pg_");
        return Err(StoreError::Denied { message });
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}
