//! Moving on what rests.

use std::sync::Arc;

use saga_core::store::RunSummary;
use saga_core::{Actor, OperatorError, RunId};
use tracing::warn;

use super::begin::Begun;
use super::inner::{Inner, allowed};
use super::{OperationKind, ServiceError};
use crate::model::{Cluster, ClusterName, Status};
use crate::repository::RepositoryError;

impl Inner {
    pub(super) async fn retry(self: Arc<Self>, name: ClusterName, by: Actor) -> Result<Begun, ServiceError> {
        let _alone = self.alone_on(&name).await;
        let (summary, kind) = self.resting(&name).await?;
        // Written before the run goes on: once it does, only the run itself says what the cluster is. If the service
        // dies here, or the run cannot go on, the record is settled by the run's rest, as before.
        if kind == OperationKind::Scale
            && let Some(cluster) = self.repository().get(&name).await?
            && let Err(error) = self.mark_retried(&cluster, &summary.run, &format!("tried again by {by}")).await
        {
            self.look_after(&name);
            return Err(error.into());
        }
        match self.runs.retry(&summary.run, by).await {
            Ok(()) => {
                self.tell_retried(&name, &summary.run).await;
                Ok((summary.run, kind))
            }
            Err(error) => {
                if self.repair(&name).await.is_err() {
                    self.look_after(&name);
                }
                Err(moved_on(error))
            }
        }
    }

    pub(super) async fn abandon(self: Arc<Self>, name: ClusterName, by: Actor) -> Result<Begun, ServiceError> {
        let _alone = self.alone_on(&name).await;
        let (summary, kind) = self.resting(&name).await?;
        self.runs.abandon(&summary.run, by).await.map_err(moved_on)?;
        Ok((summary.run, kind))
    }

    /// Another process may have found the record to say what was not true yet, and have put it right.
    async fn tell_retried(&self, name: &ClusterName, run: &RunId) {
        let (record, summary) = (self.repository().get(name).await, self.runs.summary(run).await);
        if let (Ok(Some(cluster)), Ok(Some(summary))) = (record, summary)
            && cluster.names(run)
            && cluster.status == Status::Error
            && summary.status.is_live()
            && let Err(error) = self.tell(&cluster, summary).await
        {
            warn!(cluster = %name, %error, "the record does not say that the operation goes on");
        }
    }

    /// The record of a scale that goes on says so.
    pub(super) async fn mark_retried(&self, cluster: &Cluster, run: &RunId, why: &str) -> Result<(), RepositoryError> {
        let marked = self.write(cluster.name(), &cluster.id, |cluster| {
            if cluster.names(run) && cluster.status == Status::Error {
                cluster.transition(Status::Scaling, why)?;
            }
            Ok(())
        });
        marked.await.map(drop)
    }

    /// The run that rests on the cluster.
    async fn resting(&self, name: &ClusterName) -> Result<(RunSummary, OperationKind), ServiceError> {
        let holder = self.holder(name).await?;
        let record = self.repository().get(name).await?;
        match (holder, record) {
            (Some((summary, kind)), _) if summary.status.is_resting() => Ok((summary, kind)),
            (Some((summary, kind)), _) => Err(self.in_the_way(name, summary.run, kind)),
            (None, Some(cluster)) => Err(ServiceError::NotAllowed {
                name: name.clone(),
                status: cluster.status,
                why: "and nothing waits for a decision".to_owned(),
                allowed: allowed(Some(cluster.status), None, false),
            }),
            (None, None) => Err(ServiceError::NoSuchCluster { name: name.clone() }),
        }
    }
}

fn moved_on(error: OperatorError) -> ServiceError {
    match error {
        OperatorError::ShuttingDown => ServiceError::Stopped,
        error => error.into(),
    }
}
