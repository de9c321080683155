//! What an action sees: its context, its errors, and what its compensation is given.

mod context;
mod error;
mod scope;
mod undo;

pub use context::{Ctx, PollError};
pub use error::StepError;
pub use undo::{Probe, Undo};

pub(crate) use context::{Link, Role, Scope, Stop};
pub(crate) use scope::RunScope;
pub(crate) use undo::UndoPayloads;
