//! The record of the cluster that a run works on: always by name *and* id.

use saga_core::{RunId, StepError};

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

/// Begins a run, as far as its record is concerned: from now on nobody can call it off any more. `false`, if the record
/// does not name it: it was called off, or another operation has taken the cluster over, or the cluster is gone.
///
/// This and the calling off are compare-and-sets on one record, so one of the two comes first, whatever the processes
/// know of each other, and however long each of them was asleep.
pub(super) async fn begin(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    id: &ClusterId,
    run: &RunId,
) -> Result<bool, RepositoryError> {
    loop {
        let Some(mut cluster) = find(repository, name, id).await?.filter(|cluster| cluster.names(run)) else {
            return Ok(false);
        };
        if cluster.intent.take().is_none() {
            return Ok(true);
        }
        match repository.update(cluster.version, cluster).await {
            Err(RepositoryError::Conflict { .. }) => {}
            Err(RepositoryError::NotFound { .. }) => return Ok(false),
            begun => return begun.map(|_| true),
        }
    }
}

/// Removes the record of that very cluster, if there is one and `may` says so of what it is by then. Says whether there is
/// none any more.
pub(crate) async fn remove(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    id: &ClusterId,
    mut may: impl FnMut(&Cluster) -> bool + Send,
) -> Result<bool, RepositoryError> {
    loop {
        let Some(cluster) = find(repository, name, id).await? else { return Ok(true) };
        if !may(&cluster) {
            return Ok(false);
        }
        match repository.remove_version(name, id, cluster.version).await {
            Err(RepositoryError::Conflict { .. }) => {}
            Ok(()) | Err(RepositoryError::NotFound { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
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
