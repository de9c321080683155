use super::order::*;
use super::*;
use crate::model::{Cluster, ClusterSpec, GroupName, Node, NodeToken, ScaleRequest, plan_scale};

/// The failure table of the design, as the sagas tell it themselves.
#[test]
fn the_forecasts_are_the_failure_table() {
    let create = create::saga().unwrap().forecast().to_string();
    for step in ["create", "admit", "configure", "start"] {
        let row = format!("if `{step}` fails: `create` is undone; the run is rolled back, nothing is left");
        assert!(create.contains(&row), "{row}\n{create}");
    }
    let scale = scale::saga().unwrap().forecast().to_string();
    for row in [
        "if `decommission` fails: nothing is undone; the run halts, nothing else stands",
        "if `terminate` fails: nothing is undone, `terminate` is finished; the run is rolled back, \
         `decommission` stands; if all that runs beside it is done by then: `create` is undone, `terminate` is finished;",
        "if `create` fails: `create` is undone, `terminate` is finished; the run is rolled back, `decommission` stands",
        "if `admit` fails: `create` is undone, `terminate` is finished; the run is rolled back, `decommission` stands",
        "if `configure` fails: nothing is undone; the run halts, `decommission`, `terminate`, `create` stand",
        "if `start` fails: nothing is undone; the run halts, `decommission`, `terminate`, `create`, `configure` stand",
    ] {
        assert!(scale.contains(row), "{row}\n{scale}");
    }
}

/// A run goes on only under the structure that it started with. Whoever changes a saga gives it another version, and
/// keeps the old one for the runs that there are.
#[test]
fn the_structures_are_those_of_their_versions() {
    let plans = [
        create::saga().unwrap().plan().clone(),
        scale::saga().unwrap().plan().clone(),
        delete::saga().unwrap().plan().clone(),
    ];
    let found = plans.map(|plan| format!("{} {} {}", plan.saga(), plan.version(), plan.fingerprint()));
    assert_eq!(
        found,
        [
            "create-cluster 1 d131ebe0189c58cf8ae7f21de40ddc4e",
            "scale-cluster 1 b3eb7ab5b6ca509aac999ca089aafedb",
            "delete-cluster 1 b8da5e7bdbb5562a96fce5965234f5d2",
        ]
    );
}

fn cluster() -> Cluster {
    let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=2";
    let mut cluster = Cluster::new(ClusterSpec::from_toml(text).unwrap());
    let node = |new: crate::model::NewNode| Node {
        token: NodeToken::derive(&new.name, "key"),
        name: new.name,
        address: Some("127.0.0.1:1".parse().unwrap()),
    };
    let nodes: Vec<_> = cluster.missing_nodes().into_iter().map(node).collect();
    cluster.admit(nodes);
    cluster
}

/// What a release has journaled, later ones read.
#[test]
fn orders_of_the_first_format_are_read() {
    let subject =
        r#"{"name":"demo","id":"0190","engine":"process","plugin":"blocks","by":{"name":"ada","reason":"r"}}"#;
    let create = format!(r#"{{"subject":{subject},"nodes":[{{"name":"w-1"}},{{"name":"w-2","settings":{{"a":1}}}}]}}"#);
    let create: CreateOrder = serde_json::from_str(&create).unwrap();
    assert_eq!((create.nodes.len(), create.subject.by.name.as_str()), (2, "ada"));
    let leaving = r#"[{"name":"w-1","token":"t","address":"127.0.0.1:1"}]"#;
    let plan = r#"{"remove":["w-1"],"add":[{"name":"w-3"}],"counts":{"w":2},"new_groups":[]}"#;
    let scale = format!(r#"{{"subject":{subject},"plan":{plan},"leaving":{leaving}}}"#);
    let scale: ScaleOrder = serde_json::from_str(&scale).unwrap();
    assert_eq!((scale.plan.remove(), scale.leaving[0].token.as_str()), (&["w-1".parse().unwrap()][..], "t"));
    let delete = r#"{"name":"demo","id":null,"engines":["process"],"force":true,"by":{"name":"ada","reason":"r"}}"#;
    let delete: DeleteOrder = serde_json::from_str(delete).unwrap();
    assert!(delete.force && delete.id.is_none() && !delete.unreadable);
    let target = r#"{"engine":"process","machine":{"cluster":"demo","node":"w-1","token":"t","address":null}}"#;
    let target: Target = serde_json::from_str(target).unwrap();
    assert_eq!((target.machine.address, target.machine.token.as_str()), (None, "t"));
    assert_eq!(scale.leaving[0].address, Some("127.0.0.1:1".parse().unwrap()));
}

#[test]
fn orders_survive_the_journal() {
    let cluster = cluster();
    let ada = saga_core::Actor::new("ada", "a test");
    let request = ScaleRequest::default().group(GroupName::new("w").unwrap(), 1);
    let plan = plan_scale(&cluster, &request).unwrap();
    let leaving = ScaleOrder::leaving(&cluster, &plan);
    let scale = ScaleOrder::of(&cluster, plan, leaving, ada.clone());
    assert_eq!(scale.leaving, [cluster.nodes[1].clone()], "the machine that goes is fixed with the plan");
    let read: ScaleOrder = serde_json::from_str(&serde_json::to_string(&scale).unwrap()).unwrap();
    assert_eq!(read, scale);
    let create = CreateOrder::of(&cluster, ada);
    assert!(create.nodes.is_empty(), "nothing is missing");
}

#[test]
fn a_node_may_have_no_address() {
    let without = Node { name: "w-1".parse().unwrap(), token: "t".parse().unwrap(), address: None };
    let json = serde_json::to_string(&without).unwrap();
    assert_eq!(json, r#"{"name":"w-1","token":"t"}"#);
    assert_eq!(serde_json::from_str::<Node>(&json).unwrap(), without);
    assert_eq!(without.reach().unwrap_err().to_string(), "w-1 has no address: its machine has no network");
}

#[test]
fn what_is_left_is_told_machine_by_machine() {
    let left = |name: &str| LeftNode {
        engine: "process".parse().unwrap(),
        name: name.parse().unwrap(),
        token: "t".parse().unwrap(),
        why: "it is busy".into(),
    };
    assert!(Swept::default().is_clean());
    let swept = Swept { left: vec![left("w-1"), left("w-2")], unsure: vec!["no answer".into()] };
    assert_eq!(
        swept.in_words(),
        "w-1 could not be destroyed: it is busy; w-2 could not be destroyed: it is busy; there may be more: no answer"
    );
}
