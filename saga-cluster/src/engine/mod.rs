//! Engines make machines and kill them.
//!
//! An engine knows nothing of what runs on a machine; that is the business of a [plugin](crate::plugin). What it must
//! get right is identity: a machine is made under a [token](crate::model::NodeToken), can be found by it after any
//! crash, and carries the name of its cluster as a tag, so that a machine which no record knows is found too.

mod error;
#[cfg(feature = "openstack")]
pub mod openstack;
pub mod process;

use std::net::SocketAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Doomed, KindName, NewNode, Node, NodeName, NodeToken, Settings};

pub use error::EngineError;
pub use process::ProcessEngine;

/// The order of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeOrder {
    /// The cluster to tag it with.
    pub cluster: ClusterName,
    /// The node that it is to be.
    pub name: NodeName,
    /// What it is made under: two orders with one token make one machine.
    pub token: NodeToken,
    /// The settings of its group.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// The kind of plugin that its cluster is of, for engines that choose by it what a machine runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<KindName>,
}

impl NodeOrder {
    /// The order of a planned node, under an idempotency key. The same node and key give the same order for ever.
    pub fn new(cluster: ClusterName, node: NewNode, idempotency_key: &str) -> Self {
        let token = NodeToken::derive(&node.name, idempotency_key);
        Self { cluster, name: node.name, token, settings: node.settings, plugin: None }
    }

    /// Says which kind of plugin the machine is for.
    #[must_use]
    pub fn for_plugin(mut self, plugin: Option<KindName>) -> Self {
        self.plugin = plugin;
        self
    }
}

/// A machine as an engine sees it: it exists, but it may not answer (yet, or any more).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The cluster that it is tagged with.
    pub cluster: ClusterName,
    /// The node that it was made for.
    pub node: NodeName,
    /// What it was made under.
    pub token: NodeToken,
    /// Where it answers; none if it does not.
    pub address: Option<SocketAddr>,
}

impl Machine {
    /// The machine as a node of its cluster, if it answers.
    pub fn into_node(self) -> Option<Node> {
        Some(Node { name: self.node, token: self.token, address: self.address? })
    }
}

/// Makes and kills machines. Every call may be repeated after a crash in the middle of it.
///
/// A call may be dropped at any time (a timeout, a cancelled run): what it did until then stays, and is found by token
/// and by tag.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Makes a machine and waits until it answers. If one with that token exists, it is adopted.
    ///
    /// # Errors
    /// [`EngineError`]. Unless it was rejected, a machine may exist, answering or not: destroy it by its token.
    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError>;

    /// The machine with that token, if it exists in any state.
    ///
    /// # Errors
    /// [`EngineError`], if the engine cannot tell. Only `Ok(None)` means that there is none.
    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError>;

    /// Destroys a machine with all that it holds, and returns once it is gone. One that is gone already is fine.
    ///
    /// # Errors
    /// [`EngineError`]. The machine may be running, half gone or gone; ask again.
    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError>;

    /// Every machine that is tagged with the cluster, in any state, whether or not a record knows it.
    ///
    /// # Errors
    /// [`EngineError`], if the engine cannot tell: then nobody may conclude that there are none.
    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError>;
}
