//! A do / compensate pair as a type of its own.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{Ctx, StepError, Undo};
use crate::definition::step::UNDO_RETRY;
use crate::policy::Retry;

/// An action with its compensation, to be used in several sagas: a library of steps is a set of these.
///
/// It is added by [`Builder::add`](crate::Builder::add), always as compensable. What two sagas would set differently
/// belongs into fields; what differs in class belongs into [`Builder::step`](crate::Builder::step).
///
/// ```
/// use saga_core::{Ctx, Retry, Saga, Step, StepError, Undo, async_trait};
///
/// # struct Cloud;
/// # impl Cloud { async fn make(&self, _: &str, _: &str) -> std::io::Result<u64> { Ok(1) }
/// #              async fn kill_all_of(&self, _: &str) -> std::io::Result<()> { Ok(()) } }
/// struct MakeMachine {
///     flavour: &'static str,
/// }
///
/// #[async_trait]
/// impl Step<Cloud> for MakeMachine {
///     type Input = ();
///     type Output = u64;
///
///     async fn run(&self, ctx: Ctx<Cloud>, (): ()) -> Result<u64, StepError> {
///         Ok(ctx.make(self.flavour, &ctx.idempotency_key()).await?)
///     }
///
///     async fn compensate(&self, ctx: Ctx<Cloud>, _: Undo<(), u64>) -> Result<(), StepError> {
///         Ok(ctx.kill_all_of(&ctx.idempotency_key()).await?) // also finds what a crashed attempt made
///     }
///
///     fn retry(&self) -> Retry {
///         Retry::exponential(3)
///     }
/// }
///
/// let mut saga = Saga::<Cloud, ()>::builder("two-machines", 1);
/// let small = saga.add("small", (), MakeMachine { flavour: "small" });
/// let large = saga.add("large", (), MakeMachine { flavour: "large" });
/// saga.order(small, large);
/// let saga = saga.build(large)?;
/// # Ok::<(), saga_core::BuildError>(())
/// ```
#[async_trait]
pub trait Step<App>: Send + Sync + 'static {
    /// What the action gets.
    type Input: DeserializeOwned + Send + 'static;
    /// What the action gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The action.
    ///
    /// # Errors
    ///
    /// As for every action: see [`StepError`] for what an error says about the effect and about trying again.
    async fn run(&self, ctx: Ctx<App>, input: Self::Input) -> Result<Self::Output, StepError>;

    /// The compensation. It is also called when the action failed, and may be called more than once: see
    /// [`StepBuilder::compensate`](crate::StepBuilder::compensate).
    ///
    /// # Errors
    ///
    /// It is tried again by [`undo_retry`](Self::undo_retry), unless the error is fatal or rejected.
    async fn compensate(&self, ctx: Ctx<App>, undo: Undo<Self::Input, Self::Output>) -> Result<(), StepError>;

    /// When a failed attempt is tried again: never, if not overridden.
    fn retry(&self) -> Retry {
        Retry::never()
    }

    /// When a failed compensation is tried again: by `Retry::exponential(5)`, if not overridden.
    fn undo_retry(&self) -> Retry {
        UNDO_RETRY
    }

    /// How long one attempt of the action may take: no limit, if not overridden.
    fn timeout(&self) -> Option<Duration> {
        None
    }
}
