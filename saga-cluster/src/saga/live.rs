//! Progress that is told and forgotten: too frequent to be journaled, and nothing hangs on it.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::{Ctx, RunId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::ClusterApp;
use crate::model::NodeName;
use crate::plugin::{OpContext, PluginError};

/// How many reports a slow listener may be behind. What it misses is older than what it gets.
const BACKLOG: usize = 1024;

/// Tells whoever listens what this process drives, and how far long calls are.
#[derive(Clone)]
pub(crate) struct Live {
    reports: broadcast::Sender<Report>,
    runs: broadcast::Sender<RunId>,
}

/// How far the work on a node is.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) run: RunId,
    pub(crate) phase: String,
    pub(crate) node: NodeName,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { reports: broadcast::channel(BACKLOG).0, runs: broadcast::channel(BACKLOG).0 }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Report> {
        self.reports.subscribe()
    }

    /// Hears of runs that are driven here: when they begin, and when they come to rest.
    pub(crate) fn listen_to_runs(&self) -> broadcast::Receiver<RunId> {
        self.runs.subscribe()
    }

    /// A run is driven here.
    pub(super) fn driven(&self, run: &RunId) {
        // Nobody may be listening.
        let _ = self.runs.send(run.clone());
    }
}

/// What a plugin has from the run: its reports go to the listeners, and it is told to stop when the run is aborted.
pub(super) struct CallContext {
    live: Live,
    run: RunId,
    phase: String,
    stop: CancellationToken,
    ctx: Ctx<ClusterApp>,
}

/// What is known of a node in the middle of a plugin's call.
#[derive(serde::Serialize)]
struct Noted<'a> {
    node: &'a NodeName,
    done: &'a str,
}

impl CallContext {
    pub(super) fn of(ctx: &Ctx<ClusterApp>) -> Self {
        Self {
            live: ctx.live.clone(),
            run: ctx.run().clone(),
            phase: ctx.step().to_string(),
            stop: ctx.cancellation_token().child_token(),
            ctx: ctx.clone(),
        }
    }

    /// Tells the plugin to stop, and gives it so long to do it.
    pub(super) async fn stop<T>(&self, work: impl Future<Output = T>, within: Duration) -> Option<T> {
        self.stop.cancel();
        tokio::time::timeout(within, work).await.ok()
    }
}

#[async_trait]
impl OpContext for CallContext {
    fn report(&self, node: &NodeName, done: u64, total: u64) {
        let (run, phase, node) = (self.run.clone(), self.phase.clone(), node.clone());
        // Nobody may be listening.
        let _ = self.live.reports.send(Report { run, phase, node, done, total });
    }

    async fn checkpoint(&self, node: &NodeName, done: &str) -> Result<(), PluginError> {
        let noted = self.ctx.checkpoint(&Noted { node, done }).await;
        noted.map_err(|error| PluginError::failed(format!("it could not be noted that {node} is {done}: {error}")))
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    async fn cancelled(&self) {
        self.stop.cancelled().await;
    }
}
