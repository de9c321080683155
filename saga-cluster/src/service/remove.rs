//! Beginning to delete, which is allowed always.
//!
//! The record says Deleting first, and names the delete's run: from then on no other run writes its status, and a
//! service that dies goes on from there. What works on the cluster is then cancelled and waited for, or given up if it
//! rests; only then the delete is started.

use std::sync::Arc;

use saga_core::store::RunStatus;
use saga_core::{Actor, CancelError, Payload, RunId, StartError, StartOptions};

use super::begin::Begun;
use super::inner::{Inner, key, key_beside, may_have_started};
use super::{DeleteOptions, OperationKind, ServiceError};
use crate::model::{Cluster, ClusterName, KindName, Status};
use crate::repository::RepositoryError;
use crate::saga::order::DeleteOrder;

/// What a delete found in the repository.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    Record(&'a Cluster),
    /// A record that this build cannot read.
    Unreadable,
    Nothing,
}

impl Inner {
    pub(super) async fn delete(
        self: Arc<Self>,
        name: ClusterName,
        how: DeleteOptions,
        by: Actor,
    ) -> Result<Begun, ServiceError> {
        let _alone = self.alone_on(&name).await;
        let holder = self.holder(&name).await?;
        // Someone else deletes it if, and only if, a live run does. A status proves nothing.
        if let Some((summary, OperationKind::Delete)) = &holder
            && summary.status.is_live()
            && (!how.force || self.parked(&summary.run).is_none())
        {
            return Ok((summary.run.clone(), OperationKind::Delete));
        }
        if let Some((summary, kind)) = &holder
            && !how.force
            && self.parked(&summary.run).is_some()
        {
            // Nothing is marked that cannot go on.
            return Err(self.in_the_way(&name, summary.run.clone(), *kind));
        }
        let (record, unreadable) = match self.repository().get(&name).await {
            // Nobody can say what it holds, so only force takes it away.
            Err(RepositoryError::Unreadable { .. }) if how.force => (None, true),
            record => (record?, false),
        };
        if record.is_none() && !unreadable && holder.is_none() {
            // An engine that cannot tell may have some.
            let nothing = self.machines(&name, None).await.is_ok_and(|machines| machines.is_empty());
            if nothing {
                return Err(ServiceError::NoSuchCluster { name });
            }
        }
        if let Some(cluster) = &record {
            self.has_engine(&cluster.spec.engine)?;
        }
        let run = RunId::generate();
        let record = match record {
            None => None,
            Some(cluster) => {
                let marked = self.write(&name, &cluster.id, |cluster| {
                    cluster.transition(Status::Deleting, format!("asked for by {by}"))?;
                    cluster.live_run = Some(run.to_string());
                    Ok(())
                });
                let marked = marked.await;
                if marked.is_err() {
                    self.look_after(&name); // it may be marked all the same
                }
                marked?
            }
        };
        let found = match &record {
            Some(cluster) => Found::Record(cluster),
            None if unreadable => Found::Unreadable,
            None => Found::Nothing,
        };
        match self.start_delete(&name, found, &run, how, by).await {
            Ok(()) => Ok((run, OperationKind::Delete)),
            Err(error) => {
                self.look_after(&name);
                Err(error)
            }
        }
    }

    /// Starts the delete that the record names, once nothing else works on the cluster. A delete that cannot be started
    /// is told in the record: it is never left as one that goes on.
    pub(super) async fn start_delete(
        &self,
        name: &ClusterName,
        found: Found<'_>,
        run: &RunId,
        how: DeleteOptions,
        by: Actor,
    ) -> Result<(), ServiceError> {
        let record = match found {
            Found::Record(cluster) => Some(cluster),
            Found::Unreadable | Found::Nothing => None,
        };
        let order = DeleteOrder {
            name: name.clone(),
            id: record.map(|cluster| cluster.id.clone()),
            unreadable: matches!(found, Found::Unreadable),
            engines: record.map_or_else(|| self.all_engines(), |cluster| vec![cluster.spec.engine.clone()]),
            force: how.force,
            by,
        };
        let (error, may_go_on) = match self.clear_and_start(order, run).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if !may_go_on && let Some(cluster) = record {
            self.not_deleted(cluster, run, &error).await?;
        }
        Err(error)
    }

    /// Starts the delete, or says why not, and whether it may go on all the same.
    async fn clear_and_start(&self, order: DeleteOrder, run: &RunId) -> Result<(), (ServiceError, bool)> {
        loop {
            let cleared = self.clear(&order.name, order.force, &order.by).await.map_err(|error| {
                let stopped = matches!(error, ServiceError::Stopped);
                (error, stopped)
            })?;
            let key = if cleared { key(&order.name) } else { key_beside(&order.name) };
            let options = StartOptions::new().id(run.clone()).key(key.map_err(|error| (error, false))?);
            match self.coordinator.start_with(&self.delete, order.clone(), options).await {
                Ok(_) => return Ok(()),
                // Another process was faster: what it began is cleared like the rest.
                Err(StartError::KeyHeld { .. }) if cleared => {}
                Err(error) => {
                    let may_go_on = may_have_started(&error);
                    return Err((self.not_started(&order.name, error).await, may_go_on));
                }
            }
        }
    }

    /// Cancels whatever works on the cluster, waits until it rests, and gives it up if that is no end. Whether the
    /// cluster is free then: a run that cannot be taken up keeps it, and only force passes by that. Should a later build
    /// take such a run up, its guard finds the cluster gone: it goes back, and kills what it made.
    async fn clear(&self, name: &ClusterName, force: bool, by: &Actor) -> Result<bool, ServiceError> {
        while let Some((summary, kind)) = self.holder(name).await? {
            if self.parked(&summary.run).is_some() {
                return if force { Ok(false) } else { Err(self.in_the_way(name, summary.run, kind)) };
            }
            match summary.status {
                RunStatus::Running => {
                    match self.coordinator.cancel(&summary.run, by.clone()).await {
                        // It came to rest by itself.
                        Ok(()) | Err(CancelError::NotLive { .. }) => {}
                        Err(CancelError::Stopped(_)) => return Err(ServiceError::Stopped),
                        Err(error) => return Err(error.into()),
                    }
                    self.coordinator.attach::<Payload>(&summary.run).await?.outcome().await?;
                }
                RunStatus::Halted | RunStatus::Stuck => {
                    self.coordinator.abandon(&summary.run, by.clone()).await?.outcome().await?;
                }
                RunStatus::Completed | RunStatus::RolledBack | RunStatus::Abandoned => {}
            }
        }
        Ok(true)
    }

    async fn not_deleted(&self, cluster: &Cluster, run: &RunId, why: &ServiceError) -> Result<(), ServiceError> {
        let written = self.write(cluster.name(), &cluster.id, |cluster| {
            if cluster.live_run.as_deref() == Some(run.as_str()) {
                cluster.transition(Status::Error, format!("the delete could not be begun: {why}"))?;
                cluster.live_run = None;
            }
            Ok(())
        });
        Ok(written.await.map(drop)?)
    }

    pub(super) fn all_engines(&self) -> Vec<KindName> {
        self.app().engines.keys().filter_map(|kind| kind.parse().ok()).collect()
    }
}
