//! Plugins that do not keep their promises.
//!
//! They lie inside of an action that goes well, so the test kit, which lets actions fail, has nothing to do with them.

use saga_cluster::model::{Cluster, ClusterSpec, Decommissioned, Leaving, Node, ScalePlan, Status};
use saga_cluster::plugin::{ClusterView, Health, OpContext, Plugin, PluginError};
use saga_cluster::service::Verdict;
use saga_cluster::testing::FakePlugin;
use saga_core::async_trait;

use crate::world::*;

#[derive(Clone, Copy, PartialEq)]
enum Vice {
    /// It says that it is done, and leaves a node out.
    ProvesTooLittle,
    /// It proves nothing, and says that it is done.
    ProvesNothing,
    /// It never answers, and does not hear that it is to stop.
    IsDeaf,
}

struct Bad(FakePlugin, Vice);

#[async_trait]
impl Plugin for Bad {
    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        self.0.validate(spec)
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        self.0.validate_scale(cluster, plan)
    }

    async fn configure(&self, view: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        self.0.configure(view, nodes, context).await?;
        match self.1 {
            Vice::IsDeaf => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn start(&self, view: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        self.0.start(view, nodes, context).await
    }

    async fn decommission(
        &self,
        view: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        let mut proofs = self.0.decommission(view, leaving, context).await?;
        match self.1 {
            Vice::ProvesTooLittle => drop(proofs.pop()),
            Vice::ProvesNothing => proofs.clear(),
            Vice::IsDeaf => {}
        }
        Ok(proofs)
    }

    async fn health(&self, view: &ClusterView) -> Result<Health, PluginError> {
        self.0.health(view).await
    }
}

/// A node without a proof is not deleted, nor is any other: nobody knows what such a plugin did.
#[tokio::test(start_paused = true)]
async fn a_missing_proof_deletes_nothing() {
    for vice in [Vice::ProvesTooLittle, Vice::ProvesNothing] {
        let mut world = World::new();
        drop(world.with_cluster().await);
        world.reopen();
        let service = world.service_with(Bad(world.plugin.clone(), vice)).await;
        let halted = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
        assert_eq!((halted.verdict, halted.status), (Verdict::Halted, Some(Status::Error)), "{}", halted.reason);
        assert!(halted.reason.contains("did not prove"), "{}", halted.reason);
        assert!(world.engine.destroyed().is_empty());
        world.assert_consistent(&BEFORE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deaf_one_does_not_hold_up_a_delete() {
    let world = World::new();
    let service = world.service_with(Bad(world.plugin.clone(), Vice::IsDeaf)).await;
    let create = service.create(spec(), ada()).await.unwrap();
    in_time(async {
        while world.plugin.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let since = tokio::time::Instant::now();
    world.assert_deletable(&service).await;
    assert!(since.elapsed() < std::time::Duration::from_secs(60), "{:?}", since.elapsed());
    assert_eq!(end(&create).await.verdict, Verdict::RolledBack);
}
