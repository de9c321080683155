//! Durable sagas.

mod action;
mod definition;
mod id;
mod outcome;
mod payload;
mod policy;

pub mod forecast;
pub mod journal;
pub mod machine;
pub mod plan;
pub mod store;

pub use action::{Ctx, PollError, Probe, StepError, Undo};
pub use id::{
    Epoch, ExclusiveKey, InvalidId, ItemRef, MAX_ID_BYTES, RunId, SagaName, Seq, StepIndex, StepName, Timestamp,
    WorkerId,
};
pub use journal::{Actor, Cause, Failure, FailureKind, FailureOrigin};
pub use outcome::{Abandoned, Halted, Left, Outcome, Place, Residue, RolledBack, Stuck};
pub use payload::{Payload, PayloadError};
pub use policy::Retry;
