//! Redis Cluster: keys spread over masters by slot, each with as many replicas as the spec asks for.
//!
//! A machine is a `redis-server` (7.0 or later) in cluster mode that announces its node's token as its host name
//! (`cluster-announce-hostname`); that is how the plugin makes sure that it talks to the one that is meant. On the process
//! engine the [`RedisProgram`] sees to it.
//!
//! The setting `replicas` of any group says how many replicas each master has, none by default; the number of masters
//! follows from the number of nodes. Which nodes are masters is not written down anywhere: a failover may change it at any
//! time, so each operation begins by asking.
//!
//! Keys can be read and written all the while, with any client that follows redirections. None is lost by anything that
//! this plugin does: it is at the server that gives its slot away until it is at the one that is given it, and each knows
//! of the other.
//!
//! What Redis itself does not promise, no plugin can:
//! - A server that fails over while it gives slots away, for a reason of its own, may cost writes, beyond those that any
//!   failover may cost. Its replica knows nothing of the move: a key of these slots that has moved already is absent to
//!   those who ask it, and if they write it anew, that takes the place of what was written at the new owner. Only the slots
//!   that are being moved at that moment are concerned ([`slots_at_once`](RedisPlugin::slots_at_once)). The plugin does
//!   what it can not to cause it: keys are moved a few at a time, and no wait for the new owner is longer than a quarter of
//!   the server's `cluster-node-timeout`. A single key of gigabytes may still keep its server busy for longer.
//! - A key that is deleted may come back, if the move of it broke off just before, when the new owner had it and the old
//!   one had not heard of it.

mod arrange;
mod health;
mod leave;
mod link;
mod migrate;
mod plan;
mod program;
mod servers;
mod settings;
mod sync;
mod table;
mod wait;

use std::time::Duration;

use async_trait::async_trait;

use self::arrange::Arrangement;
use self::link::{Link, command};
use self::plan::FEWEST_MASTERS;
use super::context::stop_if_cancelled;
use super::view::can_be_reached;
use super::{ClusterView, Health, OpContext, Plugin, PluginError};
use crate::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, ScalePlan};

pub use program::RedisProgram;

/// Makes machines that are Redis servers a Redis Cluster.
#[derive(Debug, Clone)]
pub struct RedisPlugin {
    patience: Duration,
    settle_within: Duration,
    slots_at_once: usize,
}

impl Default for RedisPlugin {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), settle_within: Duration::from_secs(90), slots_at_once: 64 }
    }
}

impl RedisPlugin {
    /// What a spec calls this kind of plugin.
    pub const KIND: &'static str = "redis";

    /// A plugin with the usual patience.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a server has to answer. 10 seconds, unless told otherwise; keys that are too large to be moved within
    /// half of it, or within a quarter of the server's `cluster-node-timeout`, are not moved.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// How long the servers have to agree with each other. 90 seconds, unless told otherwise.
    #[must_use]
    pub fn settle_within(mut self, limit: Duration) -> Self {
        self.settle_within = limit;
        self
    }

    /// How many slots are moved at the same time, at least 1. 64, unless told otherwise. Whoever asks for a key of one of
    /// them may be sent from one server to another meanwhile.
    #[must_use]
    pub fn slots_at_once(mut self, slots: usize) -> Self {
        self.slots_at_once = slots.max(1);
        self
    }
}

/// Refuses what cannot be a cluster.
fn enough(nodes: usize, replicas: usize, when: &str) -> Result<(), PluginError> {
    if nodes / (replicas + 1) >= FEWEST_MASTERS {
        return Ok(());
    }
    let with = match replicas {
        0 => String::new(),
        1 => " with a replica each".to_owned(),
        more => format!(" with {more} replicas each"),
    };
    let fewest = FEWEST_MASTERS * (replicas + 1);
    Err(PluginError::rejected(format!(
        "a Redis Cluster has at least {FEWEST_MASTERS} masters{with}, which takes {fewest} nodes; there would be {nodes}{when}"
    )))
}

#[async_trait]
impl Plugin for RedisPlugin {
    fn settings(&self) -> &[&str] {
        settings::KNOWN
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        if spec.plugin.as_str() != Self::KIND {
            return Err(PluginError::rejected(format!("a `{}` cluster is not one of Redis", spec.plugin)));
        }
        let groups = spec.resolved_groups();
        groups.iter().try_for_each(settings::check).map_err(PluginError::rejected)?;
        let replicas = settings::replicas(&groups).map_err(PluginError::rejected)?;
        enough(usize::try_from(spec.node_count()).unwrap_or(usize::MAX), replicas, "")
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        plan.new_groups().iter().try_for_each(settings::check).map_err(PluginError::rejected)?;
        let groups = cluster.spec_after(plan).resolved_groups();
        let replicas = settings::replicas(&groups).map_err(PluginError::rejected)?;
        can_be_reached(&cluster.nodes)?;
        let staying = cluster.nodes.len().saturating_sub(plan.remove().len());
        enough(staying + plan.add().len(), replicas, "")?;
        // Slots are moved before new nodes are made. Replicas may be missing for that long, but not masters.
        enough(staying, 0, " until the new nodes are made")
    }

    async fn configure(
        &self,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError> {
        can_be_reached(nodes)?;
        let links = servers::open(cluster.staying(), self.patience).await?;
        let is_new = |link: &&Link| nodes.iter().any(|node| node.name == link.node.name);
        let mut epoch = 0;
        for table in servers::tables(&links).await? {
            epoch = table.rows().iter().map(|row| row.epoch).max().unwrap_or(0).max(epoch);
        }
        for link in links.iter().filter(is_new) {
            stop_if_cancelled(context)?;
            let table = link.table().await?;
            // Epochs that differ from the beginning need not be made to differ by an election. It can be said only once.
            if table.is_alone() && table.own().epoch == 0 {
                epoch += 1;
                link.call::<()>(command("CLUSTER SET-CONFIG-EPOCH").arg(epoch)).await?;
            }
        }
        servers::join(&links, context, self.settle_within).await?;
        servers::agreed(&links, context, self.settle_within).await?;
        for link in links.iter().filter(is_new) {
            context.checkpoint(link.name(), "joined").await?;
            context.report(link.name(), 1, 1);
        }
        Ok(())
    }

    async fn start(&self, cluster: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        let links = servers::open(cluster.staying(), self.patience).await?;
        servers::join(&links, context, self.settle_within).await?;
        let is_new = |link: &Link| nodes.iter().any(|node| node.name == link.node.name);
        let arrangement = Arrangement {
            links: &links,
            leaving: Default::default(),
            replicas: settings::replicas_of(cluster.spec()),
            is_new: links.iter().all(is_new),
            slots_at_once: self.slots_at_once,
            settle_within: self.settle_within,
            context,
        };
        arrangement.make().await?;
        for link in links.iter().filter(|link| is_new(link)) {
            context.checkpoint(link.name(), "serving").await?;
        }
        Ok(())
    }

    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        leave::run(self, cluster, leaving, context).await
    }

    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError> {
        Ok(health::of(cluster, self.patience.min(Duration::from_secs(3))).await)
    }
}

#[cfg(test)]
mod tests;
