//! What is refused before anything is touched, by the engine and for settings that nobody knows.

use saga_cluster::engine::{Engine, EngineCheck, EngineError, Finding, Machine, NodeOrder};
use saga_cluster::model::{ClusterName, ClusterSpec, Doomed, Node, NodeGroup, NodeToken, ScaleRequest};
use saga_cluster::repository::ClusterRepository;
use saga_cluster::service::{Service, ServiceError, Verdict};
use saga_cluster::testing::FakeEngine;
use saga_core::async_trait;

use crate::world::*;

/// It knows `size`, which is to be a number in every group.
struct Picky(FakeEngine);

#[async_trait]
impl Engine for Picky {
    fn settings(&self) -> &[&str] {
        &["size"]
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), EngineError> {
        let groups = spec.resolved_groups();
        let wrong = groups.iter().filter(|group| !group.settings.get("size").is_some_and(|size| size.is_u64()));
        let wrong: Vec<_> = wrong.map(|group| format!("group `{}` has no size", group.name)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(EngineError::rejected(wrong.join("\n"))) }
    }

    async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        Ok([Finding::warning("room", format!("for {} at most", spec.node_count()))].into_iter().collect())
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        assert!(order.settings["size"].is_u64(), "{order:?}");
        self.0.create(order).await
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        self.0.find(token).await
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        self.0.destroy(doomed).await
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        self.0.list(cluster).await
    }
}

async fn service(world: &World) -> Service {
    let builder = Service::builder(world.store.clone(), world.records.clone());
    let builder = builder.engine("fake", Picky(world.engine.clone())).plugin("fake", world.plugin.clone());
    builder.start().await.unwrap()
}

/// Two groups, with these settings of the cluster, of `w` and of `x`.
fn sized([all, w, x]: [&str; 3]) -> ClusterSpec {
    let text = format!(
        "name='demo'\nengine='fake'\nplugin='fake'\nsettings={{{all}}}\n\
         [[groups]]\nname='w'\ncount=3\nsettings={{{w}}}\n[[groups]]\nname='x'\ncount=1\nsettings={{{x}}}"
    );
    ClusterSpec::from_toml(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_refuses_is_refused_with_every_mistake_and_untouched() {
    let world = World::new();
    let service = service(&world).await;
    let refused = service.create(sized(["", "", "size='big'"]), ada()).await.unwrap_err();
    let ServiceError::RefusedByEngine(why) = refused else { panic!("{refused}") };
    assert_eq!(why.message(), "group `w` has no size\ngroup `x` has no size");
    assert!(world.record().await.is_none() && world.machines().is_empty());
    assert!(service.check(&sized(["", "", ""])).await.is_err(), "a check refuses what a create would refuse");
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_nobody_knows_is_refused_wherever_it_is() {
    let world = World::new();
    let service = service(&world).await;
    let refused = service.create(sized(["syze=1", "size=1", "size=1, colour='red'"]), ada()).await.unwrap_err();
    let ServiceError::Spec(refused) = refused else { panic!("{refused}") };
    let problems: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
    let unknown = |field: &str| format!("`{field}` is unknown to the engine and to the plugin; known here: size");
    assert_eq!(problems, [unknown("settings.syze"), unknown("groups[1].settings.colour")]);
    assert!(world.record().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn settings_of_the_cluster_count_for_every_group_that_has_no_other_opinion() {
    let world = World::new();
    let service = service(&world).await;
    let spec = sized(["size=1", "size=2", ""]);
    let check = service.check(&spec).await.unwrap();
    assert!(check.is_fine() && check.findings[0].text == "for 4 at most", "{check:?}");
    let made = end(&service.create(spec, ada()).await.unwrap()).await;
    assert_eq!(made.verdict, Verdict::Done, "{}", made.reason);

    // A group that comes later has them too, and what nobody knows is refused there as well.
    let group = |settings: serde_json::Value| NodeGroup {
        name: "y".parse().unwrap(),
        count: 1,
        settings: serde_json::from_value(settings).unwrap(),
    };
    let typo = ScaleRequest::default().new_group(group(serde_json::json!({"sise": 3})));
    let refused = service.scale(&demo(), typo, ada()).await.unwrap_err();
    assert!(refused.to_string().contains("`groups[2].settings.sise`"), "{refused}");
    let wrong = ScaleRequest::default().new_group(group(serde_json::json!({"size": "big"})));
    let refused = service.scale(&demo(), wrong, ada()).await.unwrap_err();
    assert!(matches!(refused, ServiceError::RefusedByEngine(_)), "{refused}");
    let scaled = service.scale(&demo(), ScaleRequest::default().new_group(group(serde_json::json!({}))), ada()).await;
    assert_eq!(end(&scaled.unwrap()).await.verdict, Verdict::Done);
    world.assert_consistent(&["w-1", "w-2", "w-3", "x-1", "y-1"]).await;
}

/// A release before this one took any setting; what it made is scaled and deleted all the same.
#[tokio::test(start_paused = true)]
async fn a_cluster_with_settings_that_nobody_knows_any_more_is_scaled() {
    let world = World::new();
    let service = service(&world).await;
    end(&service.create(sized(["size=1", "", ""]), ada()).await.unwrap()).await;
    let mut older = world.record().await.unwrap();
    older.spec.groups[0].settings.insert("colour".into(), "red".into());
    world.records.update(older.version, older).await.unwrap();
    let scaled = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
    assert_eq!(scaled.verdict, Verdict::Done, "{}", scaled.reason);
    world.assert_consistent(&AFTER).await;
}
