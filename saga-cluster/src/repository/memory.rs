//! Records in memory, for tests and demonstrations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{ClusterRepository, Listing, RepositoryError, check_update, check_version};
use crate::model::{Cluster, ClusterId, ClusterName};

/// Keeps records in memory. They end with it.
#[derive(Debug, Default)]
pub struct MemoryRepository {
    clusters: Mutex<BTreeMap<ClusterName, Cluster>>,
}

impl MemoryRepository {
    /// An empty repository.
    pub fn new() -> Self {
        Self::default()
    }

    fn clusters(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Cluster>> {
        // Each change is a single insert or remove, so a panic elsewhere cannot leave a half-made one behind.
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ClusterRepository for MemoryRepository {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        match self.clusters().entry(cluster.name().clone()) {
            Entry::Occupied(taken) => Err(RepositoryError::AlreadyExists { name: taken.key().clone() }),
            Entry::Vacant(free) => Ok(free.insert(cluster).clone()),
        }
    }

    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        Ok(self.clusters().get(name).cloned())
    }

    async fn list(&self) -> Result<Listing, RepositoryError> {
        Ok(Listing { clusters: self.clusters().values().cloned().collect(), unreadable: Vec::new() })
    }

    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        let mut clusters = self.clusters();
        let Some(found) = clusters.get_mut(cluster.name()) else {
            return Err(RepositoryError::NotFound { name: cluster.name().clone() });
        };
        *found = check_update(found, expected_version, cluster)?;
        Ok(found.clone())
    }

    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        let mut clusters = self.clusters();
        let found = clusters.get(name).ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
        check_version(found, id, expected_version)?;
        clusters.remove(name);
        Ok(())
    }

    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        Ok(self.clusters().remove(name).is_some())
    }
}
