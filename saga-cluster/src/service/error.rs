//! What can go wrong when the service is asked for something.

use std::sync::Arc;

use saga_core::store::StoreError;
use saga_core::{CancelError, InvalidId, OperatorError, OutcomeError, ParkReason, RecoverError, RunId, StartError};
use thiserror::Error;

use super::OperationKind;
use crate::engine::EngineError;
use crate::model::{ClusterName, KindName, ScaleError, SpecError, Status};
use crate::plugin::PluginError;
use crate::repository::RepositoryError;

/// Why something that was asked of the service was not done, or cannot be told.
///
/// What a call is refused for (the first group) was noticed before anything was touched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The spec is wrong. Mend what it names.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The cluster cannot be scaled like that. Mend what it names.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The plugin refuses the spec, or the scale. Its message says why.
    #[error("the plugin refuses it")]
    Refused(#[source] PluginError),
    /// The engine refuses the spec, or the scale. Its message says why.
    #[error("the engine refuses it")]
    RefusedByEngine(#[source] EngineError),
    /// The service has no such engine. Correct the spec, or start a service that has it.
    #[error("there is no engine of the kind `{kind}` here; known: {}", kinds(.known))]
    UnknownEngine {
        /// The kind that was asked for.
        kind: KindName,
        /// The kinds that there are.
        known: Vec<String>,
    },
    /// The service has that engine, and it is not configured here. Its message says what is missing.
    #[error("the engine `{kind}` cannot be used here")]
    EngineNotConfigured {
        /// The kind that was asked for.
        kind: KindName,
        /// What is missing.
        source: EngineError,
    },
    /// The service has no such plugin. Correct the spec, or start a service that has it.
    #[error("there is no plugin of the kind `{kind}` here; known: {}", kinds(.known))]
    UnknownPlugin {
        /// The kind that was asked for.
        kind: KindName,
        /// The kinds that there are.
        known: Vec<String>,
    },
    /// There is no such cluster: neither a record, nor a machine, nor a run. Look at the list.
    #[error("there is no cluster `{name}`")]
    NoSuchCluster {
        /// The name that was asked for.
        name: ClusterName,
    },
    /// A cluster of that name exists. Choose another name, or delete it first.
    #[error("there is a cluster `{name}` already")]
    AlreadyExists {
        /// The name that is taken.
        name: ClusterName,
    },
    /// Another operation works on the cluster. Wait for it, or delete the cluster, which is always possible.
    #[error("cluster `{name}` is busy: {kind} (run {run})")]
    Busy {
        /// The cluster.
        name: ClusterName,
        /// The run that works on it.
        run: RunId,
        /// What that run does.
        kind: OperationKind,
    },
    /// The run that holds the cluster was set aside, because this service cannot take it up. Start a service that can (the
    /// error says what it needs), or delete the cluster by force.
    #[error("the run {run}, which holds cluster `{name}`, cannot be taken up: {reason}")]
    Parked {
        /// The cluster.
        name: ClusterName,
        /// The run that holds it.
        run: RunId,
        /// Why it cannot be taken up.
        reason: Arc<ParkReason>,
    },
    /// The cluster's state does not allow it; the error says what is allowed instead.
    #[error("cluster `{name}` is {status}, {why}; allowed: {}", .allowed.join(", "))]
    NotAllowed {
        /// The cluster.
        name: ClusterName,
        /// Its status.
        status: Status,
        /// Why it is not allowed.
        why: String,
        /// What is.
        allowed: Vec<String>,
    },

    /// Something else was asked of the cluster meanwhile, by another process. Look at the cluster again.
    #[error("cluster `{name}` is not as it was when this was asked for: something else was asked of it meanwhile")]
    Outdated {
        /// The cluster.
        name: ClusterName,
    },

    /// The repository failed. Whether a change was made is looked after by the service; ask again later.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The engine failed to answer a question. Ask again later.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run that is in the way was not cancelled.
    #[error(transparent)]
    Cancel(#[from] CancelError),
    /// The resting run was not moved on.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// It cannot be told how a run ended.
    #[error(transparent)]
    Outcome(OutcomeError),
    /// The store's unfinished runs were not taken up, so the service did not start.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The store of the runs failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// A run's journal has something that this build cannot read. Use the build that wrote it.
    #[error("the journal of run {run} cannot be read: {why}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        why: String,
    },
    /// A name that was kept outside of this service is none.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The service was shut down, or dropped, in the middle of it. What was begun goes on when one is started again.
    #[error("the service was stopped; what was begun goes on when it is started again")]
    Stopped,
}

fn kinds(kinds: &[String]) -> String {
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
}

// The store is closed when the service ends, and at no other time.
impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Stopped,
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<OutcomeError> for ServiceError {
    fn from(error: OutcomeError) -> Self {
        match error {
            OutcomeError::Stopped(_) => Self::Stopped,
            OutcomeError::Store(error) if matches!(*error, StoreError::Closed) => Self::Stopped,
            error => Self::Outcome(error),
        }
    }
}
