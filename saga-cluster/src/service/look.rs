//! Looking at clusters and their past.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use saga_core::journal::Record;
use saga_core::store::{Query, RunStatus, RunSummary};
use saga_core::{ExclusiveKey, RunId, Seq};

use super::inner::{Inner, allowed, cluster_of, key, key_beside, kind};
use super::narrate::Narrator;
use super::{ClusterReport, HistoryEntry, Listing, OperationKind, RunReport, ServiceError};
use crate::engine::Machine;
use crate::model::{Cluster, ClusterName, NodeName, Timestamp};
use crate::plugin::{ClusterView, Health};
use crate::saga::reason::reason;

/// How long a plugin or engine has to say how things are.
const ASK_WITHIN: Duration = Duration::from_secs(15);
const PAGE: usize = 512;

impl Inner {
    pub(super) async fn list(&self) -> Result<Listing, ServiceError> {
        let listing = self.repository().list().await?;
        let unreadable = listing.unreadable.iter().map(|error| crate::saga::chain(error)).collect();
        Ok(Listing { clusters: listing.clusters, unreadable })
    }

    pub(super) async fn show(&self, name: &ClusterName) -> Result<ClusterReport, ServiceError> {
        let record = self.repository().get(name).await?;
        let machines = self.machines(name, record.as_ref()).await;
        let holder = self.holder(name).await?;
        if record.is_none() && holder.is_none() && machines.as_ref().is_ok_and(Vec::is_empty) {
            return Err(ServiceError::NoSuchCluster { name: name.clone() });
        }
        let health = match &record {
            Some(cluster) => self.health(cluster).await,
            None => Ok(Health::default()),
        };
        let told = health.as_ref().ok().filter(|health| !health.nodes.is_empty());
        let light = told.map(|health| (health.light, health.why.clone()));
        let health = health.map(|health| health.nodes.into_iter().map(|(node, one)| (node, one.to_string())).collect());
        let status = record.as_ref().map(|one| one.status);
        let parked = holder.as_ref().is_some_and(|(one, _)| self.parked(&one.run).is_some());
        let allowed = allowed(status, holder.as_ref().map(|(one, _)| one.status), parked);
        let run = match holder {
            Some((summary, kind)) => Some(self.report(summary, kind).await?),
            None => None,
        };
        Ok(ClusterReport { name: name.clone(), record, machines, light, health, run, allowed })
    }

    /// What the engine of the record has; or, if there is no record, what all have that are configured here.
    pub(super) async fn machines(&self, name: &ClusterName, record: Option<&Cluster>) -> Result<Vec<Machine>, String> {
        let engines: Vec<_> = match record {
            Some(cluster) => {
                let engines = self.app().engines.get_key_value(cluster.spec.engine.as_str());
                engines.map(|(kind, engine)| (kind.as_str(), &**engine)).into_iter().collect()
            }
            None => self.engines().collect(),
        };
        let mut machines = Vec::new();
        for (kind, engine) in engines {
            let found = asked(engine.list(name)).await.map_err(|why| format!("engine `{kind}`: {why}"));
            machines.extend(found?);
        }
        machines.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(machines)
    }

    async fn health(&self, cluster: &Cluster) -> Result<Health, String> {
        let plugin = self.plugin(&cluster.spec.plugin).map_err(|error| error.to_string())?;
        let view = ClusterView::of(cluster);
        asked(plugin.health(&view)).await.map_err(|why| format!("the plugin: {why}"))
    }

    async fn report(&self, summary: RunSummary, kind: OperationKind) -> Result<RunReport, ServiceError> {
        let (mut why, mut residue) = (String::new(), Vec::new());
        if summary.status.is_resting() {
            let outcome = self.runs.outcome(&summary.run).await?;
            (why, residue) = (reason(&outcome), outcome.residue().to_vec());
        } else if let Some(reason) = self.parked(&summary.run) {
            why = reason.to_string();
        }
        Ok(RunReport { run: summary.run, kind, status: summary.status, reason: why, residue })
    }

    pub(super) async fn history(&self, name: &ClusterName) -> Result<Vec<HistoryEntry>, ServiceError> {
        let mut runs = self.runs_of(key(name)?).await?;
        runs.extend(self.runs_of(key_beside(name)?).await?);
        oldest_first(&mut runs);
        let mut history = Vec::new();
        for summary in &runs {
            let (kind, run) = (kind(summary)?, &summary.run);
            let mut narrator = Narrator::new(kind);
            for Record { at, event, .. } in self.journal(run).await? {
                let at = Timestamp::from_millis(at.0);
                let told = narrator.tell(&event).into_iter();
                history.extend(told.map(|what| HistoryEntry { at, run: run.clone(), kind, text: what.to_string() }));
            }
        }
        if history.is_empty() && self.repository().get(name).await?.is_none() {
            return Err(ServiceError::NoSuchCluster { name: name.clone() });
        }
        Ok(history)
    }

    /// The operations that have not ended: the cluster, what is done to it, and the run.
    pub(super) async fn unfinished(&self) -> Result<Vec<(ClusterName, OperationKind, RunId)>, ServiceError> {
        let statuses = vec![RunStatus::Running, RunStatus::Halted, RunStatus::Stuck];
        let mut runs = Vec::new();
        for saga in [self.create.name(), self.scale.name(), self.delete.name()] {
            let unfinished = Query { statuses: statuses.clone(), saga: Some(saga.clone()), ..Query::default() };
            runs.extend(self.runs_like(unfinished).await?);
        }
        oldest_first(&mut runs);
        runs.into_iter().map(|summary| Ok((cluster_of(&summary)?, kind(&summary)?, summary.run))).collect()
    }

    /// All runs that hold or held a key.
    async fn runs_of(&self, key: ExclusiveKey) -> Result<Vec<RunSummary>, ServiceError> {
        self.runs_like(Query { key: Some(key), ..Query::default() }).await
    }

    pub(super) async fn runs_like(&self, mut query: Query) -> Result<Vec<RunSummary>, ServiceError> {
        query.limit = PAGE;
        let mut runs = Vec::new();
        loop {
            let page = self.runs.list(&query).await?;
            runs.extend(page.runs);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(runs),
            }
        }
    }

    pub(super) async fn journal(&self, run: &RunId) -> Result<Vec<Record>, ServiceError> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let after = records.last().map_or(Seq::ZERO, |last| last.seq);
            let page = self.runs.read(run, after, PAGE).await?;
            let last = page.len() < PAGE;
            for encoded in page {
                let unreadable = |why: String| ServiceError::Unreadable { run: run.clone(), why };
                records.push(encoded.decode().map_err(|error| unreadable(error.to_string()))?);
            }
            if last {
                return Ok(records);
            }
        }
    }

    /// The nodes that a delete had to leave.
    pub(super) async fn left_by_delete(&self, run: &RunId) -> Result<Vec<NodeName>, ServiceError> {
        let mut narrator = Narrator::new(OperationKind::Delete);
        for record in self.journal(run).await? {
            narrator.tell(&record.event);
        }
        let mut left = narrator.left().to_vec();
        left.sort();
        Ok(left)
    }
}

fn oldest_first(runs: &mut [RunSummary]) {
    runs.sort_by(|a, b| (a.created_at, &a.run).cmp(&(b.created_at, &b.run)));
}

/// An answer, or why there is none: whoever only looks is not to hang or to fall with what they look at.
async fn asked<T, E: std::error::Error + 'static>(
    question: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, String> {
    match tokio::time::timeout(ASK_WITHIN, AssertUnwindSafe(question).catch_unwind()).await {
        Ok(Ok(answer)) => answer.map_err(|error| crate::saga::chain(&error)),
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(_) => Err(format!("no answer after {ASK_WITHIN:?}")),
    }
}
