//! A store as a process has it that falls asleep, for as long as others like, or for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use saga_core::async_trait;
use saga_core::journal::{Actor, EncodedRecord};
use saga_core::store::{
    Append, Claim, ClaimError, KnownSaga, MemoryStore, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError,
};
use saga_core::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use tokio::sync::watch;

/// Shares a store with others. What happens to this one's calls does not happen to theirs.
#[derive(Clone)]
pub(crate) struct Sleepy {
    inner: MemoryStore,
    appends: Arc<AtomicU64>,
    /// The append at which it falls asleep, and whether that is before or after its effect.
    at: Arc<watch::Sender<Option<(u64, When)>>>,
    asleep: Arc<watch::Sender<bool>>,
}

/// On which side of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

impl Sleepy {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self { inner, appends: Arc::default(), at: Arc::default(), asleep: Arc::default() }
    }

    /// Falls asleep at the append that comes after so many others from now on.
    pub(crate) fn sleep_at(&self, nth: u64, when: When) {
        self.at.send_replace(Some((self.appends.load(Ordering::SeqCst) + nth, when)));
    }

    pub(crate) async fn fell_asleep(&self) {
        let _ = self.asleep.subscribe().wait_for(|asleep| *asleep).await;
    }

    pub(crate) fn is_asleep(&self) -> bool {
        *self.asleep.borrow()
    }

    pub(crate) fn wake(&self) {
        self.at.send_replace(None);
        self.asleep.send_replace(false);
    }

    async fn awake(&self) -> &MemoryStore {
        let _ = self.asleep.subscribe().wait_for(|asleep| !asleep).await;
        &self.inner
    }

    async fn pass(&self, nth: u64, when: When) {
        if *self.at.borrow() == Some((nth, when)) {
            self.asleep.send_replace(true);
        }
        self.awake().await;
    }
}

#[async_trait]
impl Store for Sleepy {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let nth = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        self.pass(nth, When::Before).await;
        let done = self.inner.append(batch).await;
        self.pass(nth, When::After).await;
        done
    }
    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.awake().await.read(run, after, limit).await
    }
    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.awake().await.get(run).await
    }
    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.awake().await.holder(key).await
    }
    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.awake().await.list(query).await
    }
    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.awake().await.claim(worker, sagas, lease, limit).await
    }
    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        self.awake().await.claim_run(worker, run, lease).await
    }
    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.awake().await.renew(worker, held, lease).await
    }
    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.awake().await.release(held).await
    }
    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        self.awake().await.request_cancel(run, by).await
    }
    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.awake().await.cancel_requests(worker).await
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn hints(&self) -> Option<watch::Receiver<()>> {
        self.inner.hints()
    }
    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        self.awake().await.restore(summary, records).await
    }
    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.awake().await.delete(run).await
    }
    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.awake().await.prune(ended_before, limit).await
    }
    /// The others go on.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
