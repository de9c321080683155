//! What all clones of a service share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::store::{RunStatus, RunSummary};
use saga_core::{ExclusiveKey, ParkReason, Payload, RunId, Seq, StartError, StartOptions};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::runs::Runs;
use super::{OperationKind, ServiceError};
use crate::model::{Cluster, ClusterId, ClusterName};
use crate::repository::{ClusterRepository, RepositoryError};
use crate::saga::create::{self, CreateSaga};
use crate::saga::delete::{self, DeleteSaga};
use crate::saga::scale::{self, ScaleSaga};
use crate::saga::{ClusterApp, record};

/// How often a change of the record is tried before the caller is told that it failed.
pub(super) const WRITE_ATTEMPTS: u32 = 4;
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

pub(super) struct Inner {
    pub(super) runs: Runs,
    pub(super) app: Arc<ClusterApp>,
    pub(super) create: CreateSaga,
    pub(super) scale: ScaleSaga,
    pub(super) delete: DeleteSaga,
    /// Operations on one cluster begin one after the other in this process, which saves them from undoing each other's
    /// work. That nothing goes wrong if they don't is the business of the record and of the store of runs.
    pub(super) beginning: Mutex<BTreeMap<ClusterName, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) stop: CancellationToken,
    /// What goes on apart from those who ask. All of it has the repository.
    pub(super) tasks: TaskTracker,
}

impl Inner {
    pub(super) fn app(&self) -> &ClusterApp {
        &self.app
    }

    pub(super) fn repository(&self) -> &dyn ClusterRepository {
        &*self.app().repository
    }

    /// Waits until nobody else begins something on that cluster.
    pub(super) async fn alone_on(&self, name: &ClusterName) -> OwnedMutexGuard<()> {
        let lock = {
            let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
            beginning.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(beginning.entry(name.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// The run that holds the cluster, live or resting.
    pub(super) async fn holder(&self, name: &ClusterName) -> Result<Option<(RunSummary, OperationKind)>, ServiceError> {
        let Some(run) = self.runs.holder(&key(name)?).await? else { return Ok(None) };
        let Some(summary) = self.runs.summary(&run).await? else { return Ok(None) };
        let kind = kind(&summary)?;
        Ok(Some((summary, kind)))
    }

    /// Why the run that holds the cluster cannot be taken up here, if that is so.
    pub(super) fn parked(&self, run: &RunId) -> Option<Arc<ParkReason>> {
        self.runs.parked(run)
    }

    /// Whether a run follows a saga of this build.
    pub(super) fn knows(&self, summary: &RunSummary) -> bool {
        let plans = [self.create.plan(), self.scale.plan(), self.delete.plan()];
        plans.iter().any(|plan| {
            (plan.saga(), plan.version(), plan.fingerprint()) == (&summary.saga, summary.version, summary.fingerprint)
        })
    }

    /// Why nothing else can be done to a cluster while that run holds it.
    pub(super) fn in_the_way(&self, name: &ClusterName, run: RunId, kind: OperationKind) -> ServiceError {
        match self.parked(&run) {
            Some(reason) => ServiceError::Parked { name: name.clone(), run, reason },
            None => ServiceError::Busy { name: name.clone(), run, kind },
        }
    }

    /// The input that a run was started with.
    pub(super) async fn input(&self, run: &RunId) -> Result<Payload, ServiceError> {
        let unreadable = |why: String| ServiceError::Unreadable { run: run.clone(), why };
        let first = self.runs.read(run, Seq::ZERO, 1).await?;
        let first = first.first().ok_or_else(|| unreadable("it is empty".to_owned()))?;
        match first.decode().map_err(|error| unreadable(error.to_string()))?.event {
            saga_core::journal::Event::RunStarted { input, .. } => Ok(input),
            _ => Err(unreadable("it does not begin with a start".to_owned())),
        }
    }

    /// Changes the record of that very cluster, or returns `None` if it is gone. A write of which it is not known
    /// whether it went through is made again: `change` must not mind.
    pub(super) async fn write(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        mut change: impl FnMut(&mut Cluster) -> Result<(), RepositoryError> + Send,
    ) -> Result<Option<Cluster>, RepositoryError> {
        let mut delay = FIRST_DELAY;
        for _ in 1..WRITE_ATTEMPTS {
            match record::change(self.repository(), name, id, &mut change).await {
                Err(RepositoryError::Store { .. }) => tokio::time::sleep(delay).await,
                done => return done,
            }
            delay *= 2;
        }
        record::change(self.repository(), name, id, &mut change).await
    }

    /// Adds a record, and makes sure that it is there.
    pub(super) async fn insert(&self, cluster: &Cluster) -> Result<(), RepositoryError> {
        let mut delay = FIRST_DELAY;
        for attempt in 1.. {
            match self.repository().insert(cluster.clone()).await {
                Ok(_) => return Ok(()),
                Err(error @ RepositoryError::AlreadyExists { .. }) => {
                    // It may be there because an attempt before this one had its effect.
                    let ours = record::find(self.repository(), cluster.name(), &cluster.id).await?.is_some();
                    return if ours { Ok(()) } else { Err(error) };
                }
                Err(RepositoryError::Store { .. }) if attempt < WRITE_ATTEMPTS => tokio::time::sleep(delay).await,
                Err(error) => return Err(error),
            }
            delay *= 2;
        }
        unreachable!("the last attempt returns");
    }

    /// Spawns work that goes on whoever waits for it, until the service ends: then nothing comes of it.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => None,
                done = work => Some(done),
            }
        })
    }

    /// Mends in the background what could not be mended at once: no cluster stays in a status that no run stands for.
    pub(super) fn look_after(self: &Arc<Self>, name: &ClusterName) -> JoinHandle<Option<()>> {
        let (inner, name) = (Arc::clone(self), name.clone());
        self.spawn(async move { inner.mend(&name).await })
    }

    /// Mends a cluster, however long that takes.
    async fn mend(&self, name: &ClusterName) {
        let mut delay = FIRST_DELAY;
        loop {
            let mended = {
                let _alone = self.alone_on(name).await;
                self.repair(name).await
            };
            match mended {
                Ok(()) | Err(ServiceError::Stopped) => return,
                Err(error) => warn!(cluster = %name, %error, "a cluster cannot be mended yet"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// How a run is started: under its id, holding the cluster.
    pub(super) fn options(name: &ClusterName, run: &RunId) -> Result<StartOptions, ServiceError> {
        Ok(StartOptions::new().id(run.clone()).key(key(name)?))
    }

    /// Why a run was not started, to whoever asked for it.
    pub(super) async fn not_started(&self, name: &ClusterName, error: StartError) -> ServiceError {
        match error {
            StartError::ShuttingDown => ServiceError::Stopped,
            StartError::KeyHeld { holder, .. } => match self.holder(name).await {
                Ok(Some((summary, kind))) => self.in_the_way(name, summary.run, kind),
                Ok(None) => self.in_the_way(name, holder, OperationKind::Delete),
                Err(error) => error,
            },
            error => error.into(),
        }
    }
}

/// Whether a run may have been started although its start failed.
pub(super) fn may_have_started(error: &StartError) -> bool {
    matches!(error, StartError::Store(_) | StartError::Refused(_) | StartError::ShuttingDown)
}

/// Behind the name of a cluster, in the key of a delete that passes by a parked run. No cluster's name has a slash.
const BESIDE: &str = "/beside";

/// What every run on a cluster holds.
pub(super) fn key(name: &ClusterName) -> Result<ExclusiveKey, ServiceError> {
    Ok(ExclusiveKey::new(format!("cluster/{name}"))?)
}

/// What a delete holds that passes by a run which cannot be taken up, and so keeps the cluster's own key.
pub(super) fn key_beside(name: &ClusterName) -> Result<ExclusiveKey, ServiceError> {
    Ok(ExclusiveKey::new(format!("cluster/{name}{BESIDE}"))?)
}

/// The cluster whose key that is.
pub(super) fn cluster_of(summary: &RunSummary) -> Result<ClusterName, ServiceError> {
    let name = summary.key.as_ref().and_then(|key| key.as_str().strip_prefix("cluster/"));
    let name = name.map(|name| name.strip_suffix(BESIDE).unwrap_or(name));
    name.and_then(|name| name.parse().ok()).ok_or_else(|| ServiceError::Unreadable {
        run: summary.run.clone(),
        why: "it does not work on a cluster".to_owned(),
    })
}

/// What a run does.
pub(super) fn kind(summary: &RunSummary) -> Result<OperationKind, ServiceError> {
    match summary.saga.as_str() {
        create::NAME => Ok(OperationKind::Create),
        scale::NAME => Ok(OperationKind::Scale),
        delete::NAME => Ok(OperationKind::Delete),
        other => Err(ServiceError::Unreadable { run: summary.run.clone(), why: format!("it follows saga `{other}`") }),
    }
}

/// What can be asked for, given the record's status and the run that holds the cluster.
pub(super) fn allowed(status: Option<crate::model::Status>, run: Option<RunStatus>, parked: bool) -> Vec<String> {
    if parked {
        return vec!["delete --force".to_owned()];
    }
    use crate::model::Status::{Active, Error};
    let mut allowed = Vec::new();
    if run.is_some_and(RunStatus::is_resting) {
        allowed.extend(["retry", "abandon"]);
    } else if status == Some(Active) && run.is_none() {
        allowed.push("scale");
    }
    allowed.push("delete");
    if status == Some(Error) || run.is_some_and(RunStatus::is_resting) {
        allowed.push("delete --force");
    }
    allowed.into_iter().map(str::to_owned).collect()
}
