use futures::FutureExt;

use super::*;
use crate::engine::process::tests::order;
use crate::engine::{Engine, Machine, conformance};
use crate::failure::FailureKind;
use crate::model::Cluster;
use crate::model::{ClusterSpec, Doomed, Leaving};
use crate::plugin::conformance::CancelledAfter;
use crate::plugin::{ClusterView, Plugin, Quiet};
use crate::repository::{ClusterRepository, MemoryRepository, RepositoryError};

fn engine() -> (FaultyEngine<FakeEngine>, Faults) {
    let faults = Faults::new();
    (FaultyEngine::new(FakeEngine::new(), faults.clone()), faults)
}

fn view() -> ClusterView {
    let text = "name='demo'\nplugin='blocks'\nengine='fake'\n[[groups]]\nname='w'\ncount=1";
    ClusterView::new(ClusterSpec::from_toml(text).unwrap(), Vec::new())
}

#[tokio::test]
async fn a_fake_engine_is_an_engine() {
    let engine = FakeEngine::new();
    let order = order("w-1");
    let node = engine.create(&order).await.unwrap();
    assert_eq!(engine.create(&order).await.unwrap(), node);
    assert_eq!(engine.find(&order.token).await.unwrap().unwrap().into_node(), Some(node));
    let orphan = Machine {
        cluster: order.cluster.clone(),
        node: "w-9".parse().unwrap(),
        token: "orphan".parse().unwrap(),
        address: None,
        ready: false,
    };
    engine.plant(orphan.clone());
    assert_eq!(engine.list(&order.cluster).await.unwrap().len(), 2);
    for _ in 0..2 {
        engine.destroy(&Doomed::of_own_making(&order)).await.unwrap();
    }
    assert_eq!(engine.machines(), [orphan]);
    assert_eq!((engine.created(), engine.destroyed()), (vec![order.name.clone()], vec![order.name]));
}

#[tokio::test]
async fn a_failure_comes_before_or_after_the_effect() {
    for (how, kind, done) in [
        (How::FailBefore, FailureKind::Failed, 0),
        (How::FailAfter, FailureKind::Failed, 1),
        (How::FatalBefore, FailureKind::Fatal, 0),
        (How::FatalAfter, FailureKind::Fatal, 1),
        (How::Reject, FailureKind::Rejected, 0),
    ] {
        let (engine, faults) = engine();
        faults.inject(On::Create, When::Nth(1), how);
        assert_eq!(engine.create(&order("w-1")).await.unwrap_err().kind(), kind, "{how:?}");
        assert_eq!(engine.inner().created().len(), done, "{how:?}");
        engine.create(&order("w-1")).await.unwrap();
        assert_eq!((engine.inner().created().len(), faults.hit(), faults.calls(On::Create)), (1, 1, 2));
    }
}

#[tokio::test]
async fn a_rule_can_be_about_one_node() {
    let (engine, faults) = engine();
    let (kept, other) = (order("w-1"), order("w-2"));
    faults.inject(On::Destroy, When::Node(kept.name.clone()), How::FailBefore);
    faults.inject(On::Create, When::NodeFirst(other.name.clone(), 2), How::FailBefore);
    engine.create(&kept).await.unwrap();
    for _ in 0..2 {
        engine.create(&other).await.unwrap_err();
    }
    engine.create(&other).await.unwrap();
    for _ in 0..3 {
        engine.destroy(&Doomed::of_own_making(&kept)).await.unwrap_err();
    }
    engine.destroy(&Doomed::of_own_making(&other)).await.unwrap();
    assert_eq!(engine.inner().names(), std::slice::from_ref(&kept.name));
    faults.clear();
    engine.destroy(&Doomed::of_own_making(&kept)).await.unwrap();
}

#[tokio::test]
async fn what_hangs_fails_once_it_is_released() {
    let (engine, faults) = engine();
    faults.inject(On::Create, When::Always, How::HangAfter);
    faults.release();
    let task = tokio::spawn({
        let engine = engine.clone();
        async move { engine.create(&order("w-1")).await }
    });
    faults.until_something_hangs().await;
    assert_eq!(engine.inner().created().len(), 1);
    assert!(!task.is_finished());
    faults.release();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), FailureKind::Failed);
}

#[tokio::test]
async fn a_plugin_that_hangs_ends_when_it_is_cancelled() {
    let faults = Faults::new();
    let plugin = FaultyPlugin::new(FakePlugin::new(), faults.clone());
    faults.inject(On::Configure, When::Nth(1), How::HangBefore);
    assert!(plugin.configure(&view(), &[], &CancelledAfter::reports(0)).await.is_err());
    assert!(plugin.inner().calls().is_empty());
    faults.inject(On::Start, When::Always, How::HangBefore);
    assert!(plugin.start(&view(), &[], &Quiet).now_or_never().is_none(), "it hangs");
}

#[tokio::test]
async fn a_failed_decommission_yields_no_proof() {
    let faults = Faults::new();
    let plugin = FaultyPlugin::new(FakePlugin::new(), faults.clone());
    let node = FakeEngine::new().create(&order("w-1")).await.unwrap();
    let leaving = || vec![Leaving::new("demo".parse().unwrap(), node.clone())];
    plugin.start(&view(), std::slice::from_ref(&node), &Quiet).await.unwrap();
    faults.inject(On::Decommission, When::Node(node.name.clone()), How::FailBefore);
    plugin.decommission(&view(), leaving(), &Quiet).await.unwrap_err();
    assert!(plugin.inner().holding_data().contains(&node.name));
    faults.clear();
    assert_eq!(plugin.decommission(&view(), leaving(), &Quiet).await.unwrap().len(), 1);
    assert!(plugin.inner().holding_data().is_empty());
}

#[test]
fn validation_can_be_refused() {
    let faults = Faults::new();
    let plugin = FaultyPlugin::new(FakePlugin::new(), faults.clone());
    let spec = view().spec().clone();
    plugin.validate(&spec).unwrap();
    faults.inject(On::Validate, When::Always, How::Reject);
    assert_eq!(plugin.validate(&spec).unwrap_err().kind(), FailureKind::Rejected);
}

#[tokio::test]
async fn a_record_can_fail_to_be_written() {
    let faults = Faults::new();
    let repository = FaultyRepository::new(MemoryRepository::new(), faults.clone());
    let mut cluster = repository.insert(Cluster::new(view().spec().clone())).await.unwrap();
    cluster.live_run = Some("run".into());
    for (how, version) in [(How::FailBefore, 1), (How::FailAfter, 2)] {
        faults.clear();
        faults.inject(On::UpdateRecord, When::Always, how);
        let failed = repository.update(1, cluster.clone()).await.unwrap_err();
        assert!(matches!(failed, RepositoryError::Store { .. }), "{failed}");
        assert_eq!(repository.get(cluster.name()).await.unwrap().unwrap().version, version);
    }
}

struct FakeBench(FakeEngine);

impl conformance::Bench for FakeBench {
    type Engine = FakeEngine;

    fn engine(&self) -> FakeEngine {
        self.0.clone()
    }

    fn spec(&self) -> ClusterSpec {
        ClusterSpec::from_toml("name='demo'\nplugin='fake'\nengine='fake'\n[[groups]]\nname='w'\ncount=2").unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fake_engine_keeps_the_contract_of_engines() {
    conformance::all(async || FakeBench(FakeEngine::new())).await;
}
