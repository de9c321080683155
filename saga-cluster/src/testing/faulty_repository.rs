//! A repository that fails on demand.

use async_trait::async_trait;

use super::faults::{Faults, How, On};
use crate::model::{Cluster, ClusterId, ClusterName};
use crate::repository::{ClusterRepository, Listing, RepositoryError};

/// Wraps a repository, and fails where its script says so, always with [`RepositoryError::Store`]: a store has no other
/// way to fail. Rules about nodes never fit.
#[derive(Debug, Clone)]
pub struct FaultyRepository<R> {
    inner: R,
    faults: Faults,
}

impl<R: ClusterRepository> FaultyRepository<R> {
    /// A repository that follows the script, and does what `inner` does otherwise.
    pub fn new(inner: R, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The repository that it wraps.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    async fn act<T: Send>(
        &self,
        on: On,
        work: impl Future<Output = Result<T, RepositoryError>> + Send,
    ) -> Result<T, RepositoryError> {
        let failure = || RepositoryError::store("acting out a script", format!("injected: {on:?} fails"));
        match self.faults.strike(on, &[]) {
            None => work.await,
            Some(How::FailBefore | How::FatalBefore | How::Reject) => Err(failure()),
            Some(How::FailAfter | How::FatalAfter) => work.await.and(Err(failure())),
            Some(How::HangBefore) => {
                self.faults.hang().await;
                Err(failure())
            }
            Some(How::HangAfter) => {
                work.await?;
                self.faults.hang().await;
                Err(failure())
            }
            Some(How::Panic) => panic!("injected: {on:?} panics"),
        }
    }
}

#[async_trait]
impl<R: ClusterRepository> ClusterRepository for FaultyRepository<R> {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.act(On::InsertRecord, self.inner.insert(cluster)).await
    }

    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        self.act(On::GetRecord, self.inner.get(name)).await
    }

    async fn list(&self) -> Result<Listing, RepositoryError> {
        self.act(On::ListRecords, self.inner.list()).await
    }

    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.act(On::UpdateRecord, self.inner.update(expected_version, cluster)).await
    }

    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        self.act(On::RemoveRecord, self.inner.remove_version(name, id, expected_version)).await
    }

    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        self.act(On::RemoveRecord, self.inner.remove(name)).await
    }
}
