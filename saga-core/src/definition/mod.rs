//! Typed composition: handles and steps in, a checked [`Saga`] or every mistake at once out.

mod code;

pub(crate) use code::{Definition, FinalizerFn, GuardFn, ProbeFn, RunFn, StepCode, UndoFn};
