//! The store.

mod append;
mod claims;
mod form;
mod hints;
#[cfg(test)]
mod plans;
mod read;
mod retention;
mod rows;
mod schema;
mod together;
mod turns;
mod waves;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use saga_core::journal::EncodedRecord;
use saga_core::store::{
    Append, Claim, ClaimError, Found, Hints, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError,
};
use saga_core::{Actor, Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::hints::Listening;
use self::together::Together;
use crate::database::Database;
use crate::options::Options;

/// A [`Store`] on PostgreSQL, which any number of workers share.
///
/// See the [crate's documentation](crate) for what it keeps and how to run it. Clones are handles on one store.
#[derive(Clone)]
pub struct PostgresStore {
    database: Database,
    sql: Arc<Statements>,
    /// Where hints are told.
    channel: String,
    listening: Arc<Listening>,
    reading: Together,
    /// Whether the pool is this store's own, and closes with it.
    owns_database: bool,
    closed: Arc<AtomicBool>,
    calls: TaskTracker,
}

/// The text of every statement, for one schema.
struct Statements {
    append: append::Statements,
    claims: claims::Statements,
    read: read::Statements,
    retention: retention::Statements,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("database", &self.database).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the store at an address such as `postgresql://user:password@host:5432/database?sslmode=require`, with default
    /// [`Options`]. Makes its tables if they are not there, and brings them up to date if an older release made them.
    ///
    /// # Errors
    ///
    /// Those of [`Database::connect`], and those of [`Database::migrate`]: above all [`StoreError::NewerFormat`], if a newer
    /// release has migrated the tables.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::options().connect(url).await
    }

    /// What can be chosen before connecting: the schema, the size of the pool, timeouts.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Opens the store in a database that is used for other things too. Closing the store leaves the database open.
    ///
    /// # Errors
    ///
    /// Those of [`Database::migrate`].
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        database.migrate(schema::PART, schema::MIGRATIONS).await?;
        let sql = |text: &str| database.sql(text);
        let statements = Statements {
            append: append::Statements::new(sql),
            claims: claims::Statements::new(sql),
            read: read::Statements::new(sql),
            retention: retention::Statements::new(sql),
        };
        Ok(Self {
            database: database.clone(),
            sql: Arc::new(statements),
            channel: hints::channel(database.schema_name()),
            listening: Arc::new(Listening::default()),
            reading: Together::default(),
            owns_database: false,
            closed: Arc::new(AtomicBool::new(false)),
            calls: TaskTracker::new(),
        })
    }

    pub(crate) async fn with_options(options: Options, url: &str) -> Result<Self, StoreError> {
        let database = options.database(url).await?;
        let store = Self::open(&database).await?;
        Ok(Self { owns_database: true, ..store })
    }

    /// What the store works on.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Lets a call begin, unless the store is closed. [`close`](Store::close) waits for those that hold a token.
    fn begin(&self) -> Result<TaskTrackerToken, StoreError> {
        // The token first: a close in between then waits for it.
        let token = self.calls.token();
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(token) }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let _call = self.begin()?;
        self.append_batch(batch).await
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        let _call = self.begin()?;
        self.read_journal(run, after, limit).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        let _call = self.begin()?;
        self.read_head(run).await
    }

    async fn look(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        let _call = self.begin()?;
        self.look_at(runs).await
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        let _call = self.begin()?;
        self.read_holder(key).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let _call = self.begin()?;
        self.list_page(query).await
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let _call = self.begin()?;
        self.claim_some(worker, sagas, lease, limit).await
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        let _call = self.begin()?;
        self.claim_one(worker, run, lease).await
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        let _call = self.begin()?;
        self.renew_claims(worker, held, lease).await
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        let _call = self.begin()?;
        self.release_claims(held).await
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        let _call = self.begin()?;
        self.leave_request(run, by).await
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        let _call = self.begin()?;
        self.requests_for(worker).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn hints(&self) -> Option<Hints> {
        let open = !self.closed.load(Ordering::Acquire);
        open.then(|| self.listening.subscribe(&self.database, &self.channel))
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        let _call = self.begin()?;
        self.restore_run(summary, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        let _call = self.begin()?;
        self.delete_run(run).await
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let _call = self.begin()?;
        self.prune_runs(ended_before, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.calls.close();
        self.calls.wait().await;
        self.listening.end(&self.database, &self.channel).await;
        if self.owns_database {
            self.database.close();
        }
        Ok(())
    }
}
