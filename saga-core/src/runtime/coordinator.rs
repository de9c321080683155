//! The coordinator, as its users see it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use crate::id::WorkerId;
use crate::runtime::builder::CoordinatorBuilder;
use crate::runtime::client::Client;
use crate::runtime::core::Core;
use crate::runtime::options::Shutdown;
use crate::runtime::registry::ParkedRun;
use crate::store::{Store, StoreError};

/// The process-wide object that drives runs.
///
/// It is a [`Client`] that drives what it starts, and what nobody else drives: the verbs on runs (`start`, `attach`,
/// `cancel`, `retry`, `list`, …) are those of the client, to which it dereferences.
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
    client: Client<App>,
    app: Arc<App>,
    /// Stops the drivers when the last clone of the coordinator goes. Handles do not keep it.
    life: Arc<Life<App>>,
}

struct Life<App>(Arc<Core<App>>);

impl<App> Drop for Life<App> {
    fn drop(&mut self) {
        self.0.kill();
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

    pub(super) fn new(core: Arc<Core<App>>, app: Arc<App>) -> Self {
        let life = Arc::new(Life(Arc::clone(&core)));
        Self { client: Client::new(Arc::clone(&core)), core, app, life }
    }

    /// The coordinator as a client, for code that should not care whether this process drives runs. It works as long as
    /// the coordinator does.
    #[must_use]
    pub fn client(&self) -> &Client<App> {
        &self.client
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
        &self.app
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
                core.park();
                if tokio::time::timeout(grace, core.tasks.wait()).await.is_err() {
                    warn!(?grace, runs = core.registry.len(), "not all actions have ended in time; they are stopped");
                }
            }
        }
        self.life.0.kill();
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
        Self {
            core: Arc::clone(&self.core),
            client: self.client.clone(),
            app: Arc::clone(&self.app),
            life: Arc::clone(&self.life),
        }
    }
}

/// A coordinator is a client, and more.
impl<App> Deref for Coordinator<App> {
    type Target = Client<App>;

    fn deref(&self) -> &Client<App> {
        &self.client
    }
}
