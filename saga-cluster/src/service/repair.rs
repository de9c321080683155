//! Records that say that something works on them, while nothing does.
//!
//! They come about when a process dies between a write to the repository and one to the store of runs, or when one of
//! the two answers that it failed. Each is settled so that what was asked for goes on, or is told to have ended.
//!
//! Another process may be about to do the same, or be the very one that was about to begin. That does no harm: what is
//! started here is the same run that it would start, and what is called off here never begins there
//! ([`begin`](super::begin)). So nobody has to know who is alive; that records are looked at twice before they are mended
//! only saves work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use saga_core::store::RunSummary;
use saga_core::{Actor, Outcome, Payload, PayloadError, RunId};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::inner::{Inner, kind};
use super::{OperationKind, ServiceError};
use crate::model::{Cluster, ClusterId, ClusterName, Intended, Intent, Status};
use crate::saga::settle;

const NOT_BEGUN: &str = "a scale was asked for, but the service stopped before it began; nothing was touched";

/// How often a worker looks for records that nobody minds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long it takes at most to tell how a run rests.
const AT_REST: Duration = Duration::from_secs(5);

impl Inner {
    /// Settles the record, if no run stands for its status.
    pub(super) async fn repair(&self, name: &ClusterName) -> Result<(), ServiceError> {
        let Some(cluster) = self.repository().get(name).await? else { return Ok(()) };
        if !in_transition(&cluster) {
            return Ok(());
        }
        let run = cluster.live_run.as_deref().map(RunId::new).transpose()?;
        let summary = match &run {
            Some(run) => self.runs.summary(run).await?,
            None => None,
        };
        match (summary, run) {
            (Some(summary), _) if summary.status.is_live() => Ok(()),
            (Some(summary), _) => self.tell(&cluster, summary).await,
            (None, Some(run)) if cluster.intent.is_some() => {
                info!(cluster = %name, status = %cluster.status, %run, "the record promises a run that was not started yet");
                self.keep_promise(&cluster, &run).await.map(drop)
            }
            (None, _) => self.promise_again(&cluster).await,
        }
    }

    /// The record says that something works on it, but neither what nor for whom: an earlier release wrote it, or somebody
    /// who is not one of us. What can be begun is promised, and begun; a scale is not, as nobody knows which nodes it chose.
    async fn promise_again(&self, cluster: &Cluster) -> Result<(), ServiceError> {
        let (name, version) = (cluster.name(), cluster.version);
        info!(cluster = %name, status = %cluster.status, "nothing works on a cluster whose record says so");
        let by = Actor::new("saga-cluster", "it was asked for, and the service stopped before it began");
        let what = match cluster.status {
            Status::Creating => Intended::Create,
            Status::Deleting => Intended::Delete { force: false },
            Status::Active | Status::Scaling | Status::Error => {
                let mut active = cluster.clone();
                active.transition(Status::Active, NOT_BEGUN).map_err(crate::repository::RepositoryError::from)?;
                active.let_go();
                self.repository().update(version, active).await?;
                return Ok(());
            }
        };
        let run = match cluster.live_run.as_deref() {
            Some(run) => RunId::new(run)?,
            None => RunId::generate(),
        };
        let mut promised = cluster.clone();
        promised.promise(&run, Intent { by, what });
        let promised = self.repository().update(version, promised).await?;
        self.keep_promise(&promised, &run).await.map(drop)
    }

    /// Makes the record say what its run does: that it rests, or that a scale goes on after all.
    ///
    /// Another process may move the run on at the same time. So it is looked at again after each word; the last word is
    /// true.
    pub(super) async fn tell(&self, cluster: &Cluster, mut summary: RunSummary) -> Result<(), ServiceError> {
        let run = summary.run.clone();
        let kind = kind(&summary)?;
        loop {
            match (summary.status.is_live(), kind) {
                (false, _) => {
                    // If it was moved on since, this would wait for its next rest.
                    if let Ok(end) = tokio::time::timeout(AT_REST, self.runs.outcome(&run)).await {
                        self.settle(kind, &run, &end?).await?;
                    }
                }
                (true, OperationKind::Scale) => self.mark_retried(cluster, &run, "tried again").await?,
                (true, _) => {}
            }
            let Some(now) = self.runs.summary(&run).await? else { return Ok(()) };
            let same = if now.status.is_live() { summary.status.is_live() } else { now.seq == summary.seq };
            if same {
                return Ok(());
            }
            summary = now;
        }
    }

    async fn settle(&self, kind: OperationKind, run: &RunId, end: &Outcome<Payload>) -> Result<(), ServiceError> {
        let input = self.input(run).await?;
        let unreadable = |error: PayloadError| ServiceError::Unreadable { run: run.clone(), why: error.to_string() };
        match kind {
            OperationKind::Create => {
                settle::create(self.app(), &input.decode().map_err(unreadable)?, run, end).await?;
            }
            OperationKind::Scale => {
                settle::scale(self.app(), &input.decode().map_err(unreadable)?, run, end).await?;
            }
            OperationKind::Delete => {
                settle::delete(self.app(), &input.decode().map_err(unreadable)?, run, end).await?;
            }
        }
        Ok(())
    }

    /// Looks again and again for records that nobody minds. For workers: a process that does not drive runs may be gone
    /// the next moment.
    pub(super) async fn keep_watch(self: Arc<Self>) {
        let mut seen: HashMap<ClusterId, u64> = HashMap::new();
        let mut mending: HashMap<ClusterName, JoinHandle<Option<()>>> = HashMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let listing = match self.repository().list().await {
                Ok(listing) => listing,
                Err(error) => {
                    warn!(%error, "the records cannot be looked at; tried again");
                    continue;
                }
            };
            mending.retain(|_, task| !task.is_finished());
            let unsettled: Vec<Cluster> = listing.clusters.into_iter().filter(in_transition).collect();
            for cluster in &unsettled {
                let unchanged = seen.get(&cluster.id) == Some(&cluster.version);
                if unchanged && !mending.contains_key(cluster.name()) {
                    mending.insert(cluster.name().clone(), self.look_after(cluster.name()));
                }
            }
            seen = unsettled.into_iter().map(|cluster| (cluster.id, cluster.version)).collect();
        }
    }
}

/// Whether its status says that something works on it.
pub(super) fn in_transition(cluster: &Cluster) -> bool {
    matches!(cluster.status, Status::Creating | Status::Scaling | Status::Deleting)
}
