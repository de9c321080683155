//! Durable sagas.

mod id;
mod payload;
mod policy;

pub mod journal;
pub mod plan;
pub mod store;

pub use id::{
    Epoch, ExclusiveKey, InvalidId, ItemRef, MAX_ID_BYTES, RunId, SagaName, Seq, StepIndex, StepName, Timestamp,
    WorkerId,
};
pub use payload::{Payload, PayloadError};
pub use policy::Retry;
