//! A store whose process dies at a given append.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use saga_core::journal::{Actor, EncodedRecord};
use saga_core::store::{
    Append, Claim, ClaimError, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, SledStore, Store, StoreError,
};
use saga_core::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId, async_trait};
use tokio::sync::watch;

use crate::case::Moment;

/// A sled store whose process is killed right before or right after the k-th append.
pub(crate) struct DyingStore {
    inner: SledStore,
    dies_at: u64,
    moment: Moment,
    appends: AtomicU64,
}

impl DyingStore {
    pub(crate) fn new(inner: SledStore, dies_at: u64, moment: Moment) -> Self {
        Self { inner, dies_at, moment, appends: AtomicU64::new(0) }
    }

    fn die_if(&self, moment: Moment, append: u64) {
        if self.moment == moment && self.dies_at == append {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            // SIGKILL takes effect before the process gets to run any further code of its own; should it be late, nothing
            // may happen meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}

#[async_trait]
impl Store for DyingStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let append = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        self.die_if(Moment::Before, append);
        let written = self.inner.append(batch).await;
        self.die_if(Moment::After, append);
        written
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.inner.read(run, after, limit).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.inner.get(run).await
    }

    async fn get_many(&self, runs: &[RunId]) -> Result<Vec<RunSummary>, StoreError> {
        self.inner.get_many(runs).await
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.inner.holder(key).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.inner.claim(worker, sagas, lease, limit).await
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        self.inner.claim_run(worker, run, lease).await
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.inner.renew(worker, held, lease).await
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.inner.release(held).await
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        self.inner.request_cancel(run, by).await
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.inner.cancel_requests(worker).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn hints(&self) -> Option<watch::Receiver<()>> {
        self.inner.hints()
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        self.inner.restore(summary, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.inner.delete(run).await
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.prune(ended_before, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
