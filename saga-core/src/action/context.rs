//! The context of one attempt.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::action::{RunScope, StepError};
use crate::id::{Epoch, ItemRef, RunId, SagaName, StepName};
use crate::payload::Payload;

/// What an action or a compensation has at hand besides its input.
///
/// It dereferences to the application (`App`), whose clients and settings the action uses. Cloning it is cheap.
pub struct Ctx<App> {
    app: Arc<App>,
    scope: Arc<Scope>,
}

/// Which attempt of what this is, and how it reaches its run.
pub(crate) struct Scope {
    pub(crate) run: Arc<RunScope>,
    pub(crate) step: StepName,
    pub(crate) of: ItemRef,
    pub(crate) role: Role,
    pub(crate) attempt: u32,
    /// What earlier attempts recorded.
    pub(crate) checkpoints: Vec<Payload>,
    pub(crate) stop: Stop,
    /// The attempt has ended, whatever it has left running.
    pub(crate) over: AtomicBool,
    pub(crate) link: Option<Arc<dyn Link>>,
    /// The attempt that this one stands in for.
    #[cfg(feature = "testkit")]
    pub(crate) of_attempt: Option<Arc<Scope>>,
}

impl Scope {
    /// Whether the attempt has ended.
    pub(crate) fn is_over(&self) -> bool {
        #[cfg(feature = "testkit")]
        if self.of_attempt.as_ref().is_some_and(|first| first.is_over()) {
            return true;
        }
        self.over.load(Ordering::SeqCst)
    }
}

/// What asks code to come to an end.
pub(crate) enum Stop {
    /// The run, as far as the code is not shielded. The token is there if it was asked for.
    Run { shielded: bool, token: OnceLock<CancellationToken> },
    /// A token, and nothing else.
    Token(CancellationToken),
}

impl Stop {
    pub(crate) fn run(shielded: bool) -> Self {
        Self::Run { shielded, token: OnceLock::new() }
    }
}

/// What the context is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Action,
    Compensation,
    Probe,
    Guard,
    Finalizer,
}

/// The way from an action back to its run.
#[async_trait]
pub(crate) trait Link: Send + Sync {
    /// Journals a checkpoint, and returns when it is durable.
    async fn checkpoint(&self, by: &Scope, value: Payload) -> Result<(), StepError>;
    /// Asks the guard, if this code is one whose waits end with the subject. `false` is a certain no, which the run then
    /// already knows of.
    async fn subject_is_there(&self, by: &Scope) -> bool;
}

impl<App> Ctx<App> {
    pub(crate) fn new(app: Arc<App>, scope: Scope) -> Self {
        Self { app, scope: Arc::new(scope) }
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The context of another attempt at the same, with all that was recorded so far.
    #[cfg(feature = "testkit")]
    pub(crate) fn again(&self, checkpoints: Vec<Payload>) -> Self {
        let Scope { run, step, of, role, attempt, stop, link, .. } = &*self.scope;
        let scope = Scope {
            run: Arc::clone(run),
            step: step.clone(),
            of: *of,
            role: *role,
            attempt: attempt + 1,
            checkpoints,
            stop: match stop {
                Stop::Run { shielded, .. } => Stop::run(*shielded),
                Stop::Token(token) => Stop::Token(token.clone()),
            },
            over: AtomicBool::new(false),
            link: link.clone(),
            of_attempt: Some(Arc::clone(&self.scope)),
        };
        Self::new(Arc::clone(&self.app), scope)
    }

    /// Whether a guard with this context is asked by the run, and not by a wait.
    #[cfg(feature = "testkit")]
    pub(crate) fn is_of_run(&self) -> bool {
        self.scope.link.is_some()
    }

    /// The item that this is of.
    #[cfg(feature = "testkit")]
    pub(crate) fn item_ref(&self) -> ItemRef {
        self.scope.of
    }

    /// A context without a run, for unit tests of actions: checkpoints go nowhere, and nothing cancels it but
    /// [`cancel`](tokio_util::sync::CancellationToken::cancel) on the token.
    ///
    /// # Panics
    ///
    /// If `step` is no valid name.
    #[must_use]
    pub fn detached(app: Arc<App>, step: &str, cancelled: CancellationToken) -> Self {
        Self::new(
            app,
            Scope {
                run: Arc::new(RunScope::new(
                    RunId::generate(),
                    Epoch::FIRST,
                    SagaName::new("detached").expect("a valid name"),
                )),
                step: StepName::new(step).expect("the step's name is valid"),
                of: ItemRef::new(crate::StepIndex(0), 0),
                role: Role::Action,
                attempt: 1,
                checkpoints: Vec::new(),
                stop: Stop::Token(cancelled),
                over: AtomicBool::new(false),
                link: None,
                #[cfg(feature = "testkit")]
                of_attempt: None,
            },
        )
    }

    /// The application, to be kept beyond the attempt.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The run that this is a part of.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.scope.run.run
    }

    /// The number of the claim under which the run is driven: a fencing token.
    ///
    /// Every worker that takes the run up has a higher one than the worker before. If what the action changes outside can
    /// remember the highest number that it has seen, and refuse lower ones, then not even a worker that was asleep for
    /// longer than its lease can change anything there after another has taken over.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.scope.run.epoch
    }

    /// The saga that the run follows.
    #[must_use]
    pub fn saga(&self) -> &SagaName {
        &self.scope.run.saga
    }

    /// The name of the step.
    #[must_use]
    pub fn step(&self) -> &StepName {
        &self.scope.step
    }

    /// The number of the item, from 0, if the step is a fan-out.
    #[must_use]
    pub fn item(&self) -> u32 {
        self.scope.of.item
    }

    /// The number of the attempt, from 1. Attempts that a crash cut short count too.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.scope.attempt
    }

    /// A key that is the same on every attempt of this item, in this run, before and after a crash, and in its
    /// compensation; and that no other item has.
    ///
    /// What an action makes outside it should make under this key (as an idempotency token, a name or a tag): then a
    /// second attempt finds what the first one made, and so does the compensation.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        // A step's name may have slashes (an included saga's steps do), so those of the run are escaped: the run ends at
        // the first slash, and the item begins after the last.
        let run = self.run().as_str().replace('%', "%25").replace('/', "%2F");
        format!("{run}/{}/{}", self.scope.step, self.scope.of.item)
    }

    /// What earlier attempts of this item recorded, oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[Payload] {
        &self.scope.checkpoints
    }

    /// Durably records progress: retries, recovery, the compensation and the residue see it. Returns when it is durable.
    ///
    /// # Errors
    ///
    /// If the value has no JSON form, the attempt has ended, the run is no longer this worker's, or this is no action. Pass
    /// it on with `?`.
    pub async fn checkpoint<T: Serialize + Sync + ?Sized>(&self, value: &T) -> Result<(), StepError> {
        let value = Payload::encode(value)?;
        if self.scope.role != Role::Action {
            return Err(StepError::fatal("only actions can record checkpoints"));
        }
        match &self.scope.link {
            Some(link) => link.checkpoint(&self.scope, value).await,
            None => Ok(()),
        }
    }

    /// Resolves when the run is being aborted: the action should come to an end soon, and say by its error what it did.
    /// Compensations, probes and forward steps are shielded from this.
    ///
    /// Resolves too, for all of them, when this worker has lost its claim on the run: another worker may be at the same
    /// step by now. What the action answers then counts for nothing, and it is dropped at its next `await`.
    pub async fn cancelled(&self) {
        match &self.scope.stop {
            Stop::Run { shielded, .. } => self.scope.run.stopped(*shielded).await,
            Stop::Token(token) => token.cancelled().await,
        }
    }

    /// Whether the run is being aborted.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match &self.scope.stop {
            Stop::Run { shielded, .. } => self.scope.run.stops(*shielded),
            Stop::Token(token) => token.is_cancelled(),
        }
    }

    /// The token behind [`cancelled`](Self::cancelled), to be passed on to code that knows nothing of sagas.
    #[must_use]
    pub fn cancellation_token(&self) -> &CancellationToken {
        match &self.scope.stop {
            Stop::Run { shielded, token } => token.get_or_init(|| self.scope.run.token(*shielded)),
            Stop::Token(token) => token,
        }
    }

    /// Waits until `question` answers `Some`, asking every `interval`, for at most `timeout`: the one way to wait.
    ///
    /// It ends early when the run is being aborted, or when the saga's guard says that the subject is gone; never as a
    /// success. What is shielded from an abort (a compensation, a probe, a forward step, the finalizer) waits on.
    ///
    /// ```
    /// use saga_core::{Ctx, StepError};
    /// use std::time::Duration;
    ///
    /// # struct Cloud; impl Cloud { async fn address(&self, _: &str) -> std::io::Result<Option<String>> { Ok(None) } }
    /// async fn wait_for_address(ctx: Ctx<Cloud>, machine: String) -> Result<String, StepError> {
    ///     let every = Duration::from_secs(2);
    ///     Ok(ctx.poll(every, Duration::from_secs(300), async || Ok(ctx.address(&machine).await?)).await?)
    /// }
    /// # let mut saga = saga_core::Saga::<Cloud, String>::builder("wait", 1);
    /// # let machine = saga.input();
    /// # saga.step("wait", machine, wait_for_address).nothing_to_undo();
    /// ```
    ///
    /// A question that changes what it captures is a closure that returns a future: `|| { asked += 1; async { … } }`.
    ///
    /// # Errors
    ///
    /// [`PollError::TimedOut`], [`PollError::Cancelled`], [`PollError::SubjectGone`], or the error of the question.
    pub async fn poll<T, F, Fut>(&self, interval: Duration, timeout: Duration, mut question: F) -> Result<T, PollError>
    where
        // Not `AsyncFnMut`: of its futures the compiler cannot tell that they are `Send`, as those of actions must be.
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Option<T>, StepError>>,
    {
        let end = after(timeout);
        // One timer for both, the end and the next question: thousands may wait here.
        let mut timer = pin!(tokio::time::sleep_until(end));
        let asking = async {
            loop {
                let asked = pin!(async {
                    match &self.scope.link {
                        Some(link) if !link.subject_is_there(&self.scope).await => Err(PollError::SubjectGone),
                        _ => question().await.map_err(PollError::Question),
                    }
                });
                tokio::select! {
                    biased;
                    answer = asked => if let Some(answer) = answer? {
                        return Ok(answer);
                    },
                    () = timer.as_mut() => return Err(PollError::TimedOut(timeout)),
                }
                let next = after(interval);
                timer.as_mut().reset(next.min(end));
                timer.as_mut().await;
                if next > end {
                    return Err(PollError::TimedOut(timeout));
                }
                timer.as_mut().reset(end);
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled() => Err(PollError::Cancelled),
            answer = asking => answer,
        }
    }
}

/// That much later, or so late that it makes no difference.
fn after(time: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    Instant::now() + time.min(NEVER)
}

/// Why waiting came to nothing. Becomes a [`StepError`] by `?`.
#[derive(Debug)]
#[non_exhaustive]
pub enum PollError {
    /// The time was up.
    TimedOut(Duration),
    /// The run is being aborted.
    Cancelled,
    /// The saga's guard says that the subject is gone.
    SubjectGone,
    /// The question itself failed.
    Question(StepError),
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(after) => write!(f, "gave up waiting after {after:?}"),
            Self::Cancelled => f.write_str("stopped waiting: the run is being aborted"),
            Self::SubjectGone => f.write_str("stopped waiting: the subject of the run is gone"),
            Self::Question(error) => error.fmt(f),
        }
    }
}

impl From<PollError> for StepError {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Question(error) => error,
            other => StepError::failed(other),
        }
    }
}

impl<App> Clone for Ctx<App> {
    fn clone(&self) -> Self {
        Self { app: Arc::clone(&self.app), scope: Arc::clone(&self.scope) }
    }
}

impl<App> Deref for Ctx<App> {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl<App> fmt::Debug for Ctx<App> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("run", self.run())
            .field("step", &self.scope.step)
            .field("item", &self.scope.of.item)
            .field("attempt", &self.scope.attempt)
            .finish_non_exhaustive()
    }
}
