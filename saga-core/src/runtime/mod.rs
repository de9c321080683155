//! The runtime: commits what the machine decides, then acts on it.
//!
//! ```text
//!  Coordinator ── start, cancel, operate, recover ──▶ Driver (one per run in flight)
//!                                                       │  observe → evolve → decide   (machine)
//!                                                       │  append ──▶ Committer ──▶ Store   (one sync, many runs)
//!                                                       ▼  then: run, probe, undo, finalize   (execute)
//! ```

mod clock;
mod committer;
mod coordinator;
mod driver;
mod error;
mod execute;
mod handle;
mod metrics;
mod operator;
mod recovery;
mod registry;

pub use coordinator::{Coordinator, CoordinatorBuilder, Shutdown, StartOptions};
pub use error::{CancelError, OperatorError, OutcomeError, ParkReason, RecoverError, StartError};
pub use handle::RunHandle;
pub use registry::ParkedRun;
