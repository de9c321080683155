//! A world for one test: it outlives the services that come and go in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_cluster::model::{Cluster, ClusterId, ClusterName, ClusterSpec, GroupName, NodeName, ScaleRequest, Status};
use saga_cluster::plugin::Plugin;
use saga_cluster::repository::{ClusterRepository, Listing, MemoryRepository, RepositoryError};
use saga_cluster::service::{
    Actor, DeleteOptions, Operation, OperationEnd, Service, ServiceBuilder, ServiceError, Verdict,
};
use saga_cluster::testing::{
    FakeEngine, FakePlugin, Faults, FaultyEngine, FaultyPlugin, FaultyRepository, How, On, When,
};
use saga_core::async_trait;
use saga_core::store::{MemoryStore, Store};

/// Every way in which a call can go wrong.
pub(crate) const EVERY_WAY: [How; 8] = [
    How::FailBefore,
    How::FailAfter,
    How::FatalBefore,
    How::FatalAfter,
    How::Reject,
    How::Panic,
    How::HangBefore,
    How::HangAfter,
];

/// Longer, in the tests' own time, than anything may take.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Records that outlive the service, and can be damaged.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<MemoryRepository>, Arc<AtomicBool>);

impl Records {
    /// From now on no record can be read.
    pub(crate) fn damage(&self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl ClusterRepository for Records {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.0.insert(cluster).await
    }
    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        match self.0.get(name).await? {
            Some(_) if self.1.load(Ordering::SeqCst) => {
                Err(RepositoryError::Unreadable { name: name.to_string(), source: "damaged".into() })
            }
            found => Ok(found),
        }
    }
    async fn list(&self) -> Result<Listing, RepositoryError> {
        self.0.list().await
    }
    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.0.update(expected_version, cluster).await
    }
    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        self.0.remove_version(name, id, expected_version).await
    }
    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        self.0.remove(name).await
    }
}

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) records: Records,
    pub(crate) engine: FakeEngine,
    pub(crate) plugin: FakePlugin,
    pub(crate) faults: Faults,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            records: Records::default(),
            engine: FakeEngine::new(),
            plugin: FakePlugin::new(),
            faults: Faults::new(),
        }
    }

    /// A service in this world.
    pub(crate) async fn service(&self) -> Service {
        self.service_with(self.plugin.clone()).await
    }

    /// A service that drives nothing.
    pub(crate) fn client(&self) -> Service {
        self.builder(self.store.clone(), self.plugin.clone()).connect().unwrap()
    }

    /// A service that has this store.
    pub(crate) async fn service_on(&self, store: impl Store) -> Service {
        self.builder(store, self.plugin.clone()).start().await.unwrap()
    }

    /// A service without faults.
    pub(crate) async fn plain_service(&self) -> Service {
        let builder = Service::builder(self.store.clone(), self.records.clone());
        builder.engine("fake", self.engine.clone()).plugin("fake", self.plugin.clone()).start().await.unwrap()
    }

    /// A service in this world, with a plugin of its own.
    pub(crate) async fn service_with(&self, plugin: impl Plugin) -> Service {
        self.builder(self.store.clone(), plugin).start().await.unwrap()
    }

    fn builder(&self, store: impl Store, plugin: impl Plugin) -> ServiceBuilder {
        let faults = || self.faults.clone();
        Service::builder(store, FaultyRepository::new(self.records.clone(), faults()))
            .engine("fake", FaultyEngine::new(self.engine.clone(), faults()))
            .plugin("fake", FaultyPlugin::new(plugin, faults()))
    }

    /// What was the store of a dead process becomes that of a new one.
    pub(crate) fn reopen(&mut self) {
        self.store = self.store.reopen();
    }

    /// A service with an active cluster of `w-1`, `w-2`, `w-3` and `x-1`.
    pub(crate) async fn with_cluster(&self) -> Service {
        let service = self.service().await;
        let end = end(&service.create(spec(), ada()).await.unwrap()).await;
        assert_eq!((end.verdict, end.status), (Verdict::Done, Some(Status::Active)), "{}", end.reason);
        service
    }

    pub(crate) fn machines(&self) -> Vec<String> {
        self.engine.names().iter().map(ToString::to_string).collect()
    }

    pub(crate) async fn record(&self) -> Option<Cluster> {
        self.records.get(&demo()).await.unwrap()
    }

    /// The names of the nodes in the record.
    pub(crate) async fn recorded(&self) -> Vec<String> {
        self.record().await.unwrap().nodes.iter().map(|node| node.name.to_string()).collect()
    }

    /// Nothing that may hold data was destroyed.
    pub(crate) fn assert_no_data_lost(&self) {
        let destroyed: BTreeSet<NodeName> = self.engine.destroyed().into_iter().collect();
        let lost: Vec<_> = self.plugin.holding_data().intersection(&destroyed).cloned().collect();
        assert!(lost.is_empty(), "destroyed with their data: {lost:?}");
    }

    /// What the record says, what the engine has, and what was made: they agree, and nothing was made twice.
    pub(crate) async fn assert_consistent(&self, expected: &[&str]) {
        assert_eq!(self.machines(), expected, "machines");
        assert_eq!(self.recorded().await, expected, "record");
        let created = self.engine.created();
        assert_eq!(created.iter().collect::<BTreeSet<_>>().len(), created.len(), "made twice: {created:?}");
    }

    /// Deletes the cluster, and sees that it is gone without a trace.
    pub(crate) async fn assert_deletable(&self, service: &Service) {
        let gone = end(&service.delete(&demo(), DeleteOptions::default(), ada()).await.unwrap()).await;
        assert_eq!((gone.verdict, gone.status), (Verdict::Done, None), "{}", gone.reason);
        assert!(gone.nodes_left.is_empty());
        self.assert_gone(service).await;
    }

    pub(crate) async fn assert_gone(&self, service: &Service) {
        assert!(self.machines().is_empty(), "leaked: {:?}", self.machines());
        assert!(self.record().await.is_none(), "the record stays: {:?}", self.record().await);
        assert!(service.operations().await.unwrap().is_empty(), "{:?}", service.operations().await.unwrap());
        assert!(matches!(service.show(&demo()).await, Err(ServiceError::NoSuchCluster { .. })));
    }
}

pub(crate) fn demo() -> ClusterName {
    "demo".parse().unwrap()
}

pub(crate) fn ada() -> Actor {
    Actor::new("ada", "a test")
}

pub(crate) fn spec() -> ClusterSpec {
    let text =
        "name='demo'\nengine='fake'\nplugin='fake'\n[[groups]]\nname='w'\ncount=3\n[[groups]]\nname='x'\ncount=1";
    ClusterSpec::from_toml(text).unwrap()
}

/// `w-2` and `w-3` go, `x-2` and `x-3` come.
pub(crate) fn both_ways() -> ScaleRequest {
    counts(&[("w", 1), ("x", 3)])
}

pub(crate) fn counts(counts: &[(&str, u32)]) -> ScaleRequest {
    let group = |name: &str| GroupName::new(name).unwrap();
    counts.iter().fold(ScaleRequest::default(), |request, (name, count)| request.group(group(name), *count))
}

pub(crate) const BEFORE: [&str; 4] = ["w-1", "w-2", "w-3", "x-1"];
pub(crate) const AFTER: [&str; 4] = ["w-1", "x-1", "x-2", "x-3"];

/// Waits for an end. A test that would wait for ever fails instead.
pub(crate) async fn end(operation: &Operation) -> OperationEnd {
    in_time(operation.end()).await.unwrap()
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOR_EVER, what).await.expect("it never ends")
}

/// All calls of a kind go wrong, in one way.
pub(crate) fn always(world: &World, on: On, how: How) {
    world.faults.inject(on, When::Always, how);
}

/// All calls about a node go wrong, in one way.
pub(crate) fn about(world: &World, on: On, node: &str, how: How) {
    world.faults.inject(on, When::Node(node.parse().unwrap()), how);
}

/// The next so many writes of the record go wrong, after `skip` that do not.
pub(crate) fn writes(world: &World, on: On, skip: u64, count: u64, how: How) {
    let so_far = world.faults.calls(on) + skip;
    for nth in 1..=count {
        world.faults.inject(on, When::Nth(so_far + nth), how);
    }
}
