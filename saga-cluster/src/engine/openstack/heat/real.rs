//! Against the cloud of the environment: `cargo test -p saga-cluster --features openstack -- --ignored heat::real`, with
//! `OS_*` set, and OPENSTACK_FLAVOR and OPENSTACK_IMAGE saying what servers are made of, unless they are `small` and
//! `tiny`. They have no network.

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::engine::conformance;
use crate::engine::openstack::CloudConfig;
use crate::model::{Cluster, Settings};

struct Bench {
    name: String,
    session: Session,
}

impl Bench {
    fn new() -> Self {
        let session = Session::new(CloudConfig::find().unwrap()).unwrap();
        Self { name: format!("heat-{}", &Uuid::now_v7().simple().to_string()[20..]), session }
    }

    /// Orders for all nodes of the cluster.
    fn orders(&self) -> Vec<NodeOrder> {
        use conformance::Bench as _;
        let spec = self.spec();
        let key = Uuid::now_v7().to_string();
        let nodes = Cluster::new(spec.clone()).missing_nodes();
        nodes.into_iter().map(|node| NodeOrder::new(spec.name.clone(), node, &key)).collect()
    }
}

fn settings() -> Settings {
    let variable = |name, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let (flavor, image) = (variable("OPENSTACK_FLAVOR", "small"), variable("OPENSTACK_IMAGE", "tiny"));
    serde_json::from_value(json!({ "flavor": flavor, "image": image, "networks": "none" })).unwrap()
}

impl conformance::Bench for Bench {
    type Engine = HeatEngine;

    fn engine(&self) -> HeatEngine {
        HeatEngine::new(self.session.clone())
    }

    fn spec(&self) -> ClusterSpec {
        let spec = json!({
            "name": self.name, "plugin": "commands", "engine": "heat", "settings": settings(),
            "groups": [{ "name": "w", "count": 3 }],
        });
        serde_json::from_value(spec).unwrap()
    }
}

async fn no_stack(bench: &Bench) {
    use conformance::Bench as _;
    let look = bench.engine().look(&bench.spec().name).await.unwrap();
    assert!(look.stack.is_none() && look.servers.is_empty(), "{look:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an OpenStack: see the comment"]
async fn it_keeps_the_contract() {
    conformance::all(async || Bench::new()).await;
}

/// Several nodes at once, by two processes, none of which knows of the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an OpenStack: see the comment"]
async fn two_at_once() {
    use conformance::Bench as _;
    let bench = Bench::new();
    let (one, other) = (bench.engine(), bench.engine());
    let orders = bench.orders();
    let made = join_all(orders.iter().flat_map(|order| [one.create(order), other.create(order)])).await;
    let made: Result<Vec<_>, _> = made.into_iter().collect();
    assert_eq!(made.unwrap().len(), 6);
    let servers = one.look(&orders[0].cluster).await.unwrap().servers;
    assert_eq!(servers.len(), 3, "{servers:?}");
    // One goes while another one is made.
    let late = bench.orders().remove(2);
    let late = NodeOrder {
        name: "w-4".parse().unwrap(),
        token: NodeToken::new(format!("w-4{}", &late.token.as_str()[3..])).unwrap(),
        ..late
    };
    let (gone, _) = (Doomed::of_own_making(&orders[0]), Doomed::of_own_making(&orders[1]));
    let (destroyed, created) = futures::future::join(one.destroy(&gone), other.create(&late)).await;
    destroyed.unwrap();
    created.unwrap();
    let left: Vec<_> = one
        .list(&late.cluster)
        .await
        .unwrap()
        .into_iter()
        .map(|machine| (machine.node.to_string(), machine.ready))
        .collect();
    assert_eq!(left, [("w-2".into(), true), ("w-3".into(), true), ("w-4".into(), true)]);
    let doomed: Vec<_> = orders.iter().chain([&late]).map(Doomed::of_own_making).collect();
    for destroyed in join_all(doomed.iter().flat_map(|doomed| [one.destroy(doomed), other.destroy(doomed)])).await {
        destroyed.unwrap();
    }
    no_stack(&bench).await;
}
