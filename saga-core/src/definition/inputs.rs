//! What a step can be wired to.

use serde::de::DeserializeOwned;

use crate::definition::handle::{BuilderId, Handle, Source};
use crate::plan::Wire;

/// What a step takes: a handle, a tuple of up to eight, a `Vec` of handles, or `()`; and these nested.
///
/// The type that the action gets follows from it: a [`Handle<T>`](Handle) gives a `T`, `(Handle<A>, Handle<B>)` gives an
/// `(A, B)`, a `Vec<Handle<T>>` gives a `Vec<T>`, and `()` gives a `()`. This trait is sealed: only these types can be
/// turned into a plan.
///
/// ```
/// use saga_core::{Ctx, Saga, StepError};
///
/// async fn seed(_: Ctx<()>, (): ()) -> Result<u64, StepError> { Ok(7) }
/// async fn add(_: Ctx<()>, (a, b): (u64, u64)) -> Result<u64, StepError> { Ok(a + b) }
/// async fn sum(_: Ctx<()>, all: Vec<u64>) -> Result<u64, StepError> { Ok(all.iter().sum()) }
///
/// let mut saga = Saga::<(), u64>::builder("arithmetic", 1);
/// let input = saga.input();
/// let seed = saga.step("seed", (), seed).nothing_to_undo();
/// let added = saga.step("add", (input, seed), add).nothing_to_undo();
/// let sum = saga.step("sum", vec![input, seed, added], sum).nothing_to_undo();
/// let saga = saga.build(sum)?;
/// # Ok::<(), saga_core::BuildError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the input of a step",
    label = "not a handle, a tuple of up to eight, a `Vec` of handles, or `()`",
    note = "the value of a handle is there only when the saga runs: take the handle, and look at the value in the action"
)]
pub trait Inputs: Wired {
    /// What the action gets.
    type Arg: DeserializeOwned + Send + 'static;
}

/// Turns handles into wires. It is out of reach of other crates, which is what seals [`Inputs`].
pub trait Wired {
    /// The wire of these handles.
    fn wire(&self, wiring: &mut Wiring) -> Wire;
}

/// The wiring of one step.
#[derive(Debug)]
pub struct Wiring {
    owner: BuilderId,
    foreign: bool,
}

impl Wiring {
    /// Wires inputs of the builder `owner`; `None` if one of the handles is of another builder.
    pub(super) fn of(owner: BuilderId, inputs: &impl Inputs) -> Option<Wire> {
        let mut wiring = Self { owner, foreign: false };
        let wire = inputs.wire(&mut wiring);
        (!wiring.foreign).then_some(wire)
    }
}

impl<T: DeserializeOwned + Send + 'static> Inputs for Handle<T> {
    type Arg = T;
}

impl<T> Wired for Handle<T> {
    fn wire(&self, wiring: &mut Wiring) -> Wire {
        wiring.foreign |= self.owner != wiring.owner;
        match self.source {
            Source::Input => Wire::Input,
            Source::Step(step) => Wire::Step(step),
        }
    }
}

impl<I: Inputs> Inputs for Vec<I> {
    type Arg = Vec<I::Arg>;
}

impl<I: Wired> Wired for Vec<I> {
    fn wire(&self, wiring: &mut Wiring) -> Wire {
        Wire::List(self.iter().map(|input| input.wire(wiring)).collect())
    }
}

impl Inputs for () {
    type Arg = ();
}

impl Wired for () {
    fn wire(&self, _: &mut Wiring) -> Wire {
        Wire::Unit
    }
}

macro_rules! tuple_inputs {
    ($($name:ident)+) => {
        impl<$($name: Inputs),+> Inputs for ($($name,)+) {
            type Arg = ($($name::Arg,)+);
        }

        impl<$($name: Wired),+> Wired for ($($name,)+) {
            fn wire(&self, wiring: &mut Wiring) -> Wire {
                #[allow(non_snake_case, reason = "the parts are named like their types")]
                let ($($name,)+) = self;
                Wire::List(vec![$($name.wire(wiring)),+])
            }
        }
    };
}

tuple_inputs!(A);
tuple_inputs!(A B);
tuple_inputs!(A B C);
tuple_inputs!(A B C D);
tuple_inputs!(A B C D E);
tuple_inputs!(A B C D E F);
tuple_inputs!(A B C D E F G);
tuple_inputs!(A B C D E F G H);
