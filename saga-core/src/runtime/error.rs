//! What can go wrong around a run, by operation.

use std::sync::Arc;

use crate::id::{ExclusiveKey, RunId, SagaName, StepName};
use crate::journal::JournalError;
use crate::machine::{IllegalEvent, NotAllowed};
use crate::payload::PayloadError;
use crate::plan::Fingerprint;
use crate::runtime::committer::CommitError;
use crate::store::{Refused, RunStatus, StoreError};

/// Why a run was not started. Nothing of it is durable, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The coordinator does not have this saga: after a restart it could not resume the run. Register the saga with
    /// [`CoordinatorBuilder::register`](crate::CoordinatorBuilder::register).
    #[error("saga `{saga}` version {version} is not registered with this coordinator")]
    NotRegistered {
        /// The saga.
        saga: SagaName,
        /// Its version.
        version: u32,
    },
    /// The input has no JSON form.
    #[error("the run's input: {0}")]
    Input(#[source] PayloadError),
    /// Another run holds the exclusive key. Wait for that run, cancel it, or settle it.
    #[error("run {holder} holds the exclusive key `{key}`")]
    KeyHeld {
        /// The key.
        key: ExclusiveKey,
        /// The run that holds it.
        holder: RunId,
    },
    /// A run of this id exists, and it is another one: it has another saga or another input.
    #[error("run {run} exists already, with another saga or another input")]
    IdTaken {
        /// The id.
        run: RunId,
    },
    /// The input is larger than the store takes.
    #[error("the run's input is too large: {0}")]
    TooLarge(#[source] Refused),
    /// The coordinator is shutting down, or was stopped while the run was being started: then start it again, under the
    /// same id, with the next one.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
    /// The store failed for good. Whether the run was started is not known: start it again under the same id.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store refused the run for a reason that no start should meet.
    #[error(transparent)]
    Refused(Refused),
}

impl From<CommitError> for StartError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(Refused::KeyHeld { key, holder }) => Self::KeyHeld { key, holder },
            CommitError::Refused(refused @ Refused::TooLarge { .. }) => Self::TooLarge(refused),
            CommitError::Refused(refused) => Self::Refused(refused),
            CommitError::Store(error) => Self::Store(error),
            CommitError::Closed => Self::ShuttingDown,
        }
    }
}

/// Two definitions of one saga and version were registered. Give a changed saga a new version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("saga `{saga}` version {version} was registered twice, with different structures")]
pub struct RegisterError {
    /// The saga.
    pub saga: SagaName,
    /// Its version.
    pub version: u32,
}

/// Why a coordinator could not take up the runs that it found in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Two definitions of one saga and version were registered.
    #[error(transparent)]
    RegisteredTwice(#[from] RegisterError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was set aside. Nothing of its journal was changed; all other runs go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParkReason {
    /// This build does not have the saga. Start one that does.
    #[error("this build has no saga `{saga}` version {version}; register it, or run a build that has it")]
    UnknownSaga {
        /// The saga.
        saga: SagaName,
        /// The version that the run started under.
        version: u32,
    },
    /// The saga's structure has changed under its old version. Bring the old definition back under that version, and
    /// give the new one a new version.
    #[error(
        "saga `{saga}` version {version} has another structure ({found}) than when the run started ({expected}); \
         register the old definition as version {version} and the new one under a new version"
    )]
    Changed {
        /// The saga.
        saga: SagaName,
        /// The version.
        version: u32,
        /// The structure that the run started under.
        expected: Fingerprint,
        /// The structure that is registered.
        found: Fingerprint,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Unreadable(#[from] JournalError),
    /// The journal can be read, but not as one of this saga.
    #[error("the journal does not fit the saga: {0}")]
    Illegal(#[from] IllegalEvent),
    /// The store could not read the journal.
    #[error("the store could not read the journal: {0}")]
    Store(#[source] StoreError),
    /// A record of the run is larger than the store takes. The run cannot go on as it is: make outputs and checkpoints
    /// smaller (keep large things elsewhere, and journal where they are).
    #[error("the run has something to write that the store does not take: {0}")]
    TooLarge(#[source] Refused),
    /// The driver panicked, which is a fault of this library.
    #[error("the driver of the run panicked, which is a fault of this library: {0}")]
    Internal(String),
}

/// Why the outcome of a run cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// There is no such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// The run was set aside.
    #[error("run {run} is parked: {reason}")]
    Parked {
        /// The run.
        run: RunId,
        /// Why.
        reason: Arc<ParkReason>,
    },
    /// The coordinator stopped. The run is durable, and goes on when a coordinator is started on its store.
    #[error("the coordinator stopped before run {0} came to rest; it goes on when a coordinator is started again")]
    Stopped(RunId),
    /// The run's output is not of the expected type.
    #[error("the run's output: {0}")]
    Output(#[from] PayloadError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

/// Why a run cannot be cancelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// There is no such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// The run has come to rest or ended. If it rests, an operator's verb moves it on.
    #[error("run {run} is {status}, there is nothing to cancel")]
    NotLive {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// The run was set aside.
    #[error("run {run} is parked: {reason}")]
    Parked {
        /// The run.
        run: RunId,
        /// Why.
        reason: Arc<ParkReason>,
    },
    /// The coordinator stopped before the cancellation was durable.
    #[error("the coordinator stopped before run {0} was cancelled")]
    Stopped(RunId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

/// Why a resting run was not moved on. It rests as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// There is no such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// The run's state does not allow it.
    #[error("run {run}: {why}")]
    NotAllowed {
        /// The run.
        run: RunId,
        /// Why not.
        why: NotAllowed,
    },
    /// The saga has no step of that name, or the step no such item.
    #[error("run {run} has no step `{step}`, or the step has no such item")]
    UnknownStep {
        /// The run.
        run: RunId,
        /// The name that was given.
        step: StepName,
    },
    /// The output that was given for a step is not of the step's type.
    #[error("the output given for step `{step}`: {source}")]
    Output {
        /// The step.
        step: StepName,
        /// What is wrong with it.
        source: PayloadError,
    },
    /// The run cannot be taken up.
    #[error("run {run} is parked: {reason}")]
    Parked {
        /// The run.
        run: RunId,
        /// Why.
        reason: Arc<ParkReason>,
    },
    /// The output that was given is larger than the store takes.
    #[error("the output given to run {run} is too large: {refused}")]
    TooLarge {
        /// The run.
        run: RunId,
        /// What the store says.
        refused: Refused,
    },
    /// Somebody else is moving the run on at the same moment.
    #[error("somebody else is at work on run {0}; look at it again")]
    Busy(RunId),
    /// The coordinator is shutting down.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

macro_rules! from_store_error {
    ($($error:ty),*) => {
        $(impl From<StoreError> for $error {
            fn from(error: StoreError) -> Self {
                Self::Store(Arc::new(error))
            }
        })*
    };
}
from_store_error!(OutcomeError, CancelError, OperatorError, StartError);
