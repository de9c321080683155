//! The kit, as authors of sagas use it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::points;
use super::report::Report;
use super::{ONLY, SEED, World};
use crate::definition::Saga;
use crate::id::StepIndex;
use crate::outcome::Outcome;
use crate::plan::StepPlan;

/// Longer than any usual policy; the timeouts of the saga are added.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A trial takes milliseconds, even on a busy machine.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

type Vanish<W> = Arc<dyn Fn(&W) + Send + Sync>;
type Check<W, Out> = Arc<dyn Fn(&W, &Outcome<Out>) -> Result<(), String> + Send + Sync>;

/// What an invariant says: nothing (it panics if it does not hold), or a result.
pub trait Verdict {
    /// The verdict as a result, with the reason in words.
    ///
    /// # Errors
    ///
    /// Why the invariant does not hold.
    fn into_result(self) -> Result<(), String>;
}

impl Verdict for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Verdict for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Proves of a saga that it recovers: see the [module](super).
///
/// Each `every_…` goes through one trial for each of its points, and reports on all of them. The kit can be used again.
#[must_use = "nothing is tried until one of `every_…` is called"]
pub struct Kit<W: World, In, Out> {
    pub(super) saga: Saga<W::App, In, Out>,
    pub(super) input: Arc<dyn Fn() -> In + Send + Sync>,
    pub(super) world: Arc<dyn Fn() -> W + Send + Sync>,
    pub(super) check: Check<W, Out>,
    pub(super) vanish: Option<Vanish<W>>,
    pub(super) seed: u64,
    pub(super) steps: Option<BTreeSet<StepIndex>>,
    pub(super) at_once: usize,
    pub(super) thorough: bool,
    pub(super) only: Option<Only>,
    pub(super) give_up_after: Duration,
    patience: Option<Duration>,
}

/// The one point that is to be looked at.
#[derive(Debug, Clone)]
pub(super) struct Only {
    pub(super) point: String,
    /// It was asked for from outside, of all kits there are: not every one has that point.
    pub(super) of_all: bool,
}

impl<W, In, Out> Kit<W, In, Out>
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    /// A kit for a saga, started with `input()`, in a fresh `world()` for each trial.
    pub fn new(
        saga: &Saga<W::App, In, Out>,
        input: impl Fn() -> In + Send + Sync + 'static,
        world: impl Fn() -> W + Send + Sync + 'static,
    ) -> Self {
        let from_outside = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            saga: saga.clone(),
            input: Arc::new(input),
            world: Arc::new(world),
            check: Arc::new(|_, _| Ok(())),
            vanish: None,
            seed: from_outside(SEED).and_then(|seed| seed.parse().ok()).unwrap_or(0),
            steps: None,
            at_once: 1,
            thorough: false,
            only: from_outside(ONLY).map(|point| Only { point, of_all: true }),
            give_up_after: GIVE_UP_AFTER,
            patience: None,
        }
    }

    /// The invariant: what must be true of the world when a run has come to rest with that outcome. It panics, or returns
    /// an error, if it is not.
    ///
    /// The kit itself sees to it that the outcome is one that the rules allow.
    pub fn check<V: Verdict>(mut self, check: impl Fn(&W, &Outcome<Out>) -> V + Send + Sync + 'static) -> Self {
        self.check = Arc::new(move |world, outcome| check(world, outcome).into_result());
        self
    }

    /// How the world loses what the run acts on, for sagas with a guard: the record is deleted, the customer is gone.
    ///
    /// [`every_question`](Self::every_question) then lets it happen at every point, and the guard has to say so of itself.
    /// Without this the guard is only made to say so.
    pub fn vanish(mut self, vanish: impl Fn(&W) + Send + Sync + 'static) -> Self {
        self.vanish = Some(Arc::new(vanish));
        self
    }

    /// Another order of the steps that run at the same time, and other dice for the delays between attempts. 0 by
    /// default, or what the environment variable [`SEED`] says.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Only these steps are made to fail. All, by default.
    ///
    /// # Panics
    ///
    /// If the saga has no such step.
    pub fn steps<'a>(mut self, steps: impl IntoIterator<Item = &'a str>) -> Self {
        let plan = self.saga.plan();
        let find = |name: &str| plan.find(name).unwrap_or_else(|| panic!("the saga has no step `{name}`"));
        self.steps = Some(steps.into_iter().map(find).collect());
        self
    }

    /// Besides single failures, so many steps that may run at the same time fail in one trial. 1 by default.
    pub fn failures_at_once(mut self, failures: usize) -> Self {
        self.at_once = failures.max(1);
        self
    }

    /// A process that has taken a run up dies once more, at every point there is; by default only near its beginning. The
    /// number of trials grows with the square of the saga's length.
    pub fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// How much virtual time one process may need. A day and ten times all timeouts of the saga, by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How much real time one trial may need: a minute, by default. One that needs more keeps its thread busy without ever
    /// waiting. Nobody can stop it, so the kit leaves it where it is, and tries nothing more.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// Only the point of that name, as a report gives it. The environment variable [`ONLY`] does the same from outside.
    pub fn only(mut self, point: impl Into<String>) -> Self {
        self.only = Some(Only { point: point.into(), of_all: false });
        self
    }

    /// Lets every action fail in every way (rejected, failed, fatal, panic, timeout; before its effect, after it, and
    /// where it waits), each time and once where it is tried again; every compensation likewise; and the finalizer,
    /// however the run ends.
    pub fn every_failure(&self) -> Report {
        points::every_failure(self)
    }

    /// Lets every probe not know, fail, panic and hang, whatever it is asked about; and the guard not be able to tell, once
    /// and for a while, panic, hang, take its time, and say that the subject is gone, wherever it is asked. If the world can
    /// [lose the subject](Self::vanish), it does so at every point.
    pub fn every_question(&self) -> Report {
        points::every_question(self)
    }

    /// Lets the process die before and after every append, and before, in and after every call; going forward, and in the
    /// rollback after the failure of each step; and once more soon after it was taken up by the next.
    pub fn every_crash(&self) -> Report {
        points::every_crash(self)
    }

    /// Makes every call of an action, compensation or finalizer twice, under the same idempotency key, as after a crash.
    pub fn every_repeat(&self) -> Report {
        points::every_repeat(self)
    }

    /// Cancels the run after every append, and before, in and after every call: going forward, also with a crash just
    /// before and after that is durable; and going back, finishing, finalizing and at rest, where it changes nothing.
    pub fn every_cancel(&self) -> Report {
        points::every_cancel(self)
    }

    /// Lets the run's deadline pass at every point: going forward, and in a rollback, where it changes nothing.
    pub fn every_deadline(&self) -> Report {
        points::every_deadline(self)
    }

    /// Brings the run to rest in every way (halted at each non-compensable step, stuck at each compensation and each
    /// forward step), and lets an operator move it on by every verb that is allowed: retry, also in vain, skip, roll back,
    /// abandon. The invariant is asked at both rests. The process dies before and after each append that follows.
    ///
    /// What is skipped had its effect, and what is rolled back had none: an operator knows what he does.
    pub fn every_rest(&self) -> Report {
        points::every_rest(self)
    }

    /// All of it.
    pub fn everything(&self) -> Report {
        let disturbed = self.every_failure().and(self.every_question()).and(self.every_crash());
        disturbed.and(self.every_repeat()).and(self.every_cancel()).and(self.every_deadline()).and(self.every_rest())
    }

    pub(super) fn limit(&self) -> Duration {
        let timeouts = |step: &StepPlan| step.timeout.unwrap_or_default() + step.undo_timeout.unwrap_or_default();
        let all: Duration = self.saga.plan().steps().iter().map(timeouts).sum();
        self.patience.unwrap_or(PATIENCE + all * 10)
    }

    /// Whether a step is among those that are made to fail.
    pub(super) fn includes(&self, step: StepIndex) -> bool {
        self.steps.as_ref().is_none_or(|steps| steps.contains(&step))
    }
}

// Derived, it would ask the same of the types.
impl<W: World, In, Out> Clone for Kit<W, In, Out> {
    fn clone(&self) -> Self {
        Self {
            saga: self.saga.clone(),
            input: Arc::clone(&self.input),
            world: Arc::clone(&self.world),
            check: Arc::clone(&self.check),
            vanish: self.vanish.clone(),
            seed: self.seed,
            steps: self.steps.clone(),
            at_once: self.at_once,
            thorough: self.thorough,
            only: self.only.clone(),
            give_up_after: self.give_up_after,
            patience: self.patience,
        }
    }
}

impl<W: World, In, Out> std::fmt::Debug for Kit<W, In, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit").field("saga", self.saga.name()).field("seed", &self.seed).finish_non_exhaustive()
    }
}
