//! A step that is being composed, up to its recovery verb.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{Ctx, Probe, StepError, Undo};
use crate::definition::draft::{Draft, Drafts};
use crate::definition::handle::{Handle, Source};
use crate::definition::{HandleUse, Mistake, StepCode, erase};
use crate::plan::{Recovery, Shape, Wire};
use crate::policy::Retry;

/// When a failed compensation is tried again, unless the step says otherwise. Not `Retry::never()`, as for actions:
/// giving an undo up leaves something behind that a person must clean up.
pub(super) const UNDO_RETRY: Retry = Retry::exponential(5);

/// How many items of a fan-out may be in flight, unless the step says otherwise.
const CONCURRENCY: u32 = 16;

/// Marks a step that acts once. See [`StepBuilder`].
#[derive(Debug)]
pub enum Once {}

/// Marks a fan-out, which acts once for each item. See [`StepBuilder`].
#[derive(Debug)]
pub enum PerItem {}

/// Marks a step that may still recover in any way. See [`StepBuilder`].
#[derive(Debug)]
pub enum AnyRecovery {}

/// Marks a step that has said something about its compensation, and so must have one. See [`StepBuilder`].
#[derive(Debug)]
pub enum MustCompensate {}

/// How many times a step acts, as a type: [`Once`] or [`PerItem`].
pub trait Acts: sealed::Sealed {
    /// What comes of it, if acting once gives an `Out`.
    type Output<Out>;
}

impl Acts for Once {
    type Output<Out> = Out;
}

impl Acts for PerItem {
    type Output<Out> = Vec<Out>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Once {}
    impl Sealed for super::PerItem {}
}

/// A step that is being composed. The **recovery verb** adds it to the saga and returns its [`Handle`]:
/// [`compensate`](Self::compensate), [`nothing_to_undo`](StepBuilder::nothing_to_undo),
/// [`non_compensable`](StepBuilder::non_compensable) or [`finish_forward`](StepBuilder::finish_forward).
///
/// | verb | a later step fails | this step fails |
/// |---|---|---|
/// | `compensate` | it is undone | it is undone too, unless its error says that it had no effect; the saga rolls back |
/// | `nothing_to_undo` | nothing | the saga rolls back |
/// | `non_compensable` | it stands, and so does all that it was built on | the saga halts: nothing is undone |
/// | `finish_forward` | once committed, it is finished, not undone | it is retried to completion while the rest rolls back |
///
/// Everything else that there is to say about the step comes before the verb. Said twice, the last one counts (but
/// [`after`](Self::after), which adds up).
///
/// `Arg` is what the action gets and `Out` what it gives. The last two parameters are how mistakes are kept from
/// compiling: `Count` tells a single step ([`Once`]) from a fan-out ([`PerItem`]), and `Verbs` says which recovery verbs
/// are left.
///
/// # What does not compile
///
/// A step that does not say how it recovers has no handle:
///
/// ```compile_fail,E0308
/// # use saga_core::{Ctx, Handle, Saga, StepError};
/// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
/// let mut saga = Saga::<(), u64>::builder("no-verb", 1);
/// let input = saga.input();
/// let done: Handle<u64> = saga.step("act", input, act);
/// ```
///
/// and is not forgotten in silence:
///
/// ```compile_fail
/// # #![deny(unused_must_use)]
/// # use saga_core::{Ctx, Handle, Saga, StepError};
/// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
/// let mut saga = Saga::<(), u64>::builder("no-verb", 1);
/// let input = saga.input();
/// saga.step("act", input, act);
/// ```
///
/// A step recovers in one way:
///
/// ```compile_fail,E0599
/// # use saga_core::{Ctx, Saga, StepError};
/// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
/// let mut saga = Saga::<(), u64>::builder("two-verbs", 1);
/// let input = saga.input();
/// let done = saga.step("act", input, act).nothing_to_undo().non_compensable();
/// ```
///
/// Only a fan-out has items to run side by side:
///
/// ```compile_fail,E0599
/// # use saga_core::{Ctx, Saga, StepError};
/// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
/// let mut saga = Saga::<(), u64>::builder("one-by-one", 1);
/// let input = saga.input();
/// let done = saga.step("act", input, act).concurrency(8).nothing_to_undo();
/// ```
///
/// A step that says how its compensation is retried must have one:
///
/// ```compile_fail,E0599
/// # use saga_core::{Ctx, Retry, Saga, StepError};
/// # async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> { Ok(n) }
/// let mut saga = Saga::<(), u64>::builder("no-undo", 1);
/// let input = saga.input();
/// let done = saga.step("act", input, act).undo_retry(Retry::forever()).nothing_to_undo();
/// ```
#[must_use = "a step is added only by its recovery verb: `compensate`, `nothing_to_undo`, `non_compensable` or `finish_forward`"]
pub struct StepBuilder<'b, App, Arg, Out, Count = Once, Verbs = AnyRecovery> {
    pending: Pending<'b, App>,
    types: Types<Arg, Out, Count, Verbs>,
}

/// The types that a builder speaks of without having a value of them.
type Types<Arg, Out, Count, Verbs> = PhantomData<fn(Arg) -> (Out, Count, Verbs)>;

/// The step, and the saga that it will be added to.
struct Pending<'b, App> {
    drafts: &'b mut Drafts<App>,
    /// `None` once it was added.
    draft: Option<Draft<App>>,
    undo_retry: Retry,
}

impl<App> Pending<'_, App> {
    fn edit(&mut self, edit: impl FnOnce(&mut Draft<App>)) {
        if let Some(draft) = &mut self.draft {
            edit(draft);
        }
    }
}

/// Only `let _ =` or a variable that is never used gets here, past `must_use`. The build then fails, rather than run
/// without the step.
impl<App> Drop for Pending<'_, App> {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.drafts.mistakes.push(Mistake::NoRecovery { step: draft.name });
        }
    }
}

impl<'b, App, Arg, Out, Count> StepBuilder<'b, App, Arg, Out, Count> {
    pub(super) fn new(
        drafts: &'b mut Drafts<App>,
        name: String,
        shape: Shape,
        input: Wire,
        code: StepCode<App>,
    ) -> Self {
        let draft = Draft {
            name,
            shape,
            input,
            after: Vec::new(),
            retry: Retry::never(),
            timeout: None,
            undo_timeout: None,
            code,
        };
        Self { pending: Pending { drafts, draft: Some(draft), undo_retry: UNDO_RETRY }, types: PhantomData }
    }
}

impl<'b, App, Arg, Out> StepBuilder<'b, App, Arg, Out, PerItem> {
    pub(super) fn for_each(drafts: &'b mut Drafts<App>, name: String, items: Wire, code: StepCode<App>) -> Self {
        Self::new(drafts, name, Shape::Each { concurrency: CONCURRENCY }, items, code)
    }
}

impl<'b, App, Arg, Out, Count, Verbs> StepBuilder<'b, App, Arg, Out, Count, Verbs>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    Count: Acts,
{
    /// When a failed attempt is tried again. Unless it is said, never.
    pub fn retry(mut self, policy: Retry) -> Self {
        self.pending.edit(|draft| draft.retry = policy);
        self
    }

    /// How long one attempt may take. When it is over, the attempt is dropped where it awaits, and counts as failed with
    /// its effect unknown. Unless it is said, there is no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.pending.edit(|draft| draft.timeout = Some(limit));
        self
    }

    /// Makes the step come after another one without using its output. May be said for several.
    pub fn after<T>(mut self, earlier: Handle<T>) -> Self {
        let Pending { drafts, draft: Some(draft), .. } = &mut self.pending else { return self };
        // The run's input is there before every step, so being after it asks for nothing.
        if let Some(Source::Step(step)) = drafts.source(earlier, HandleUse::After { step: draft.name.clone() }) {
            draft.after.push(step);
        }
        self
    }

    /// A question to the outside world, "did it happen?", asked whenever an attempt ended with its effect unknown (a
    /// crash, a timeout, a panic, [`failed`](StepError::failed), [`fatal`](StepError::fatal)), before a retry or anything
    /// else is decided.
    ///
    /// [`Probe::Done`] makes the step succeeded, [`Probe::NotDone`] settles that nothing happened so far (so that a
    /// non-compensable step need not halt the saga for nothing), [`Probe::Unknown`] changes nothing. For a fan-out it is
    /// asked for each item.
    ///
    /// ```
    /// use saga_core::{Ctx, Probe, Saga, StepError};
    ///
    /// # struct Bank;
    /// # impl Bank { async fn pay(&self, _: u64, _: String) -> std::io::Result<u64> { Ok(1) }
    /// #             async fn find(&self, _: String) -> std::io::Result<Option<u64>> { Ok(None) } }
    /// async fn pay(ctx: Ctx<Bank>, cents: u64) -> Result<u64, StepError> {
    ///     Ok(ctx.pay(cents, ctx.idempotency_key()).await?)
    /// }
    /// async fn was_paid(ctx: Ctx<Bank>, _cents: u64) -> Result<Probe<u64>, StepError> {
    ///     Ok(ctx.find(ctx.idempotency_key()).await?.map_or(Probe::NotDone, Probe::Done))
    /// }
    ///
    /// let mut saga = Saga::<Bank, u64>::builder("payment", 1);
    /// let cents = saga.input();
    /// let receipt = saga.step("pay", cents, pay).probe(was_paid).non_compensable();
    /// # saga.build(receipt).unwrap();
    /// ```
    pub fn probe<F, Fut>(mut self, ask: F) -> Self
    where
        F: Fn(Ctx<App>, Arg) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Probe<Out>, StepError>> + Send + 'static,
    {
        self.pending.edit(|draft| draft.code.probe = Some(erase::probe(ask)));
        self
    }

    /// When a failed compensation is tried again. Unless it is said, by [`Retry::exponential(5)`](Retry::exponential);
    /// when the policy is spent, the run will rest stuck.
    pub fn undo_retry(mut self, policy: Retry) -> StepBuilder<'b, App, Arg, Out, Count, MustCompensate> {
        self.pending.undo_retry = policy;
        StepBuilder { pending: self.pending, types: PhantomData }
    }

    /// How long one attempt of the compensation may take. Unless it is said, there is no limit.
    pub fn undo_timeout(mut self, limit: Duration) -> StepBuilder<'b, App, Arg, Out, Count, MustCompensate> {
        self.pending.edit(|draft| draft.undo_timeout = Some(limit));
        StepBuilder { pending: self.pending, types: PhantomData }
    }

    /// Adds the step as **compensable**: when the saga rolls back, `undo` undoes what it did.
    ///
    /// `undo` is also called when the action failed, or died in the middle, unless it is known to have had no effect:
    /// then [`Undo::output`] is `None`, and what the action made is found by its checkpoints and its idempotency key. It
    /// may be called more than once, so it must accept that there is nothing left to undo. For a fan-out it is called for
    /// each item that started.
    pub fn compensate<F, Fut>(mut self, undo: F) -> Handle<Count::Output<Out>>
    where
        F: Fn(Ctx<App>, Undo<Arg, Out>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        self.pending.edit(|draft| draft.code.undo = Some(erase::undo(undo)));
        let undo_retry = self.pending.undo_retry.clone();
        self.add(Recovery::Compensable { undo_retry })
    }

    fn add(mut self, recovery: Recovery) -> Handle<Count::Output<Out>> {
        let Pending { drafts, draft, .. } = &mut self.pending;
        let index = match draft.take() {
            Some(draft) => drafts.add(draft, recovery),
            // Not reached: the draft is taken only here, and `self` is gone then.
            None => drafts.next_index(),
        };
        Handle::new(drafts.id, Source::Step(index))
    }
}

impl<App, Arg, Out, Count> StepBuilder<'_, App, Arg, Out, Count>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    Count: Acts,
{
    /// Adds the step as **read-only**: it changes nothing outside, or nothing that outlives what the other steps undo. If
    /// it fails, the saga rolls back.
    pub fn nothing_to_undo(self) -> Handle<Count::Output<Out>> {
        self.add(Recovery::ReadOnly)
    }

    /// Adds the step as **non-compensable**: what it does cannot be undone. Once it took effect, it stands, and so does
    /// everything that it was built on.
    ///
    /// If it fails and its effect is unknown, the run halts and nothing at all is undone, since deleting what may hold
    /// data is worse than leaving it. An action that knows that it did nothing says so by
    /// [`rejected`](StepError::rejected); a [`probe`](Self::probe) can settle it too.
    pub fn non_compensable(self) -> Handle<Count::Output<Out>> {
        self.add(Recovery::NonCompensable)
    }

    /// Adds the step as **forward**: once it is committed, it is driven to completion, not undone, even while the rest of
    /// the saga rolls back.
    ///
    /// `patience` is the policy by which it is finished after its ordinary one is spent. When that is spent too, the run
    /// rests stuck; [`Retry::forever`] never is.
    pub fn finish_forward(self, patience: Retry) -> Handle<Count::Output<Out>> {
        self.add(Recovery::Forward { patience })
    }
}

impl<App, Arg, Out, Verbs> StepBuilder<'_, App, Arg, Out, PerItem, Verbs> {
    /// How many items may be in flight at the same time. Unless it is said, 16. Zero is a mistake.
    pub fn concurrency(mut self, items: u32) -> Self {
        self.pending.edit(|draft| draft.shape = Shape::Each { concurrency: items });
        self
    }
}

impl<App, Arg, Out, Count, Verbs> fmt::Debug for StepBuilder<'_, App, Arg, Out, Count, Verbs> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.pending.draft.as_ref().map(|draft| &draft.name);
        f.debug_struct("StepBuilder").field("name", &name).finish_non_exhaustive()
    }
}
