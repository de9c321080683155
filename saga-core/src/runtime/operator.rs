//! Moving resting runs on.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;

use crate::definition::Definition;
use crate::id::{ItemRef, RunId, StepName};
use crate::journal::{Actor, Verb};
use crate::machine::{self, ItemPhase, Observation, State, evolve, observe};
use crate::outcome::Place;
use crate::payload::Payload;
use crate::plan::Shape;
use crate::runtime::client::Client;
use crate::runtime::committer::CommitError;
use crate::runtime::core::Core;
use crate::runtime::draft::encode;
use crate::runtime::error::{OperatorError, ParkReason};
use crate::runtime::handle::RunHandle;
use crate::runtime::line::Following;
use crate::runtime::metrics;
use crate::runtime::registry::ParkedRun;
use crate::store::{Append, ClaimError, Refused, RunSummary};

impl<App: Send + Sync + 'static> Client<App> {
    /// Tries again what a resting run rests at: halted, the failed step, then forward; stuck, the failed compensation.
    /// When this returns, it is durable that it was asked for. A coordinator then drives the run; a client leaves it to a
    /// worker.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn retry(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.core().operate(run, by, Asked::Retry).await
    }

    /// Counts something as settled by hand. Halted: the step succeeded, with this output, and the run goes forward (what
    /// else had failed is tried again). Stuck: the compensation is done; `output` is `None`.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn skip(
        &self,
        run: &RunId,
        place: &Place,
        output: Option<Payload>,
        by: Actor,
    ) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.core().operate(run, by, Asked::Skip { place: place.clone(), output }).await
    }

    /// Rolls a halted run back on purpose: the failed step is taken for one that had no effect, and all that would have
    /// been undone if it had been compensable is undone. Only say this if you know what the step did.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn roll_back(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.core().operate(run, by, Asked::RollBack).await
    }

    /// Gives a resting run up as it stands: it ends, and frees its exclusive key. Its residue says what is left behind.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn abandon(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.core().operate(run, by, Asked::Abandon).await
    }
}

/// A verb, as an operator says it.
enum Asked {
    Retry,
    Skip { place: Place, output: Option<Payload> },
    RollBack,
    Abandon,
}

impl Asked {
    /// The verb, as it is journaled.
    fn verb<App>(self, run: &RunId, definition: &Definition<App>, state: &State) -> Result<Verb, OperatorError> {
        let (place, output) = match self {
            Self::Retry => return Ok(Verb::Retry),
            Self::RollBack => return Ok(Verb::RollBack),
            Self::Abandon => return Ok(Verb::Abandon),
            Self::Skip { place, output } => (place, output),
        };
        let unknown = || OperatorError::UnknownStep { run: run.clone(), step: place.step.clone() };
        let step = definition.plan.find(place.step.as_str()).ok_or_else(unknown)?;
        if place.item.is_none() && definition.plan.step(step).shape != Shape::Single {
            return Err(unknown());
        }
        let of = ItemRef::new(step, place.item.unwrap_or(0));
        let phase = state.item_phase(of).ok_or_else(unknown)?;
        if let (ItemPhase::Failed, Some(output)) = (phase, &output) {
            let check = definition.steps[step.at()].check_output;
            check(output).map_err(|source| OperatorError::Output { step: place.step.clone(), source })?;
        }
        Ok(Verb::Skip { of, output })
    }
}

impl<App: Send + Sync + 'static> Core<App> {
    /// In a task of its own: what was claimed and written down has to be driven, or given back, even if the caller stops
    /// waiting.
    async fn operate(
        self: &Arc<Self>,
        run: &RunId,
        by: Actor,
        asked: Asked,
    ) -> Result<RunHandle<App, Payload>, OperatorError> {
        let (core, this_run) = (Arc::clone(self), run.clone());
        let operating = self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = core.shared.killed.given() => Err(OperatorError::ShuttingDown),
                operated = core.claim_and_operate(&this_run, by, asked) => operated,
            }
        });
        let following = match operating.await {
            Ok(operated) => operated?,
            // The user's type panicked while the output was checked.
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => return Err(OperatorError::ShuttingDown),
        };
        Ok(RunHandle::new(Arc::clone(self), run.clone(), following))
    }

    async fn claim_and_operate(
        self: &Arc<Self>,
        run: &RunId,
        by: Actor,
        asked: Asked,
    ) -> Result<Option<Following>, OperatorError> {
        if self.is_closing() {
            return Err(OperatorError::ShuttingDown);
        }
        // Two claims by one worker do not keep each other out, so it is this that keeps the second one out.
        let Some(_reserved) = self.registry.reserve(run) else {
            return Err(OperatorError::Busy(run.clone()));
        };
        let not_allowed = |why| OperatorError::NotAllowed { run: run.clone(), why };
        if self.registry.get(run).is_some() {
            return Err(not_allowed(machine::NotAllowed::NotAtRest));
        }
        if let Some(ParkedRun { reason, .. }) = self.registry.parked(run) {
            return Err(OperatorError::Parked { run: run.clone(), reason });
        }
        let expires = Instant::now() + self.lease;
        let claim = self.store.claim_run(&self.worker, run, self.lease).await.map_err(|error| match error {
            ClaimError::Held { .. } => OperatorError::Busy(run.clone()),
            ClaimError::UnknownRun { .. } => OperatorError::UnknownRun(run.clone()),
            ClaimError::Ended { .. } => not_allowed(machine::NotAllowed::Ended),
            ClaimError::Store(error) => error.into(),
        })?;
        let epoch = claim.summary.epoch;
        let operated = AssertUnwindSafe(self.operate_claimed(&claim.summary, by, asked)).catch_unwind().await;
        let is_driven = self.driving.is_some() && matches!(operated, Ok(Ok(())));
        if !is_driven {
            // Nothing was changed, or it is for a worker to go on. As well as it goes: the claim expires.
            let _ = self.store.release(&[(run.clone(), epoch)]).await;
        }
        operated.unwrap_or_else(|panic| resume_unwind(panic))?;
        metrics::run_moved_on();
        Ok(is_driven.then(|| self.drive_in_turn(claim.summary.into(), expires)))
    }

    /// Writes down that the run was taken up, and what was asked of it. The driver then decides what follows.
    async fn operate_claimed(&self, summary: &RunSummary, by: Actor, asked: Asked) -> Result<(), OperatorError> {
        let run = &summary.run;
        let parked = |reason| OperatorError::Parked { run: run.clone(), reason: Arc::new(reason) };
        let (definition, mut state) = self.load_as(summary, None).await.map_err(|reason| match reason {
            ParkReason::Store(error) => error.into(),
            reason => parked(reason),
        })?;
        let verb = asked.verb(run, &definition, &state)?;
        let expected = state.seq();
        let now = self.shared.clock.now();
        let taken_up = Observation::Resumed { epoch: summary.epoch, worker: self.worker.clone() };
        let mut events: Vec<_> = observe(&definition.plan, &state, taken_up, now, 0.0).into_iter().collect();
        events.push(
            machine::operate(&state, verb, by).map_err(|why| OperatorError::NotAllowed { run: run.clone(), why })?,
        );
        for event in &events {
            evolve(&definition.plan, &mut state, now, event).map_err(|illegal| parked(illegal.into()))?;
        }
        let append = Append {
            run: run.clone(),
            epoch: summary.epoch,
            expected,
            records: encode(expected, now, events),
            status: state.status(),
            at: now,
            start: None,
        };
        self.shared.committer.commit(append).await.map_err(|error| match error {
            CommitError::Refused(refused @ Refused::TooLarge { .. }) => {
                OperatorError::TooLarge { run: run.clone(), refused }
            }
            CommitError::Refused(_) => OperatorError::Busy(run.clone()),
            CommitError::Store(error) => OperatorError::Store(error),
            CommitError::Closed => OperatorError::ShuttingDown,
        })
    }
}

/// Names a step for an operator's verb.
impl From<StepName> for Place {
    fn from(step: StepName) -> Self {
        Self { step, item: None }
    }
}
