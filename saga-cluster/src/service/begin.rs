//! Beginning to create or to scale.
//!
//! The run's id is chosen first. Then the record names that run, with all that it is to do; then the run is started. A
//! process that dies in between, or falls asleep, leaves a record that promises a run which does not exist: any other
//! process may start it, and [`repair`](super::repair) does. It is the same run, whoever is faster.
//!
//! What is promised can be called off only in the record, and only until the run has begun, which is the run's own first
//! act, in the record too. So a run that is started too late finds that it is not meant any more, and touches nothing.

use std::sync::Arc;

use saga_core::{Actor, RunId};

use super::inner::{Inner, allowed, may_have_started};
use super::{OperationKind, ServiceError};
use crate::model::{Cluster, ClusterName, ClusterSpec, Intended, Intent, ScaleRequest, Status, plan_scale};
use crate::repository::RepositoryError;
use crate::saga::order::{CreateOrder, ScaleOrder};
use crate::saga::record;

/// A run that was begun, and what it does.
pub(super) type Begun = (RunId, OperationKind);

impl Inner {
    pub(super) async fn create(self: Arc<Self>, spec: ClusterSpec, by: Actor) -> Result<Begun, ServiceError> {
        spec.check()?;
        self.vet(&spec)?;
        let name = spec.name.clone();
        let _alone = self.alone_on(&name).await;
        if let Some((summary, kind)) = self.holder(&name).await? {
            return Err(self.in_the_way(&name, summary.run, kind));
        }
        let run = RunId::generate();
        let mut cluster = Cluster::new(spec);
        cluster.status_description = format!("asked for by {by}");
        cluster.promise(&run, Intent { by, what: Intended::Create });
        if let Err(error) = self.insert(&cluster).await {
            if matches!(error, RepositoryError::AlreadyExists { .. }) {
                return Err(ServiceError::AlreadyExists { name });
            }
            // It may be there all the same.
            self.look_after(&name);
            return Err(error.into());
        }
        self.begin(&cluster, &run).await
    }

    pub(super) async fn scale(
        self: Arc<Self>,
        name: ClusterName,
        request: ScaleRequest,
        by: Actor,
    ) -> Result<Begun, ServiceError> {
        let _alone = self.alone_on(&name).await;
        self.repair(&name).await?;
        let run = RunId::generate();
        let cluster = self.choose_nodes(&name, &request, &run, &by).await?;
        if has_begun(&cluster, &run) {
            return Ok((run, OperationKind::Scale));
        }
        self.begin(&cluster, &run).await
    }

    /// Starts the run that a record promises, for whoever asked for it.
    pub(super) async fn begin(self: &Arc<Self>, cluster: &Cluster, run: &RunId) -> Result<Begun, ServiceError> {
        let begun = self.keep_promise(cluster, run).await;
        if begun.is_err() {
            self.look_after(cluster.name());
        }
        begun
    }

    /// Starts the run that a record promises, as the record says: whoever does it, it is the same run. If it certainly
    /// cannot be started, it is called off.
    pub(super) async fn keep_promise(&self, cluster: &Cluster, run: &RunId) -> Result<Begun, ServiceError> {
        let Some(Intent { by, what }) = cluster.intent.clone() else {
            return Err(ServiceError::Unreadable { run: run.clone(), why: "nobody knows what it is to do".to_owned() });
        };
        let name = cluster.name();
        let options = Self::options(name, run)?;
        let (kind, started) = match what {
            Intended::Create => {
                let order = CreateOrder::of(cluster, by);
                (OperationKind::Create, self.runs.start(&self.create, order, options).await)
            }
            Intended::Scale { plan, leaving } => {
                let order = ScaleOrder::of(cluster, plan, leaving, by);
                (OperationKind::Scale, self.runs.start(&self.scale, order, options).await)
            }
            Intended::Delete { force } => return self.keep_to_delete(cluster, run, force, by).await,
        };
        let Err(error) = started else { return Ok((run.clone(), kind)) };
        let may_have_started = may_have_started(&error);
        let error = self.not_started(name, error).await;
        // Another process may have been luckier.
        let called_off = may_have_started || self.call_off(cluster, run, kind, &error).await.unwrap_or(true);
        if called_off { Err(error) } else { Ok((run.clone(), kind)) }
    }

    /// Takes a promise back: what was asked for will never begin. `false`, if it has begun.
    pub(super) async fn call_off(
        &self,
        cluster: &Cluster,
        run: &RunId,
        kind: OperationKind,
        why: &ServiceError,
    ) -> Result<bool, ServiceError> {
        let (name, id) = (cluster.name(), &cluster.id);
        let mut begun = false;
        match kind {
            OperationKind::Create => {
                record::remove(self.repository(), name, id, |found| {
                    begun = has_begun(found, run);
                    found.promises(run)
                })
                .await?;
            }
            OperationKind::Scale | OperationKind::Delete => {
                self.write(name, id, |found| {
                    begun = has_begun(found, run);
                    if found.promises(run) {
                        match kind {
                            OperationKind::Delete => {
                                found.transition(Status::Error, format!("the delete could not be begun: {why}"))?;
                            }
                            _ => found.transition(
                                Status::Active,
                                format!("a scale could not be begun, and nothing was touched: {why}"),
                            )?,
                        }
                        found.let_go();
                    }
                    Ok(())
                })
                .await?;
            }
        }
        Ok(!begun)
    }

    /// Decides which nodes go and come, and marks the record, in one compare-and-set. Returns the record as it is then.
    /// Once it is marked, nothing is ever chosen again.
    async fn choose_nodes(
        self: &Arc<Self>,
        name: &ClusterName,
        request: &ScaleRequest,
        run: &RunId,
        by: &Actor,
    ) -> Result<Cluster, ServiceError> {
        for attempt in 1.. {
            let cluster = self.repository().get(name).await;
            let cluster = cluster?.ok_or_else(|| ServiceError::NoSuchCluster { name: name.clone() })?;
            if cluster.names(run) {
                return Ok(cluster); // the write before this look had its effect
            }
            self.may_scale(&cluster).await?;
            let plan = plan_scale(&cluster, request)?;
            self.vet_scale(&cluster, &plan)?;
            let leaving = ScaleOrder::leaving(&cluster, &plan);
            let version = cluster.version;
            let mut marked = cluster;
            marked.reserve(plan.add().iter().map(|node| &node.name));
            marked.transition(Status::Scaling, format!("asked for by {by}")).map_err(RepositoryError::from)?;
            marked.promise(run, Intent { by: by.clone(), what: Intended::Scale { plan, leaving } });
            match self.repository().update(version, marked).await {
                Ok(marked) => return Ok(marked),
                Err(RepositoryError::Conflict { .. }) => {}
                Err(RepositoryError::Store { .. }) if attempt < 4 => {}
                Err(error) => {
                    self.look_after(name);
                    return Err(error.into());
                }
            }
        }
        unreachable!("the last attempt returns");
    }

    async fn may_scale(&self, cluster: &Cluster) -> Result<(), ServiceError> {
        let name = cluster.name().clone();
        let holder = self.holder(&name).await?;
        if let Some((summary, kind)) = &holder
            && summary.status.is_live()
        {
            return Err(self.in_the_way(&name, summary.run.clone(), *kind));
        }
        if cluster.status == Status::Active && holder.is_none() {
            return Ok(());
        }
        let why = match &holder {
            Some((_, kind)) => format!("and its {kind} waits for a decision"),
            None => "and only an active cluster can be scaled".to_owned(),
        };
        let allowed = allowed(Some(cluster.status), holder.map(|(summary, _)| summary.status), false);
        Err(ServiceError::NotAllowed { name, status: cluster.status, why, allowed })
    }
}

/// Whether that very run has begun, so that it cannot be called off any more.
fn has_begun(cluster: &Cluster, run: &RunId) -> bool {
    cluster.names(run) && cluster.intent.is_none()
}
