//! Acting: a command becomes a future whose end is an observation.
//!
//! Whatever the user's code does in there (fail, panic, take too long), the future ends with an observation.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::instrument::Instrumented;
use tracing::{Instrument, debug, info_span, warn};

use crate::action::{Ctx, Link, Probe, Role, Scope, StepError, Stop, UndoPayloads};
use crate::definition::Definition;
use crate::id::{ItemRef, RunId, StepIndex, StepName};
use crate::journal::{FailureKind, FailureOrigin, ProbeAnswer};
use crate::machine::{Command, Observation, State, outcome};
use crate::payload::Payload;
use crate::runtime::attempt::{AttemptOf, attempt_of, parts};
use crate::runtime::line::{Line, Mail};
use crate::runtime::metrics;

/// What code is of that belongs to no step, but to the run as a whole.
const THE_RUN: ItemRef = ItemRef { step: StepIndex(u32::MAX), item: 0 };

/// A probe or guard that has not answered after this long cannot tell.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);
const GUARD_FIRST_DELAY: Duration = Duration::from_millis(500);
const GUARD_LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What the commands of one run need to be executed.
pub(crate) struct Executor<App> {
    pub(crate) app: Arc<App>,
    pub(crate) definition: Arc<Definition<App>>,
    pub(crate) input: Payload,
    pub(crate) line: Arc<Line>,
}

impl<App: Send + Sync + 'static> Executor<App> {
    /// The future that executes a command, which the state that it came from must still stand behind.
    pub(crate) fn execute(self: &Arc<Self>, state: &State, command: Command) -> Flight {
        Flight::Other(match command {
            Command::Run { of, attempt } => return self.run_action(state, of, attempt),
            Command::Probe { of } => self.probe(state, of),
            Command::Undo { of, attempt } => self.undo(state, of, attempt),
            Command::AskGuard => self.ask_guard(),
            Command::Finalize => self.finalize(state),
        })
    }

    fn run_action(self: &Arc<Self>, state: &State, of: ItemRef, attempt: u32) -> Flight {
        let plan = &self.definition.plan;
        let step = plan.step(of.step);
        let Some(input) = state.item_input(plan, of) else {
            let missing = StepError::new(FailureKind::Rejected, FailureOrigin::Undecodable, "the item has no input");
            let failed = Observation::Attempt { of, attempt, result: Err(parts(missing)) };
            return Flight::Other(futures::future::ready(failed).boxed());
        };
        let ctx = self.action_context(state, of, attempt);
        let scope = Arc::clone(ctx.scope());
        let code = attempt_of(step.timeout, (self.definition.steps[of.step.at()].run)(ctx, input));
        let span =
            info_span!("attempt", saga = %plan.saga(), run = %self.run(), step = %step.name, item = of.item, attempt);
        Flight::Action(Action { of, attempt, scope, began: tokio::time::Instant::now(), code }.instrument(span))
    }

    fn undo(self: &Arc<Self>, state: &State, of: ItemRef, attempt: u32) -> BoxFuture<'static, Observation> {
        let plan = &self.definition.plan;
        let step = plan.step(of.step);
        let (Some(input), Some(code)) = (state.item_input(plan, of), self.definition.steps[of.step.at()].undo.clone())
        else {
            let missing = StepError::fatal("the item has no input, or the step no compensation");
            return futures::future::ready(Observation::Undo { of, attempt, result: Err(parts(missing)) }).boxed();
        };
        let given =
            UndoPayloads { input, output: state.item_output(of).cloned(), checkpoints: state.checkpoints(of).to_vec() };
        let ctx = self.context(state, of, attempt, Role::Compensation);
        let span =
            info_span!("undo", saga = %plan.saga(), run = %self.run(), step = %step.name, item = of.item, attempt);
        let (saga, name, timeout) = (plan.saga().clone(), step.name.clone(), step.undo_timeout);
        async move {
            let result = attempt_of(timeout, code(ctx, given)).await;
            match &result {
                Ok(()) => debug!("undone"),
                Err((error, _)) => {
                    metrics::undo_failed(&saga, &name);
                    warn!(%error, "the compensation failed");
                }
            }
            Observation::Undo { of, attempt, result }
        }
        .instrument(span)
        .boxed()
    }

    fn probe(self: &Arc<Self>, state: &State, of: ItemRef) -> BoxFuture<'static, Observation> {
        let plan = &self.definition.plan;
        let step = plan.step(of.step);
        let unknown = Observation::Probe { of, answer: ProbeAnswer::Unknown };
        let (Some(input), Some(code)) = (state.item_input(plan, of), self.definition.steps[of.step.at()].probe.clone())
        else {
            return futures::future::ready(unknown).boxed();
        };
        let ctx = self.context(state, of, 0, Role::Probe);
        let span = info_span!("probe", saga = %plan.saga(), run = %self.run(), step = %step.name, item = of.item);
        let timeout = step.timeout.unwrap_or(QUESTION_TIMEOUT);
        async move {
            match attempt_of(Some(timeout), code(ctx, input)).await {
                Ok(Probe::Done(output)) => Observation::Probe { of, answer: ProbeAnswer::Done(output) },
                Ok(Probe::NotDone) => Observation::Probe { of, answer: ProbeAnswer::NotDone },
                Ok(Probe::Unknown) => unknown,
                Err((error, _)) => {
                    warn!(%error, "the probe failed, so the effect stays unknown");
                    unknown
                }
            }
        }
        .instrument(span)
        .boxed()
    }

    /// Asks until the guard knows: only a certain no counts, and only a certain yes lets the rollback spare anything.
    fn ask_guard(self: &Arc<Self>) -> BoxFuture<'static, Observation> {
        let Some(code) = self.definition.guard.clone() else {
            return futures::future::ready(Observation::Guard { gone: false }).boxed();
        };
        let (ctx, input) = (self.run_context("guard", Role::Guard), self.input.clone());
        let span = info_span!("guard", saga = %self.definition.plan.saga(), run = %self.run());
        async move {
            let mut delay = GUARD_FIRST_DELAY;
            loop {
                match attempt_of(Some(QUESTION_TIMEOUT), code(ctx.clone(), input.clone())).await {
                    Ok(there) => return Observation::Guard { gone: !there },
                    Err((error, _)) => warn!(%error, retry_in = ?delay, "the guard cannot tell"),
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(GUARD_LONGEST_DELAY);
            }
        }
        .instrument(span)
        .boxed()
    }

    fn finalize(self: &Arc<Self>, state: &State) -> BoxFuture<'static, Observation> {
        let plan = &self.definition.plan;
        let (Some(code), Some(end)) = (self.definition.finalizer.clone(), outcome(plan, state)) else {
            return futures::future::ready(Observation::Finalizer { result: Ok(()) }).boxed();
        };
        let (ctx, input) = (self.run_context("finally", Role::Finalizer), self.input.clone());
        let span = info_span!("finally", saga = %plan.saga(), run = %self.run());
        async move {
            let result = attempt_of(None, code(ctx, input, end)).await;
            if let Err((error, _)) = &result {
                warn!(%error, "the finalizer failed; it is tried again");
            }
            Observation::Finalizer { result }
        }
        .instrument(span)
        .boxed()
    }

    fn run(&self) -> &RunId {
        &self.line.scope.run
    }

    /// The context of an action.
    fn action_context(self: &Arc<Self>, state: &State, of: ItemRef, attempt: u32) -> Ctx<App> {
        let step = self.definition.plan.step(of.step);
        // Forward steps are finished whatever happens to the run.
        let stop = Stop::run(step.is_forward());
        let checkpoints = state.checkpoints(of).to_vec();
        self.within(Scope { attempt, checkpoints, ..self.scope(step.name.clone(), of, Role::Action, stop) })
    }

    /// The context of code that is shielded: a compensation cleans up after an abort, and a probe settles how it goes on.
    fn context(self: &Arc<Self>, state: &State, of: ItemRef, attempt: u32, role: Role) -> Ctx<App> {
        let step = self.definition.plan.step(of.step).name.clone();
        let checkpoints = state.checkpoints(of).to_vec();
        self.within(Scope { attempt, checkpoints, ..self.scope(step, of, role, Stop::run(true)) })
    }

    /// A context for code that belongs to the run as a whole.
    fn run_context(self: &Arc<Self>, name: &str, role: Role) -> Ctx<App> {
        let name = StepName::new(name).unwrap_or_else(|_| self.definition.plan.step(StepIndex(0)).name.clone());
        self.within(self.scope(name, THE_RUN, role, Stop::run(true)))
    }

    fn within(self: &Arc<Self>, scope: Scope) -> Ctx<App> {
        let link = Arc::clone(self) as Arc<dyn Link>;
        Ctx::new(Arc::clone(&self.app), Scope { link: Some(link), ..scope })
    }

    /// The scope of a first attempt of what nothing is known of, with no way back to the run.
    fn scope(&self, step: StepName, of: ItemRef, role: Role, stop: Stop) -> Scope {
        Scope {
            run: Arc::clone(&self.line.scope),
            step,
            of,
            role,
            attempt: 1,
            checkpoints: Vec::new(),
            stop,
            over: AtomicBool::new(false),
            link: None,
            #[cfg(feature = "testkit")]
            of_attempt: None,
        }
    }
}

/// Something in flight, which ends with an observation.
///
/// What most runs have in flight is an action, so that has a place of its own, without a box.
pub(crate) enum Flight {
    Action(Instrumented<Action>),
    Other(BoxFuture<'static, Observation>),
}

impl Future for Flight {
    type Output = Observation;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Observation> {
        match self.get_mut() {
            Self::Action(action) => Pin::new(action).poll(cx),
            Self::Other(other) => other.as_mut().poll(cx),
        }
    }
}

/// An attempt of an action.
pub(crate) struct Action {
    of: ItemRef,
    attempt: u32,
    scope: Arc<Scope>,
    began: tokio::time::Instant,
    code: AttemptOf<Payload>,
}

impl Future for Action {
    type Output = Observation;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Observation> {
        let result = ready!(Pin::new(&mut self.code).poll(cx));
        let Self { of, attempt, scope, began, .. } = &*self;
        scope.over.store(true, Ordering::SeqCst);
        metrics::attempt_ended(&scope.run.saga, &scope.step, *began, result.is_ok());
        match &result {
            Ok(_) => debug!(took = ?began.elapsed(), "the action succeeded"),
            Err((error, _)) => warn!(took = ?began.elapsed(), %error, kind = ?error.kind, "the action failed"),
        }
        Poll::Ready(Observation::Attempt { of: *of, attempt: *attempt, result })
    }
}

#[async_trait]
impl<App: Send + Sync + 'static> Link for Executor<App> {
    async fn checkpoint(&self, by: &Scope, value: Payload) -> Result<(), StepError> {
        if by.is_over() {
            return Err(StepError::failed("the attempt has ended, nothing more can be recorded"));
        }
        let (reply, answer) = oneshot::channel();
        let gone = || StepError::failed("the run is no longer this worker's, nothing more can be recorded");
        self.line.send(Mail::Checkpoint(by.of, value, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn subject_is_there(&self, by: &Scope) -> bool {
        // Compensations, probes and the finalizer work because the subject may be gone. Once the run is being aborted, what
        // still waits is being finished; asking would only get in its way.
        if by.role != Role::Action || self.line.scope.is_aborting() {
            return true;
        }
        let Some(guard) = self.definition.guard.clone() else { return true };
        let step = self.definition.plan.step(StepIndex(0)).name.clone();
        let scope = self.scope(step, THE_RUN, Role::Guard, Stop::Token(CancellationToken::new()));
        let ctx = Ctx::new(Arc::clone(&self.app), scope);
        let input = self.input.clone();
        match attempt_of(Some(QUESTION_TIMEOUT), guard(ctx, input)).await {
            Ok(true) => true,
            Ok(false) => {
                let _ = self.line.send(Mail::SubjectGone);
                // A forward step is finished whatever happens, but the run should know.
                self.definition.plan.step(by.of.step).is_forward()
            }
            Err((error, _)) => {
                debug!(%error, "the guard cannot tell; it is asked again");
                true
            }
        }
    }
}
