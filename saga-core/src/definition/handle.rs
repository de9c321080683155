//! The typed promise of a value that a run will have.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::StepIndex;

/// Which builder a handle came from, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BuilderId(u64);

impl BuilderId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Nothing else is ordered by this number: it only has to be another one each time.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where the promised value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Input,
    Step(StepIndex),
}

/// The promise of a `T`: the run's input, or the output of a step.
///
/// Passing a handle to a step is what makes the edge: the step waits for that value and gets it, and the compiler checks
/// that it is of the type that the step's action takes. A handle is a small `Copy` value; using it twice is fine.
///
/// It means something only to the [`Builder`](crate::Builder) that handed it out. Another builder refuses it at
/// [`build`](crate::Builder::build), by [`Mistake::ForeignHandle`](crate::Mistake::ForeignHandle).
///
/// ```compile_fail,E0631
/// # use saga_core::{Ctx, Saga, StepError};
/// async fn measure(_: Ctx<()>, text: String) -> Result<usize, StepError> { Ok(text.len()) }
/// async fn shout(_: Ctx<()>, text: String) -> Result<String, StepError> { Ok(text.to_uppercase()) }
///
/// let mut saga = Saga::<(), String>::builder("wrong-wire", 1);
/// let text = saga.input();
/// let length = saga.step("measure", text, measure).nothing_to_undo();
/// let loud = saga.step("shout", length, shout).nothing_to_undo(); // `length` is a number, not a text
/// ```
pub struct Handle<T> {
    pub(super) owner: BuilderId,
    pub(super) source: Source,
    promised: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    pub(super) fn new(owner: BuilderId, source: Source) -> Self {
        Self { owner, source, promised: PhantomData }
    }
}

// Derived, these two would ask the same of `T`, which is only promised.
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Input => f.write_str("Handle(input)"),
            Source::Step(step) => write!(f, "Handle(#{step})"),
        }
    }
}
