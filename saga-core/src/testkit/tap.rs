//! A store that tells the stage of what becomes durable.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::stage::Stage;
use crate::id::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::store::{
    Append, Claim, ClaimError, KnownSaga, MemoryStore, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError,
};

pub(super) struct Tap {
    pub(super) store: MemoryStore,
    pub(super) stage: Arc<Stage>,
}

#[async_trait]
impl Store for Tap {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let answers = self.store.append(batch).await?;
        for (append, _) in batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
            // They were encoded a moment ago.
            let records = append.records.iter().filter_map(|record| record.decode().ok()).collect();
            self.stage.appended(records).await;
        }
        Ok(answers)
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.store.read(run, after, limit).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.store.get(run).await
    }

    async fn get_many(&self, runs: &[RunId]) -> Result<Vec<RunSummary>, StoreError> {
        self.store.get_many(runs).await
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
