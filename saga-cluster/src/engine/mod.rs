//! Engines make machines and kill them.
//!
//! An engine knows nothing of what runs on a machine; that is the business of a [plugin](crate::plugin). What it must
//! get right is identity: a machine is made under a [token](crate::model::NodeToken), can be found by it after any
//! crash, and carries the name of its cluster as a tag, so that a machine which no record knows is found too.

mod check;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
#[cfg(feature = "openstack")]
pub mod openstack;
pub mod process;

use std::net::SocketAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, ClusterSpec, Doomed, KindName, NewNode, Node, NodeName, NodeToken, Settings};

pub use check::{EngineCheck, Finding, Severity};
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
    /// The settings of its group, and those of the cluster that the group does not have itself.
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

/// A machine as an engine sees it: it exists, but it may not be ready (yet, or any more).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The cluster that it is tagged with.
    pub cluster: ClusterName,
    /// The node that it was made for.
    pub node: NodeName,
    /// What it was made under.
    pub token: NodeToken,
    /// Where it answers, as far as that is known; none for a machine without a network.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// Whether it is what was ordered, so that [`create`](Engine::create) would adopt it as it is: not while it is being
    /// made, and not if its making failed or it broke.
    #[serde(default)]
    pub ready: bool,
}

impl Machine {
    /// The machine as a node of its cluster, if it is ready.
    pub fn into_node(self) -> Option<Node> {
        self.ready.then_some(Node { name: self.node, token: self.token, address: self.address })
    }
}

/// Makes and kills machines. Every call may be repeated after a crash in the middle of it.
///
/// A call may be dropped at any time (a timeout, a cancelled run): what it did until then stays, and is found by token
/// and by tag. How to write one, and how to hold it to all of this, is told in `docs/engines.md`.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Whether it is configured here, so that it can be asked for anything: a cloud to talk to, say. Nothing is sent. One that
    /// is not is asked for nothing: a spec that names it is refused with this error, and a look at the machines of all
    /// engines leaves it out. By default an engine is.
    ///
    /// # Errors
    /// [`EngineError`] (rejected): what is missing, and where it was looked for.
    fn configured(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// The names of the settings that it understands. In a new cluster or group, a setting that neither the engine nor the
    /// [plugin](crate::plugin::Plugin::settings) understands is refused.
    fn settings(&self) -> &[&str] {
        &[]
    }

    /// Whether the settings of a spec make sense, by the spec alone: nothing is asked of the outside world, and nothing
    /// touched. It is called before a cluster is created, and before a scale, with the spec as it will be then. By default
    /// there is nothing to object to.
    ///
    /// # Errors
    /// [`EngineError`] (rejected), with every mistake, one a line.
    fn validate(&self, _spec: &ClusterSpec) -> Result<(), EngineError> {
        Ok(())
    }

    /// Looks whether a cluster like that could be made now, without making anything: credentials, whatever the settings
    /// name, room. Each thing that was looked at is a finding, good or bad, so that all mistakes are told at once. By default
    /// there is nothing to look at.
    ///
    /// # Errors
    /// [`EngineError`], if nothing at all could be looked at. What merely turned out badly is a finding.
    async fn check(&self, _spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        Ok(EngineCheck::default())
    }

    /// Makes a machine and waits until it is ready. If one with that token exists, it is adopted.
    ///
    /// # Errors
    /// [`EngineError`]. Unless it was rejected, a machine may exist, ready or not: destroy it by its token.
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
