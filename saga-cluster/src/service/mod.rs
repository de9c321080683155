//! The clusters of one repository, and the operations on them.
//!
//! A [`Service`] holds a store of runs, a repository of records, and the engines and plugins that specs can ask for. What
//! it is asked for becomes a durable run, told by an [`Operation`]. A service is a [worker](ServiceBuilder::start), which
//! drives runs, or [is not](ServiceBuilder::connect), and leaves them to the workers; on a store and a repository that can
//! be shared there may be many of both. Two stores are written to; what a crash between the two leaves is settled by any
//! worker.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use saga_cluster::model::ClusterSpec;
//! use saga_cluster::repository::MemoryRepository;
//! use saga_cluster::service::{Actor, DeleteOptions, Service, Verdict};
//! use saga_cluster::testing::{FakeEngine, FakePlugin};
//! use saga_core::store::MemoryStore;
//!
//! let service = Service::builder(MemoryStore::new(), MemoryRepository::new())
//!     .engine("fake", FakeEngine::new())
//!     .plugin("fake", FakePlugin::new())
//!     .start()
//!     .await?;
//! let spec = "name = 'demo'\nengine = 'fake'\nplugin = 'fake'\n[[groups]]\nname = 'workers'\ncount = 3";
//! let ada = Actor::new("ada", "trying it out");
//! let made = service.create(ClusterSpec::from_toml(spec)?, ada.clone()).await?;
//! assert_eq!(made.end().await?.verdict, Verdict::Done);
//! let gone = service.delete(&made.cluster, DeleteOptions::default(), ada).await?;
//! assert_eq!(gone.end().await?.verdict, Verdict::Done);
//! # Ok(())
//! # }
//! ```

mod begin;
mod bounded;
mod builder;
mod driven;
mod error;
#[cfg(test)]
mod fixture;
mod inner;
mod look;
mod narrate;
mod operation;
mod progress;
mod remove;
mod repair;
mod report;
mod rest;
mod retention;
mod runs;
mod vet;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use saga_core::store::Store;
use saga_core::{RunId, WorkerId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::begin::Begun;
use self::builder::Sagas;
use self::inner::Inner;
use self::runs::Runs;
use crate::engine::EngineCheck;
use crate::model::{ClusterName, ClusterSpec, ScaleRequest};
use crate::repository::ClusterRepository;
use crate::saga::ClusterApp;

pub use builder::ServiceBuilder;
pub use error::ServiceError;
pub use operation::Operation;
pub use progress::{NodeState, PhaseState, Progress, ProgressKind};
pub use report::{ClusterReport, HistoryEntry, Listing, OperationEnd, OperationKind, RunReport, Verdict};
pub use saga_core::Actor;

/// Creates, scales and deletes clusters. Cloning it is cheap; all clones are one service.
///
/// When the last clone (and the last [`Operation`]) is dropped, everything stops where it is, as in a crash. For an
/// orderly end call [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    _life: Arc<Life>,
}

/// Stops what works in the background when the last clone of the service goes.
struct Life(CancellationToken);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// How a cluster is to be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeleteOptions {
    /// Give up on machines that the engine refuses to destroy, and remove the record all the same.
    #[serde(default)]
    pub force: bool,
}

impl Service {
    /// A service that keeps its runs in `store` and its records in `repository`.
    pub fn builder(store: impl Store, repository: impl ClusterRepository) -> ServiceBuilder {
        Self::builder_shared(Arc::new(store), Arc::new(repository))
    }

    /// As [`builder`](Self::builder), with a store and a repository that are used elsewhere too.
    pub fn builder_shared(store: Arc<dyn Store>, repository: Arc<dyn ClusterRepository>) -> ServiceBuilder {
        ServiceBuilder::new(store, repository)
    }

    fn new(runs: Runs, app: Arc<ClusterApp>, sagas: Sagas) -> (Self, Arc<Inner>) {
        let stop = CancellationToken::new();
        let Sagas { create, scale, delete } = sagas;
        let inner = Inner {
            runs,
            app,
            create,
            scale,
            delete,
            beginning: Mutex::default(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        };
        let inner = Arc::new(inner);
        (Self { inner: Arc::clone(&inner), _life: Arc::new(Life(stop)) }, inner)
    }

    /// The name of this service among the workers, if it [is one](ServiceBuilder::start).
    #[must_use]
    pub fn worker(&self) -> Option<&WorkerId> {
        self.inner.runs.worker()
    }

    /// The operations that this service drives, as it takes them up: those at work now, and those to come. An operation
    /// that an operator moves on is told again. The stream does not end; it tells nothing if the service is no
    /// [`worker`](Self::worker).
    pub fn driven(&self) -> impl Stream<Item = Operation> + Send + 'static {
        driven::driven(self.clone())
    }

    /// The operation that is going on with a cluster, and that no worker drives (yet, or any more).
    ///
    /// # Errors
    /// What the store of runs fails with.
    pub async fn unclaimed(&self, name: &ClusterName) -> Result<Option<Operation>, ServiceError> {
        let holder = self.inner.holder(name).await?;
        let unclaimed = holder.filter(|(summary, _)| summary.status.is_live() && summary.owner.is_none());
        Ok(unclaimed.map(|(summary, kind)| self.begun(name.clone(), (summary.run, kind))))
    }

    /// Looks whether a cluster like that could be created now, and tells all that is in the way. Nothing is touched, and
    /// nothing asked of the stores.
    ///
    /// # Errors
    /// [`ServiceError::Spec`], [`Refused`](ServiceError::Refused) and their like, if the spec would be refused;
    /// [`ServiceError::Engine`], if the engine can say nothing at all.
    pub async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, ServiceError> {
        self.inner.check(spec).await
    }

    /// Creates a cluster. When this returns the create is durable. If any of it fails, all of its nodes are killed, and
    /// the cluster is in error, with the reason.
    ///
    /// # Errors
    /// [`ServiceError::Spec`], [`Refused`](ServiceError::Refused) and its like, if the spec is refused: nothing was
    /// touched then. [`ServiceError::AlreadyExists`] and [`Busy`](ServiceError::Busy), if the name is taken.
    pub async fn create(&self, spec: ClusterSpec, by: Actor) -> Result<Operation, ServiceError> {
        let name = spec.name.clone();
        let begun = self.detached(Arc::clone(&self.inner).create(spec, by)).await?;
        Ok(self.begun(name, begun))
    }

    /// Scales a cluster: which nodes go and which come is decided now, and never again. When this returns the scale is
    /// durable.
    ///
    /// # Errors
    /// [`ServiceError::Scale`] and [`Refused`](ServiceError::Refused), if the request is refused: then nothing was
    /// touched. [`ServiceError::Busy`] and [`NotAllowed`](ServiceError::NotAllowed), if the cluster is not just active.
    pub async fn scale(&self, name: &ClusterName, request: ScaleRequest, by: Actor) -> Result<Operation, ServiceError> {
        let begun = self.detached(Arc::clone(&self.inner).scale(name.clone(), request, by)).await?;
        Ok(self.begun(name.clone(), begun))
    }

    /// Deletes a cluster, in whatever state it is: what works on it is cancelled and waited for, or given up if it
    /// rests. If a delete works on it already, that one's operation is returned, also if it ends before this returns. A
    /// cluster whose record is gone can be deleted too, if there are machines of it.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchCluster`], if there is nothing to delete. After any other error the cluster's record says
    /// how it is, and delete can be asked for again.
    pub async fn delete(&self, name: &ClusterName, how: DeleteOptions, by: Actor) -> Result<Operation, ServiceError> {
        let begun = self.detached(Arc::clone(&self.inner).delete(name.clone(), how, by)).await?;
        Ok(self.begun(name.clone(), begun))
    }

    /// Tries again what rests: a halted stage, or what could not be cleaned up.
    ///
    /// # Errors
    /// [`ServiceError::NotAllowed`], if nothing rests; [`ServiceError::Busy`], if something works on the cluster.
    pub async fn retry(&self, name: &ClusterName, by: Actor) -> Result<Operation, ServiceError> {
        let begun = self.detached(Arc::clone(&self.inner).retry(name.clone(), by)).await?;
        Ok(self.begun(name.clone(), begun))
    }

    /// Gives up what rests, as it stands. The cluster stays in error; what is left to do is to delete it.
    ///
    /// # Errors
    /// As for [`retry`](Self::retry).
    pub async fn abandon(&self, name: &ClusterName, by: Actor) -> Result<Operation, ServiceError> {
        let begun = self.detached(Arc::clone(&self.inner).abandon(name.clone(), by)).await?;
        Ok(self.begun(name.clone(), begun))
    }

    /// All clusters.
    ///
    /// # Errors
    /// [`ServiceError::Repository`], if the repository fails.
    pub async fn list(&self) -> Result<Listing, ServiceError> {
        self.inner.list().await
    }

    /// Everything about one cluster. It asks the engine and the plugin, so it may take a few seconds.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchCluster`], or what the repository or the store of runs fails with. An engine or a plugin
    /// that fails is part of the report.
    pub async fn show(&self, name: &ClusterName) -> Result<ClusterReport, ServiceError> {
        self.inner.show(name).await
    }

    /// What happened to a cluster, oldest first, also to earlier clusters of that name, as long as
    /// [the store has it](ServiceBuilder::keep_runs).
    ///
    /// # Errors
    /// [`ServiceError::NoSuchCluster`], or what the store of runs fails with.
    pub async fn history(&self, name: &ClusterName) -> Result<Vec<HistoryEntry>, ServiceError> {
        self.inner.history(name).await
    }

    /// The operations that have not ended: those at work, for example resumed after a crash, and those that rest.
    ///
    /// # Errors
    /// What the store of runs fails with.
    pub async fn operations(&self) -> Result<Vec<Operation>, ServiceError> {
        let unfinished = self.inner.unfinished().await?.into_iter();
        Ok(unfinished.map(|(cluster, kind, run)| self.begun(cluster, (run, kind))).collect())
    }

    /// The operation of a run, unfinished or past.
    ///
    /// # Errors
    /// [`ServiceError::Outcome`], if there is no such run; or what the store of runs fails with.
    pub async fn operation(&self, run: &RunId) -> Result<Operation, ServiceError> {
        let summary = self.inner.runs.summary(run).await?;
        let summary = summary.ok_or_else(|| saga_core::OutcomeError::UnknownRun(run.clone()))?;
        Ok(self.begun(inner::cluster_of(&summary)?, (summary.run.clone(), inner::kind(&summary)?)))
    }

    /// Comes to an end in good order: what is in flight may end within `grace`; all that is unfinished goes on when a
    /// service is started again. When this returns nobody holds the repository any more but who holds the service, or an
    /// [`Operation`] of it.
    ///
    /// # Errors
    /// What closing the store of runs fails with; the service has ended all the same.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), ServiceError> {
        self.inner.stop.cancel();
        let ended = self.inner.runs.shutdown(grace).await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        Ok(ended?)
    }

    fn begun(&self, cluster: ClusterName, (run, kind): Begun) -> Operation {
        Operation { cluster, kind, run, service: self.clone() }
    }

    /// Does something to its end even if whoever asked for it does not wait: between the two stores there is no good
    /// place to stop.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    ) -> Result<T, ServiceError> {
        match self.inner.spawn(work).await {
            Ok(done) => done.unwrap_or(Err(ServiceError::Stopped)),
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(ServiceError::Stopped),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
