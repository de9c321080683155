//! What runs are started with, and what their steps hand on. All of it is journaled.

use saga_core::Actor;
use serde::{Deserialize, Serialize};

use crate::engine::{Machine, NodeOrder};
use crate::model::{
    Cluster, ClusterId, ClusterName, KindName, NewNode, Node, NodeName, NodeToken, ProofRecord, ScalePlan,
};

/// Which cluster a run works on: its record is the one of that name *and* id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) name: ClusterName,
    pub(crate) id: ClusterId,
    pub(crate) engine: KindName,
    pub(crate) plugin: KindName,
    pub(crate) by: Actor,
}

impl Subject {
    pub(crate) fn of(cluster: &Cluster, by: Actor) -> Self {
        Self {
            name: cluster.name().clone(),
            id: cluster.id.clone(),
            engine: cluster.spec.engine.clone(),
            plugin: cluster.spec.plugin.clone(),
            by,
        }
    }

    /// The orders of these nodes.
    pub(super) fn tasks(&self, nodes: &[NewNode]) -> Vec<NodeTask> {
        let task = |node: &NewNode| NodeTask {
            cluster: self.name.clone(),
            engine: self.engine.clone(),
            plugin: Some(self.plugin.clone()),
            node: node.clone(),
        };
        nodes.iter().map(task).collect()
    }
}

/// The input of a create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CreateOrder {
    pub(crate) subject: Subject,
    pub(crate) nodes: Vec<NewNode>,
}

impl CreateOrder {
    /// What follows from a record that has no node yet. The same record gives the same order, whoever reads it.
    pub(crate) fn of(cluster: &Cluster, by: Actor) -> Self {
        Self { subject: Subject::of(cluster, by), nodes: cluster.missing_nodes() }
    }
}

/// The input of a scale. The nodes were chosen before it began; nobody chooses again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScaleOrder {
    pub(crate) subject: Subject,
    pub(crate) plan: ScalePlan,
    /// The nodes that the plan removes, with the tokens of their machines.
    pub(crate) leaving: Vec<Node>,
}

impl ScaleOrder {
    pub(crate) fn of(cluster: &Cluster, plan: ScalePlan, leaving: Vec<Node>, by: Actor) -> Self {
        Self { subject: Subject::of(cluster, by), plan, leaving }
    }

    /// The nodes of a record that a plan removes.
    pub(crate) fn leaving(cluster: &Cluster, plan: &ScalePlan) -> Vec<Node> {
        plan.remove().iter().filter_map(|name| cluster.node(name).cloned()).collect()
    }
}

/// The input of a delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeleteOrder {
    pub(crate) name: ClusterName,
    /// The record to remove; none if there was none. What bears the name later is another cluster.
    pub(crate) id: Option<ClusterId>,
    /// Whether there is a record that cannot be read, to be removed as it is.
    #[serde(default)]
    pub(crate) unreadable: bool,
    /// Where its machines may be.
    pub(crate) engines: Vec<KindName>,
    pub(crate) force: bool,
    pub(crate) by: Actor,
}

/// One machine to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeTask {
    pub(crate) cluster: ClusterName,
    pub(crate) engine: KindName,
    /// What the machine is for. Not known of runs of an older release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<KindName>,
    pub(crate) node: NewNode,
}

impl NodeTask {
    /// The order of it, under the key that action and compensation share.
    pub(super) fn order(&self, key: &str) -> NodeOrder {
        NodeOrder::new(self.cluster.clone(), self.node.clone(), key).for_plugin(self.plugin.clone())
    }
}

/// One decommissioned node to destroy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TerminateTask {
    pub(crate) engine: KindName,
    pub(crate) proof: ProofRecord,
}

/// One machine of a cluster that is being deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) engine: KindName,
    pub(crate) machine: Machine,
}

/// A machine that a delete could not destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftNode {
    pub(crate) engine: KindName,
    pub(crate) name: NodeName,
    pub(crate) token: NodeToken,
    pub(crate) why: String,
}

/// What a delete leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swept {
    pub(crate) left: Vec<LeftNode>,
    /// Why there may be more than those, if an engine could not say what it has.
    pub(crate) unsure: Vec<String>,
}

impl Swept {
    pub(crate) fn is_clean(&self) -> bool {
        self.left.is_empty() && self.unsure.is_empty()
    }

    /// All that is left, in words; empty if that is nothing.
    pub(crate) fn in_words(&self) -> String {
        let left = self.left.iter().map(|left| format!("{} could not be destroyed: {}", left.name, left.why));
        let unsure = self.unsure.iter().map(|why| format!("there may be more: {why}"));
        left.chain(unsure).collect::<Vec<_>>().join("; ")
    }
}
