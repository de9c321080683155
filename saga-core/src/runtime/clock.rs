//! The time of a worker.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::id::Timestamp;

/// Wall-clock time that never goes back: the system's time when the worker started, and how long that is ago by the
/// monotonic clock. It follows tokio's time, so tests can pause it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), started_at: SystemTime::now().into() }
    }

    /// A clock that says `at` now.
    #[cfg(feature = "testkit")]
    pub(crate) fn starting_at(at: Timestamp) -> Self {
        Self { started: Instant::now(), started_at: at }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.started_at.plus(self.started.elapsed())
    }

    /// The moment at which [`now`](Self::now) will have reached `at`.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.started_at)
    }
}
