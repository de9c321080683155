//! The closed set of events.
//!
//! Variants and fields are only ever added, and added fields have a default: a journal written by an older release must
//! load. The names are part of the format (`tests/fixtures` holds one journal of each format that was ever released).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{Epoch, ExclusiveKey, ItemRef, SagaName, Seq, StepIndex, StepName, Timestamp, WorkerId};
use crate::payload::Payload;
use crate::plan::Fingerprint;

/// One event, with its place and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The place in the journal, from 1, without gaps.
    pub seq: Seq,
    /// When the event was decided, by the clock of the worker that owned the run.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run was started. Always the first event, and never another.
    RunStarted {
        /// The saga that it follows.
        saga: SagaName,
        /// The version of that saga.
        version: u32,
        /// The structure of that saga, so that a changed definition under an old version is noticed.
        fingerprint: Fingerprint,
        /// The run's input.
        input: Payload,
        /// The exclusive key that it holds until it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<ExclusiveKey>,
        /// When it is aborted if it has not ended by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// A worker took the run up (again). Every attempt in flight is over, its effect unknown.
    Resumed {
        /// The claim under which it goes on.
        epoch: Epoch,
        /// The worker.
        worker: WorkerId,
    },
    /// A step started. A single step's first attempt starts with it; a fan-out's items start by `AttemptStarted`.
    StepStarted {
        /// The step.
        step: StepIndex,
        /// Its name, for people who read a journal without the saga's code.
        name: StepName,
        /// How many items it has, if it is a fan-out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<u32>,
    },
    /// An attempt of an item started: any but the first of a single step.
    AttemptStarted {
        /// The item.
        of: ItemRef,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// An action recorded progress.
    Checkpointed {
        /// The item.
        of: ItemRef,
        /// What it recorded.
        value: Payload,
    },
    /// An attempt failed.
    AttemptFailed {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
        /// What went wrong.
        error: Failure,
        /// When it is tried again; never, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The outside world was asked whether an attempt had its effect.
    Probed {
        /// The item.
        of: ItemRef,
        /// What it answered.
        answer: ProbeAnswer,
    },
    /// An item's action succeeded.
    Succeeded {
        /// The item.
        of: ItemRef,
        /// Its output.
        output: Payload,
    },
    /// The run stopped going forward; what is in flight is awaited.
    AbortBegan {
        /// Why.
        cause: Cause,
    },
    /// The guard was asked whether the subject is still there, and knew.
    SubjectChecked {
        /// Whether it is gone.
        gone: bool,
    },
    /// All that was in flight has settled, nothing halts the run: it is rolled back from here.
    RollbackBegan,
    /// A compensation's attempt started.
    UndoStarted {
        /// The item.
        of: ItemRef,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// A compensation's attempt failed.
    UndoFailed {
        /// The item.
        of: ItemRef,
        /// The number of the attempt.
        attempt: u32,
        /// What went wrong.
        error: Failure,
        /// When it is tried again; never, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// An item was compensated.
    Undone {
        /// The item.
        of: ItemRef,
    },
    /// The run came to rest.
    Rested {
        /// How.
        rest: Rest,
    },
    /// The finalizer failed; it is tried again.
    FinalizerFailed {
        /// What went wrong.
        error: Failure,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// The finalizer was told of the rest that came before.
    Finalized,
    /// An operator moved a resting run on.
    Operated {
        /// What was asked for.
        verb: Verb,
        /// By whom, and why.
        by: Actor,
    },
}

/// Who did something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Who: a person, or a program.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Actor {
    /// Names an actor and their reason.
    #[must_use]
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// Why a run stopped going forward.
#[derive(Debug, Clone, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A step failed for good.
    StepFailed {
        /// The step's name.
        step: StepName,
        /// The item that failed.
        of: ItemRef,
        /// What went wrong.
        error: Failure,
    },
    /// Somebody cancelled the run.
    Cancelled {
        /// Who, and why.
        by: Actor,
    },
    /// The run's deadline passed.
    DeadlinePassed,
    /// What the run acts on exists no more.
    SubjectGone,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepFailed { step, error, .. } => write!(f, "step `{step}` failed: {error}"),
            Self::Cancelled { by } => write!(f, "cancelled by {by}"),
            Self::DeadlinePassed => f.write_str("the deadline passed"),
            Self::SubjectGone => f.write_str("the subject of the run is gone"),
        }
    }
}

/// What an attempt's error says about its effect, and whether it may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The effect is unknown; it is tried again as the policy allows.
    Failed,
    /// The effect is unknown; it is not tried again.
    Fatal,
    /// This attempt changed nothing; it is not tried again.
    Rejected,
}

/// Where a failure came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureOrigin {
    /// The action returned an error.
    #[default]
    Returned,
    /// The action panicked.
    Panicked,
    /// The attempt took longer than its timeout.
    TimedOut,
    /// The worker died, or was stopped, while the attempt ran.
    Interrupted,
    /// An input or output has another type than its payload.
    Undecodable,
}

/// An error as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// What it means for effect and retry.
    pub kind: FailureKind,
    /// Where it came from.
    #[serde(default)]
    pub origin: FailureOrigin,
    /// What went wrong, with its chain of sources.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The answer to "did it happen?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// It happened, and this is the output.
    Done(Payload),
    /// It did not happen.
    NotDone,
    /// It cannot be told.
    Unknown,
}

/// How a run came to rest.
#[derive(Debug, Clone, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Every step succeeded.
    Completed,
    /// All that had to be undone was undone.
    RolledBack,
    /// A non-compensable step failed with its effect unknown; nothing was undone.
    Halted {
        /// The item that failed.
        at: ItemRef,
        /// What went wrong.
        error: Failure,
    },
    /// Something could not be undone, or a forward step could not be finished.
    Stuck,
    /// An operator gave the run up.
    Abandoned {
        /// Who, and why.
        by: Actor,
    },
}

/// What an operator can ask of a resting run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verb {
    /// Halted: try the failed steps again, then go forward. Stuck: try the failed compensations again.
    Retry,
    /// Count an item as settled by hand: as succeeded with `output` (halted), or as undone (stuck).
    Skip {
        /// The item.
        of: ItemRef,
        /// The output that the steps after it get.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        output: Option<Payload>,
    },
    /// Roll a halted run back on purpose.
    RollBack,
    /// Give the run up as it stands.
    Abandon,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Skip { .. } => "skip",
            Self::RollBack => "roll back",
            Self::Abandon => "abandon",
        })
    }
}

/// A field that is there is a value, even if the value is `null`; one that is not there is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}
