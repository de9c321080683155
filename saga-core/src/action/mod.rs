//! What an action sees: its context, its errors, and what its compensation is given.

mod context;
mod error;
mod undo;

pub use context::{Ctx, PollError};
pub use error::StepError;
pub use undo::{Probe, Undo};

pub(crate) use context::{Link, Role, Scope};
pub(crate) use undo::UndoPayloads;
