//! A miniature block store: each block is kept once, on one node. If a node is killed before it was decommissioned,
//! its blocks are gone, as in real life; so whoever scales a cluster of it wrongly can see it.

mod client;
mod decommission;

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;

use super::context::stop_if_cancelled;
use super::view::can_be_reached;
use super::{ClusterView, Health, NodeHealth, OpContext, Plugin, PluginError};
use crate::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, ScalePlan};
use crate::node::{CallError, Connection, State};

pub use crate::node::{BlockKey, InvalidBlockKey, MAX_BLOCK_BYTES};
pub use client::{BlocksClient, BlocksError};

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes machines of the process engine a block store.
#[derive(Debug, Clone)]
pub struct BlocksPlugin {
    patience: Duration,
}

impl Default for BlocksPlugin {
    fn default() -> Self {
        Self { patience: PATIENCE }
    }
}

impl BlocksPlugin {
    /// What a spec calls this kind of plugin.
    pub const KIND: &'static str = "blocks";

    /// A plugin with the usual patience.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a node has to answer one request. 10 seconds, unless told otherwise.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    async fn open(&self, node: &Node) -> Result<Connection, PluginError> {
        let opened = Connection::to(node, self.patience).await;
        opened.map_err(|error| call_failed(&format!("{} cannot be reached", node.name), error))
    }
}

/// The error of a call, with its meaning for the operation: one node of many may have refused, but others may have
/// done their part, so nothing is ever rejected here.
fn call_failed(message: &str, error: CallError) -> PluginError {
    PluginError::failed(format!("{message}: {error}")).because(error)
}

fn health_of(state: &State) -> NodeHealth {
    match state {
        State { retired: true, .. } => NodeHealth::Impaired("it is leaving and takes no blocks".into()),
        State { started: true, .. } => NodeHealth::Serving,
        State { configured: true, .. } => NodeHealth::Impaired("it is not started".into()),
        _ => NodeHealth::Impaired("it is not configured".into()),
    }
}

#[async_trait]
impl Plugin for BlocksPlugin {
    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        if spec.plugin.as_str() != Self::KIND {
            return Err(PluginError::rejected(format!("a `{}` cluster is not one of blocks", spec.plugin)));
        }
        Ok(())
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        can_be_reached(&cluster.nodes)?;
        // Blocks are moved before new nodes are made, so they need a node that is there now.
        if !plan.remove().is_empty() && plan.remove().len() >= cluster.nodes.len() {
            return Err(PluginError::rejected("no node would stay to take the blocks of those that leave"));
        }
        Ok(())
    }

    async fn configure(
        &self,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError> {
        can_be_reached(nodes)?;
        for node in nodes {
            stop_if_cancelled(context)?;
            let peers = cluster.staying().filter(|peer| peer.name != node.name).map(|peer| peer.name.clone());
            let configured = self.open(node).await?.configure(peers.collect()).await;
            configured.map_err(|error| call_failed(&format!("{} cannot be configured", node.name), error))?;
            context.report(&node.name, 1, 1);
        }
        Ok(())
    }

    async fn start(&self, _: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        for node in nodes {
            stop_if_cancelled(context)?;
            let started = self.open(node).await?.start().await;
            started.map_err(|error| call_failed(&format!("{} cannot be started", node.name), error))?;
            context.report(&node.name, 1, 1);
        }
        Ok(())
    }

    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        decommission::run(self, cluster, leaving, context).await
    }

    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError> {
        let asked = cluster.nodes().iter().map(|node| async move {
            let state = match Connection::to(node, self.patience).await {
                Ok(mut connection) => connection.state().await,
                Err(error) => Err(error),
            };
            let health = state.map_or_else(|error| NodeHealth::Unreachable(error.to_string()), |s| health_of(&s));
            (node.name.clone(), health)
        });
        Ok(Health::of_nodes(join_all(asked).await))
    }
}

#[cfg(test)]
mod tests;
