//! Plugins make machines a cluster.
//!
//! Every call may be made again after a crash in the middle of it, and must then go on from what it finds.

pub mod blocks;
pub mod commands;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod context;
mod error;
#[cfg(feature = "redis")]
pub mod redis;
mod view;

use async_trait::async_trait;

use crate::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, ScalePlan};

pub use blocks::{BlocksClient, BlocksError, BlocksPlugin};
pub use commands::CommandsPlugin;
pub use context::{OpContext, Quiet};
pub use error::PluginError;
pub use view::{ClusterView, Health, Light, NodeHealth};

#[cfg(feature = "redis")]
pub use self::redis::{RedisPlugin, RedisProgram};

/// What makes machines a cluster of some kind.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// The names of the settings that it understands, of the cluster or of a group. In a new cluster or group, a setting
    /// that neither the plugin nor the [engine](crate::engine::Engine::settings) understands is refused.
    fn settings(&self) -> &[&str] {
        &[]
    }

    /// Whether a cluster like that can be. Asked before anything is touched.
    ///
    /// # Errors
    /// [`PluginError`] (rejected), with what is wrong.
    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError>;

    /// Whether the cluster can be scaled like that. Asked before anything is touched.
    ///
    /// # Errors
    /// [`PluginError`] (rejected), with what is wrong.
    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError>;

    /// Prepares nodes to be members of the cluster.
    ///
    /// # Errors
    /// [`PluginError`]. Some nodes may be configured, others not.
    async fn configure(
        &self,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError>;

    /// Lets configured nodes serve. From then on they may hold data.
    ///
    /// # Errors
    /// [`PluginError`]. Some nodes may serve, others not.
    async fn start(&self, cluster: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError>;

    /// Moves all that the leaving nodes hold to those that stay, and returns a proof for *each* of them, or an error.
    /// A node that could not be emptied in time, or that was lost sight of, or a cancelled call, is an error: never a
    /// proof.
    ///
    /// # Errors
    /// [`PluginError`]. Some data may have been moved; none is lost.
    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError>;

    /// How the nodes are. A node that cannot be asked is part of the answer, not an error.
    ///
    /// # Errors
    /// [`PluginError`], if nothing at all can be said.
    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError>;
}
