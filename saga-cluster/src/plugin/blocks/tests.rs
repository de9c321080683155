//! The whole story with real processes: what is decommissioned may be destroyed, what is not must not be.

use super::*;
use crate::engine::process::tests::{Playground, order};
use crate::engine::{Engine, NodeOrder};
use crate::failure::FailureKind;
use crate::model::{Doomed, NodeName, ProofRecord, ScaleRequest, Status, plan_scale};
use crate::plugin::Quiet;
use crate::plugin::conformance::{self, Bench, CancelledAfter};

const BLOCKS: usize = 30;

/// A cluster of three nodes, serving, with blocks.
struct Store {
    playground: Playground,
    cluster: Cluster,
    orders: Vec<NodeOrder>,
}

impl Store {
    async fn new() -> Self {
        let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=3";
        let mut cluster = Cluster::new(ClusterSpec::from_toml(text).unwrap());
        let playground = Playground::new();
        let orders: Vec<_> = ["w-1", "w-2", "w-3"].into_iter().map(order).collect();
        for order in &orders {
            cluster.admit([playground.engine.create(order).await.unwrap()]);
        }
        cluster.transition(Status::Active, "").unwrap();
        let (plugin, view) = (BlocksPlugin::new(), ClusterView::of(&cluster));
        plugin.validate(view.spec()).unwrap();
        // Twice, as after a crash in between.
        for _ in 0..2 {
            plugin.configure(&view, &cluster.nodes, &Quiet).await.unwrap();
            plugin.start(&view, &cluster.nodes, &Quiet).await.unwrap();
        }
        assert!(plugin.health(&view).await.unwrap().is_good());
        let store = Self { playground, cluster, orders };
        for i in 0..BLOCKS {
            store.client().put(&key(i), content(i).as_bytes()).await.unwrap();
        }
        store
    }

    fn client(&self) -> BlocksClient {
        BlocksClient::new(self.cluster.nodes.clone())
    }

    fn view(&self) -> ClusterView {
        ClusterView::of(&self.cluster).without([&self.last().name])
    }

    fn last(&self) -> &Node {
        self.cluster.nodes.last().unwrap()
    }

    fn leaving(&self) -> Vec<Leaving> {
        vec![Leaving::new(self.cluster.name().clone(), self.last().clone())]
    }

    async fn blocks_at(&self, name: &NodeName) -> usize {
        self.client().list().await.unwrap().values().filter(|at| *at == name).count()
    }

    async fn blocks_found(&self) -> usize {
        let mut found = 0;
        for i in 0..BLOCKS {
            let block = self.client().get(&key(i)).await.unwrap();
            found += usize::from(block.is_some_and(|bytes| bytes == content(i).as_bytes()));
        }
        found
    }
}

fn key(i: usize) -> BlockKey {
    BlockKey::new(format!("block-{i}")).unwrap()
}

fn content(i: usize) -> String {
    format!("the content of block {i}").repeat(i + 1)
}

#[tokio::test]
async fn a_decommissioned_node_is_destroyed_and_no_block_is_lost() {
    let mut store = Store::new().await;
    let plan = plan_scale(&store.cluster, &ScaleRequest::default().group("w".parse().unwrap(), 2)).unwrap();
    assert_eq!(plan.remove(), [store.last().name.clone()]);
    BlocksPlugin::new().validate_scale(&store.cluster, &plan).unwrap();
    let before = store.blocks_at(&store.last().name).await;
    assert!((1..BLOCKS).contains(&before), "{before} of {BLOCKS} blocks are on one of three nodes");

    let view = ClusterView::of(&store.cluster).scaled_by(&plan);
    let proofs = BlocksPlugin::new().decommission(&view, store.leaving(), &Quiet).await.unwrap();
    assert_eq!(store.blocks_at(&store.last().name).await, 0);
    // As a saga does it: through the journal.
    let json = serde_json::to_string(&proofs.into_iter().map(ProofRecord::from).collect::<Vec<_>>()).unwrap();
    for record in serde_json::from_str::<Vec<ProofRecord>>(&json).unwrap() {
        store.playground.engine.destroy(&Doomed::from(record.restore())).await.unwrap();
    }
    assert_eq!(store.playground.processes(), 2);
    store.cluster.forget(plan.remove());
    assert_eq!(store.blocks_found().await, BLOCKS);

    for machine in store.playground.another_engine().list(store.cluster.name()).await.unwrap() {
        store.playground.engine.destroy(&Doomed::with_its_cluster(&machine)).await.unwrap();
    }
    assert_eq!(store.playground.processes(), 0);
}

/// Users read and write on while a node is emptied: no block is ever missing, and none lands where it would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_served_while_a_node_is_decommissioned() {
    let store = Store::new().await;
    let (finished, mut is_finished) = tokio::sync::watch::channel(false);
    let client = store.client();
    let user = tokio::spawn(async move {
        let mut written = 0;
        while !*is_finished.borrow_and_update() || written == 0 {
            for i in 0..BLOCKS {
                let block = client.get(&key(i)).await.unwrap();
                assert_eq!(block.as_deref(), Some(content(i).as_bytes()), "block {i}");
            }
            client.put(&key(BLOCKS + written), content(BLOCKS + written).as_bytes()).await.unwrap();
            written += 1;
        }
        written
    });
    let proofs = BlocksPlugin::new().decommission(&store.view(), store.leaving(), &Quiet).await.unwrap();
    for proof in proofs {
        assert_eq!(store.blocks_at(&proof.node().name).await, 0);
    }
    finished.send(true).unwrap();
    let written = user.await.unwrap();
    assert_eq!(store.client().list().await.unwrap().len(), BLOCKS + written);
}

#[tokio::test]
async fn an_undecommissioned_node_takes_its_blocks_with_it() {
    let mut store = Store::new().await;
    let (name, at_risk) = (store.last().name.clone(), store.blocks_at(&store.last().name).await);
    // The accident itself. Only inside this crate can it even be written down.
    store.playground.engine.destroy(&Doomed::of_own_making(&store.orders[2])).await.unwrap();
    store.cluster.forget([&name]);
    assert_eq!(store.blocks_found().await, BLOCKS - at_risk);
    assert!(at_risk > 0);
}

#[tokio::test]
async fn a_decommission_that_is_cancelled_is_an_error_and_can_be_done_again() {
    let store = Store::new().await;
    let context = CancelledAfter::reports(2);
    let plugin = BlocksPlugin::new();
    let before = store.blocks_at(&store.last().name).await;
    assert!(before > 2);
    let cancelled = plugin.decommission(&store.view(), store.leaving(), &context).await.unwrap_err();
    assert_eq!(cancelled.kind(), FailureKind::Failed);
    assert_eq!(store.blocks_at(&store.last().name).await, before - 2);
    assert_eq!(store.blocks_found().await, BLOCKS, "stopped halfway, and every block is somewhere");

    // Nothing new lands on it in between.
    for i in 0..BLOCKS {
        let at = store.client().put(&BlockKey::new(format!("new-{i}")).unwrap(), b"new").await.unwrap();
        assert_ne!(at, store.last().name);
    }
    let health = plugin.health(&store.view()).await.unwrap();
    assert!(matches!(health.nodes[&store.last().name], NodeHealth::Impaired(_)));

    let proofs = plugin.decommission(&store.view(), store.leaving(), &Quiet).await.unwrap();
    assert_eq!(proofs.len(), 1);
    assert_eq!(store.blocks_at(&store.last().name).await, 0);
    assert_eq!(store.blocks_found().await, BLOCKS);
    // Done before is done.
    assert_eq!(plugin.decommission(&store.view(), store.leaving(), &Quiet).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_node_that_died_is_never_proved_to_be_empty() {
    let store = Store::new().await;
    store.playground.engine.destroy(&Doomed::of_own_making(&store.orders[2])).await.unwrap();
    let plugin = BlocksPlugin::new();
    let failed = plugin.decommission(&store.view(), store.leaving(), &Quiet).await.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Failed);
    assert!(failed.to_string().contains("w-3"), "{failed}");
    let health = plugin.health(&store.view()).await.unwrap();
    assert!(matches!(health.nodes[&store.last().name], NodeHealth::Unreachable(_)));
    assert!(matches!(store.client().get(&key(BLOCKS)).await, Err(BlocksError::Node { .. })));
}

#[tokio::test]
async fn two_different_blocks_under_one_key_stop_a_decommission() {
    let store = Store::new().await;
    for (node, bytes) in store.cluster.nodes.iter().zip([b"one", b"two", b"six"]) {
        let alone = BlocksClient::new([node.clone()]);
        alone.put(&BlockKey::new("same").unwrap(), bytes).await.unwrap();
    }
    let plugin = BlocksPlugin::new();
    let failed = plugin.decommission(&store.view(), store.leaving(), &Quiet).await.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Fatal);
    assert_eq!(store.blocks_found().await, BLOCKS);
    let alone = BlocksClient::new([store.last().clone()]);
    assert_eq!(alone.get(&BlockKey::new("same").unwrap()).await.unwrap().unwrap(), b"six", "it is not dropped");
}

#[tokio::test]
async fn nodes_that_do_not_serve_take_no_blocks() {
    let playground = Playground::new();
    let node = playground.engine.create(&order("w-1")).await.unwrap();
    let client = BlocksClient::new([node.clone()]);
    let refused = client.put(&key(0), b"x").await.unwrap_err();
    assert!(matches!(refused, BlocksError::NoNodeTakesBlocks { .. }), "{refused}");
    assert!(client.list().await.unwrap().is_empty());

    // Its blocks have nowhere to go, but it has none, started or not: then it may leave.
    let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=1";
    let view = ClusterView::new(ClusterSpec::from_toml(text).unwrap(), vec![node.clone()]).without([&node.name]);
    let leaving = vec![Leaving::new("demo".parse().unwrap(), node)];
    assert_eq!(BlocksPlugin::new().decommission(&view, leaving, &Quiet).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_are_written_once() {
    let store = Store::new().await;
    store.client().put(&key(0), content(0).as_bytes()).await.unwrap();
    let refused = store.client().put(&key(0), b"something else").await.unwrap_err();
    assert!(matches!(refused, BlocksError::KeyTaken { .. }));
    assert_eq!(store.client().list().await.unwrap().len(), BLOCKS);
}

/// What the conformance suite tries out.
struct Tried {
    playground: Playground,
    plugin: BlocksPlugin,
}

#[async_trait]
impl Bench for Tried {
    fn plugin(&self) -> &dyn Plugin {
        &self.plugin
    }

    fn spec(&self) -> ClusterSpec {
        let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=3";
        ClusterSpec::from_toml(text).unwrap()
    }

    async fn make(&self, node: crate::model::NewNode) -> Node {
        self.playground.engine.create(&order(&node.name.to_string())).await.unwrap()
    }

    async fn kill(&self, node: &Node) {
        self.playground.engine.destroy(&Doomed::of_own_making(&order(&node.name.to_string()))).await.unwrap();
    }

    async fn write(&self, nodes: &[Node]) {
        let client = BlocksClient::new(nodes.to_vec());
        for i in 0..BLOCKS {
            client.put(&key(i), content(i).as_bytes()).await.unwrap();
        }
    }

    async fn missing(&self, nodes: &[Node]) -> usize {
        let client = BlocksClient::new(nodes.to_vec());
        let mut missing = 0;
        for i in 0..BLOCKS {
            let block = client.get(&key(i)).await.unwrap();
            missing += usize::from(block.as_deref() != Some(content(i).as_bytes()));
        }
        missing
    }
}

#[tokio::test]
async fn blocks_keep_the_contract_of_plugins() {
    conformance::all(async || Tried { playground: Playground::new(), plugin: BlocksPlugin::new() }).await;
}

#[tokio::test]
async fn nodes_without_an_address_are_refused_and_not_touched() {
    let text = "name='demo'\nplugin='blocks'\nengine='fake'\n[[groups]]\nname='w'\ncount=2";
    let mut cluster = Cluster::new(ClusterSpec::from_toml(text).unwrap());
    let node = |new: crate::model::NewNode| Node {
        token: crate::model::NodeToken::derive(&new.name, "key"),
        name: new.name,
        address: None,
    };
    let nodes: Vec<Node> = cluster.missing_nodes().into_iter().map(node).collect();
    cluster.admit(nodes.clone());
    let (plugin, view) = (BlocksPlugin::new(), ClusterView::of(&cluster));
    let refused = plugin.configure(&view, &nodes, &Quiet).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Rejected);
    assert!(refused.message().contains("w-1 has no address") && refused.message().contains("w-2"), "{refused}");
    let plan = plan_scale(&cluster, &ScaleRequest::default().group("w".parse().unwrap(), 1)).unwrap();
    assert_eq!(plugin.validate_scale(&cluster, &plan).unwrap_err().kind(), FailureKind::Rejected);
    let health = plugin.health(&view).await.unwrap();
    assert!(matches!(&health.nodes[&nodes[0].name], NodeHealth::Unreachable(why) if why.contains("no address")));
}
