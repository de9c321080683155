//! A repository that answers.
//!
//! The guard, the finalizer and the service itself ask the repository, often while they are alone on a cluster. One
//! that hangs or panics is one that failed: the caller looks again, and delete stays possible.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;

use crate::model::{Cluster, ClusterId, ClusterName};
use crate::repository::{ClusterRepository, Listing, RepositoryError};

/// Less than what a guard is given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Bounds every call to a repository.
pub(super) struct Bounded(pub(super) Arc<dyn ClusterRepository>);

async fn bounded<T>(
    doing: &'static str,
    call: impl Future<Output = Result<T, RepositoryError>> + Send,
) -> Result<T, RepositoryError> {
    match tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(RepositoryError::store(doing, "it panicked")),
        Err(_) => Err(RepositoryError::store(doing, format!("no answer after {ANSWER_WITHIN:?}"))),
    }
}

#[async_trait]
impl ClusterRepository for Bounded {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        bounded("adding a record", self.0.insert(cluster)).await
    }

    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        bounded("reading a record", self.0.get(name)).await
    }

    async fn list(&self) -> Result<Listing, RepositoryError> {
        bounded("listing the records", self.0.list()).await
    }

    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        bounded("changing a record", self.0.update(expected_version, cluster)).await
    }

    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        bounded("removing a record", self.0.remove_version(name, id, expected_version)).await
    }

    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        bounded("removing a record", self.0.remove(name)).await
    }
}
