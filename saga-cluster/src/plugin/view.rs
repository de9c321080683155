//! What a plugin sees of a cluster, and what it says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::PluginError;
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

/// Refuses nodes that a plugin could not talk to: those whose machines have no network.
pub(super) fn can_be_reached(nodes: &[Node]) -> Result<(), PluginError> {
    let without: Vec<_> = nodes.iter().filter_map(|node| node.reach().err()).map(|error| error.to_string()).collect();
    if without.is_empty() { Ok(()) } else { Err(PluginError::rejected(without.join("; "))) }
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

impl NodeHealth {
    fn light(&self) -> Light {
        match self {
            Self::Serving => Light::Green,
            Self::Impaired(_) => Light::Yellow,
            Self::Unreachable(_) => Light::Red,
        }
    }
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

/// How a cluster is as a whole, apart from where it is in its life: a cluster that is being scaled may be green, and one
/// that is in error too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// All is as it should be.
    #[default]
    Green,
    /// All that it holds can be had, but something is not as it should be.
    Yellow,
    /// Some of what it holds cannot be had now.
    Red,
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        })
    }
}

/// How a cluster and its nodes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Each node.
    pub nodes: BTreeMap<NodeName, NodeHealth>,
    /// All of them together.
    pub light: Light,
    /// Why it is not green; empty if it is.
    pub why: String,
}

impl Health {
    /// The health of a cluster in which everything is on one node only: what does not answer cannot be had.
    pub fn of_nodes(nodes: impl IntoIterator<Item = (NodeName, NodeHealth)>) -> Self {
        let nodes: BTreeMap<_, _> = nodes.into_iter().collect();
        let worst = nodes.iter().max_by_key(|(_, health)| health.light());
        let (light, why) = match worst.map(|(name, health)| (health.light(), format!("{name} is {health}"))) {
            None | Some((Light::Green, _)) => (Light::Green, String::new()),
            Some(worst) => worst,
        };
        Self { nodes, light, why }
    }

    /// Whether every node serves, and the cluster as a whole.
    pub fn is_good(&self) -> bool {
        self.light == Light::Green && self.nodes.values().all(|node| *node == NodeHealth::Serving)
    }
}
