//! The clusters of one repository, and the operations on them.

mod builder;
mod error;
mod operation;
mod progress;
mod report;

use std::time::Duration;

use saga_core::RunId;

use crate::model::{ClusterName, ClusterSpec, ScaleRequest};
use crate::repository::ClusterRepository;

pub use builder::ServiceBuilder;
pub use error::ServiceError;
pub use operation::Operation;
pub use progress::{NodeState, PhaseState, Progress, ProgressKind};
pub use report::{ClusterReport, HistoryEntry, Listing, OperationEnd, OperationKind, RunReport, Verdict};
pub use saga_core::Actor;

/// Creates, scales and deletes clusters. Cloning it is cheap; all clones are one service.
#[derive(Clone)]
pub struct Service {}

/// How a cluster is to be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeleteOptions {
    /// Give up on machines that the engine refuses to destroy, and remove the record all the same.
    pub force: bool,
}

impl Service {
    /// A service that keeps its runs in `store` and its records in `repository`.
    pub fn builder(store: impl saga_core::store::Store, repository: impl ClusterRepository) -> ServiceBuilder {
        ServiceBuilder::new(store, repository)
    }

    /// Creates a cluster.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn create(&self, _spec: ClusterSpec, _by: Actor) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Scales a cluster.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn scale(
        &self,
        _name: &ClusterName,
        _request: ScaleRequest,
        _by: Actor,
    ) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Deletes a cluster.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn delete(
        &self,
        _name: &ClusterName,
        _how: DeleteOptions,
        _by: Actor,
    ) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Tries the operation again that rests.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn retry(&self, _name: &ClusterName, _by: Actor) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Gives the operation up that rests.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn abandon(&self, _name: &ClusterName, _by: Actor) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// All clusters.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn list(&self) -> Result<Listing, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Everything about one cluster.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn show(&self, _name: &ClusterName) -> Result<ClusterReport, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// What happened to a cluster, oldest first.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn history(&self, _name: &ClusterName) -> Result<Vec<HistoryEntry>, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// The operations that have not ended.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn operations(&self) -> Result<Vec<Operation>, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// The operation of a run, live or past.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn operation(&self, _run: &RunId) -> Result<Operation, ServiceError> {
        Err(ServiceError::Stopped)
    }

    /// Comes to an end in good order: what is in flight may end within `grace`; all that is unfinished goes on when a
    /// service is started again.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn shutdown(&self, _grace: Duration) -> Result<(), ServiceError> {
        Err(ServiceError::Stopped)
    }
}
