//! What can be chosen when a run is started, and when a coordinator ends.

use std::time::Duration;

use crate::id::{ExclusiveKey, RunId};

/// How a coordinator comes to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Runs are driven until they come to rest. New ones are refused.
    Drain,
    /// Nothing new is begun. What is in flight may end within this time, and is journaled; what does not is stopped where
    /// it is, and runs again when the run is taken up.
    Park {
        /// How long to wait for what is in flight.
        grace: Duration,
    },
}

/// How a run is started, where the defaults do not do.
///
/// ```
/// use saga_core::StartOptions;
/// use std::time::Duration;
///
/// let options = StartOptions::new()
///     .id("create-cluster-42".parse()?)
///     .key("cluster/42".parse()?)
///     .deadline(Duration::from_secs(3600));
/// # let _ = options;
/// # Ok::<(), saga_core::InvalidId>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct StartOptions {
    pub(super) id: Option<RunId>,
    pub(super) key: Option<ExclusiveKey>,
    pub(super) deadline: Option<Duration>,
}

impl StartOptions {
    /// The defaults: a generated id, no exclusive key, no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// The run's id. Starting the same saga with the same input under the same id again gives the same run.
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// The exclusive key that the run holds until it ends (so also while it rests).
    pub fn key(mut self, key: ExclusiveKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The run is aborted if it still goes forward after this time.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}
