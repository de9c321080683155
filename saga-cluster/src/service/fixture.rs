//! What the unit tests of the service begin with.

use saga_core::store::MemoryStore;

use super::{Actor, Operation, Service};
use crate::model::ClusterSpec;
use crate::repository::MemoryRepository;
use crate::testing::{FakeEngine, FakePlugin};

/// A service, and the operation that has made a cluster.
pub(super) async fn with_a_cluster() -> (Service, Operation) {
    let service = Service::builder(MemoryStore::new(), MemoryRepository::new())
        .engine("fake", FakeEngine::new())
        .plugin("fake", FakePlugin::new())
        .start()
        .await
        .unwrap();
    let spec = "name='demo'\nplugin='fake'\nengine='fake'\n[[groups]]\nname='w'\ncount=1";
    let made = service.create(ClusterSpec::from_toml(spec).unwrap(), Actor::new("ada", "")).await.unwrap();
    made.end().await.unwrap();
    (service, made)
}
