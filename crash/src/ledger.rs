//! What really happened in the world, written down by those who did it, as they did it.

use saga_core::{Epoch, RunId, StepName};
use serde::{Deserialize, Serialize};

use crate::log::Log;

/// The ledger of a world.
pub(crate) type Ledger = Log<Entry>;

/// Something that a worker did, or is about to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// By the worker's clock, in microseconds since the Unix epoch. For people: checks go by the order of entries.
    pub(crate) at: u64,
    pub(crate) worker: String,
    pub(crate) run: RunId,
    pub(crate) step: StepName,
    pub(crate) item: u32,
    /// The idempotency key, under which the effect is made and unmade.
    pub(crate) key: String,
    pub(crate) epoch: Epoch,
    pub(crate) attempt: u32,
    pub(crate) act: Act,
    pub(crate) mark: Mark,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// An action.
    Do,
    /// A compensation.
    Undo,
    /// A probe.
    Ask,
    /// The finalizer.
    Tell,
}

/// How far it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mark {
    Begin,
    /// A checkpoint is durable, as far as the worker was told.
    Checkpoint,
    /// It is done. `fresh`: it changed something; otherwise somebody had done it before.
    Done {
        fresh: bool,
    },
    /// The attempt ends with an error that leaves its effect unknown.
    Failed,
    /// The attempt ends with an error that says that it changed nothing.
    Rejected,
}

impl Entry {
    pub(crate) fn is_done(&self, act: Act) -> bool {
        self.act == act && matches!(self.mark, Mark::Done { .. })
    }

    pub(crate) fn begins(&self, act: Act) -> bool {
        self.act == act && self.mark == Mark::Begin
    }
}
