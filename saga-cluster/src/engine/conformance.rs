//! The contract of an [`Engine`] as tests that any engine can be held to.
//!
//! The author of an engine says which one it is and what can be ordered from it (a [`Bench`]), and calls [`all`], or one
//! test at a time. A test panics if the engine does not keep the contract, and destroys what it made if it does. It may
//! be the real thing: tokens are never used twice, and nothing is touched but clusters whose names begin with that of the
//! bench. The guide is `docs/engines.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Engine, Machine, NodeOrder};
use crate::model::{Cluster, ClusterName, ClusterSpec, Doomed, NodeToken};

/// An engine to be tried out. Of the clusters of its spec no machine exists when a test begins.
pub trait Bench: Send + Sync {
    /// The engine.
    type Engine: Engine;

    /// The engine. Each one that is asked for knows no more of the others than what it finds outside, as after a crash.
    fn engine(&self) -> Self::Engine;

    /// A cluster of at least two nodes that this engine can make.
    fn spec(&self) -> ClusterSpec;

    /// How long something that a dropped call has sent may take to have its effect. 2 seconds, unless told otherwise; none
    /// for an engine that sends nothing.
    fn aftermath(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// All tests, one after the other.
pub async fn all<B: Bench>(bench: impl AsyncFn() -> B) {
    a_check_makes_nothing(&bench().await).await;
    what_was_never_made_is_gone(&bench().await).await;
    a_machine_is_made_found_listed_and_destroyed(&bench().await).await;
    one_token_is_one_machine(&bench().await).await;
    many_are_made_and_destroyed_at_once(&bench().await).await;
    clusters_are_told_apart(&bench().await).await;
    what_a_dropped_create_made_is_adopted(&bench().await).await;
    what_a_dropped_create_made_is_destroyed(&bench().await).await;
    a_dropped_destroy_is_done_again(&bench().await).await;
}

/// When a call is dropped: at its first wait, and later and later.
const DROPS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(60),
    Duration::from_millis(300),
    Duration::from_millis(900),
];

/// Its own spec is one that it can make, and looking makes none.
pub async fn a_check_makes_nothing(bench: &impl Bench) {
    let (engine, spec) = (bench.engine(), bench.spec());
    engine.configured().expect("it is configured");
    engine.validate(&spec).expect("its own spec makes sense");
    let check = engine.check(&spec).await.expect("it can look");
    assert!(check.is_fine(), "{check:?}");
    let known = engine.settings();
    let used = spec.resolved_groups().into_iter().flat_map(|group| group.settings.into_keys());
    let unknown: Vec<_> = used.filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "settings that it does not say it knows: {unknown:?}");
    assert_eq!(list(&engine, &spec.name).await, []);
}

/// Nothing is found of it, and to destroy it is fine.
pub async fn what_was_never_made_is_gone(bench: &impl Bench) {
    let engine = bench.engine();
    let order = orders(&bench.spec()).remove(0);
    is_gone(&engine, &order).await;
    destroy(&engine, &order).await;
    is_gone(&engine, &order).await;
}

/// A machine is what was ordered, is found by its token and by its cluster, and is gone when it was destroyed.
pub async fn a_machine_is_made_found_listed_and_destroyed(bench: &impl Bench) {
    let engine = bench.engine();
    let order = orders(&bench.spec()).remove(0);
    let node = engine.create(&order).await.expect("it is made");
    assert_eq!((&node.name, &node.token), (&order.name, &order.token));
    let other = bench.engine();
    let found = other.find(&order.token).await.expect("it can be asked").expect("it is found");
    assert_eq!((&found.cluster, &found.node), (&order.cluster, &order.name));
    assert_eq!(list(&other, &order.cluster).await, std::slice::from_ref(&found));
    assert_eq!(found.into_node(), Some(node), "it is ready, and what is found is what was made");
    for _ in 0..2 {
        destroy(&engine, &order).await;
        is_gone(&engine, &order).await;
        is_gone(&other, &order).await;
    }
}

/// Made again, by whom ever, it is the same machine.
pub async fn one_token_is_one_machine(bench: &impl Bench) {
    let order = orders(&bench.spec()).remove(0);
    let node = bench.engine().create(&order).await.expect("it is made");
    for engine in [bench.engine(), bench.engine()] {
        assert_eq!(engine.create(&order).await.expect("it is adopted"), node);
        assert_eq!(list(&engine, &order.cluster).await.len(), 1);
    }
    destroy(&bench.engine(), &order).await;
    is_gone(&bench.engine(), &order).await;
}

/// As a create and a delete of a cluster do it.
pub async fn many_are_made_and_destroyed_at_once(bench: &impl Bench) {
    let engine = bench.engine();
    let orders = orders(&bench.spec());
    for made in join_all(orders.iter().map(|order| engine.create(order))).await {
        made.expect("it is made");
    }
    let machines = list(&engine, &orders[0].cluster).await;
    assert_eq!(tokens(&machines), orders.iter().map(|order| order.token.clone()).collect());
    assert_eq!(machines.len(), orders.len(), "{machines:?}");
    assert!(machines.iter().all(|machine| machine.ready), "{machines:?}");
    join_all(orders.iter().map(|order| destroy(&engine, order))).await;
    assert_eq!(list(&bench.engine(), &orders[0].cluster).await, []);
}

/// Two clusters whose nodes have the same names, and one of which begins with the name of the other.
pub async fn clusters_are_told_apart(bench: &impl Bench) {
    let engine = bench.engine();
    let (one, mut other) = (bench.spec(), bench.spec());
    other.name = ClusterName::new(format!("{}-b", one.name)).expect("the name has room for two letters more");
    let (one, other) = (orders(&one).remove(0), orders(&other).remove(0));
    engine.create(&one).await.expect("it is made");
    engine.create(&other).await.expect("it is made");
    for order in [&one, &other] {
        let machines = list(&engine, &order.cluster).await;
        assert_eq!(tokens(&machines), BTreeSet::from([order.token.clone()]));
        assert!(machines.iter().all(|machine| machine.cluster == order.cluster), "{machines:?}");
    }
    destroy(&engine, &one).await;
    is_gone(&engine, &one).await;
    assert_eq!(tokens(&list(&engine, &other.cluster).await), BTreeSet::from([other.token.clone()]));
    destroy(&engine, &other).await;
    is_gone(&engine, &other).await;
}

/// Whatever a create had done when it was dropped, the next one under its token goes on with that.
pub async fn what_a_dropped_create_made_is_adopted(bench: &impl Bench) {
    for after in DROPS {
        let order = orders(&bench.spec()).remove(0);
        let dropped = timeout(after, bench.engine().create(&order)).await;
        let engine = bench.engine();
        let node = engine.create(&order).await.unwrap_or_else(|error| panic!("dropped after {after:?}: {error}"));
        if let Ok(made) = dropped {
            assert_eq!(made.expect("it is made"), node);
        }
        let machines = list(&engine, &order.cluster).await;
        assert_eq!(tokens(&machines), BTreeSet::from([order.token.clone()]), "dropped after {after:?}: {machines:?}");
        destroy(&engine, &order).await;
        leaves_nothing(bench, &order).await;
    }
}

/// Whatever a create had done when it was dropped, it can be destroyed by its token, and what comes late is found by the
/// cluster's name.
pub async fn what_a_dropped_create_made_is_destroyed(bench: &impl Bench) {
    for after in DROPS {
        let order = orders(&bench.spec()).remove(0);
        // It may have been made within its time.
        let _ = timeout(after, bench.engine().create(&order)).await;
        let engine = bench.engine();
        destroy(&engine, &order).await;
        leaves_nothing(bench, &order).await;
    }
}

/// A destroy that was dropped leaves something that can be destroyed, or nothing.
pub async fn a_dropped_destroy_is_done_again(bench: &impl Bench) {
    for after in DROPS {
        let order = orders(&bench.spec()).remove(0);
        bench.engine().create(&order).await.expect("it is made");
        let _ = timeout(after, bench.engine().destroy(&Doomed::of_own_making(&order))).await;
        let engine = bench.engine();
        destroy(&engine, &order).await;
        is_gone(&engine, &order).await;
    }
}

/// Orders for all nodes of a spec, under tokens that were never used before.
fn orders(spec: &ClusterSpec) -> Vec<NodeOrder> {
    let key = Uuid::now_v7().to_string();
    let nodes = Cluster::new(spec.clone()).missing_nodes();
    assert!(nodes.len() >= 2, "the bench is to have a cluster of two nodes at least");
    let order = |node| NodeOrder::new(spec.name.clone(), node, &key).for_plugin(Some(spec.plugin.clone()));
    nodes.into_iter().map(order).collect()
}

async fn list(engine: &impl Engine, cluster: &ClusterName) -> Vec<Machine> {
    engine.list(cluster).await.expect("it can tell what it has")
}

async fn destroy(engine: &impl Engine, order: &NodeOrder) {
    let destroyed = engine.destroy(&Doomed::of_own_making(order)).await;
    destroyed.unwrap_or_else(|error| panic!("{} is not destroyed: {error}", order.name));
}

/// Neither its token nor its cluster finds anything.
async fn is_gone(engine: &impl Engine, order: &NodeOrder) {
    assert_eq!(engine.find(&order.token).await.expect("it can be asked"), None);
    assert_eq!(list(engine, &order.cluster).await, []);
}

/// What a dropped call has sent may come true after the destruction. It is found, then, and can be destroyed.
async fn leaves_nothing(bench: &impl Bench, order: &NodeOrder) {
    let engine = bench.engine();
    for _ in 0..2 {
        for machine in list(&engine, &order.cluster).await {
            assert_eq!(machine.token, order.token, "a machine that nobody ordered");
            destroy(&engine, order).await;
        }
        tokio::time::sleep(bench.aftermath() / 2).await;
    }
    is_gone(&engine, order).await;
}

fn tokens(machines: &[Machine]) -> BTreeSet<NodeToken> {
    machines.iter().map(|machine| machine.token.clone()).collect()
}
