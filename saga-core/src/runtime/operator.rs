//! Moving resting runs on.

use std::sync::Arc;

use crate::id::{ItemRef, RunId, StepName};
use crate::journal::{Actor, Verb};
use crate::machine::{self, ItemPhase, Observation, State, evolve, observe};
use crate::outcome::Place;
use crate::payload::Payload;
use crate::plan::Shape;
use crate::runtime::committer::CommitError;
use crate::runtime::coordinator::{Coordinator, Core};
use crate::runtime::driver::encode;
use crate::runtime::error::OperatorError;
use crate::runtime::handle::RunHandle;
use crate::runtime::metrics;
use crate::runtime::registry::ParkedRun;
use crate::store::{Append, ClaimError};

impl<App: Send + Sync + 'static> Coordinator<App> {
    /// Tries again what a resting run rests at: halted, the failed step, then forward; stuck, the failed compensation.
    /// When this returns, it is durable that it was asked for.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn retry(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.operate(run, by, |_, _| Ok(Verb::Retry)).await
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
        self.operate(run, by, |definition, state| {
            let unknown = || OperatorError::UnknownStep { run: run.clone(), step: place.step.clone() };
            let step = definition.plan.find(place.step.as_str()).ok_or_else(unknown)?;
            let of = ItemRef::new(step, place.item.unwrap_or(0));
            let phase = state.item_phase(of).ok_or_else(unknown)?;
            if place.item.is_none() && definition.plan.step(step).shape != Shape::Single {
                return Err(unknown());
            }
            if let (ItemPhase::Failed, Some(output)) = (phase, &output) {
                let check = definition.steps[step.at()].check_output;
                check(output).map_err(|source| OperatorError::Output { step: place.step.clone(), source })?;
            }
            Ok(Verb::Skip { of, output: output.clone() })
        })
        .await
    }

    /// Rolls a halted run back on purpose: the failed step is taken for one that had no effect, and all that would have
    /// been undone if it had been compensable is undone. Only say this if you know what the step did.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn roll_back(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.operate(run, by, |_, _| Ok(Verb::RollBack)).await
    }

    /// Gives a resting run up as it stands: it ends, and frees its exclusive key. Its residue says what is left behind.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the run rests as before.
    pub async fn abandon(&self, run: &RunId, by: Actor) -> Result<RunHandle<App, Payload>, OperatorError> {
        self.operate(run, by, |_, _| Ok(Verb::Abandon)).await
    }

    async fn operate(
        &self,
        run: &RunId,
        by: Actor,
        verb: impl FnOnce(&crate::definition::Definition<App>, &State) -> Result<Verb, OperatorError>,
    ) -> Result<RunHandle<App, Payload>, OperatorError> {
        let core = self.core();
        let following = core.operate(run, by, verb).await?;
        Ok(RunHandle::new(Arc::clone(core), run.clone(), Some(following)))
    }
}

impl<App: Send + Sync + 'static> Core<App> {
    async fn operate(
        self: &Arc<Self>,
        run: &RunId,
        by: Actor,
        verb: impl FnOnce(&crate::definition::Definition<App>, &State) -> Result<Verb, OperatorError>,
    ) -> Result<tokio::sync::watch::Receiver<crate::runtime::registry::Progress>, OperatorError> {
        if self.is_closing() {
            return Err(OperatorError::ShuttingDown);
        }
        let not_allowed = |why| OperatorError::NotAllowed { run: run.clone(), why };
        if self.registry.get(run).is_some() {
            return Err(not_allowed(machine::NotAllowed::NotAtRest));
        }
        if let Some(ParkedRun { reason, .. }) = self.registry.parked(run) {
            return Err(OperatorError::Parked { run: run.clone(), reason });
        }
        let claim = self.store.claim_run(&self.worker, run, self.lease).await.map_err(|error| match error {
            ClaimError::Held { .. } => OperatorError::Busy(run.clone()),
            ClaimError::UnknownRun { .. } => OperatorError::UnknownRun(run.clone()),
            ClaimError::Ended { .. } => not_allowed(machine::NotAllowed::Ended),
            ClaimError::Store(error) => error.into(),
        })?;
        let epoch = claim.summary.epoch;
        let operated = self.operate_claimed(&claim.summary, by, verb).await;
        if operated.is_err() {
            // Nothing was changed; let others have it.
            let _ = self.store.release(&[(run.clone(), epoch)]).await;
        }
        operated?;
        metrics::run_moved_on();
        Ok(self.drive_in_turn(run.clone(), epoch, Vec::new()))
    }

    /// Writes down that the run was taken up, and what was asked of it. The driver then decides what follows.
    async fn operate_claimed(
        &self,
        summary: &crate::store::RunSummary,
        by: Actor,
        verb: impl FnOnce(&crate::definition::Definition<App>, &State) -> Result<Verb, OperatorError>,
    ) -> Result<(), OperatorError> {
        let run = &summary.run;
        let parked = |reason| OperatorError::Parked { run: run.clone(), reason: Arc::new(reason) };
        let (definition, mut state) = self.load_as(summary).await.map_err(parked)?;
        let verb = verb(&definition, &state)?;
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
