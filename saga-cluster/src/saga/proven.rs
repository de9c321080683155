//! The three sagas under the test kit: every failure, crash, repeat, cancellation, deadline and operator's verb, at every
//! point; and a record that vanishes there.
//!
//! An action fails as a whole here. How it understands the errors of engines and plugins, and what the service does around
//! the sagas, is in `tests/sagas`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use saga_core::testkit::{Kit, RUN, Verdict, World};
use saga_core::{Actor, Cause, Outcome, Place, Saga};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::order::{CreateOrder, DeleteOrder, ScaleOrder};
use super::{ClusterApp, Live, create, delete, phase, scale};
use crate::engine::Machine;
use crate::model::{
    Cluster, ClusterSpec, GroupName, NewNode, Node, NodeName, NodeToken, ScalePlan, ScaleRequest, Status,
};
use crate::plugin::Plugin;
use crate::repository::{ClusterRepository, MemoryRepository};
use crate::testing::{FakeEngine, FakePlugin};

struct Clusters {
    repository: Arc<MemoryRepository>,
    engine: FakeEngine,
    plugin: FakePlugin,
}

impl World for Clusters {
    type App = ClusterApp;

    fn app(&self) -> ClusterApp {
        let plugin: Arc<dyn Plugin> = Arc::new(self.plugin.clone());
        ClusterApp {
            repository: self.repository.clone(),
            engines: BTreeMap::from([("fake".to_owned(), Arc::new(self.engine.clone()) as _)]),
            plugins: BTreeMap::from([("fake".to_owned(), plugin)]),
            live: Live::new(),
        }
    }
}

impl Clusters {
    /// A world with one record, whose nodes have machines.
    fn with(cluster: &Cluster) -> Self {
        let world = Self { repository: Arc::default(), engine: FakeEngine::new(), plugin: FakePlugin::new() };
        let inserted = world.repository.insert(cluster.clone()).now_or_never().expect("it is in memory");
        inserted.expect("it is the first");
        for Node { name, token, address } in cluster.nodes.clone() {
            world.engine.plant(Machine { cluster: cluster.name().clone(), node: name, token, address, ready: true });
        }
        world
    }

    fn record(&self) -> Option<Cluster> {
        let name = "demo".parse().expect("a name");
        self.repository.get(&name).now_or_never().expect("it is in memory").expect("it can be read")
    }

    /// Someone deletes the row.
    fn vanish(&self) {
        let name = "demo".parse().expect("a name");
        self.repository.remove(&name).now_or_never().expect("it is in memory").expect("it can be removed");
    }

    fn recorded(&self) -> Vec<NodeName> {
        let mut nodes: Vec<_> =
            self.record().iter().flat_map(|cluster| &cluster.nodes).map(|node| node.name.clone()).collect();
        nodes.sort();
        nodes
    }

    /// Of a cluster that serves nothing is lost: neither what was there before nor what has begun to serve since. Of one
    /// whose record has vanished, what was there before is left alone.
    fn check_data<Out>(&self, before: &[Node], outcome: &Outcome<Out>) {
        let drained = self.plugin.drained();
        let mut serving: BTreeSet<NodeName> = before.iter().map(|node| node.name.clone()).collect();
        if outcome.cause() != Some(&Cause::SubjectGone) {
            serving.extend(self.plugin.holding_data());
        }
        let lost: Vec<_> = self.engine.destroyed().into_iter().filter(|node| serving.contains(node)).collect();
        assert!(lost.iter().all(|node| drained.contains(node)), "destroyed with their data: {lost:?}");
    }

    /// What must be so however an operation ends that was to make these nodes.
    fn check<Out>(&self, new: &[NewNode], outcome: &Outcome<Out>) {
        let created = self.engine.created();
        assert_eq!(created.iter().collect::<BTreeSet<_>>().len(), created.len(), "made twice: {created:?}");
        let is_new = |node: &NodeName| new.iter().any(|new| new.name == *node);
        let Some(cluster) = self.record() else {
            // It has vanished, and nobody writes a new one. What was made for it goes, unless it has served by then.
            if outcome.cause() == Some(&Cause::SubjectGone) {
                let left: Vec<_> = self.engine.names().into_iter().filter(is_new).collect();
                assert!(left.is_empty(), "left of what has vanished: {left:?}");
            }
            return;
        };
        assert_eq!(cluster.live_run.is_some(), outcome.is_resting(), "{:?}", cluster.live_run);
        // No machine is forgotten. Of one that was not made to the end not even the address is known, so it is not in the
        // record; the residue has it, by its place.
        let recorded = self.recorded();
        let is_left = |node: &NodeName| {
            let made_it = |place: &Place| place.item.is_some_and(|item| new[item as usize].name == *node);
            let mut left = outcome.residue().iter().map(|left| &left.place);
            left.any(|place| place.step.as_str() == phase::CREATE && made_it(place))
        };
        let forgotten: Vec<_> = self.engine.names().into_iter().filter(|node| !recorded.contains(node)).collect();
        assert!(forgotten.iter().all(is_left), "forgotten: {forgotten:?}");
        if !matches!(outcome, Outcome::Halted(_) | Outcome::Stuck(_) | Outcome::Abandoned(_)) {
            assert_eq!(self.engine.names(), recorded);
        }
    }

    fn reason(&self) -> String {
        self.record().map(|cluster| cluster.status_description).unwrap_or_default()
    }

    fn status(&self) -> Option<Status> {
        self.record().map(|cluster| cluster.status)
    }
}

fn ada() -> Actor {
    Actor::new("ada", "a test")
}

fn new_cluster() -> Cluster {
    let text =
        "name='demo'\nplugin='fake'\nengine='fake'\n[[groups]]\nname='w'\ncount=2\n[[groups]]\nname='x'\ncount=1";
    let mut cluster = Cluster::new(ClusterSpec::from_toml(text).expect("a spec"));
    cluster.live_run = Some(RUN.to_owned());
    cluster
}

/// A cluster of `w-1`, `w-2` and `x-1`.
fn active_cluster() -> Cluster {
    let mut cluster = new_cluster();
    let node = |name: NodeName| Node {
        token: NodeToken::derive(&name, "key"),
        name,
        address: Some("127.0.0.1:1".parse().expect("an address")),
    };
    let nodes: Vec<_> = cluster.missing_nodes().into_iter().map(|new| node(new.name)).collect();
    cluster.admit(nodes);
    cluster.transition(Status::Active, "it serves").expect("a drawn transition");
    cluster
}

/// `w-2` goes, `x-2` comes.
fn scaled_cluster() -> (Cluster, ScalePlan) {
    let mut cluster = active_cluster();
    let group = |name| GroupName::new(name).expect("a name");
    let request = ScaleRequest::default().group(group("w"), 1).group(group("x"), 2);
    let plan = crate::model::plan_scale(&cluster, &request).expect("a plan");
    cluster.reserve(plan.add().iter().map(|node| &node.name));
    cluster.transition(Status::Scaling, "asked for").expect("a drawn transition");
    (cluster, plan)
}

fn prove<In, Out, V>(
    saga: &Saga<ClusterApp, In, Out>,
    order: In,
    cluster: Cluster,
    check: impl Fn(&Clusters, &Outcome<Out>) -> V + Send + Sync + 'static,
) where
    In: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    Out: DeserializeOwned + 'static,
    V: Verdict,
{
    let kit = Kit::new(saga, move || order.clone(), move || Clusters::with(&cluster));
    let report = kit.vanish(Clusters::vanish).failures_at_once(2).check(check).everything();
    println!("{report}");
    report.assert();
}

#[test]
fn a_create_recovers_everywhere() {
    let cluster = new_cluster();
    let order = CreateOrder::of(&cluster, ada());
    let new = order.nodes.clone();
    prove(&create::saga().expect("it is sound"), order, cluster, move |world, outcome| {
        world.check(&new, outcome);
        let status = if outcome.is_completed() { Status::Active } else { Status::Error };
        assert_eq!(world.status().unwrap_or(status), status);
        match outcome {
            Outcome::Completed(_) => assert_eq!(world.engine.names().len(), 3),
            Outcome::RolledBack(_) => {
                assert!(world.engine.names().is_empty(), "all or nothing");
                assert!(!world.reason().contains("is left"), "{}", world.reason());
            }
            Outcome::Stuck(_) | Outcome::Abandoned(_) => {
                let reason = world.record().map(|cluster| cluster.status_description);
                assert!(reason.as_ref().is_none_or(|reason| reason.contains("is left")), "{reason:?}");
            }
            Outcome::Halted(_) => panic!("{outcome}"),
        }
    });
}

#[test]
fn a_scale_recovers_everywhere() {
    let (cluster, plan) = scaled_cluster();
    let (before, new) = (cluster.nodes.clone(), plan.add().to_vec());
    let leaving = ScaleOrder::leaving(&cluster, &plan);
    let order = ScaleOrder::of(&cluster, plan, leaving, ada());
    prove(&scale::saga().expect("it is sound"), order, cluster, move |world, outcome| {
        world.check(&new, outcome);
        world.check_data(&before, outcome);
        let names = world.engine.names();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        match outcome {
            Outcome::Completed(_) => assert_eq!(names, ["w-1", "x-1", "x-2"]),
            // Either nothing has happened to the node that goes, or it is gone.
            Outcome::RolledBack(end) => {
                let is_gone = end.kept.iter().any(|place| place.step.as_str() == phase::TERMINATE);
                assert_eq!(names.contains(&"w-2".to_owned()), !is_gone, "{names:?}");
                if end.kept.is_empty() {
                    assert_eq!(names, ["w-1", "w-2", "x-1"]);
                }
            }
            _ => assert_eq!(world.status().unwrap_or(Status::Error), Status::Error),
        }
    });
}

#[test]
fn a_delete_recovers_everywhere() {
    let mut cluster = active_cluster();
    cluster.transition(Status::Deleting, "asked for").expect("a drawn transition");
    let order = DeleteOrder {
        name: cluster.name().clone(),
        id: Some(cluster.id.clone()),
        unreadable: false,
        engines: vec!["fake".parse().expect("a kind")],
        force: false,
        by: ada(),
    };
    prove(&delete::saga().expect("it is sound"), order, cluster, |world, outcome| {
        // As long as there is something left, there is a record that says so.
        let (machines, recorded) = (world.engine.names(), world.recorded());
        assert!(machines.iter().all(|node| recorded.contains(node)), "{machines:?} of {recorded:?}");
        match outcome {
            Outcome::Completed(_) => assert!(world.record().is_none() && machines.is_empty()),
            Outcome::RolledBack(_) => assert!(world.status().is_none_or(|status| status == Status::Error)),
            other => panic!("{other}"),
        }
    });
}
