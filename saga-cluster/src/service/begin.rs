//! Beginning to create or to scale.
//!
//! The run's id is chosen first. Then the record says that this run works on it, then the run is started. A service
//! that dies in between leaves a record that names a run which does not exist: [`repair`](super::repair) settles that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use saga_core::{Actor, RunId};
use tracing::warn;

use super::inner::{Inner, allowed, may_have_started};
use super::{OperationKind, ServiceError};
use crate::model::{Cluster, ClusterName, ClusterSpec, KindName, ScalePlan, ScaleRequest, Status, plan_scale};
use crate::plugin::{Plugin, PluginError};
use crate::repository::RepositoryError;
use crate::saga::order::{CreateOrder, ScaleOrder};

/// A run that was begun, and what it does.
pub(super) type Begun = (RunId, OperationKind);

impl Inner {
    pub(super) async fn create(self: Arc<Self>, spec: ClusterSpec, by: Actor) -> Result<Begun, ServiceError> {
        spec.check()?;
        self.has_engine(&spec.engine)?;
        let plugin = self.plugin(&spec.plugin)?;
        asked(|| plugin.validate(&spec))?;
        let name = spec.name.clone();
        let _alone = self.alone_on(&name).await;
        if let Some((summary, kind)) = self.holder(&name).await? {
            return Err(self.in_the_way(&name, summary.run, kind));
        }
        let run = RunId::generate();
        let mut cluster = Cluster::new(spec);
        cluster.live_run = Some(run.to_string());
        cluster.status_description = format!("asked for by {by}");
        if let Err(error) = self.insert(&cluster).await {
            if matches!(error, RepositoryError::AlreadyExists { .. }) {
                return Err(ServiceError::AlreadyExists { name });
            }
            // It may be there all the same.
            self.look_after(&name);
            return Err(error.into());
        }
        match self.start_create(&cluster, &run, by).await {
            Ok(()) => Ok((run, OperationKind::Create)),
            Err(error) => {
                self.look_after(&name);
                Err(error)
            }
        }
    }

    /// Starts the run that a record in status Creating names. If it certainly was not started, the record goes.
    pub(super) async fn start_create(&self, cluster: &Cluster, run: &RunId, by: Actor) -> Result<(), ServiceError> {
        let name = cluster.name();
        let order = CreateOrder::of(cluster, by);
        let started = self.coordinator.start_with(&self.create, order, Self::options(name, run)?).await;
        let Err(error) = started else { return Ok(()) };
        if !may_have_started(&error)
            && let Err(error) = self.repository().remove(name).await
        {
            warn!(cluster = %name, %error, "the record of a create that was not started could not be removed yet");
        }
        Err(self.not_started(name, error).await)
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
        let (cluster, plan) = self.choose_nodes(&name, &request, &run, &by).await?;
        let before = cluster.status_description.clone();
        let order = ScaleOrder::of(&cluster, plan, by);
        let started = self.coordinator.start_with(&self.scale, order, Self::options(&name, &run)?).await;
        let Err(error) = started else { return Ok((run, OperationKind::Scale)) };
        let taken_back = if may_have_started(&error) { Ok(()) } else { self.not_scaled(&cluster, &run, &before).await };
        if may_have_started(&error) || taken_back.is_err() {
            self.look_after(&name);
        }
        Err(self.not_started(&name, error).await)
    }

    /// Decides which nodes go and come, and marks the record, in one compare-and-set. Returns the record as it was
    /// decided upon. Once it is marked, nothing is ever chosen again.
    async fn choose_nodes(
        self: &Arc<Self>,
        name: &ClusterName,
        request: &ScaleRequest,
        run: &RunId,
        by: &Actor,
    ) -> Result<(Cluster, ScalePlan), ServiceError> {
        let mut chosen: Option<(Cluster, ScalePlan)> = None;
        for attempt in 1.. {
            let cluster = self.repository().get(name).await;
            let cluster = cluster?.ok_or_else(|| ServiceError::NoSuchCluster { name: name.clone() })?;
            if cluster.live_run.as_deref() == Some(run.as_str())
                && let Some(chosen) = chosen
            {
                return Ok(chosen); // the write before this look had its effect
            }
            self.may_scale(&cluster).await?;
            let plan = plan_scale(&cluster, request)?;
            self.has_engine(&cluster.spec.engine)?;
            let plugin = self.plugin(&cluster.spec.plugin)?;
            asked(|| plugin.validate_scale(&cluster, &plan))?;
            let mut marked = cluster.clone();
            marked.reserve(plan.add().iter().map(|node| &node.name));
            marked.transition(Status::Scaling, format!("asked for by {by}")).map_err(RepositoryError::from)?;
            marked.live_run = Some(run.to_string());
            match self.repository().update(cluster.version, marked).await {
                Ok(_) => return Ok((cluster, plan)),
                Err(RepositoryError::Conflict { .. }) => chosen = None,
                Err(RepositoryError::Store { .. }) if attempt < 4 => chosen = Some((cluster, plan)),
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

    /// The record of a scale that was certainly not started is as before.
    pub(super) async fn not_scaled(&self, cluster: &Cluster, run: &RunId, why: &str) -> Result<(), ServiceError> {
        let written = self.write(cluster.name(), &cluster.id, |cluster| {
            if cluster.live_run.as_deref() == Some(run.as_str()) {
                cluster.transition(Status::Active, why)?;
                cluster.live_run = None;
            }
            Ok(())
        });
        Ok(written.await.map(drop)?)
    }

    pub(super) fn has_engine(&self, kind: &KindName) -> Result<(), ServiceError> {
        let engines = &self.app().engines;
        if engines.contains_key(kind.as_str()) {
            return Ok(());
        }
        Err(ServiceError::UnknownEngine { kind: kind.clone(), known: engines.keys().cloned().collect() })
    }

    pub(super) fn plugin(&self, kind: &KindName) -> Result<Arc<dyn Plugin>, ServiceError> {
        let plugins = &self.app().plugins;
        let plugin = plugins.get(kind.as_str()).cloned();
        plugin
            .ok_or_else(|| ServiceError::UnknownPlugin { kind: kind.clone(), known: plugins.keys().cloned().collect() })
    }
}

/// A plugin's opinion. One that panics has none, which is no yes.
fn asked(validate: impl FnOnce() -> Result<(), PluginError>) -> Result<(), ServiceError> {
    let opinion = catch_unwind(AssertUnwindSafe(validate));
    let opinion = opinion.unwrap_or_else(|_| Err(PluginError::fatal("the plugin panicked")));
    opinion.map_err(ServiceError::Refused)
}
