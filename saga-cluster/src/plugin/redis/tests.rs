//! With real servers: what is done is done twice, stopped in the middle and done again, and no key is lost.

use std::collections::BTreeMap;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;

use super::servers::{open, open_slots, tables};
use super::table::SLOTS;
use super::*;
use crate::engine::process::tests::Playground;
use crate::engine::{Engine, NodeOrder, ProcessEngine};
use crate::failure::FailureKind;
use crate::model::{Doomed, NewNode, NodeName, ScaleRequest, plan_scale};
use crate::plugin::conformance::{self, Bench, CancelledAfter};
use crate::plugin::{Light, NodeHealth, Quiet};

const KEYS: usize = 2000;

/// A cluster of servers that serve.
struct Servers {
    playground: Playground,
    engine: ProcessEngine,
    plugin: RedisPlugin,
    cluster: Cluster,
}

fn spec(nodes: usize, replicas: usize) -> ClusterSpec {
    ClusterSpec::from_toml(&format!(
        "name='demo'\nplugin='redis'\nengine='process'\n[[groups]]\nname='w'\ncount={nodes}\n[groups.settings]\n\
         replicas={replicas}\nconfig={{appendonly='no', cluster-node-timeout=3000}}"
    ))
    .unwrap()
}

fn need_redis() {
    let found = std::process::Command::new("redis-server").arg("--version").output();
    assert!(found.is_ok(), "\n*** MISSING: redis-server. Install it: apt-get install redis-server ***\n");
}

impl Servers {
    /// A place for servers, and none yet.
    fn none(nodes: usize, replicas: usize) -> Self {
        need_redis();
        let playground = Playground::new();
        let engine = playground.another_engine().program(RedisPlugin::KIND, RedisProgram::new());
        let cluster = Cluster::new(spec(nodes, replicas));
        Self { playground, engine, plugin: RedisPlugin::new(), cluster }
    }

    /// Servers that do not know each other.
    async fn made(nodes: usize, replicas: usize) -> Self {
        let mut servers = Self::none(nodes, replicas);
        let missing = servers.cluster.missing_nodes();
        servers.make_all(missing).await;
        servers
    }

    /// Servers that are a cluster, made in two attempts.
    async fn new(nodes: usize, replicas: usize) -> Self {
        let servers = Self::made(nodes, replicas).await;
        let (view, all) = (servers.view(), &servers.cluster.nodes);
        servers.plugin.validate(view.spec()).unwrap();
        for _ in 0..2 {
            servers.plugin.configure(&view, all, &Quiet).await.unwrap();
        }
        for _ in 0..2 {
            servers.plugin.start(&view, all, &Quiet).await.unwrap();
        }
        servers
    }

    async fn make_all(&mut self, nodes: Vec<NewNode>) -> Vec<Node> {
        let made = futures::future::join_all(nodes.into_iter().map(|node| self.made_one(node))).await;
        self.cluster.admit(made.clone());
        made
    }

    async fn made_one(&self, node: NewNode) -> Node {
        self.engine.create(&self.order(node)).await.unwrap()
    }

    fn order(&self, node: NewNode) -> NodeOrder {
        let kind = Some(RedisPlugin::KIND.parse().unwrap());
        NodeOrder::new(self.cluster.name().clone(), node, "run/create").for_plugin(kind)
    }

    fn view(&self) -> ClusterView {
        ClusterView::of(&self.cluster)
    }

    fn last(&self) -> Node {
        self.cluster.nodes.last().unwrap().clone()
    }

    fn leaving(&self, nodes: &[Node]) -> Vec<Leaving> {
        nodes.iter().map(|node| Leaving::new(self.cluster.name().clone(), node.clone())).collect()
    }

    async fn write_keys(&self) {
        write_keys(&self.cluster.nodes).await;
    }

    async fn keys_found(&self) -> usize {
        keys_found(&self.cluster.nodes).await
    }

    async fn links(&self) -> Vec<Link> {
        open(&self.cluster.nodes, Duration::from_secs(5)).await.unwrap()
    }

    /// How many slots each master has, and how many replicas.
    async fn masters(&self) -> BTreeMap<NodeName, (usize, usize)> {
        let links = self.links().await;
        let tables = tables(&links).await.unwrap();
        assert!(open_slots(&tables).is_empty());
        let masters = links.iter().zip(&tables).filter(|(_, table)| table.own().master.is_none());
        let replicas = |id: &str| tables.iter().filter(|table| table.own().master.as_deref() == Some(id)).count();
        masters.map(|(link, table)| (link.name().clone(), (table.own().slots.len(), replicas(&link.id)))).collect()
    }

    async fn destroy(&self, node: &Node) {
        let new = NewNode { name: node.name.clone(), settings: Default::default() };
        self.engine.destroy(&Doomed::of_own_making(&self.order(new))).await.unwrap();
    }
}

async fn client(nodes: &[Node]) -> ClusterConnection {
    let nodes: Vec<String> = nodes.iter().map(|node| format!("redis://{}", node.reach().unwrap())).collect();
    ClusterClient::new(nodes).unwrap().get_async_connection().await.unwrap()
}

async fn write_keys(nodes: &[Node]) {
    let client = client(nodes).await;
    let set = |i| {
        let mut client = client.clone();
        async move { redis::cmd("SET").arg(key(i)).arg(value(i)).exec_async(&mut client).await }
    };
    futures::future::try_join_all((0..KEYS).map(set)).await.unwrap();
}

async fn keys_found(nodes: &[Node]) -> usize {
    let client = client(nodes).await;
    let get = |i| {
        let mut client = client.clone();
        async move { redis::cmd("GET").arg(key(i)).query_async::<Option<String>>(&mut client).await }
    };
    let found = futures::future::try_join_all((0..KEYS).map(get)).await.unwrap();
    found.into_iter().enumerate().filter(|(i, found)| *found == Some(value(*i))).count()
}

fn key(i: usize) -> String {
    format!("key-{i}")
}

fn value(i: usize) -> String {
    format!("the value of key {i}")
}

#[test]
fn what_redis_cannot_do_is_refused() {
    let plugin = RedisPlugin::new();
    for (nodes, replicas, fine) in
        [(3, 0, true), (2, 0, false), (6, 1, true), (5, 1, false), (3, 1, false), (9, 2, true)]
    {
        let told = plugin.validate(&spec(nodes, replicas));
        assert_eq!(told.is_ok(), fine, "{nodes} nodes, {replicas} replicas");
        assert!(told.err().is_none_or(|error| error.kind() == FailureKind::Rejected));
    }
    let text = "name='demo'\nplugin='redis'\nengine='process'\n[[groups]]\nname='w'\ncount=3\nsettings={config=3}";
    assert!(plugin.validate(&ClusterSpec::from_toml(text).unwrap()).unwrap_err().message().contains("`config`"));
    let all = text.replace("settings={config=3}", "").replace("[[groups]]", "settings={replicas=1}\n[[groups]]");
    assert!(plugin.validate(&ClusterSpec::from_toml(&all).unwrap()).unwrap_err().message().contains("a replica each"));
    let blocks = text.replace("redis", "blocks").replace("settings={config=3}", "");
    assert!(plugin.validate(&ClusterSpec::from_toml(&blocks).unwrap()).is_err());
}

#[test]
fn a_scale_below_what_redis_needs_is_refused() {
    let plugin = RedisPlugin::new();
    let mut cluster = Cluster::new(spec(6, 1));
    let node = |new: NewNode| Node {
        token: crate::model::NodeToken::derive(&new.name, "key"),
        name: new.name,
        address: Some("127.0.0.1:1".parse().unwrap()),
    };
    let nodes: Vec<Node> = cluster.missing_nodes().into_iter().map(node).collect();
    cluster.admit(nodes);
    let scaled = |request: ScaleRequest| {
        let plan = plan_scale(&cluster, &request).unwrap();
        plugin.validate_scale(&cluster, &plan)
    };
    let (w, x) = ("w".parse::<crate::model::GroupName>().unwrap(), "x".parse::<crate::model::GroupName>().unwrap());
    let group = |count, replicas: u64| crate::model::NodeGroup {
        name: x.clone(),
        count,
        settings: [("replicas".to_owned(), replicas.into())].into(),
    };
    assert!(scaled(ScaleRequest::default().group(w.clone(), 8)).is_ok());
    assert!(scaled(ScaleRequest::default().group(w.clone(), 5)).is_err());
    assert!(scaled(ScaleRequest::default().group(w.clone(), 3).new_group(group(3, 1))).is_ok());
    // Two masters could not hold what three had, even if others come later.
    assert!(scaled(ScaleRequest::default().group(w.clone(), 2).new_group(group(6, 1))).is_err());
    assert!(scaled(ScaleRequest::default().new_group(group(2, 2))).is_err(), "the groups do not agree");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_with_their_slots_when_a_cluster_grows_and_shrinks() {
    let mut servers = Servers::new(3, 0).await;
    let shares: Vec<_> = servers.masters().await.into_values().collect();
    assert_eq!(shares, [(5462, 0), (5461, 0), (5461, 0)]);
    assert!(servers.plugin.health(&servers.view()).await.unwrap().is_good());
    servers.write_keys().await;

    let next = servers.cluster.next_names(&"w".parse().unwrap(), 1).remove(0);
    let settings = servers.cluster.spec.groups[0].settings.clone();
    let new = servers.make_all(vec![NewNode { name: next, settings }]).await;
    servers.plugin.configure(&servers.view(), &new, &Quiet).await.unwrap();
    let stopped = CancelledAfter::reports(1000);
    let cancelled = servers.plugin.start(&servers.view(), &new, &stopped).await.unwrap_err();
    assert_eq!(cancelled.kind(), FailureKind::Failed);
    assert_eq!(servers.keys_found().await, KEYS, "stopped in the middle, and every key is somewhere");
    servers.plugin.start(&servers.view(), &new, &Quiet).await.unwrap();
    assert_eq!(servers.masters().await.into_values().collect::<Vec<_>>(), [(4096, 0); 4]);
    assert_eq!(servers.keys_found().await, KEYS);

    // The first one leaves, not the one that came last.
    let first = servers.cluster.nodes[0].clone();
    let view = servers.view().without([&first.name]);
    let stopped = CancelledAfter::reports(1000);
    let leaving = std::slice::from_ref(&first);
    let cancelled = servers.plugin.decommission(&view, servers.leaving(leaving), &stopped).await.unwrap_err();
    assert_eq!(cancelled.kind(), FailureKind::Failed);
    assert_eq!(servers.keys_found().await, KEYS);
    let proofs = servers.plugin.decommission(&view, servers.leaving(leaving), &Quiet).await.unwrap();
    assert_eq!(proofs.into_iter().map(|proof| proof.node().clone()).collect::<Vec<_>>(), leaving);
    // Done before is done, although it is a stranger by now.
    assert_eq!(servers.plugin.decommission(&view, servers.leaving(leaving), &Quiet).await.unwrap().len(), 1);
    servers.destroy(&first).await;
    servers.cluster.forget([&first.name]);
    assert_eq!(servers.keys_found().await, KEYS);
    assert!(servers.plugin.health(&servers.view()).await.unwrap().is_good());
    assert_eq!(servers.playground.processes(), 3);
}

/// What a crash can leave of a slot, at each command of its move: the next attempt finds it and finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_left_in_the_middle_is_finished() {
    let servers = Servers::new(3, 0).await;
    servers.write_keys().await;
    let links = servers.links().await;
    let ids: Vec<String> = links.iter().map(|link| link.id.clone()).collect();
    // Slots of the first, which are on their way to the second.
    let set = |link: usize, slot: u16, what: &'static str, id: usize| {
        let (link, id) = (links[link].clone(), ids[id].clone());
        async move { link.call::<()>(command("CLUSTER SETSLOT").arg(slot).arg(what).arg(id)).await.unwrap() }
    };
    let first = &links[0];
    let mut with_keys = Vec::new();
    for slot in 0..1000_u16 {
        let count: usize = first.call(command("CLUSTER COUNTKEYSINSLOT").arg(slot)).await.unwrap();
        if count > 0 {
            with_keys.push(slot);
        }
    }
    let [a, b, c, d, e] = with_keys[..5] else { panic!("keys are spread") };
    set(1, a, "IMPORTING", 0).await;
    for slot in [b, c, d, e] {
        set(1, slot, "IMPORTING", 0).await;
        set(0, slot, "MIGRATING", 1).await;
    }
    // Of `c` one key has moved; of `d` and `e` all; of `e` the target knows that it owns it.
    for (slot, most) in [(c, 1), (d, 1000), (e, 1000)] {
        let keys: Vec<String> = first.call(command("CLUSTER GETKEYSINSLOT").arg(slot).arg(most)).await.unwrap();
        let to = links[1].address;
        let mut migrate = command("MIGRATE");
        migrate.arg(to.ip().to_string()).arg(to.port()).arg("").arg(0).arg(5000).arg("KEYS").arg(&keys);
        first.call::<()>(&migrate).await.unwrap();
    }
    set(1, e, "NODE", 1).await;
    let health = servers.plugin.health(&servers.view()).await.unwrap();
    assert_eq!(health.light, Light::Yellow, "{health:?}");

    servers.plugin.start(&servers.view(), &[], &Quiet).await.unwrap();
    let masters = servers.masters().await;
    assert_eq!(masters.values().map(|(slots, _)| slots).sum::<usize>(), usize::from(SLOTS));
    assert_eq!(servers.keys_found().await, KEYS);
    assert!(servers.plugin.health(&servers.view()).await.unwrap().is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_spread_and_find_a_new_home() {
    let mut servers = Servers::new(7, 1).await;
    let replicas: Vec<_> = servers.masters().await.into_values().map(|(_, replicas)| replicas).collect();
    assert_eq!(replicas.iter().sum::<usize>(), 4);
    assert!(replicas.iter().all(|count| (1..=2).contains(count)), "{replicas:?}");
    assert!(servers.plugin.health(&servers.view()).await.unwrap().is_good());
    servers.write_keys().await;

    // A master goes: one of the replicas is to be a master in its place, and the others are spread anew.
    let leaving = servers.cluster.nodes[0].clone();
    assert!(servers.masters().await.contains_key(&leaving.name));
    let view = servers.view().without([&leaving.name]);
    let all = std::slice::from_ref(&leaving);
    assert_eq!(servers.plugin.decommission(&view, servers.leaving(all), &Quiet).await.unwrap().len(), 1);
    servers.destroy(&leaving).await;
    servers.cluster.forget([&leaving.name]);
    let masters = servers.masters().await;
    assert_eq!(masters.values().map(|(_, replicas)| *replicas).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(servers.keys_found().await, KEYS);

    // A replica dies: nothing is lost, but it is not green any more.
    let replica = servers.cluster.nodes.iter().find(|node| !masters.contains_key(&node.name)).unwrap().clone();
    servers.destroy(&replica).await;
    let health = servers.plugin.health(&servers.view()).await.unwrap();
    assert_eq!(health.light, Light::Yellow, "{health:?}");
    assert!(matches!(health.nodes[&replica.name], NodeHealth::Unreachable(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_is_never_proved_to_be_empty() {
    let servers = Servers::new(4, 0).await;
    let last = servers.last();
    servers.destroy(&last).await;
    let view = servers.view().without([&last.name]);
    let all = std::slice::from_ref(&last);
    let failed = servers.plugin.decommission(&view, servers.leaving(all), &Quiet).await.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Failed);
    assert!(failed.message().contains("w-4"), "{failed}");
    let health = servers.plugin.health(&servers.view()).await.unwrap();
    assert_eq!(health.light, Light::Red, "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_at_the_address_is_not_taken_for_the_node() {
    let servers = Servers::made(3, 0).await;
    let mut view = servers.cluster.clone();
    view.nodes[0].address = view.nodes[1].address;
    let refused = servers.plugin.configure(&ClusterView::of(&view), &view.nodes, &Quiet).await.unwrap_err();
    assert!(refused.message().contains("another one"), "{refused}");
    // A machine that was only made says so.
    let health = servers.plugin.health(&servers.view()).await.unwrap();
    assert_eq!(health.light, Light::Red);
    // An engine that was just opened finds them by what they are.
    let again = servers.playground.another_engine().program(RedisPlugin::KIND, RedisProgram::new());
    let found = again.list(servers.cluster.name()).await.unwrap();
    let found: Vec<_> = found.into_iter().filter_map(|machine| machine.into_node()).collect();
    assert_eq!(found, servers.cluster.nodes);
    for node in &servers.cluster.nodes {
        servers.destroy(node).await;
    }
    assert_eq!(servers.playground.processes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_a_file_is_waited_for_until_it_is_synced() {
    let servers = Servers::made(1, 0).await;
    let links = servers.links().await;
    sync::synced(&links, &Quiet, Duration::ZERO).await.unwrap();
    links[0].call::<()>(command("CONFIG SET appendonly").arg("yes")).await.unwrap();
    let not_yet = sync::synced(&links, &Quiet, Duration::ZERO).await.unwrap_err();
    assert!(not_yet.message().contains("w-1 has not synced"), "{not_yet}");
    sync::synced(&links, &Quiet, Duration::from_secs(60)).await.unwrap();
}

#[async_trait]
impl Bench for Servers {
    fn plugin(&self) -> &dyn Plugin {
        &self.plugin
    }

    fn spec(&self) -> ClusterSpec {
        spec(4, 0)
    }

    async fn make(&self, node: NewNode) -> Node {
        self.made_one(node).await
    }

    async fn kill(&self, node: &Node) {
        self.destroy(node).await;
    }

    async fn write(&self, nodes: &[Node]) {
        write_keys(nodes).await;
    }

    async fn missing(&self, nodes: &[Node]) -> usize {
        KEYS - keys_found(nodes).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract_of_plugins() {
    conformance::all(async || Servers::none(4, 0)).await;
}
