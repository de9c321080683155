use super::*;
use crate::model::{ClusterSpec, NewNode, Node, NodeToken};
use crate::repository::suite;

fn spec(count: u32) -> ClusterSpec {
    let text = format!("name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount={count}");
    ClusterSpec::from_toml(&text).unwrap()
}

fn full(count: u32) -> Cluster {
    let mut cluster = Cluster::new(spec(count));
    let node = |new: NewNode| Node {
        token: NodeToken::derive(&new.name, "key"),
        name: new.name,
        address: Some("127.0.0.1:65535".parse().unwrap()),
    };
    let nodes: Vec<_> = cluster.missing_nodes().into_iter().map(node).collect();
    cluster.admit(nodes);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite() {
    let directory = tempfile::tempdir().unwrap();
    suite::run(Arc::new(SledRepository::open(directory.path()).unwrap())).await;
}

#[tokio::test]
async fn it_passes_the_suite_within_a_database_of_someone_else() {
    let directory = tempfile::tempdir().unwrap();
    let db = sled::Config::new().path(directory.path()).open().unwrap();
    db.open_tree("of-someone-else").unwrap().insert("a", "b").unwrap();
    suite::run(Arc::new(SledRepository::within(db.clone(), directory.path()).unwrap())).await;
    assert_eq!(db.open_tree("of-someone-else").unwrap().get("a").unwrap().unwrap(), "b");
}

#[tokio::test]
async fn the_largest_cluster_is_kept_and_shrinks_again() {
    let directory = tempfile::tempdir().unwrap();
    let repository = SledRepository::open(directory.path()).unwrap();
    let large = repository.insert(full(1000)).await.unwrap();
    assert!(repository.inner.tree.len() > 20, "cut into chunks");
    assert_eq!(repository.get(large.name()).await.unwrap().unwrap(), large);
    let mut small = large.clone();
    small.nodes.truncate(1);
    let small = repository.update(1, small).await.unwrap();
    assert_eq!(repository.inner.tree.len(), 1, "no chunk is left over");
    assert_eq!(repository.get(large.name()).await.unwrap().unwrap(), small);
    assert!(!directory.path().join("blobs").read_dir().unwrap().any(|_| true), "nothing went to unsynced files");
}

#[tokio::test]
async fn records_survive_reopening_and_half_made_snapshots_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = full(3);
    let repository = SledRepository::open(directory.path()).unwrap();
    repository.insert(cluster.clone()).await.unwrap();
    drop(repository);
    let draft = directory.path().join("snap.00000000000000FF.generating");
    std::fs::write(&draft, b"half").unwrap();
    let repository = SledRepository::open(directory.path()).unwrap();
    assert!(!draft.exists());
    assert_eq!(repository.get(cluster.name()).await.unwrap(), Some(cluster));
}

#[tokio::test]
async fn a_repository_in_use_is_refused_by_type() {
    let directory = tempfile::tempdir().unwrap();
    let held = SledRepository::open(directory.path()).unwrap();
    let refused = SledRepository::open(directory.path()).unwrap_err();
    assert!(matches!(refused, RepositoryError::InUse { path } if path == directory.path()));
    drop(held);
    SledRepository::open(directory.path()).unwrap();
}

#[test]
fn a_database_that_someone_else_opened_is_in_use_too() {
    let directory = tempfile::tempdir().unwrap();
    let _db = sled::Config::new().path(directory.path()).open().unwrap();
    let refused = open_sled(directory.path(), Duration::ZERO).unwrap_err();
    assert!(matches!(refused, RepositoryError::InUse { .. }), "{refused:?}");
}

/// A process that is just being started has a copy of every open file, until it has become another program.
#[test]
fn a_lock_is_let_go_of_although_another_process_has_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let held = Lock::take(directory.path()).unwrap();
    let copy = held.0.try_clone().unwrap();
    drop(held);
    SledRepository::open(directory.path()).unwrap();
    drop(copy);
}

#[tokio::test]
async fn an_unreadable_record_does_not_hide_the_others_and_can_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    let repository = SledRepository::open(directory.path()).unwrap();
    let good = repository.insert(full(1)).await.unwrap();
    let names = ["broken", "newer"].map(|name| ClusterName::new(name).unwrap());
    repository.inner.tree.insert(key(&names[0], 0), "no json").unwrap();
    repository.inner.tree.insert(key(&names[1], 0), "{\"format\": 2, \"clusters\": []}").unwrap();

    let listing = repository.list().await.unwrap();
    assert_eq!(listing.clusters, [good]);
    assert_eq!(listing.unreadable.len(), 2);
    for name in &names {
        assert!(matches!(repository.get(name).await, Err(RepositoryError::Unreadable { .. })));
        let mut taken = full(1);
        taken.spec.name = name.clone();
        assert!(matches!(repository.insert(taken).await, Err(RepositoryError::AlreadyExists { .. })));
        assert!(repository.remove(name).await.unwrap());
    }
    assert!(repository.list().await.unwrap().unreadable.is_empty());
}

#[tokio::test]
async fn the_first_format_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let repository = SledRepository::open(directory.path()).unwrap();
    let name = ClusterName::new("demo").unwrap();
    repository.inner.tree.insert(key(&name, 0), include_str!("fixtures/cluster-1.json")).unwrap();
    let cluster = repository.get(&name).await.unwrap().unwrap();
    assert_eq!(cluster.nodes[0].name.to_string(), "workers-1");
    assert_eq!(cluster.version, 7);
}
