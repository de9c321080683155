//! Where a saga is composed.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{Ctx, StepError};
use crate::definition::draft::Drafts;
use crate::definition::handle::{Handle, Source};
use crate::definition::step::{AnyRecovery, Once, PerItem};
use crate::definition::{
    BuildError, HandleUse, Inputs, Mistake, Saga, Step, StepBuilder, StepCode, check, erase, include,
};
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::plan::Shape;

/// Composes a saga that acts on an `App` and is started with an `In`. Made by [`Saga::builder`].
///
/// No call but [`build`](Self::build) fails, and that one reports every mistake at once.
///
/// ```
/// use saga_core::{Ctx, Retry, Saga, StepError, Undo};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// # struct Agency;
/// #[derive(Serialize, Deserialize)]
/// struct TripRequest { hotel: String, flight: String }
/// # type Hotel = String; type Flight = String; type Receipt = u64;
/// # async fn book_hotel(_: Ctx<Agency>, trip: TripRequest) -> Result<Hotel, StepError> { Ok(trip.hotel) }
/// # async fn cancel_hotel(_: Ctx<Agency>, _: Undo<TripRequest, Hotel>) -> Result<(), StepError> { Ok(()) }
/// # async fn book_flight(_: Ctx<Agency>, trip: TripRequest) -> Result<Flight, StepError> { Ok(trip.flight) }
/// # async fn cancel_flight(_: Ctx<Agency>, _: Undo<TripRequest, Flight>) -> Result<(), StepError> { Ok(()) }
/// # type Booked = (TripRequest, Hotel, Flight);
/// # async fn charge_card(_: Ctx<Agency>, _: Booked) -> Result<Receipt, StepError> { Ok(1) }
/// # async fn refund(_: Ctx<Agency>, _: Undo<Booked, Receipt>) -> Result<(), StepError> { Ok(()) }
///
/// let mut saga = Saga::<Agency, TripRequest>::builder("book-trip", 1);
/// let trip = saga.input();
/// let hotel = saga.step("hotel", trip, book_hotel).retry(Retry::exponential(5)).compensate(cancel_hotel);
/// let flight = saga.step("flight", trip, book_flight).timeout(Duration::from_secs(30)).compensate(cancel_flight);
/// let paid = saga.step("charge", (trip, hotel, flight), charge_card).compensate(refund);
/// saga.step("mail", (trip, paid), |_: Ctx<Agency>, (trip, receipt): (TripRequest, Receipt)| async move {
///     println!("{}: paid, receipt {receipt}", trip.hotel);
///     Ok(())
/// })
/// .non_compensable();
///
/// let book_trip: Saga<Agency, TripRequest, Receipt> = saga.build(paid)?;
/// assert!(book_trip.warnings().is_empty());
/// # Ok::<(), saga_core::BuildError>(())
/// ```
#[must_use = "a saga is composed only to be built"]
pub struct Builder<App, In> {
    name: String,
    version: u32,
    drafts: Drafts<App>,
    input: PhantomData<fn(In)>,
}

impl<App, In> Builder<App, In>
where
    App: Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    pub(super) fn new(name: String, version: u32) -> Self {
        Self { name, version, drafts: Drafts::new(), input: PhantomData }
    }

    /// The run's input.
    #[must_use]
    pub fn input(&self) -> Handle<In> {
        Handle::new(self.drafts.id, Source::Input)
    }

    /// Begins a step: `action` is run with the values of `inputs` as soon as they are all there. It is an async function,
    /// or a closure that returns a future.
    ///
    /// The step is added when its recovery verb is called: see [`StepBuilder`]. `name` must be unique in the saga, and
    /// part of it for ever: journals refer to it.
    pub fn step<I, Out, F, Fut>(
        &mut self,
        name: impl Into<String>,
        inputs: I,
        action: F,
    ) -> StepBuilder<'_, App, I::Arg, Out, Once, AnyRecovery>
    where
        I: Inputs,
        Out: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Ctx<App>, I::Arg) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        let name = name.into();
        let input = self.drafts.wire(&inputs, HandleUse::Input { step: name.clone() });
        StepBuilder::new(&mut self.drafts, name, Shape::Single, input, code(action))
    }

    /// Begins a fan-out: `action` is run once for each item of a list that is known only when the saga runs. Its output
    /// is the list of the items' outputs, in the same order.
    ///
    /// Every item has its own attempts, checkpoints and compensation. At most 16 are in flight at the same time, unless
    /// [`concurrency`](StepBuilder::concurrency) says otherwise.
    ///
    /// ```
    /// use saga_core::{Ctx, Saga, StepError, Undo};
    ///
    /// async fn make_node(_: Ctx<()>, name: String) -> Result<u64, StepError> { Ok(name.len() as u64) }
    /// async fn kill_node(_: Ctx<()>, undo: Undo<String, u64>) -> Result<(), StepError> { Ok(()) }
    ///
    /// let mut saga = Saga::<(), Vec<String>>::builder("make-nodes", 1);
    /// let names = saga.input();
    /// let nodes = saga.for_each("make", names, make_node).concurrency(8).compensate(kill_node);
    /// let saga: Saga<(), Vec<String>, Vec<u64>> = saga.build(nodes)?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn for_each<T, I, Out, F, Fut>(
        &mut self,
        name: impl Into<String>,
        items: I,
        action: F,
    ) -> StepBuilder<'_, App, T, Out, PerItem, AnyRecovery>
    where
        T: DeserializeOwned + Send + 'static,
        I: Inputs<Arg = Vec<T>>,
        Out: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Ctx<App>, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        let name = name.into();
        let items = self.drafts.wire(&items, HandleUse::Input { step: name.clone() });
        StepBuilder::for_each(&mut self.drafts, name, items, code(action))
    }

    /// Adds a reusable pair of action and compensation, with the policies that it brings along. See [`Step`].
    pub fn add<I, S>(&mut self, name: impl Into<String>, inputs: I, step: S) -> Handle<S::Output>
    where
        I: Inputs<Arg = S::Input>,
        S: Step<App>,
    {
        let (retry, undo_retry, timeout) = (step.retry(), step.undo_retry(), step.timeout());
        let acting = Arc::new(step);
        let undoing = Arc::clone(&acting);
        let mut adding = self
            .step(name, inputs, move |ctx: Ctx<App>, input: S::Input| {
                let step = Arc::clone(&acting);
                async move { step.run(ctx, input).await }
            })
            .retry(retry)
            .undo_retry(undo_retry);
        if let Some(limit) = timeout {
            adding = adding.timeout(limit);
        }
        adding.compensate(move |ctx, undo| {
            let step = Arc::clone(&undoing);
            async move { step.compensate(ctx, undo).await }
        })
    }

    /// Inlines another saga, whose input is made of `inputs`. Its output is the returned handle.
    ///
    /// Its steps become steps of this saga, named `name/step`, and recover as they say there: a failure anywhere rolls
    /// back everything, and what comes later here may undo what came earlier there. As the included saga would only be
    /// started with its input at hand, none of its steps starts before all of `inputs` are there.
    ///
    /// A guard or a finalizer is asked and told about a whole run, so including a saga that has its own is a mistake.
    ///
    /// ```
    /// use saga_core::{Ctx, Saga, StepError};
    ///
    /// async fn price(_: Ctx<()>, nights: u32) -> Result<u32, StepError> { Ok(nights * 80) }
    /// async fn pay(_: Ctx<()>, (nights, price): (u32, u32)) -> Result<String, StepError> { Ok(format!("{nights} for {price}")) }
    ///
    /// let mut payment = Saga::<(), (u32, u32)>::builder("payment", 1);
    /// let bill = payment.input();
    /// let receipt = payment.step("pay", bill, pay).non_compensable();
    /// let payment = payment.build(receipt)?;
    ///
    /// let mut stay = Saga::<(), u32>::builder("stay", 1);
    /// let nights = stay.input();
    /// let price = stay.step("price", nights, price).nothing_to_undo();
    /// let receipt = stay.include("payment", &payment, (nights, price));
    /// let stay: Saga<(), u32, String> = stay.build(receipt)?;
    /// assert!(stay.plan().find("payment/pay").is_some());
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn include<I, OtherIn, OtherOut>(
        &mut self,
        name: impl Into<String>,
        other: &Saga<App, OtherIn, OtherOut>,
        inputs: I,
    ) -> Handle<OtherOut>
    where
        I: Inputs<Arg = OtherIn>,
    {
        let name = name.into();
        let input = self.drafts.wire(&inputs, HandleUse::Include { name: name.clone() });
        let output = include::include(&mut self.drafts, &name, other.definition(), &input);
        Handle::new(self.drafts.id, output)
    }

    /// Makes `then` come after `first` without using its output. The same as [`StepBuilder::after`], for steps that were
    /// added already; and the only way to make a cycle, which [`build`](Self::build) reports.
    ///
    /// It orders the two steps themselves: where `then` is the output of an included saga, the other steps of that saga
    /// are not held back.
    pub fn order<A, B>(&mut self, first: Handle<A>, then: Handle<B>) {
        // Both are looked at before either is used, so that two foreign handles are two mistakes.
        let first = self.drafts.source(first, HandleUse::Order);
        let then = self.drafts.source(then, HandleUse::Order);
        match (first, then) {
            (Some(Source::Step(first)), Some(Source::Step(then))) => {
                if let Some((draft, _)) = self.drafts.steps.get_mut(then.at()) {
                    draft.after.push(first);
                }
            }
            (_, Some(Source::Input)) => self.drafts.mistakes.push(Mistake::BeforeInput),
            _ => {}
        }
    }

    /// A question about what the saga acts on: is it still there?
    ///
    /// It is asked in two places only: once when an error reaches the top, and in every [`Ctx::poll`]. If the answer is
    /// `false`, the run's cause is [`SubjectGone`](crate::Cause::SubjectGone), whatever error surfaced, and it is rolled
    /// back; no step needs to check it. An error is no answer: it is asked again.
    ///
    /// ```
    /// use saga_core::{Ctx, Saga};
    ///
    /// # struct Db; impl Db { async fn exists(&self, _: u64) -> std::io::Result<bool> { Ok(true) } }
    /// let mut saga = Saga::<Db, u64>::builder("resize", 1);
    /// saga.guard(|db: Ctx<Db>, volume: u64| async move { Ok(db.exists(volume).await?) });
    /// ```
    pub fn guard<F, Fut>(&mut self, ask: F)
    where
        F: Fn(Ctx<App>, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, StepError>> + Send + 'static,
    {
        if self.drafts.guard.replace(erase::guard(ask)).is_some() {
            self.drafts.mistakes.push(Mistake::TwoGuards);
        }
    }

    /// What is told how a run came to rest: the one place where a status is written and a lock released.
    ///
    /// It runs after everything else, is retried until it succeeds, and is called again if an operator moves a resting
    /// run on. After a crash it may be called twice with the same outcome.
    ///
    /// ```
    /// use saga_core::{Ctx, Outcome, Payload, Saga};
    ///
    /// # struct Db; impl Db { async fn set_status(&self, _: u64, _: &str) -> std::io::Result<()> { Ok(()) } }
    /// let mut saga = Saga::<Db, u64>::builder("resize", 1);
    /// saga.finally(|db: Ctx<Db>, volume: u64, outcome: Outcome<Payload>| async move {
    ///     let status = if outcome.is_completed() { "active" } else { "error" };
    ///     Ok(db.set_status(volume, status).await?)
    /// });
    /// ```
    pub fn finally<F, Fut>(&mut self, tell: F)
    where
        F: Fn(Ctx<App>, In, Outcome<Payload>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        if self.drafts.finalizer.replace(erase::finalizer(tell)).is_some() {
            self.drafts.mistakes.push(Mistake::TwoFinalizers);
        }
    }

    /// Checks what was composed, and makes it a saga whose output is that of the step behind `output`. The other steps
    /// run too, whether that one depends on them or not.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with every [`Mistake`] that was made. The lines that compose the saga have to be corrected.
    pub fn build<Out>(mut self, output: Handle<Out>) -> Result<Saga<App, In, Out>, BuildError> {
        let output = self.drafts.source(output, HandleUse::Output);
        match check::check(&self.name, self.version, self.drafts, output) {
            Ok(definition) => Ok(Saga::new(definition)),
            Err(mistakes) => Err(BuildError { saga: self.name, mistakes }),
        }
    }
}

/// The code of a step that only has an action so far.
fn code<App, Arg, Out, F, Fut>(action: F) -> StepCode<App>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Ctx<App>, Arg) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
{
    StepCode { run: erase::run(action), undo: None, probe: None, check_output: erase::check_output::<Out> }
}

impl<App, In> fmt::Debug for Builder<App, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("steps", &self.drafts.steps.len())
            .finish_non_exhaustive()
    }
}
