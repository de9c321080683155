//! The record of the cluster that a run works on: always by name *and* id.

use saga_core::StepError;

use crate::model::{Cluster, ClusterId, ClusterName};
use crate::repository::{self, ClusterRepository, RepositoryError};

/// The record, if it is (still) that of this very cluster.
pub(crate) async fn find(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    id: &ClusterId,
) -> Result<Option<Cluster>, RepositoryError> {
    Ok(repository.get(name).await?.filter(|cluster| cluster.id == *id))
}

/// Changes the record, or returns `None` if it is gone. `change` may run more than once, and again after a crash.
pub(crate) async fn change(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    id: &ClusterId,
    mut change: impl FnMut(&mut Cluster) -> Result<(), RepositoryError> + Send,
) -> Result<Option<Cluster>, RepositoryError> {
    let changed = repository::modify(repository, name, |cluster| {
        if cluster.id != *id {
            return Err(RepositoryError::NotFound { name: name.clone() });
        }
        change(cluster)
    });
    match changed.await {
        Ok(cluster) => Ok(Some(cluster)),
        Err(RepositoryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sagas' guard: does the cluster still exist? A record that cannot be read is there.
pub(super) async fn is_there(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    id: &ClusterId,
) -> Result<bool, StepError> {
    match find(repository, name, id).await {
        Ok(found) => Ok(found.is_some()),
        Err(RepositoryError::Unreadable { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
