//! The runtime: commits what the machine decides, then acts on it.
//!
//! ```text
//!  Client ── start, cancel, operate ─┐                      (drives nothing: leaves runs to workers, by the store)
//!  Coordinator ── the same, claims ──┴──▶ Driver (one per run in flight)
//!                                                       │  observe → evolve → decide   (machine)
//!                                                       │  append ──▶ Committer ──▶ Store   (one sync, many runs)
//!                                                       ▼  then: run, probe, undo, finalize   (execute)
//! ```

mod attempt;
mod builder;
mod cancel;
mod claims;
mod client;
mod clock;
mod committer;
mod coordinator;
mod core;
mod draft;
mod driver;
mod error;
mod events;
mod execute;
mod follow;
mod handle;
mod heads;
mod in_flight;
mod line;
mod metrics;
mod operator;
mod options;
mod pace;
mod recovery;
mod registry;
mod seen;
mod signal;
mod start;

pub use builder::CoordinatorBuilder;
pub use client::{Client, ClientBuilder};
pub use coordinator::Coordinator;
pub use error::{CancelError, OperatorError, OutcomeError, ParkReason, RecoverError, RegisterError, StartError};
pub use handle::RunHandle;
pub use options::{Shutdown, StartOptions};
pub use registry::ParkedRun;

#[cfg(feature = "testkit")]
pub(crate) use clock::Clock;
