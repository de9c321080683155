//! Types that stand between a node and its destruction.
//!
//! An engine destroys only what is [`Doomed`], and there are three ways to be that: a plugin has proved that the node
//! holds nothing any more ([`Decommissioned`]), the run that made the node undoes it, or its whole cluster is being
//! deleted. The last two can be said inside this crate only, by the sagas; the first needs a [`Leaving`], which only
//! the sagas hand out and only to a plugin.
//!
//! None of it can be made by anyone else. Not by naming the fields:
//!
//! ```compile_fail,E0451
//! # use saga_cluster::model::{ClusterName, Decommissioned, Node};
//! fn forge(cluster: ClusterName, node: Node) -> Decommissioned {
//!     Decommissioned { cluster, node }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use saga_cluster::model::{ClusterName, Doomed, NodeName, NodeToken};
//! fn forge(cluster: ClusterName, name: NodeName, token: NodeToken) -> Doomed {
//!     Doomed { cluster, name, token }
//! }
//! ```
//!
//! Not by the constructors that the sagas use:
//!
//! ```compile_fail,E0624
//! # use saga_cluster::model::{ClusterName, Leaving, Node};
//! fn forge(cluster: ClusterName, node: Node) -> Leaving {
//!     Leaving::new(cluster, node)
//! }
//! ```
//!
//! ```compile_fail,E0624
//! # use saga_cluster::{engine::Machine, model::Doomed};
//! fn forge(machine: &Machine) -> Doomed {
//!     Doomed::with_its_cluster(machine)
//! }
//! ```
//!
//! Not by reading one from a file, nor by using one twice:
//!
//! ```compile_fail,E0277
//! # use saga_cluster::model::Decommissioned;
//! fn forge(json: &str) -> Decommissioned {
//!     serde_json::from_str(json).unwrap()
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use saga_cluster::model::{Decommissioned, Doomed, Leaving};
//! fn twice(leaving: Leaving) -> [Decommissioned; 2] {
//!     [leaving.drained(), leaving.drained()]
//! }
//! ```

use serde::{Deserialize, Serialize};

use super::label::ClusterName;
use super::node::{Node, NodeName, NodeToken};
use crate::engine::{Machine, NodeOrder};

/// A node that is to leave its cluster, handed to
/// [`Plugin::decommission`](crate::plugin::Plugin::decommission). Whoever holds it is trusted to say that the node is
/// drained, and to say so only when it knows.
#[derive(Debug)]
#[must_use = "a leaving node is either drained or not: say which"]
pub struct Leaving {
    cluster: ClusterName,
    node: Node,
}

impl Leaving {
    /// Only the scale saga hands out leaving nodes, from its journaled plan.
    pub(crate) fn new(cluster: ClusterName, node: Node) -> Self {
        Self { cluster, node }
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The cluster that it leaves.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// States that the node holds nothing that is not elsewhere, and takes nothing new. To be called when that is
    /// *known*; a decommission that timed out, or lost sight of the node, returns an error instead.
    pub fn drained(self) -> Decommissioned {
        Decommissioned { cluster: self.cluster, node: self.node }
    }
}

/// The proof that a node was decommissioned: the one thing for which a scale may destroy it.
#[derive(Debug)]
#[must_use = "a node that was decommissioned is still running"]
pub struct Decommissioned {
    cluster: ClusterName,
    node: Node,
}

impl Decommissioned {
    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The cluster that it left.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }
}

/// A machine that may be destroyed: what [`Engine::destroy`](crate::engine::Engine::destroy) takes. It names exactly
/// one machine, by its token.
#[derive(Debug)]
pub struct Doomed {
    cluster: ClusterName,
    name: NodeName,
    token: NodeToken,
}

impl Doomed {
    /// The cluster that the machine is tagged with.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The node that the machine was made for.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Which machine.
    pub fn token(&self) -> &NodeToken {
        &self.token
    }

    /// A node that this very run made, or tried to make, and now undoes: no data was ever entrusted to it.
    pub(crate) fn of_own_making(order: &NodeOrder) -> Self {
        Self { cluster: order.cluster.clone(), name: order.name.clone(), token: order.token.clone() }
    }

    /// A machine of a cluster that is being deleted, data and all, found by its tag.
    pub(crate) fn with_its_cluster(machine: &Machine) -> Self {
        Self { cluster: machine.cluster.clone(), name: machine.node.clone(), token: machine.token.clone() }
    }
}

impl From<Decommissioned> for Doomed {
    fn from(proof: Decommissioned) -> Self {
        Self { cluster: proof.cluster, name: proof.node.name, token: proof.node.token }
    }
}

/// A proof as the journal keeps it between the step that obtains it and the step that uses it. Inside this crate
/// only: outside, a proof that can be read from text would be no proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofRecord {
    decommissioned: Node,
    cluster: ClusterName,
}
impl ProofRecord {
    /// The node that it is about.
    pub(crate) fn node(&self) -> &Node {
        &self.decommissioned
    }

    /// The proof itself, read back.
    pub(crate) fn restore(self) -> Decommissioned {
        Decommissioned { cluster: self.cluster, node: self.decommissioned }
    }
}

impl From<Decommissioned> for ProofRecord {
    fn from(proof: Decommissioned) -> Self {
        Self { decommissioned: proof.node, cluster: proof.cluster }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scale::tests::cluster;
    use super::*;

    #[test]
    fn the_node_that_was_drained_is_the_node_that_is_doomed() {
        let cluster = cluster(&[("a", 2)]);
        let node = cluster.nodes[1].clone();
        let proof = Leaving::new(cluster.name().clone(), node.clone()).drained();
        let doomed = Doomed::from(proof);
        assert_eq!((doomed.cluster(), doomed.name(), doomed.token()), (cluster.name(), &node.name, &node.token));
    }

    #[test]
    fn a_proof_survives_the_journal() {
        let cluster = cluster(&[("a", 1)]);
        let node = cluster.nodes[0].clone();
        let record = ProofRecord::from(Leaving::new(cluster.name().clone(), node.clone()).drained());
        let json = serde_json::to_string(&record).unwrap();
        let read: ProofRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read.node(), &node);
        assert_eq!(read.restore().node(), &node);
    }

    #[test]
    fn a_plain_node_is_not_read_as_a_proof() {
        let node = serde_json::to_string(&cluster(&[("a", 1)]).nodes[0]).unwrap();
        assert!(serde_json::from_str::<ProofRecord>(&node).is_err());
    }
}
