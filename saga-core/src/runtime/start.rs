//! Starting runs.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::{FutureExt, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::debug;

use crate::definition::{Definition, Saga};
use crate::id::{Epoch, ExclusiveKey, RunId, Seq, Timestamp};
use crate::journal::Event;
use crate::machine::{State, decide_by, evolve};
use crate::payload::Payload;
use crate::runtime::committer::{CommitError, panicked};
use crate::runtime::core::{Core, Taken};
use crate::runtime::draft::{Draft, recycle};
use crate::runtime::error::StartError;
use crate::runtime::handle::RunHandle;
use crate::runtime::line::{Following, Line, Receiver};
use crate::runtime::metrics;
use crate::runtime::options::StartOptions;
use crate::runtime::pace::Left;
use crate::store::{Append, FirstClaim, NewRun, Refused, RunSummary, StoreError};

/// A run that somebody wants to start.
struct NewStart<App> {
    definition: Arc<Definition<App>>,
    run: RunId,
    /// Somebody chose the id, and may start it elsewhere too.
    is_chosen: bool,
    input: Payload,
    key: Option<ExclusiveKey>,
    deadline: Option<Timestamp>,
}

/// What has become of a start.
enum Begun<App> {
    /// It is a new run. It has a place, or has to wait for one.
    Now(Taken<App>, Receiver, Option<OwnedSemaphorePermit>),
    /// It was started before, or is left to a worker. There is nothing to follow if it is not at hand.
    Elsewhere(Option<Following>),
}

impl<App: Send + Sync + 'static> Core<App> {
    pub(super) async fn start<In, Out>(
        self: &Arc<Self>,
        saga: &Saga<App, In, Out>,
        input: In,
        options: StartOptions,
    ) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        let began = Instant::now();
        let plan = saga.plan();
        let key = (plan.saga().clone(), plan.version());
        let definition = self.sagas.get(&key);
        let definition = definition.filter(|known| known.plan.fingerprint() == plan.fingerprint());
        let Some(definition) = definition.cloned() else {
            return Err(StartError::NotRegistered { saga: plan.saga().clone(), version: plan.version() });
        };
        let input = Payload::encode(&input).map_err(StartError::Input)?;
        let is_chosen = options.id.is_some();
        let run = options.id.unwrap_or_else(RunId::generate);
        let deadline = options.deadline.map(|after| self.shared.clock.now().plus(after));
        let new = NewStart { definition, run: run.clone(), is_chosen, input, key: options.key, deadline };
        // A shutdown waits for it.
        let _under_way = self.tasks.token();
        // With a store that answers at once nothing in here waits: who starts many runs would keep the thread from them.
        tokio::task::consume_budget().await;
        // The store's code runs in here, and may panic.
        let mut beginning = Box::pin(AssertUnwindSafe(Arc::clone(self).begin(new)).catch_unwind());
        let started = match poll!(&mut beginning) {
            // A store that answers at once has answered.
            Poll::Ready(begun) => self.go_on(unpanicked(begun))?,
            // Once the append is under way the run may be durable, and somebody has to drive it, even if the caller stops
            // waiting for the answer.
            Poll::Pending => {
                let (reply, answer) = oneshot::channel();
                self.tasks.spawn(Arc::clone(self).begin_and_go_on(beginning, reply));
                // Without an answer the runtime is being shut down.
                answer.await.unwrap_or(Err(StartError::ShuttingDown))?
            }
        };
        let handle = RunHandle::new(Arc::clone(self), run, started);
        // Under an id that was chosen it may have been started before.
        let pace = self.paces.get(&key).filter(|_| self.driving.is_none() && !is_chosen);
        Ok(match pace {
            Some(pace) => handle.left_to_workers(Left::new(began, Arc::clone(pace))),
            None => handle,
        })
    }

    async fn begin_and_go_on(
        self: Arc<Self>,
        beginning: Pin<Box<impl Future<Output = Result<Result<Begun<App>, StartError>, Panic>>>>,
        reply: oneshot::Sender<Result<Option<Following>, StartError>>,
    ) {
        let begun = tokio::select! {
            biased;
            () = self.shared.killed.given() => Err(StartError::ShuttingDown),
            begun = beginning => unpanicked(begun),
        };
        // The caller may have stopped waiting.
        let _ = reply.send(self.go_on(begun));
    }

    /// Has a run driven that was started, and says how to follow it.
    fn go_on(self: &Arc<Self>, begun: Result<Begun<App>, StartError>) -> Result<Option<Following>, StartError> {
        let (taken, line, slot) = match begun? {
            Begun::Now(taken, line, slot) => (taken, line, slot),
            Begun::Elsewhere(following) => return Ok(following),
        };
        let following = Following::new(Arc::clone(line.line()));
        let core = Arc::clone(self);
        match slot {
            Some(slot) => self.tasks.spawn(core.drive_to_end(taken, line, slot)),
            None => {
                let claimed = self.head_of(&taken, line.line());
                self.tasks.spawn(core.wait_and_drive(claimed.into(), line))
            }
        };
        Ok(Some(following))
    }

    async fn begin(self: Arc<Self>, new: NewStart<App>) -> Result<Begun<App>, StartError> {
        if self.is_closing() {
            return Err(StartError::ShuttingDown);
        }
        // One start of an id at a time, so that the first one has entered the run when the second finds that it exists.
        // Boxed, as all is that a start seldom waits for: one future is made for every start.
        let _reserved = match new.is_chosen {
            true => Some(Box::pin(self.registry.reserve_in_turn(&new.run)).await),
            false => None,
        };
        let NewStart { definition, run, input, key, deadline, .. } = new;
        let plan = &definition.plan;
        let now = self.shared.clock.now();
        let mut state = Box::new(State::new(plan));
        let first = Event::RunStarted {
            saga: plan.saga().clone(),
            version: plan.version(),
            fingerprint: plan.fingerprint(),
            input: input.clone(),
            key: key.clone(),
            deadline,
        };
        // The machine takes the first event of its own saga; were it not so, no run could ever start.
        let fault = |illegal| StartError::Store(Arc::new(StoreError::Corrupt { what: format!("{illegal}") }));
        evolve(plan, &mut state, now, &first).map_err(fault)?;
        let mut draft = Draft::new(Seq::ZERO, now);
        draft.push(first);
        let mut commands = Vec::new();
        // A run that can be driven at once starts its first steps in the same append. One that has to wait for its turn, or
        // for a worker, starts none: nothing may count as started that nobody runs.
        let slot = self.driving.as_ref().and_then(|driving| Arc::clone(&driving.slots).try_acquire_owned().ok());
        if slot.is_some() {
            decide_by(plan, &mut state, now, &mut commands, |event| draft.push(event)).map_err(fault)?;
        }
        let claim = self.driving.as_ref().map(|_| FirstClaim { worker: self.worker.clone(), lease: self.lease });
        let mut append = Append {
            run: run.clone(),
            epoch: Epoch::FIRST,
            expected: Seq::ZERO,
            records: draft.into_records(),
            status: state.status(),
            at: now,
            start: Some(NewRun {
                saga: plan.saga().clone(),
                version: plan.version(),
                fingerprint: plan.fingerprint(),
                key,
                claim,
            }),
        };
        let expires = Instant::now() + self.lease;
        let answer = match self.shared.committer.commit_now(&mut append) {
            Some(answer) => {
                recycle(append);
                answer
            }
            None => Box::pin(self.shared.committer.commit(append)).await,
        };
        match answer {
            Ok(()) => {}
            Err(CommitError::Refused(Refused::Exists { .. })) => {
                return Ok(Begun::Elsewhere(Box::pin(self.same_run(&definition, &run, &input)).await?));
            }
            Err(error) => return Err(error.into()),
        }
        metrics::run_started(plan.saga());
        debug!(%run, saga = %plan.saga(), waits = slot.is_none(), "started");
        if self.driving.is_none() {
            return Ok(Begun::Elsewhere(None));
        }
        let Some(expires) = self.still_held(&run, Epoch::FIRST, expires).await else {
            // It is durable, and whoever claims it next drives it.
            return Ok(Begun::Elsewhere(None));
        };
        let line = self.enter(&run, Epoch::FIRST, plan.saga(), expires);
        Ok(Begun::Now(Taken { definition, state, commands, seen: Vec::new() }, line, slot))
    }

    /// The head of a run that this worker has just started.
    fn head_of(&self, started: &Taken<App>, line: &Line) -> RunSummary {
        let (plan, state) = (&started.definition.plan, &started.state);
        RunSummary {
            run: line.run().clone(),
            saga: plan.saga().clone(),
            version: plan.version(),
            fingerprint: plan.fingerprint(),
            key: None,
            status: state.status(),
            seq: state.seq(),
            epoch: line.epoch(),
            owner: Some(self.worker.clone()),
            created_at: self.shared.clock.now(),
            updated_at: self.shared.clock.now(),
        }
    }

    /// A run of this id exists: is it the one that was meant?
    async fn same_run(
        &self,
        definition: &Definition<App>,
        run: &RunId,
        input: &Payload,
    ) -> Result<Option<Following>, StartError> {
        let taken = || StartError::IdTaken { run: run.clone() };
        let summary = self.store.get(run).await?.ok_or_else(taken)?;
        let first = self.store.read(run, Seq::ZERO, 1).await?;
        let first = first.first().and_then(|record| record.decode().ok()).map(|record| record.event);
        match first {
            Some(Event::RunStarted { input: before, .. })
                if same_json(&before, input) && summary.saga == *definition.plan.saga() =>
            {
                Ok(self.registry.get(run).map(Following::new))
            }
            _ => Err(taken()),
        }
    }
}

type Panic = Box<dyn Any + Send>;

/// What came of a start. One that panicked did so in the store's code.
fn unpanicked<App>(begun: Result<Result<Begun<App>, StartError>, Panic>) -> Result<Begun<App>, StartError> {
    begun.unwrap_or_else(|panic| Err(StartError::Store(Arc::new(panicked(&*panic)))))
}

/// Whether two payloads are the same value. Their texts may differ: a `HashMap` has no order.
fn same_json(one: &Payload, other: &Payload) -> bool {
    let value = |payload: &Payload| payload.decode::<serde_json::Value>().ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}
