//! Where the records of clusters are kept.
//!
//! A record is changed by compare-and-set on its version, and its status only along the drawn lifecycle; both are
//! checked in the same atomic operation as the write. "Check, then write" is not offered.

mod envelope;
mod error;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod sled;

#[cfg(test)]
mod suite;

use async_trait::async_trait;

use crate::model::{Cluster, ClusterId, ClusterName, Timestamp};

pub use self::sled::SledRepository;
pub use error::RepositoryError;
pub use memory::MemoryRepository;
#[cfg(feature = "postgres")]
pub use postgres::PostgresRepository;

/// How often [`modify`] tries. Each conflict means that someone else's change went through, so this is reached only
/// by a storm, not by contention.
const MODIFY_ATTEMPTS: u32 = 1000;

/// All records, readable or not.
#[derive(Debug, Default)]
pub struct Listing {
    /// The clusters, by name.
    pub clusters: Vec<Cluster>,
    /// Records that could not be read, each an [`RepositoryError::Unreadable`]. They do not hide the others.
    pub unreadable: Vec<RepositoryError>,
}

/// Keeps the records of clusters. What a call returned is durable, as far as the implementation is.
///
/// # Errors
/// Every call may end in [`RepositoryError::Store`], after which it is unknown whether a change was made.
#[async_trait]
pub trait ClusterRepository: Send + Sync + 'static {
    /// Adds the record of a new cluster, and returns it as it was stored.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`], if there is one of that name.
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError>;

    /// The record of that name. `None` is a certain *no*.
    ///
    /// # Errors
    /// [`RepositoryError::Unreadable`], if there is one that this build cannot read.
    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError>;

    /// All records.
    ///
    /// # Errors
    /// Only if the store fails: a record that cannot be read is part of the [`Listing`].
    async fn list(&self) -> Result<Listing, RepositoryError>;

    /// Replaces the record of the same name *and id*, if it still has the expected version, and returns it as it was
    /// stored: with the next version, and the time.
    ///
    /// # Errors
    /// - [`RepositoryError::NotFound`]: that cluster is gone, even if another has its name now;
    /// - [`RepositoryError::Conflict`]: it was changed meanwhile. Get it again and decide anew;
    /// - [`RepositoryError::IllegalTransition`]: its status does not lead to the new one.
    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError>;

    /// Removes the record of that name *and id*, if it still has the expected version.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`] and [`RepositoryError::Conflict`], as for [`update`](Self::update).
    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError>;

    /// Removes the record of that name, whatever it says. Says whether there was one; none is fine.
    ///
    /// # Errors
    /// Only if the store fails: an unreadable record is removed as well.
    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError>;
}

/// Gets a record, changes it, and stores it; if someone else changed it meanwhile, does all of that again.
///
/// `change` may run more than once, each time on a fresh record, so it should do nothing but change that.
///
/// ```
/// # use saga_cluster::{model::*, repository::*};
/// # async fn example(repository: &dyn ClusterRepository, name: &ClusterName) -> Result<(), RepositoryError> {
/// modify(repository, name, |cluster| Ok::<_, RepositoryError>(cluster.transition(Status::Deleting, "asked for")?)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What `change` returned, in which case nothing is stored; [`RepositoryError::NotFound`], if there is no such record;
/// and what [`ClusterRepository::update`] returns, except for a conflict (unless 1000 changes of others came in
/// between).
pub async fn modify<E: From<RepositoryError>>(
    repository: &dyn ClusterRepository,
    name: &ClusterName,
    mut change: impl FnMut(&mut Cluster) -> Result<(), E> + Send,
) -> Result<Cluster, E> {
    for attempt in 1.. {
        let found = repository.get(name).await?;
        let mut cluster = found.ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
        let version = cluster.version;
        change(&mut cluster)?;
        match repository.update(version, cluster).await {
            Err(RepositoryError::Conflict { .. }) if attempt < MODIFY_ATTEMPTS => {}
            done => return Ok(done?),
        }
    }
    unreachable!("the last attempt returns");
}

/// What a compare-and-set stores, or why it does not. Each implementation calls it inside its atomic operation.
fn check_update(found: &Cluster, expected_version: u64, mut next: Cluster) -> Result<Cluster, RepositoryError> {
    check_version(found, &next.id, expected_version)?;
    found.status.check(next.status)?;
    next.created = found.created;
    next.updated = Timestamp::now();
    next.version = found.version + 1;
    Ok(next)
}

/// Whether a record is the one that is meant, unchanged.
fn check_version(found: &Cluster, id: &ClusterId, expected_version: u64) -> Result<(), RepositoryError> {
    if found.id != *id {
        return Err(RepositoryError::NotFound { name: found.name().clone() });
    }
    if found.version != expected_version {
        return Err(RepositoryError::Conflict { name: found.name().clone(), found: found.version });
    }
    Ok(())
}
