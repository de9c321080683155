//! Typed composition: handles and steps in, a checked [`Saga`] or every mistake at once out.
//!
//! A [`Builder`] hands out [`Handle`]s and writes down untyped [drafts](draft): [`inputs`] turns handles into wires,
//! [`step`] takes a step up to its recovery verb, [`erase`] turns typed functions into functions on payloads, [`include`]
//! inlines another saga. At the end [`check`] reports every [`Mistake`] (with [`cycles`]), or makes the plan, in which
//! [`warn`] finds what is legal but maybe not meant.

mod builder;
mod check;
mod code;
mod cycles;
mod draft;
mod erase;
mod handle;
mod include;
mod inputs;
mod mistake;
mod reusable;
mod saga;
mod step;
mod warn;

pub use builder::Builder;
pub use handle::Handle;
pub use inputs::Inputs;
pub use mistake::{BuildError, HandleUse, Mistake};
pub use reusable::Step;
pub use saga::Saga;
pub use step::{Acts, AnyRecovery, MustCompensate, Once, PerItem, StepBuilder};
pub use warn::{MAX_WARNINGS, Warning};

pub(crate) use code::{Definition, FinalizerFn, GuardFn, ProbeFn, RunFn, StepCode, UndoFn};

/// The most steps that a saga may have, those of included sagas counted. A fan-out is one step, however many items it
/// gets.
pub const MAX_STEPS: usize = 65_536;
