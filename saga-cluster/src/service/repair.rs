//! Records that say that something works on them, while nothing does.
//!
//! They come about when a service dies between a write to the repository and one to the store of runs, or when one of
//! the two answers that it failed. Each is settled so that what was asked for goes on, or is told to have ended.

use saga_core::store::RunSummary;
use saga_core::{Actor, Payload, RunId};
use tracing::info;

use super::inner::{Inner, kind};
use super::remove::Found;
use super::{DeleteOptions, OperationKind, ServiceError};
use crate::model::{Cluster, ClusterName, Status};
use crate::saga::settle;

const NOT_BEGUN: &str = "a scale was asked for, but the service stopped before it began; nothing was touched";

impl Inner {
    /// Settles the record, if no run stands for its status. To be called by whoever is alone on the cluster.
    pub(super) async fn repair(&self, name: &ClusterName) -> Result<(), ServiceError> {
        let Some(cluster) = self.repository().get(name).await? else { return Ok(()) };
        if !matches!(cluster.status, Status::Creating | Status::Scaling | Status::Deleting) {
            return Ok(());
        }
        let run = cluster.live_run.as_deref().map(RunId::new).transpose()?;
        let summary = match &run {
            Some(run) => self.coordinator.summary(run).await?,
            None => None,
        };
        match summary {
            Some(summary) if summary.status.is_live() => Ok(()),
            Some(summary) => self.settle_again(&summary).await,
            None => self.begin_again(cluster, run).await,
        }
    }

    /// The record names a run that was never started.
    async fn begin_again(&self, mut cluster: Cluster, run: Option<RunId>) -> Result<(), ServiceError> {
        info!(cluster = %cluster.name(), status = %cluster.status, "the record names a run that was never started");
        let by = Actor::new("saga-cluster", "it was asked for, and the service stopped before it began");
        let run = match run {
            Some(run) => run,
            None => {
                // Whoever wrote this record was not one of us. It gets a run all the same, so that it does not stay so.
                let run = RunId::generate();
                let (name, id) = (cluster.name().clone(), cluster.id.clone());
                let named = self.write(&name, &id, |cluster| {
                    cluster.live_run = Some(run.to_string());
                    Ok(())
                });
                let Some(named) = named.await? else { return Ok(()) };
                cluster = named;
                run
            }
        };
        match cluster.status {
            Status::Creating => self.start_create(&cluster, &run, by).await,
            Status::Scaling => self.not_scaled(&cluster, &run, NOT_BEGUN).await,
            Status::Deleting => {
                let how = DeleteOptions::default();
                self.start_delete(cluster.name(), Found::Record(&cluster), &run, how, by).await
            }
            Status::Active | Status::Error => Ok(()),
        }
    }

    /// The record's run is at rest, and the record does not say so.
    pub(super) async fn settle_again(&self, summary: &RunSummary) -> Result<(), ServiceError> {
        let run = &summary.run;
        let end = self.coordinator.attach::<Payload>(run).await?.outcome().await?;
        let input = self.input(run).await?;
        let unreadable =
            |error: saga_core::PayloadError| ServiceError::Unreadable { run: run.clone(), why: error.to_string() };
        match kind(summary)? {
            OperationKind::Create => {
                settle::create(self.app(), &input.decode().map_err(unreadable)?, run, &end).await?;
            }
            OperationKind::Scale => {
                settle::scale(self.app(), &input.decode().map_err(unreadable)?, run, &end).await?;
            }
            OperationKind::Delete => {
                settle::delete(self.app(), &input.decode().map_err(unreadable)?, run, &end).await?;
            }
        }
        Ok(())
    }
}
