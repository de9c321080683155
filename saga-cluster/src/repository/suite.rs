//! What every repository must do, run on each of them.

use std::sync::Arc;

use super::*;
use crate::model::{ClusterSpec, Status};

fn cluster(name: &str) -> Cluster {
    let text = format!("name='{name}'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=1");
    Cluster::new(ClusterSpec::from_toml(&text).unwrap())
}

/// Runs all of it on an empty repository.
pub(super) async fn run(repository: Arc<dyn ClusterRepository>) {
    assert!(repository.list().await.unwrap().clusters.is_empty());
    what_is_inserted_is_found(&*repository).await;
    an_update_is_a_compare_and_set(&*repository).await;
    only_drawn_transitions_are_stored(&*repository).await;
    a_successor_of_the_same_name_is_not_written_to(&*repository).await;
    only_what_is_meant_is_removed(&*repository).await;
    a_change_that_is_refused_stores_nothing(&*repository).await;
    no_change_of_many_at_once_is_lost(&repository).await;
    only_one_of_many_wins_a_version(&repository).await;
}

async fn what_is_inserted_is_found(repository: &dyn ClusterRepository) {
    let (one, two) = (cluster("found-1"), cluster("found-2"));
    assert_eq!(repository.insert(one.clone()).await.unwrap(), one);
    repository.insert(two.clone()).await.unwrap();
    assert!(matches!(repository.insert(cluster("found-1")).await, Err(RepositoryError::AlreadyExists { .. })));
    assert_eq!(repository.get(one.name()).await.unwrap(), Some(one.clone()));
    assert_eq!(repository.list().await.unwrap().clusters, [one.clone(), two.clone()]);
    assert!(repository.remove(one.name()).await.unwrap());
    assert!(!repository.remove(one.name()).await.unwrap());
    assert_eq!(repository.get(one.name()).await.unwrap(), None);
    assert_eq!(repository.list().await.unwrap().clusters, std::slice::from_ref(&two));
    repository.remove(two.name()).await.unwrap();
}

async fn an_update_is_a_compare_and_set(repository: &dyn ClusterRepository) {
    let mut stale = cluster("compared");
    assert!(matches!(repository.update(1, stale.clone()).await, Err(RepositoryError::NotFound { .. })));
    stale = repository.insert(stale).await.unwrap();
    let mut fresh = stale.clone();
    fresh.status_description = "fresh".into();
    fresh.version = 99; // what is stored follows from what is found, not from what is claimed
    let fresh = repository.update(1, fresh).await.unwrap();
    assert_eq!((fresh.version, fresh.created), (2, stale.created));
    assert!(fresh.updated >= stale.updated);
    stale.status_description = "stale".into();
    let refused = repository.update(1, stale.clone()).await;
    assert!(matches!(refused, Err(RepositoryError::Conflict { found: 2, .. })));
    assert_eq!(repository.get(fresh.name()).await.unwrap(), Some(fresh));
}

async fn only_drawn_transitions_are_stored(repository: &dyn ClusterRepository) {
    let mut deleting = cluster("drawn");
    deleting.status = Status::Deleting;
    let deleting = repository.insert(deleting).await.unwrap();
    let mut active = deleting.clone();
    active.status = Status::Active;
    let refused = repository.update(1, active).await.unwrap_err();
    assert_eq!(refused.illegal_transition(), Some((Status::Deleting, Status::Active)));
    assert_eq!(repository.get(deleting.name()).await.unwrap(), Some(deleting.clone()));
    let mut failed = deleting;
    failed.status = Status::Error;
    assert_eq!(repository.update(1, failed).await.unwrap().status, Status::Error);
}

async fn a_successor_of_the_same_name_is_not_written_to(repository: &dyn ClusterRepository) {
    let old = repository.insert(cluster("successor")).await.unwrap();
    repository.remove(old.name()).await.unwrap();
    let new = repository.insert(cluster("successor")).await.unwrap();
    assert_eq!(old.version, new.version);
    assert!(matches!(repository.update(1, old).await, Err(RepositoryError::NotFound { .. })));
    assert_eq!(repository.get(new.name()).await.unwrap(), Some(new));
}

async fn only_what_is_meant_is_removed(repository: &dyn ClusterRepository) {
    let old = repository.insert(cluster("meant")).await.unwrap();
    let name = old.name();
    let changed = repository.update(1, old.clone()).await.unwrap();
    let conflict = repository.remove_version(name, &old.id, 1).await;
    assert!(matches!(conflict, Err(RepositoryError::Conflict { found: 2, .. })), "{conflict:?}");
    repository.remove_version(name, &old.id, changed.version).await.unwrap();
    let gone = repository.remove_version(name, &old.id, changed.version).await;
    assert!(matches!(gone, Err(RepositoryError::NotFound { .. })), "{gone:?}");
    let new = repository.insert(cluster("meant")).await.unwrap();
    let another = repository.remove_version(name, &old.id, 1).await;
    assert!(matches!(another, Err(RepositoryError::NotFound { .. })), "{another:?}");
    assert_eq!(repository.get(name).await.unwrap(), Some(new));
}

async fn a_change_that_is_refused_stores_nothing(repository: &dyn ClusterRepository) {
    let before = repository.insert(cluster("refused")).await.unwrap();
    let refused = modify(repository, before.name(), |cluster| {
        cluster.status_description = "half".into();
        cluster.transition(Status::Scaling, "no")?;
        Ok::<_, RepositoryError>(())
    });
    assert!(matches!(refused.await, Err(RepositoryError::IllegalTransition(_))));
    assert_eq!(repository.get(before.name()).await.unwrap(), Some(before));
    let nobody = ClusterName::new("nobody").unwrap();
    let missing = modify(repository, &nobody, |_| Ok::<_, RepositoryError>(())).await;
    assert!(matches!(missing, Err(RepositoryError::NotFound { .. })));
}

async fn no_change_of_many_at_once_is_lost(repository: &Arc<dyn ClusterRepository>) {
    const TASKS: u64 = 8;
    const CHANGES: u64 = 5;
    let name = repository.insert(cluster("counted")).await.unwrap().name().clone();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (repository, name) = (Arc::clone(repository), name.clone());
            tokio::spawn(async move {
                for _ in 0..CHANGES {
                    let add = |cluster: &mut Cluster| {
                        let counted: u64 = cluster.status_description.parse().unwrap_or(0);
                        cluster.status_description = (counted + 1).to_string();
                        Ok::<_, RepositoryError>(())
                    };
                    modify(&*repository, &name, add).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counted = repository.get(&name).await.unwrap().unwrap();
    assert_eq!(counted.status_description, (TASKS * CHANGES).to_string());
    assert_eq!(counted.version, 1 + TASKS * CHANGES);
}

async fn only_one_of_many_wins_a_version(repository: &Arc<dyn ClusterRepository>) {
    let cluster = repository.insert(cluster("raced")).await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let (repository, mut cluster) = (Arc::clone(repository), cluster.clone());
            cluster.live_run = Some(format!("run-{i}"));
            tokio::spawn(async move { repository.update(1, cluster).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(cluster) => won.push(cluster),
            Err(error) => assert!(matches!(error, RepositoryError::Conflict { found: 2, .. }), "{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(repository.get(cluster.name()).await.unwrap().as_ref(), won.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_passes() {
    run(Arc::new(MemoryRepository::new())).await;
}
