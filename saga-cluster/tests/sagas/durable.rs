//! On disk: what one service began, the next one finishes.
//!
//! On real stores; the test kit has one of its own.

use std::time::Duration;

use saga_cluster::model::Status;
use saga_cluster::repository::SledRepository;
use saga_cluster::service::{Service, Verdict};
use saga_cluster::testing::{FakeEngine, FakePlugin, Faults, FaultyPlugin, How, On, When};
use saga_core::store::{MemoryStore, SledStore};

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, plugin, faults) = (FakeEngine::new(), FakePlugin::new(), Faults::new());
    let open = async || {
        let store = SledStore::open(directory.path().join("runs")).unwrap();
        let records = SledRepository::open(directory.path().join("records")).unwrap();
        let plugin = FaultyPlugin::new(plugin.clone(), faults.clone());
        Service::builder(store, records).engine("fake", engine.clone()).plugin("fake", plugin).start().await.unwrap()
    };

    let service = open().await;
    assert_eq!(end(&service.create(spec(), ada()).await.unwrap()).await.verdict, Verdict::Done);
    faults.inject(On::Configure, When::Always, How::HangBefore);
    let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap().run;
    faults.until_something_hangs().await;
    service.shutdown(Duration::from_millis(1)).await.unwrap();
    drop(service);

    faults.clear();
    let service = open().await;
    // It goes on by itself, and may have come to its end by now.
    let scaled = end(&service.operation(&scale).await.unwrap()).await;
    assert_eq!((scaled.verdict, scaled.status), (Verdict::Done, Some(Status::Active)), "{}", scaled.reason);
    assert_eq!(engine.names().len(), 4);
    assert!(!service.history(&demo()).await.unwrap().is_empty());
    let gone = end(&service.delete(&demo(), Default::default(), ada()).await.unwrap()).await;
    assert_eq!((gone.verdict, gone.status), (Verdict::Done, None));
    assert!(engine.names().is_empty());
    service.shutdown(Duration::from_secs(1)).await.unwrap();
}

/// What the service does apart from those who ask has ended with it, so its records can be opened again at once.
#[tokio::test]
async fn a_service_that_has_ended_has_let_go_of_its_records() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let records = SledRepository::open(directory.path()).unwrap();
        let builder = Service::builder(MemoryStore::new(), records).keep_runs(Duration::from_secs(3600));
        let service =
            builder.engine("fake", FakeEngine::new()).plugin("fake", FakePlugin::new()).start().await.unwrap();
        service.shutdown(Duration::ZERO).await.unwrap();
        drop(service);
    }
}
