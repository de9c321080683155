//! What a plugin sees of a cluster, and what it says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Cluster, ClusterName, ClusterSpec, Node, NodeName, ScalePlan};

/// A cluster as a plugin sees it during one operation: its spec, and all of its nodes, the leaving ones marked.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterView {
    spec: ClusterSpec,
    nodes: Vec<Node>,
    leaving: BTreeSet<NodeName>,
}

impl ClusterView {
    /// All nodes of the record, none of which leaves.
    pub fn of(cluster: &Cluster) -> Self {
        Self::new(cluster.spec.clone(), cluster.nodes.clone())
    }

    /// These nodes, none of which leaves.
    pub fn new(spec: ClusterSpec, nodes: Vec<Node>) -> Self {
        Self { spec, nodes, leaving: BTreeSet::new() }
    }

    /// Marks the nodes that a plan removes.
    #[must_use]
    pub fn scaled_by(self, plan: &ScalePlan) -> Self {
        self.without(plan.remove())
    }

    /// Marks nodes as leaving.
    #[must_use]
    pub fn without<'a>(mut self, leaving: impl IntoIterator<Item = &'a NodeName>) -> Self {
        self.leaving.extend(leaving.into_iter().cloned());
        self
    }

    /// Adds nodes that are not in the record yet.
    #[must_use]
    pub fn with(mut self, new: impl IntoIterator<Item = Node>) -> Self {
        for node in new {
            self.nodes.retain(|known| known.name != node.name);
            self.nodes.push(node);
        }
        self
    }

    /// The cluster's name.
    pub fn name(&self) -> &ClusterName {
        &self.spec.name
    }

    /// What the cluster should be.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// All nodes, leaving ones included.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that stay.
    pub fn staying(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !self.leaving.contains(&node.name))
    }
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeHealth {
    /// It serves.
    Serving,
    /// It answers, but does not serve (all of) what it should, for this reason.
    Impaired(String),
    /// It does not answer, for this reason.
    Unreachable(String),
}

impl fmt::Display for NodeHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.pad("serving"),
            Self::Impaired(why) => write!(f, "impaired: {why}"),
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
        }
    }
}

/// How the nodes of a cluster are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Each node.
    pub nodes: BTreeMap<NodeName, NodeHealth>,
}

impl Health {
    /// Whether every node serves.
    pub fn is_good(&self) -> bool {
        self.nodes.values().all(|node| *node == NodeHealth::Serving)
    }
}
