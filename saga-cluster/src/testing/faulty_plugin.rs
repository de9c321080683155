//! A plugin that fails on demand.

use async_trait::async_trait;

use super::faults::{Faults, How, On};
use crate::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, NodeName, ScalePlan};
use crate::plugin::{ClusterView, Health, OpContext, Plugin, PluginError, Quiet};

/// Wraps a plugin, and fails where its script says so.
///
/// The two validations cannot hang: they are not asynchronous, and are refused instead.
#[derive(Debug, Clone)]
pub struct FaultyPlugin<P> {
    inner: P,
    faults: Faults,
}

impl<P: Plugin> FaultyPlugin<P> {
    /// A plugin that follows the script, and does what `inner` does otherwise.
    pub fn new(inner: P, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The plugin that it wraps.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    async fn act<T: Send>(
        &self,
        on: On,
        nodes: &[&NodeName],
        context: &dyn OpContext,
        work: impl Future<Output = Result<T, PluginError>> + Send,
    ) -> Result<T, PluginError> {
        let message = |when| format!("injected: {on:?} fails {when} it is done");
        match self.faults.strike(on, nodes) {
            None => work.await,
            Some(How::FailBefore) => Err(PluginError::failed(message("before"))),
            Some(How::FatalBefore) => Err(PluginError::fatal(message("before"))),
            Some(How::Reject) => Err(PluginError::rejected(format!("injected: {on:?} is rejected"))),
            Some(How::FailAfter) => work.await.and(Err(PluginError::failed(message("after")))),
            Some(How::FatalAfter) => work.await.and(Err(PluginError::fatal(message("after")))),
            Some(How::HangBefore) => {
                self.hang(context).await;
                Err(PluginError::failed(message("before")))
            }
            Some(How::HangAfter) => {
                work.await?;
                self.hang(context).await;
                Err(PluginError::failed(message("after")))
            }
            Some(How::Panic) => panic!("injected: {on:?} panics"),
        }
    }

    async fn hang(&self, context: &dyn OpContext) {
        tokio::select! {
            () = self.faults.hang() => {}
            () = context.cancelled() => {}
        }
    }

    fn refuse(&self, on: On) -> Result<(), PluginError> {
        match self.faults.strike(on, &[]) {
            None => Ok(()),
            Some(How::Panic) => panic!("injected: {on:?} panics"),
            Some(_) => Err(PluginError::rejected(format!("injected: {on:?} is rejected"))),
        }
    }
}

fn names(nodes: &[Node]) -> Vec<&NodeName> {
    nodes.iter().map(|node| &node.name).collect()
}

#[async_trait]
impl<P: Plugin> Plugin for FaultyPlugin<P> {
    fn settings(&self) -> &[&str] {
        self.inner.settings()
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        self.refuse(On::Validate)?;
        self.inner.validate(spec)
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        self.refuse(On::ValidateScale)?;
        self.inner.validate_scale(cluster, plan)
    }

    async fn configure(
        &self,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError> {
        self.act(On::Configure, &names(nodes), context, self.inner.configure(cluster, nodes, context)).await
    }

    async fn start(&self, cluster: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        self.act(On::Start, &names(nodes), context, self.inner.start(cluster, nodes, context)).await
    }

    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        let names: Vec<NodeName> = leaving.iter().map(|one| one.node().name.clone()).collect();
        let names: Vec<&NodeName> = names.iter().collect();
        self.act(On::Decommission, &names, context, self.inner.decommission(cluster, leaving, context)).await
    }

    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError> {
        self.act(On::Health, &names(cluster.nodes()), &Quiet, self.inner.health(cluster)).await
    }
}
