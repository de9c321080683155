//! Durable sagas.

mod action;
mod definition;
mod id;
mod outcome;
mod payload;
mod policy;
mod runtime;

pub mod journal;
pub mod machine;
pub mod plan;
pub mod store;

pub use action::{Ctx, PollError, Probe, StepError, Undo};
pub use async_trait::async_trait;
pub use definition::{
    Acts, AnyRecovery, BuildError, Builder, Handle, HandleUse, Inputs, MAX_STEPS, MAX_WARNINGS, Mistake,
    MustCompensate, Once, PerItem, Saga, Step, StepBuilder, Warning,
};
pub use id::{
    Epoch, ExclusiveKey, InvalidId, ItemRef, MAX_ID_BYTES, RunId, SagaName, Seq, StepIndex, StepName, Timestamp,
    WorkerId,
};
pub use journal::{Actor, Cause, Failure, FailureKind, FailureOrigin};
pub use outcome::{Abandoned, Halted, Left, Outcome, Place, Residue, RolledBack, Stuck};
pub use payload::{Payload, PayloadError};
pub use policy::Retry;
pub use runtime::{
    CancelError, Coordinator, CoordinatorBuilder, OperatorError, OutcomeError, ParkReason, ParkedRun, RecoverError,
    RunHandle, Shutdown, StartError, StartOptions,
};
