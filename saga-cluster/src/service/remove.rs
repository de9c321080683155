//! Beginning to delete, which is allowed always.
//!
//! The record says Deleting first, and names the delete's run: from then on no other run writes its status, and none that
//! was only promised begins any more. A process that dies is replaced by any other, which goes on from there. What works
//! on the cluster is then cancelled and waited for, or given up if it rests; only then the delete is started.

use std::sync::Arc;

use saga_core::store::{Query, RunStatus, RunSummary, StoreError};
use saga_core::{Actor, CancelError, OperatorError, RunId, Seq, StartError, StartOptions};

use super::begin::Begun;
use super::inner::{FIRST_DELAY, Inner, WRITE_ATTEMPTS, key, key_beside, may_have_started};
use super::{DeleteOptions, OperationKind, ServiceError};
use crate::model::{Cluster, ClusterId, ClusterName, Intended, Intent, Status};
use crate::repository::RepositoryError;
use crate::saga::order::DeleteOrder;

impl Inner {
    pub(super) async fn delete(
        self: Arc<Self>,
        name: ClusterName,
        how: DeleteOptions,
        by: Actor,
    ) -> Result<Begun, ServiceError> {
        // Which cluster is meant, should another delete have ended by the time that it is this one's turn.
        let mut meant = self.repository().get(&name).await.ok().flatten().map(|cluster| cluster.id);
        let _alone = self.alone_on(&name).await;
        let run = RunId::generate();
        for attempt in 1.. {
            let holder = self.holder(&name).await?;
            // Someone else deletes it if, and only if, a live run does. A status proves nothing.
            if let Some((summary, OperationKind::Delete)) = &holder
                && summary.status.is_live()
                && !(how.force && self.cannot_go_on(summary).await?)
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
            let Some(cluster) = record else {
                let begun = self.delete_without_record(&name, holder.is_some(), unreadable, &run, how, by).await;
                return match (begun, meant) {
                    (Err(ServiceError::NoSuchCluster { .. }), Some(id)) => self.delete_of(&name, &id).await,
                    (begun, _) => begun,
                };
            };
            meant = Some(cluster.id.clone());
            self.engine(&cluster.spec.engine)?;
            match self.promise_to_delete(cluster, &run, how, &by).await {
                Ok(Promised::ToBegin(cluster, run)) => return self.begin(&cluster, &run).await,
                Ok(Promised::Begun(run)) => return Ok((run, OperationKind::Delete)),
                Err(RepositoryError::Conflict { .. } | RepositoryError::NotFound { .. }) => {}
                Err(RepositoryError::Store { .. }) if attempt < WRITE_ATTEMPTS => {
                    tokio::time::sleep(FIRST_DELAY * 2u32.pow(attempt)).await;
                }
                Err(error) => {
                    self.look_after(&name); // it may be marked all the same
                    return Err(error.into());
                }
            }
        }
        unreachable!("the last attempt returns");
    }

    /// The delete that has removed that very cluster.
    async fn delete_of(&self, name: &ClusterName, id: &ClusterId) -> Result<Begun, ServiceError> {
        let deletes = Query {
            key: Some(key(name)?),
            saga: Some(self.delete.name().clone()),
            statuses: vec![RunStatus::Completed],
            ..Query::default()
        };
        for RunSummary { run, .. } in self.runs_like(deletes).await? {
            // One that cannot be read is not the one that has just ended.
            let order = self.input(&run).await.ok().and_then(|input| input.decode::<DeleteOrder>().ok());
            if order.is_some_and(|order| order.id.as_ref() == Some(id)) {
                return Ok((run, OperationKind::Delete));
            }
        }
        Err(ServiceError::NoSuchCluster { name: name.clone() })
    }

    /// Marks the record, exactly as it was seen: it is to be deleted, by that run, unless another delete is under way.
    async fn promise_to_delete(
        &self,
        cluster: Cluster,
        run: &RunId,
        how: DeleteOptions,
        by: &Actor,
    ) -> Result<Promised, RepositoryError> {
        let named = cluster.live_run.as_deref().and_then(|named| RunId::new(named).ok());
        if let (Status::Deleting, Some(named)) = (cluster.status, named) {
            match &cluster.intent {
                Some(Intent { what: Intended::Delete { force }, .. }) if *force || !how.force => {
                    return Ok(Promised::ToBegin(Box::new(cluster), named));
                }
                // It may have begun since its key was looked at.
                None if self.can_be_joined(&named, how).await => return Ok(Promised::Begun(named)),
                _ => {}
            }
        }
        let version = cluster.version;
        let mut marked = cluster;
        marked.transition(Status::Deleting, format!("asked for by {by}"))?;
        marked.promise(run, Intent { by: by.clone(), what: Intended::Delete { force: how.force } });
        let marked = self.repository().update(version, marked).await?;
        Ok(Promised::ToBegin(Box::new(marked), run.clone()))
    }

    /// Whether a delete that has begun will do. If that cannot be told, the delete that follows finds out.
    async fn can_be_joined(&self, run: &RunId, how: DeleteOptions) -> bool {
        let Ok(Some(summary)) = self.runs.summary(run).await else { return false };
        summary.status.is_live() && !(how.force && self.cannot_go_on(&summary).await.unwrap_or(false))
    }

    /// Deletes the machines of a cluster that has no record, or none that can be read.
    async fn delete_without_record(
        &self,
        name: &ClusterName,
        held: bool,
        unreadable: bool,
        run: &RunId,
        how: DeleteOptions,
        by: Actor,
    ) -> Result<Begun, ServiceError> {
        if !unreadable && !held {
            // An engine that cannot tell may have some.
            let nothing = self.machines(name, None).await.is_ok_and(|machines| machines.is_empty());
            if nothing {
                return Err(ServiceError::NoSuchCluster { name: name.clone() });
            }
        }
        let engines = self.engines().filter_map(|(kind, _)| kind.parse().ok()).collect();
        let order = DeleteOrder { name: name.clone(), id: None, unreadable, engines, force: how.force, by };
        match self.clear_and_start(order, run).await {
            Ok(()) => Ok((run.clone(), OperationKind::Delete)),
            Err((error, _)) => Err(error),
        }
    }

    /// Starts the delete that a record promises, once nothing else works on the cluster. A delete that cannot be started
    /// is told in the record: it is never left as one that goes on.
    pub(super) async fn keep_to_delete(
        &self,
        cluster: &Cluster,
        run: &RunId,
        force: bool,
        by: Actor,
    ) -> Result<Begun, ServiceError> {
        let order = DeleteOrder {
            name: cluster.name().clone(),
            id: Some(cluster.id.clone()),
            unreadable: false,
            engines: vec![cluster.spec.engine.clone()],
            force,
            by,
        };
        let begun = Ok((run.clone(), OperationKind::Delete));
        let (error, may_go_on) = match self.clear_and_start(order, run).await {
            Ok(()) => return begun,
            Err(failed) => failed,
        };
        let called_off = may_go_on || self.call_off(cluster, run, OperationKind::Delete, &error).await?;
        if called_off { Err(error) } else { begun }
    }

    /// Starts the delete, or says why not, and whether it may go on all the same.
    async fn clear_and_start(&self, order: DeleteOrder, run: &RunId) -> Result<(), (ServiceError, bool)> {
        loop {
            let cleared = self.clear(&order, run).await.map_err(|error| {
                let stopped = matches!(error, ServiceError::Stopped);
                (error, stopped)
            })?;
            let key = match cleared {
                Cleared::Free => key(&order.name),
                Cleared::Beside => key_beside(&order.name),
                Cleared::Begun => return Ok(()),
            };
            let options = StartOptions::new().id(run.clone()).key(key.map_err(|error| (error, false))?);
            match self.runs.start(&self.delete, order.clone(), options).await {
                Ok(()) => return Ok(()),
                // Another process was faster: what it began is cleared like the rest.
                Err(StartError::KeyHeld { .. }) if matches!(cleared, Cleared::Free) => {}
                Err(error) => {
                    let may_go_on = may_have_started(&error);
                    return Err((self.not_started(&order.name, error).await, may_go_on));
                }
            }
        }
    }

    /// Cancels whatever works on the cluster, waits until it rests, and gives it up if that is no end. A run that cannot
    /// be taken up keeps the cluster, and only force passes by that. Should a later build take such a run up, its guard
    /// finds the cluster gone: it goes back, and kills what it made.
    async fn clear(&self, order: &DeleteOrder, run: &RunId) -> Result<Cleared, ServiceError> {
        let (name, by) = (&order.name, &order.by);
        while let Some((summary, kind)) = self.holder(name).await? {
            if summary.run == *run {
                return Ok(Cleared::Begun); // another process has started it
            }
            // Where there are other workers, one of them may know what this process does not.
            if order.force && self.cannot_go_on(&summary).await? {
                return Ok(Cleared::Beside);
            }
            if self.parked(&summary.run).is_some() {
                return Err(self.in_the_way(name, summary.run, kind));
            }
            // Looked at after the holder: as long as this delete is meant, no operation begins that it is not meant for.
            if !self.is_meant(order, run).await? {
                return Err(ServiceError::Outdated { name: name.clone() });
            }
            match summary.status {
                // It ends by itself, and one that is called off does so at once.
                RunStatus::Running if kind == OperationKind::Delete => {
                    self.runs.outcome(&summary.run).await?;
                }
                RunStatus::Running => {
                    match self.runs.cancel(&summary.run, by.clone()).await {
                        // It came to rest by itself.
                        Ok(()) | Err(CancelError::NotLive { .. }) => {}
                        Err(CancelError::Stopped(_)) => return Err(ServiceError::Stopped),
                        Err(error) => return Err(error.into()),
                    }
                    self.runs.outcome(&summary.run).await?;
                }
                RunStatus::Halted | RunStatus::Stuck => {
                    match self.runs.abandon(&summary.run, by.clone()).await {
                        // Another process moves it on: what comes of it is seen by looking again.
                        Ok(()) | Err(OperatorError::Busy(_) | OperatorError::NotAllowed { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.runs.outcome(&summary.run).await?;
                }
                RunStatus::Completed | RunStatus::RolledBack | RunStatus::Abandoned => {}
            }
        }
        Ok(Cleared::Free)
    }

    /// Whether a run cannot be taken up, as far as this process can tell. A client parks nothing, so the journal is looked at.
    async fn cannot_go_on(&self, summary: &RunSummary) -> Result<bool, ServiceError> {
        if self.parked(&summary.run).is_some() || !self.knows(summary) {
            return Ok(true);
        }
        match self.journal(&summary.run).await {
            // The summary was read before, so the journal has all that it speaks of, one record after the other.
            Ok(records) => {
                let gap = (1..).zip(&records).any(|(place, record)| record.seq != Seq(place));
                Ok(gap || records.last().is_none_or(|last| last.seq < summary.seq))
            }
            Err(ServiceError::Unreadable { .. }) => Ok(true),
            Err(ServiceError::Store(error)) if matches!(*error, StoreError::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the cluster is still to be deleted by that run.
    async fn is_meant(&self, order: &DeleteOrder, run: &RunId) -> Result<bool, RepositoryError> {
        match (&order.id, self.repository().get(&order.name).await) {
            (_, Ok(None)) => Ok(true),
            (Some(id), Ok(Some(cluster))) => Ok(cluster.id == *id && cluster.names(run)),
            (None, Ok(Some(_))) => Ok(false),
            (None, Err(RepositoryError::Unreadable { .. })) => Ok(order.unreadable),
            (_, Err(error)) => Err(error),
        }
    }
}

/// What became of a record that is to say that its cluster is deleted.
enum Promised {
    /// It says so, and names that run, which is to be started.
    ToBegin(Box<Cluster>, RunId),
    /// It said so before, and that run does it.
    Begun(RunId),
}

/// What became of whatever was in the way of a delete.
enum Cleared {
    /// Nothing is in the way any more.
    Free,
    /// A run keeps the cluster that cannot be taken up. It is passed by.
    Beside,
    /// The delete itself holds the cluster already.
    Begun,
}
