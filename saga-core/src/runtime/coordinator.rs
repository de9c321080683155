//! The coordinator, as its users see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::definition::Saga;
use crate::id::{ExclusiveKey, RunId, WorkerId};
use crate::journal::Actor;
use crate::payload::Payload;
use crate::runtime::builder::CoordinatorBuilder;
use crate::runtime::core::Core;
use crate::runtime::error::{CancelError, OutcomeError, StartError};
use crate::runtime::handle::RunHandle;
use crate::runtime::options::{Shutdown, StartOptions};
use crate::runtime::registry::ParkedRun;
use crate::runtime::start::NewStart;
use crate::store::{Page, Query, RunSummary, Store, StoreError};

/// The process-wide object that drives runs.
///
/// Cloning it is cheap; all clones are one coordinator. When the last clone is dropped, everything that it drives stops
/// where it is, as in a crash: the runs go on when a coordinator is built on their store again. For an orderly end call
/// [`shutdown`](Self::shutdown). Handles do not keep it driving, but they do keep the store open.
///
/// Each run is driven by one task, which its actions share: they wait side by side, but one that blocks its thread holds
/// up the others of its run, their timeouts and its cancellation. Give such work to
/// [`tokio::task::spawn_blocking`].
pub struct Coordinator<App> {
    core: Arc<Core<App>>,
    /// Stops the drivers when the last clone of the coordinator goes. Handles do not keep it.
    life: Arc<Life>,
}

struct Life(CancellationToken);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<App: Send + Sync + 'static> Coordinator<App> {
    /// A coordinator that keeps its runs in `store` and hands `app` to their actions.
    pub fn builder(store: impl Store, app: App) -> CoordinatorBuilder<App> {
        Self::builder_shared(Arc::new(store), Arc::new(app))
    }

    /// As [`builder`](Self::builder), with a store and an application that are used elsewhere too.
    pub fn builder_shared(store: Arc<dyn Store>, app: Arc<App>) -> CoordinatorBuilder<App> {
        CoordinatorBuilder::new(store, app)
    }

    pub(super) fn new(core: Arc<Core<App>>) -> Self {
        let life = Arc::new(Life(core.shared.killed.clone()));
        Self { core, life }
    }

    /// Starts a run. When this returns the run is durable: whatever happens, it comes to an end.
    ///
    /// If the store does not work for a while, this waits. Whoever stops waiting (by a timeout, say) does not call the
    /// start off: to learn what became of it, start it under an id of your own ([`StartOptions::id`]), again.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start<In, Out>(&self, saga: &Saga<App, In, Out>, input: In) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        self.start_with(saga, input, StartOptions::new()).await
    }

    /// Starts a run under an id, with an exclusive key, or with a deadline.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_with<In, Out>(
        &self,
        saga: &Saga<App, In, Out>,
        input: In,
        options: StartOptions,
    ) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        let plan = saga.plan();
        let definition = self.core.sagas.get(&(plan.saga().clone(), plan.version()));
        let definition = definition.filter(|known| known.plan.fingerprint() == plan.fingerprint());
        let Some(definition) = definition.cloned() else {
            return Err(StartError::NotRegistered { saga: plan.saga().clone(), version: plan.version() });
        };
        let input = Payload::encode(&input).map_err(StartError::Input)?;
        let run = options.id.unwrap_or_else(RunId::generate);
        let deadline = options.deadline.map(|after| self.core.shared.clock.now().plus(after));
        let new = NewStart { definition, run: run.clone(), input, key: options.key, deadline };
        let started = self.core.start(new).await?;
        Ok(RunHandle::new(Arc::clone(&self.core), run, started))
    }

    /// A handle to a run that was started before, here or in an earlier process. Its outcome is decoded as `Out`;
    /// [`Payload`] takes any.
    ///
    /// # Errors
    ///
    /// [`OutcomeError::UnknownRun`], or what the store fails with.
    pub async fn attach<Out: DeserializeOwned>(&self, run: &RunId) -> Result<RunHandle<App, Out>, OutcomeError> {
        if let Some(entry) = self.core.registry.get(run) {
            return Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), Some(entry.progress)));
        }
        match self.core.store.get(run).await? {
            Some(_) => Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), None)),
            None => Err(OutcomeError::UnknownRun(run.clone())),
        }
    }

    /// Cancels a run, and returns when that is durable; the run is then rolled back or halted as its saga says. To
    /// cancel a run that is being aborted already, or that has come to its end and only has yet to tell its finalizer,
    /// changes nothing, and is no error.
    ///
    /// A run that nobody drives (its worker has died) is taken up for it.
    ///
    /// # Errors
    ///
    /// [`CancelError`].
    pub async fn cancel(&self, run: &RunId, by: Actor) -> Result<(), CancelError> {
        self.core.cancel(run, by).await
    }

    /// The head of a run, if there is such a run.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.core.store.get(run).await
    }

    /// The heads of many runs, by page.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.core.store.list(query).await
    }

    /// The live or resting run that holds an exclusive key.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.core.store.holder(key).await
    }

    /// The runs that were set aside, and why.
    #[must_use]
    pub fn parked(&self) -> Vec<ParkedRun> {
        self.core.registry.all_parked()
    }

    /// How many runs are in memory: driven, or waiting for their turn.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.core.registry.len()
    }

    /// The name of this worker in claims.
    #[must_use]
    pub fn worker(&self) -> &WorkerId {
        &self.core.worker
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.core.app
    }

    /// The store, for what the coordinator has no verb for: reading a journal, retention.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    pub(crate) fn core(&self) -> &Arc<Core<App>> {
        &self.core
    }

    /// Comes to an end in good order, gives its runs back for others to take up, and closes the store. New runs are
    /// refused from now on. May be called again while it is under way: to park after all what takes too long to drain.
    ///
    /// # Errors
    ///
    /// What closing the store fails with; all drivers have ended all the same.
    pub async fn shutdown(&self, how: Shutdown) -> Result<(), StoreError> {
        let core = &self.core;
        core.closing.store(true, Ordering::SeqCst);
        core.tasks.close();
        match how {
            Shutdown::Drain => core.tasks.wait().await,
            Shutdown::Park { grace } => {
                core.shared.parking.cancel();
                if tokio::time::timeout(grace, core.tasks.wait()).await.is_err() {
                    warn!(?grace, runs = core.registry.len(), "not all actions have ended in time; they are stopped");
                }
            }
        }
        self.life.0.cancel();
        core.tasks.wait().await;
        // So that others can go on with them at once.
        let held = core.registry.take_held();
        let released = match core.store.release(&held).await {
            // Another shutdown came first.
            Err(StoreError::Closed) => Ok(()),
            released => released,
        };
        core.store.close().await.and(released)
    }
}

impl<App> Clone for Coordinator<App> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), life: Arc::clone(&self.life) }
    }
}
