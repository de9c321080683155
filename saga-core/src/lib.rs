//! Durable sagas: operations cut into steps that end in an honest state whatever fails.
//!
//! A [`Saga`] is a graph of steps, each with its way to recover. A [`Coordinator`] runs it, and keeps a journal of every
//! run in a [`Store`](store::Store): every transition is durable before it is acted upon, so a run survives errors,
//! panics, cancellation, `kill -9` and power loss. This page walks through it once; [`Builder`] and [`Coordinator`] are the
//! two doors to the rest.
//!
//! # Compose
//!
//! An action is an async function of a context and an input. Steps are wired by [`Handle`]s: passing a handle as an input
//! is what makes an edge, and the compiler checks its type. The call that adds a step and returns its handle says how the
//! step recovers:
//!
//! | verb | a later step fails | this step fails |
//! |---|---|---|
//! | [`compensate`](StepBuilder::compensate) | it is undone | it is undone too, unless it is known to have had no effect; the saga rolls back |
//! | [`nothing_to_undo`](StepBuilder::nothing_to_undo) | nothing | the saga rolls back |
//! | [`non_compensable`](StepBuilder::non_compensable) | it stands, and so does all that it was built on | the saga halts, nothing is undone |
//! | [`finish_forward`](StepBuilder::finish_forward) | once committed, it is finished | it is retried to completion while the rest rolls back |
//!
//! ```
//! use saga_core::{Coordinator, Ctx, Outcome, Saga, StepError, Undo, store::MemoryStore};
//!
//! struct Cloud;
//!
//! async fn make_disk(_: Ctx<Cloud>, gigabytes: u32) -> Result<String, StepError> {
//!     Ok(format!("disk of {gigabytes} GB"))
//! }
//! async fn delete_disk(_: Ctx<Cloud>, _: Undo<u32, String>) -> Result<(), StepError> {
//!     Ok(())
//! }
//! async fn boot(_: Ctx<Cloud>, disk: String) -> Result<String, StepError> {
//!     Ok(format!("machine with a {disk}"))
//! }
//! async fn halt(_: Ctx<Cloud>, _: Undo<String, String>) -> Result<(), StepError> {
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut saga = Saga::<Cloud, u32>::builder("make-machine", 1);
//! let size = saga.input();
//! let disk = saga.step("disk", size, make_disk).compensate(delete_disk);
//! let machine = saga.step("boot", disk, boot).compensate(halt);
//! let make_machine = saga.build(machine)?; // every mistake at once
//!
//! let coordinator = Coordinator::builder(MemoryStore::new(), Cloud).register(&make_machine).start().await?;
//! let run = coordinator.start(&make_machine, 20).await?; // durable once this returns
//! assert_eq!(run.outcome().await?, Outcome::Completed("machine with a disk of 20 GB".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! # Fail
//!
//! An action's error says two things: may it be tried again, and what did it do? `?` makes any error a
//! [`StepError::failed`]: effect unknown, tried again as the step's [`Retry`] allows. Say [`StepError::rejected`] where it is
//! certain that nothing was changed, and [`StepError::fatal`] where trying again is of no use. A panic and a timeout leave
//! the effect unknown. A step can carry a [`probe`](StepBuilder::probe) that asks the outside world whether it happened.
//!
//! Actions run at least once: one whose end was not journaled runs again after a crash. So what an action makes outside it
//! makes under [`Ctx::idempotency_key`], and records on the way by [`Ctx::checkpoint`]; the compensation sees both. The one
//! way to wait is [`Ctx::poll`].
//!
//! # Rest
//!
//! [`RunHandle::outcome`] tells how a run ended: [`Outcome`]. A run that halted or is stuck waits for an operator:
//! [`Client::retry`], [`Client::skip`], [`Client::roll_back`], [`Client::abandon`].
//!
//! # Many workers
//!
//! Any number of coordinators can work on one [`Store`](store::Store) that several processes can have open, such as
//! PostgreSQL (the crate `saga-postgres`). Each run is driven by one of them at a time, under a claim that expires if it is
//! not renewed ([`CoordinatorBuilder::lease`]); a worker that loses a claim stops the run's actions
//! ([`Ctx::cancelled`]), and [`Ctx::epoch`] fences off what it may still have under way. A [`Client`] starts, cancels,
//! watches and moves on runs without driving any.
//!
//! # Layers
//!
//! One direction: a definition is checked into a [`plan`]; the pure [`machine`] folds the [`journal`] and decides; the
//! runtime commits to the [`store`] and acts.
//!
//! # Features
//!
//! - `sled` (default): `store::SledStore`, the embedded durable store.
//! - `conformance`: `store::conformance`, the suite that every store must pass.
//! - `testkit`: `testkit::Kit`, which proves of a saga that it recovers, wherever it fails or its process dies.
//! - `metrics`: counters, gauges and histograms through the `metrics` facade.

mod action;
mod definition;
mod id;
mod outcome;
mod panics;
mod payload;
mod policy;
mod runtime;
mod scratch;

pub mod forecast;
pub mod journal;
pub mod machine;
pub mod plan;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

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
    CancelError, Client, ClientBuilder, Coordinator, CoordinatorBuilder, OperatorError, OutcomeError, ParkReason,
    ParkedRun, RecoverError, RegisterError, RunHandle, Shutdown, StartError, StartOptions,
};

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
