//! A plugin that only writes down what it was asked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, NodeName, ScalePlan};
use crate::plugin::{ClusterView, Health, NodeHealth, OpContext, Plugin, PluginError};

/// One call that a [`FakePlugin`] was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Plugin::configure`], with these nodes.
    Configure(Vec<NodeName>),
    /// [`Plugin::start`], with these nodes.
    Start(Vec<NodeName>),
    /// [`Plugin::decommission`], with these nodes.
    Decommission(Vec<NodeName>),
}

#[derive(Debug, Default)]
struct Notes {
    calls: Vec<Call>,
    started: BTreeSet<NodeName>,
    drained: BTreeSet<NodeName>,
}

/// Does nothing, and says that it is done. It keeps a log of its calls and knows which nodes may hold data, so that a
/// test can compare what was destroyed with what was drained. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakePlugin {
    notes: Arc<Mutex<Notes>>,
}

impl FakePlugin {
    /// A plugin that was not asked anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every call, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.notes().calls.clone()
    }

    /// Every node that was proved to be drained.
    pub fn drained(&self) -> BTreeSet<NodeName> {
        self.notes().drained.clone()
    }

    /// Every node that may hold data: it was started, and not drained since. None of these may be destroyed, unless its
    /// cluster is deleted.
    pub fn holding_data(&self) -> BTreeSet<NodeName> {
        let notes = self.notes();
        notes.started.difference(&notes.drained).cloned().collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(nodes: &[Node]) -> Vec<NodeName> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

#[async_trait]
impl Plugin for FakePlugin {
    fn validate(&self, _: &ClusterSpec) -> Result<(), PluginError> {
        Ok(())
    }

    fn validate_scale(&self, _: &Cluster, _: &ScalePlan) -> Result<(), PluginError> {
        Ok(())
    }

    async fn configure(&self, _: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        self.notes().calls.push(Call::Configure(names(nodes)));
        nodes.iter().for_each(|node| context.report(&node.name, 1, 1));
        Ok(())
    }

    async fn start(&self, _: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        let mut notes = self.notes();
        notes.calls.push(Call::Start(names(nodes)));
        notes.started.extend(names(nodes));
        nodes.iter().for_each(|node| context.report(&node.name, 1, 1));
        Ok(())
    }

    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        let names: Vec<NodeName> = leaving.iter().map(|one| one.node().name.clone()).collect();
        if let Some(both) = cluster.staying().find(|node| names.contains(&node.name)) {
            return Err(PluginError::rejected(format!("{} stays and leaves at once", both.name)));
        }
        let mut notes = self.notes();
        names.iter().for_each(|name| context.report(name, 1, 1));
        notes.calls.push(Call::Decommission(names.clone()));
        notes.drained.extend(names);
        Ok(leaving.into_iter().map(Leaving::drained).collect())
    }

    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError> {
        let nodes = cluster.nodes().iter().map(|node| (node.name.clone(), NodeHealth::Serving));
        Ok(Health::of_nodes(nodes))
    }
}
