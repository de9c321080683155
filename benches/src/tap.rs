//! A store that counts what passes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use saga_core::journal::{Actor, EncodedRecord};
use saga_core::store::{
    Append, Claim, ClaimError, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError,
};
use saga_core::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId, async_trait};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What was written so far.
#[derive(Debug, Default)]
pub struct Written {
    groups: AtomicU64,
    appends: AtomicU64,
    bytes: AtomicU64,
}

/// What was written up to some moment, or between two of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writes {
    /// Calls to the store: group commits.
    pub groups: u64,
    /// Appends, of which a group commit holds one or more.
    pub appends: u64,
    /// Bytes of the journals' records, as they were handed to the store.
    pub bytes: u64,
}

impl Written {
    /// What was written up to now.
    #[must_use]
    pub fn now(&self) -> Writes {
        Writes {
            groups: self.groups.load(Ordering::Relaxed),
            appends: self.appends.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn add(&self, batch: &[Append]) {
        let bytes: usize = batch.iter().flat_map(|append| &append.records).map(|record| record.bytes.len()).sum();
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.appends.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl std::ops::AddAssign for Writes {
    fn add_assign(&mut self, more: Self) {
        self.groups += more.groups;
        self.appends += more.appends;
        self.bytes += more.bytes;
    }
}

impl Writes {
    /// What was written since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            groups: self.groups - earlier.groups,
            appends: self.appends - earlier.appends,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// A store that counts what is appended to another one.
#[derive(Clone)]
pub struct Tap {
    store: Arc<dyn Store>,
    written: Arc<Written>,
}

impl Tap {
    /// Counts what is appended to this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, written: Arc::default() }
    }

    /// The count.
    #[must_use]
    pub fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }
}

#[async_trait]
impl Store for Tap {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        self.written.add(batch);
        self.store.append(batch).await
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.store.read(run, after, limit).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.store.get(run).await
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.store.holder(key).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.store.list(query).await
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.store.claim(worker, sagas, lease, limit).await
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        self.store.claim_run(worker, run, lease).await
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.store.renew(worker, held, lease).await
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.store.release(held).await
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        self.store.request_cancel(run, by).await
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.store.cancel_requests(worker).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn is_immediate(&self) -> bool {
        self.store.is_immediate()
    }

    fn hints(&self) -> Option<watch::Receiver<()>> {
        self.store.hints()
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        self.store.restore(summary, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.store.delete(run).await
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.store.prune(ended_before, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
