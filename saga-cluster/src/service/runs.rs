//! The runs of a service, whoever drives them.

use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::EncodedRecord;
use saga_core::store::{Page, Query, RunSummary, Store, StoreError};
use saga_core::{
    Actor, CancelError, Client, Coordinator, ExclusiveKey, OperatorError, Outcome, OutcomeError, ParkReason, Payload,
    RunHandle, RunId, Saga, Seq, Shutdown, StartError, StartOptions, WorkerId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::saga::ClusterApp;

/// Starts runs, follows them and moves them on.
pub(super) struct Runs {
    client: Client<ClusterApp>,
    /// Drives them, if this process does.
    worker: Option<Coordinator<ClusterApp>>,
}

impl Runs {
    /// Runs that this process drives, alone or among others.
    pub(super) fn driven_by(worker: Coordinator<ClusterApp>) -> Self {
        Self { client: worker.client().clone(), worker: Some(worker) }
    }

    /// Runs that others drive.
    pub(super) fn driven_elsewhere(client: Client<ClusterApp>) -> Self {
        Self { client, worker: None }
    }

    /// The worker that this process is, if it is one.
    pub(super) fn worker(&self) -> Option<&WorkerId> {
        self.worker.as_ref().map(Coordinator::worker)
    }

    /// Starts a run. It is durable when this returns.
    pub(super) async fn start<In, Out>(
        &self,
        saga: &Saga<ClusterApp, In, Out>,
        order: In,
        options: StartOptions,
    ) -> Result<(), StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        self.client.start_with(saga, order, options).await.map(drop)
    }

    pub(super) async fn attach(&self, run: &RunId) -> Result<RunHandle<ClusterApp, Payload>, OutcomeError> {
        self.client.attach(run).await
    }

    /// Waits until a run comes to rest, and tells how.
    pub(super) async fn outcome(&self, run: &RunId) -> Result<Outcome<Payload>, OutcomeError> {
        self.attach(run).await?.outcome().await
    }

    pub(super) async fn cancel(&self, run: &RunId, by: Actor) -> Result<(), CancelError> {
        self.client.cancel(run, by).await
    }

    pub(super) async fn retry(&self, run: &RunId, by: Actor) -> Result<(), OperatorError> {
        self.client.retry(run, by).await.map(drop)
    }

    pub(super) async fn abandon(&self, run: &RunId, by: Actor) -> Result<(), OperatorError> {
        self.client.abandon(run, by).await.map(drop)
    }

    pub(super) async fn summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.client.summary(run).await
    }

    pub(super) async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.client.holder(key).await
    }

    pub(super) async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.client.list(query).await
    }

    pub(super) async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.store().read(run, after, limit).await
    }

    /// Why a run cannot be taken up here, if that is known.
    pub(super) fn parked(&self, run: &RunId) -> Option<Arc<ParkReason>> {
        let parked = self.worker.as_ref()?.parked();
        parked.into_iter().find(|parked| parked.run == *run).map(|parked| parked.reason)
    }

    /// Where the runs are.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.client.store()
    }

    /// Gives back what is driven here, and closes the store.
    pub(super) async fn shutdown(&self, grace: Duration) -> Result<(), StoreError> {
        match &self.worker {
            Some(worker) => worker.shutdown(Shutdown::Park { grace }).await,
            None => self.store().close().await,
        }
    }
}
