//! The runtime: commits what the machine decides, then acts on it.
//!
//! ```text
//!  Coordinator ── start, cancel, operate, recover ──▶ Driver (one per run in flight)
//!                                                       │  observe → evolve → decide   (machine)
//!                                                       │  append ──▶ Committer ──▶ Store   (one sync, many runs)
//!                                                       ▼  then: run, probe, undo, finalize   (execute)
//! ```

mod builder;
mod cancel;
mod clock;
mod committer;
mod coordinator;
mod core;
mod driver;
mod error;
mod events;
mod execute;
mod follow;
mod handle;
mod metrics;
mod operator;
mod options;
mod panics;
mod recovery;
mod registry;
mod start;

pub use builder::CoordinatorBuilder;
pub use coordinator::Coordinator;
pub use error::{CancelError, OperatorError, OutcomeError, ParkReason, RecoverError, StartError};
pub use handle::RunHandle;
pub use options::{Shutdown, StartOptions};
pub use registry::ParkedRun;
