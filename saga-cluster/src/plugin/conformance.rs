//! The contract of a [`Plugin`] as tests that any plugin can be held to.
//!
//! The author of a plugin says how its machines are made and how its data is written and read (a [`Bench`]), and calls
//! [`all`], or one test at a time. A test panics if the plugin does not keep the contract; it needs a runtime with the
//! plugin's own needs. The guide is `docs/plugins.md`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{ClusterView, NodeHealth, OpContext, Plugin, Quiet};
use crate::failure::FailureKind;
use crate::model::{Cluster, ClusterSpec, KindName, Leaving, NewNode, Node, NodeName};

/// One cluster of a plugin, to be tried out. Each test has a bench of its own, on which nothing has been made yet.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The plugin.
    fn plugin(&self) -> &dyn Plugin;

    /// A cluster of which one node, the last one, can leave again, and which a node can join.
    fn spec(&self) -> ClusterSpec;

    /// Makes the machine of a node, as an engine would.
    async fn make(&self, node: NewNode) -> Node;

    /// Kills the machine of a node, with all that it holds.
    async fn kill(&self, node: &Node);

    /// Writes as many items as make it certain that each node has some: the same ones whenever it is called.
    async fn write(&self, nodes: &[Node]);

    /// How many of those items cannot be read as they were written.
    async fn missing(&self, nodes: &[Node]) -> usize;
}

/// All tests, one after the other, each on a bench of its own.
pub async fn all<B: Bench>(bench: impl AsyncFn() -> B) {
    it_refuses_clusters_that_are_not_its_own(&bench().await);
    what_is_done_can_be_done_again(&bench().await).await;
    a_node_that_joins_serves(&bench().await).await;
    a_node_that_left_holds_nothing_that_is_missed(&bench().await).await;
    a_cancelled_decommission_is_an_error_and_can_be_done_again(&bench().await).await;
    a_node_that_died_is_never_proved_to_be_empty(&bench().await).await;
    a_cancelled_call_is_an_error(&bench().await).await;
}

/// `validate` says yes to its own spec and no to a cluster of another kind.
pub fn it_refuses_clusters_that_are_not_its_own(bench: &impl Bench) {
    let mut spec = bench.spec();
    bench.plugin().validate(&spec).expect("its own spec is fine");
    spec.plugin = KindName::new("something-else").expect("a name");
    let refused = bench.plugin().validate(&spec).expect_err("it is not its own");
    assert_eq!(refused.kind(), FailureKind::Rejected, "nothing was touched, and it says so: {refused}");
}

/// After a crash each call is made again, with all that it did before still there.
pub async fn what_is_done_can_be_done_again(bench: &impl Bench) {
    let cluster = serving(bench).await;
    let (view, nodes) = (ClusterView::of(&cluster), &cluster.nodes);
    bench.write(nodes).await;
    bench.plugin().configure(&view, nodes, &Quiet).await.expect("it is configured again");
    bench.plugin().start(&view, nodes, &Quiet).await.expect("it is started again");
    assert_eq!(bench.missing(nodes).await, 0, "what is set up again loses nothing");
    healthy(bench, &cluster).await;
}

/// A cluster that serves takes another node, and loses nothing.
pub async fn a_node_that_joins_serves(bench: &impl Bench) {
    let mut cluster = serving(bench).await;
    bench.write(&cluster.nodes).await;
    let group = cluster.spec.groups.last().expect("a group").clone();
    let name = cluster.next_names(&group.name, 1).remove(0);
    let new = vec![bench.make(NewNode { name, settings: group.settings }).await];
    let view = ClusterView::of(&cluster).with(new.clone());
    cluster.admit(new.clone());
    bench.plugin().configure(&view, &new, &Quiet).await.expect("it is configured");
    bench.plugin().start(&view, &new, &Quiet).await.expect("it is started");
    healthy(bench, &cluster).await;
    assert_eq!(bench.missing(&cluster.nodes).await, 0);
}

/// There is a proof for each node that leaves and for no other one, and when these are destroyed nothing is missed. Asked
/// again, after a crash that lost the answer, it proves it again.
pub async fn a_node_that_left_holds_nothing_that_is_missed(bench: &impl Bench) {
    let mut cluster = serving(bench).await;
    bench.write(&cluster.nodes).await;
    let last = last(&cluster);
    let view = ClusterView::of(&cluster).without([&last.name]);
    for _ in 0..2 {
        let proofs = bench.plugin().decommission(&view, leaving(&cluster, &last), &Quiet).await;
        let proved: Vec<Node> = proofs.expect("it is emptied").iter().map(|proof| proof.node().clone()).collect();
        assert_eq!(proved, std::slice::from_ref(&last), "each node that leaves, and no other");
    }
    bench.kill(&last).await;
    cluster.forget([&last.name]);
    assert_eq!(bench.missing(&cluster.nodes).await, 0, "it was proved that it held nothing");
    healthy(bench, &cluster).await;
}

/// A decommission that is told to stop stops with an error, wherever it is, with nothing lost; then it is finished.
pub async fn a_cancelled_decommission_is_an_error_and_can_be_done_again(bench: &impl Bench) {
    let mut cluster = serving(bench).await;
    bench.write(&cluster.nodes).await;
    let last = last(&cluster);
    let view = ClusterView::of(&cluster).without([&last.name]);
    for reports in 1..=2 {
        let context = CancelledAfter::reports(reports);
        let stopped = bench.plugin().decommission(&view, leaving(&cluster, &last), &context).await;
        stopped.expect_err("what was told to stop has not proved anything");
        assert_eq!(bench.missing(&cluster.nodes).await, 0, "stopped after {reports} reports");
    }
    let proofs = bench.plugin().decommission(&view, leaving(&cluster, &last), &Quiet).await.expect("it is finished");
    assert_eq!(proofs.len(), 1);
    bench.kill(&last).await;
    cluster.forget([&last.name]);
    assert_eq!(bench.missing(&cluster.nodes).await, 0);
}

/// A node that was lost sight of is an error, and part of the health of its cluster.
pub async fn a_node_that_died_is_never_proved_to_be_empty(bench: &impl Bench) {
    let cluster = serving(bench).await;
    bench.write(&cluster.nodes).await;
    let last = last(&cluster);
    bench.kill(&last).await;
    let view = ClusterView::of(&cluster).without([&last.name]);
    let failed = bench.plugin().decommission(&view, leaving(&cluster, &last), &Quiet).await;
    failed.expect_err("nobody knows what it held");
    let health = bench.plugin().health(&ClusterView::of(&cluster)).await.expect("the others can be asked");
    assert!(matches!(health.nodes.get(&last.name), Some(NodeHealth::Unreachable(_))), "{health:?}");
    assert!(!health.is_good());
}

/// No call reports success that was not wanted any more when it began.
pub async fn a_cancelled_call_is_an_error(bench: &impl Bench) {
    let cluster = serving(bench).await;
    let last = last(&cluster);
    let view = ClusterView::of(&cluster).without([&last.name]);
    let context = CancelledAfter::reports(0);
    let call = bench.plugin().decommission(&view, leaving(&cluster, &last), &context);
    let ended = tokio::time::timeout(Duration::from_secs(60), call).await.expect("it stops when it is told to");
    ended.expect_err("it was cancelled before it began");
}

/// The cluster of the bench's spec, serving.
async fn serving(bench: &impl Bench) -> Cluster {
    let mut cluster = Cluster::new(bench.spec());
    for node in cluster.missing_nodes() {
        let made = bench.make(node).await;
        cluster.admit([made]);
    }
    let (view, nodes) = (ClusterView::of(&cluster), &cluster.nodes);
    bench.plugin().validate(view.spec()).expect("its own spec is fine");
    bench.plugin().configure(&view, nodes, &Quiet).await.expect("it is configured");
    bench.plugin().start(&view, nodes, &Quiet).await.expect("it is started");
    healthy(bench, &cluster).await;
    cluster
}

async fn healthy(bench: &impl Bench, cluster: &Cluster) {
    let health = bench.plugin().health(&ClusterView::of(cluster)).await.expect("it can be asked");
    let told: BTreeSet<&NodeName> = health.nodes.keys().collect();
    let all: BTreeSet<&NodeName> = cluster.nodes.iter().map(|node| &node.name).collect();
    assert_eq!(told, all, "every node is told of, and no other");
    assert!(health.is_good(), "{health:?}");
}

fn last(cluster: &Cluster) -> Node {
    cluster.nodes.last().expect("it has nodes").clone()
}

fn leaving(cluster: &Cluster, node: &Node) -> Vec<Leaving> {
    vec![Leaving::new(cluster.name().clone(), node.clone())]
}

/// A context that is cancelled once so much was reported.
pub(crate) struct CancelledAfter {
    reports: u64,
    so_far: AtomicU64,
    stop: CancellationToken,
}

impl CancelledAfter {
    pub(crate) fn reports(reports: u64) -> Self {
        let stop = CancellationToken::new();
        if reports == 0 {
            stop.cancel();
        }
        Self { reports, so_far: AtomicU64::new(0), stop }
    }
}

#[async_trait]
impl OpContext for CancelledAfter {
    fn report(&self, node: &NodeName, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total} parts of the work on {node}");
        if self.so_far.fetch_add(1, Ordering::SeqCst) + 1 == self.reports {
            self.stop.cancel();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    async fn cancelled(&self) {
        self.stop.cancelled().await;
    }
}
