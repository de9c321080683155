//! The coordinator: starts runs, and answers for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use crate::definition::{Definition, Saga};
use crate::id::{Epoch, ExclusiveKey, RunId, SagaName, Seq, WorkerId};
use crate::journal::{Actor, Event};
use crate::machine::{Command, Observation, State, decide, evolve};
use crate::payload::Payload;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::driver::{Driver, End, Shared, encode};
use crate::runtime::error::{CancelError, OutcomeError, ParkReason, RecoverError, StartError};
use crate::runtime::handle::RunHandle;
use crate::runtime::metrics;
use crate::runtime::registry::{Entry, Mail, ParkedRun, Progress, Registry};
use crate::store::{Append, NewRun, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError};

const DEFAULT_MOST_IN_FLIGHT: usize = 10_000;
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// The process-wide object that drives runs.
///
/// Cloning it is cheap; all clones are one coordinator. When the last clone is dropped, everything that it drives stops
/// where it is, as in a crash: the runs go on when a coordinator is built on their store again. For an orderly end call
/// [`shutdown`](Self::shutdown).
pub struct Coordinator<App> {
    core: Arc<Core<App>>,
    /// Stops the drivers when the last clone of the coordinator goes. Handles do not keep it.
    life: Arc<Life>,
}

struct Life(CancellationToken);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What a coordinator is made of; its handles and tasks share it.
pub(crate) struct Core<App> {
    pub(crate) app: Arc<App>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sagas: HashMap<(SagaName, u32), Arc<Definition<App>>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) registry: Registry,
    pub(crate) tasks: TaskTracker,
    closing: AtomicBool,
}

/// Builds a [`Coordinator`].
#[must_use = "nothing is recovered or driven until `start` is called"]
pub struct CoordinatorBuilder<App> {
    app: Arc<App>,
    store: Arc<dyn Store>,
    sagas: Vec<Arc<Definition<App>>>,
    worker: WorkerId,
    lease: Duration,
    most_in_flight: usize,
}

/// How a coordinator comes to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Runs are driven until they come to rest. New ones are refused.
    Drain,
    /// Nothing new is begun. What is in flight may end within this time; what does not is stopped where it is, and runs
    /// again when the run is taken up.
    Park {
        /// How long to wait for what is in flight.
        grace: Duration,
    },
}

/// How a run is started, where the defaults do not do.
///
/// ```
/// use saga_core::StartOptions;
/// use std::time::Duration;
///
/// let options = StartOptions::new()
///     .id("create-cluster-42".parse()?)
///     .key("cluster/42".parse()?)
///     .deadline(Duration::from_secs(3600));
/// # let _ = options;
/// # Ok::<(), saga_core::InvalidId>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct StartOptions {
    id: Option<RunId>,
    key: Option<ExclusiveKey>,
    deadline: Option<Duration>,
}

impl StartOptions {
    /// The defaults: a generated id, no exclusive key, no deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// The run's id. Starting the same saga with the same input under the same id again gives the same run.
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// The exclusive key that the run holds until it ends (so also while it rests).
    pub fn key(mut self, key: ExclusiveKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The run is aborted if it still goes forward after this time.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}

impl<App: Send + Sync + 'static> CoordinatorBuilder<App> {
    /// Makes a saga known: runs of it can be started, and are resumed. Several versions of one saga can be registered;
    /// a run is resumed only with the one that it started under.
    pub fn register<In, Out>(mut self, saga: &Saga<App, In, Out>) -> Self {
        self.sagas.push(Arc::clone(saga.definition()));
        self
    }

    /// How many runs are driven at the same time; the rest wait for their turn. 10 000 by default.
    pub fn max_in_flight(mut self, runs: usize) -> Self {
        self.most_in_flight = runs.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// For how long a claim holds without being renewed: how soon another worker takes over the runs of one that died.
    /// 30 s by default. Without meaning for stores that only one process can open.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(100));
        self
    }

    /// The name of this worker in claims; generated by default. No two workers may have the same name at the same time.
    pub fn worker(mut self, worker: WorkerId) -> Self {
        self.worker = worker;
        self
    }

    /// Takes up every live run of the store, and is ready to start new ones.
    ///
    /// A run that cannot be taken up is parked ([`Coordinator::parked`]); it does not keep the others from going on.
    ///
    /// # Errors
    ///
    /// [`RecoverError`]; nothing is driven then.
    pub async fn start(self) -> Result<Coordinator<App>, RecoverError> {
        let mut sagas: HashMap<(SagaName, u32), Arc<Definition<App>>> = HashMap::new();
        for definition in self.sagas {
            let (saga, version) = (definition.plan.saga().clone(), definition.plan.version());
            if let Some(other) = sagas.get(&(saga.clone(), version))
                && other.plan.fingerprint() != definition.plan.fingerprint()
            {
                return Err(RecoverError::RegisteredTwice { saga, version });
            }
            sagas.insert((saga, version), definition);
        }
        let (committer, writing) = Committer::new(Arc::clone(&self.store));
        let killed = CancellationToken::new();
        let shared =
            Shared { clock: Clock::new(), committer, parking: CancellationToken::new(), killed: killed.clone() };
        let core = Arc::new(Core {
            app: self.app,
            store: self.store,
            sagas,
            shared: Arc::new(shared),
            worker: self.worker,
            lease: self.lease,
            slots: Arc::new(Semaphore::new(self.most_in_flight)),
            registry: Registry::default(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        });
        let coordinator = Coordinator { core: Arc::clone(&core), life: Arc::new(Life(killed.clone())) };
        // The committer outlives the drivers by as much as it takes to tell them that they are dead.
        tokio::spawn(async move {
            tokio::select! {
                () = writing => {}
                () = killed.cancelled() => {}
            }
        });
        core.recover().await?;
        core.keep_claims();
        Ok(coordinator)
    }
}

impl<App: Send + Sync + 'static> Coordinator<App> {
    /// A coordinator that keeps its runs in `store` and hands `app` to their actions.
    pub fn builder(store: impl Store, app: App) -> CoordinatorBuilder<App> {
        Self::builder_shared(Arc::new(store), Arc::new(app))
    }

    /// As [`builder`](Self::builder), with a store and an application that are used elsewhere too.
    pub fn builder_shared(store: Arc<dyn Store>, app: Arc<App>) -> CoordinatorBuilder<App> {
        CoordinatorBuilder {
            app,
            store,
            sagas: Vec::new(),
            worker: WorkerId::generate(),
            lease: DEFAULT_LEASE,
            most_in_flight: DEFAULT_MOST_IN_FLIGHT,
        }
    }

    /// Starts a run. When this returns the run is durable: whatever happens, it comes to an end.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start<In, Out>(&self, saga: &Saga<App, In, Out>, input: In) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        self.start_with(saga, input, StartOptions::new()).await
    }

    /// Starts a run under an id, with an exclusive key, or with a deadline.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_with<In, Out>(
        &self,
        saga: &Saga<App, In, Out>,
        input: In,
        options: StartOptions,
    ) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        let plan = saga.plan();
        let definition = self.core.sagas.get(&(plan.saga().clone(), plan.version()));
        let definition = definition.filter(|known| known.plan.fingerprint() == plan.fingerprint());
        let Some(definition) = definition.cloned() else {
            return Err(StartError::NotRegistered { saga: plan.saga().clone(), version: plan.version() });
        };
        let input = Payload::encode(&input).map_err(StartError::Input)?;
        let run = options.id.unwrap_or_else(RunId::generate);
        let deadline = options.deadline.map(|after| self.core.shared.clock.now().plus(after));
        let started = self.core.start(definition, run.clone(), input, options.key, deadline).await?;
        Ok(RunHandle::new(Arc::clone(&self.core), run, started))
    }

    /// A handle to a run that was started before, here or in an earlier process. Its outcome is decoded as `Out`;
    /// [`Payload`] takes any.
    ///
    /// # Errors
    ///
    /// [`OutcomeError::UnknownRun`], or what the store fails with.
    pub async fn attach<Out: DeserializeOwned>(&self, run: &RunId) -> Result<RunHandle<App, Out>, OutcomeError> {
        if let Some(entry) = self.core.registry.get(run) {
            return Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), Some(entry.progress)));
        }
        match self.core.store.get(run).await? {
            Some(_) => Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), None)),
            None => Err(OutcomeError::UnknownRun(run.clone())),
        }
    }

    /// Cancels a run, and returns when that is durable; the run is then rolled back or halted as its saga says. To
    /// cancel a run that is being aborted already changes nothing, and is no error.
    ///
    /// # Errors
    ///
    /// [`CancelError`].
    pub async fn cancel(&self, run: &RunId, by: Actor) -> Result<(), CancelError> {
        self.core.cancel(run, by).await
    }

    /// The head of a run, if there is such a run.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.core.store.get(run).await
    }

    /// The heads of many runs, by page.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.core.store.list(query).await
    }

    /// The live or resting run that holds an exclusive key.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.core.store.holder(key).await
    }

    /// The runs that were set aside, and why.
    #[must_use]
    pub fn parked(&self) -> Vec<ParkedRun> {
        self.core.registry.all_parked()
    }

    /// How many runs are in memory: driven, or waiting for their turn.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.core.registry.len()
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.core.app
    }

    /// The store, for what the coordinator has no verb for: reading a journal, retention.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    pub(crate) fn core(&self) -> &Arc<Core<App>> {
        &self.core
    }

    /// Comes to an end in good order, and closes the store. New runs are refused from now on.
    ///
    /// # Errors
    ///
    /// What closing the store fails with; all drivers have ended all the same.
    pub async fn shutdown(&self, how: Shutdown) -> Result<(), StoreError> {
        let core = &self.core;
        core.closing.store(true, Ordering::SeqCst);
        core.tasks.close();
        match how {
            Shutdown::Drain => core.tasks.wait().await,
            Shutdown::Park { grace } => {
                core.shared.parking.cancel();
                if tokio::time::timeout(grace, core.tasks.wait()).await.is_err() {
                    warn!(?grace, runs = core.registry.len(), "not all actions have ended in time; they are stopped");
                }
            }
        }
        let held = core.registry.held();
        self.life.0.cancel();
        core.tasks.wait().await;
        let released = core.store.release(&held).await;
        core.store.close().await.and(released)
    }
}

impl<App> Clone for Coordinator<App> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), life: Arc::clone(&self.life) }
    }
}

/// A run in the hands of this process, before its driver begins to work.
pub(crate) struct Taken<App> {
    pub(crate) definition: Arc<Definition<App>>,
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) state: State,
    pub(crate) commands: Vec<Command>,
    pub(crate) seen: Vec<Observation>,
}

/// The two ends of a run's mailbox, and of its progress.
pub(crate) struct Lines {
    pub(crate) mailbox: mpsc::UnboundedSender<Mail>,
    pub(crate) mail: mpsc::UnboundedReceiver<Mail>,
    pub(crate) progress: watch::Sender<Progress>,
}

impl<App: Send + Sync + 'static> Core<App> {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || self.shared.killed.is_cancelled()
    }

    /// Starts a run, and tells how to follow it; `None` if it had been started before and is not at hand.
    async fn start(
        self: &Arc<Self>,
        definition: Arc<Definition<App>>,
        run: RunId,
        input: Payload,
        key: Option<ExclusiveKey>,
        deadline: Option<crate::id::Timestamp>,
    ) -> Result<Option<watch::Receiver<Progress>>, StartError> {
        if self.is_closing() {
            return Err(StartError::ShuttingDown);
        }
        let plan = &definition.plan;
        let now = self.shared.clock.now();
        let mut state = State::new(plan);
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
        let mut events = vec![first];
        let mut commands = Vec::new();
        // A run that can be driven at once starts its first steps in the same append. One that has to wait for its turn
        // starts none: nothing may count as started that nobody runs.
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if slot.is_some() {
            let decision = decide(plan, &mut state, now).map_err(fault)?;
            events.extend(decision.append);
            commands = decision.then;
        }
        let append = Append {
            run: run.clone(),
            epoch: Epoch::FIRST,
            expected: Seq::ZERO,
            records: encode(Seq::ZERO, now, events),
            status: state.status(),
            at: now,
            start: Some(NewRun {
                saga: plan.saga().clone(),
                version: plan.version(),
                fingerprint: plan.fingerprint(),
                key,
                worker: self.worker.clone(),
                lease: self.lease,
            }),
        };
        match self.shared.committer.commit(append).await {
            Ok(()) => {}
            Err(CommitError::Refused(Refused::Exists { .. })) => {
                return self.same_run(&definition, &run, &input).await;
            }
            Err(error) => return Err(error.into()),
        }
        metrics::run_started(plan.saga());
        debug!(%run, saga = %plan.saga(), waits = slot.is_none(), "started");
        let taken = Taken { definition, run, epoch: Epoch::FIRST, state, commands, seen: Vec::new() };
        Ok(Some(match slot {
            Some(slot) => self.drive(taken, slot),
            None => self.drive_in_turn(taken.run, taken.epoch, Vec::new()),
        }))
    }

    /// A run of this id exists: is it the one that was meant?
    async fn same_run(
        &self,
        definition: &Definition<App>,
        run: &RunId,
        input: &Payload,
    ) -> Result<Option<watch::Receiver<Progress>>, StartError> {
        let taken = || StartError::IdTaken { run: run.clone() };
        let summary = self.store.get(run).await?.ok_or_else(taken)?;
        let first = self.store.read(run, Seq::ZERO, 1).await?;
        let first = first.first().and_then(|record| record.decode().ok()).map(|record| record.event);
        match first {
            Some(Event::RunStarted { input: before, .. })
                if before == *input && summary.saga == *definition.plan.saga() =>
            {
                Ok(self.registry.get(run).map(|entry| entry.progress))
            }
            _ => Err(taken()),
        }
    }

    pub(crate) fn lines(&self, run: &RunId, epoch: Epoch) -> Lines {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let (progress, following) = watch::channel(Progress::Live);
        self.registry.enter(run.clone(), Entry { epoch, mailbox: mailbox.clone(), progress: following });
        Lines { mailbox, mail, progress }
    }

    /// Drives a run from now on, in a task of its own.
    fn drive(self: &Arc<Self>, taken: Taken<App>, slot: OwnedSemaphorePermit) -> watch::Receiver<Progress> {
        let lines = self.lines(&taken.run, taken.epoch);
        let following = lines.progress.subscribe();
        let core = Arc::clone(self);
        self.tasks.spawn(async move { core.drive_to_end(taken, lines, slot).await });
        following
    }

    pub(crate) async fn drive_to_end(&self, taken: Taken<App>, lines: Lines, slot: OwnedSemaphorePermit) {
        let (run, epoch, progress) = (taken.run.clone(), taken.epoch, lines.progress.clone());
        let driver = Driver {
            shared: Arc::clone(&self.shared),
            definition: taken.definition,
            run: taken.run,
            epoch: taken.epoch,
            state: taken.state,
            commands: taken.commands,
            seen: taken.seen,
            app: Arc::clone(&self.app),
            mail: lines.mail,
            mailbox: lines.mailbox,
            progress: lines.progress,
        };
        let end = driver.drive().await;
        drop(slot);
        self.let_go(run, epoch, &progress, end);
    }

    /// Forgets a run, and tells those who follow it why. In this order: whoever learns that a run rests can move it on.
    pub(crate) fn let_go(&self, run: RunId, epoch: Epoch, progress: &watch::Sender<Progress>, end: End) {
        let told = match end {
            End::Settled(outcome) => Progress::Settled(outcome),
            End::Stopped => Progress::Stopped,
            End::Failed(error) => Progress::Failed(error),
            End::Parked(reason) => {
                error!(%run, %reason, "the run is parked");
                metrics::run_parked();
                let reason = Arc::new(reason);
                self.registry.park(ParkedRun { run: run.clone(), reason: Arc::clone(&reason), epoch: Some(epoch) });
                Progress::Parked(reason)
            }
        };
        self.registry.remove(&run, epoch);
        progress.send_replace(told);
    }

    pub(crate) fn definition_of(&self, summary: &RunSummary) -> Result<Arc<Definition<App>>, ParkReason> {
        let key = (summary.saga.clone(), summary.version);
        let Some(definition) = self.sagas.get(&key) else {
            return Err(ParkReason::UnknownSaga { saga: key.0, version: key.1 });
        };
        if definition.plan.fingerprint() != summary.fingerprint {
            return Err(ParkReason::Changed {
                saga: key.0,
                version: key.1,
                expected: summary.fingerprint,
                found: definition.plan.fingerprint(),
            });
        }
        Ok(Arc::clone(definition))
    }

    pub(crate) async fn cancel(&self, run: &RunId, by: Actor) -> Result<(), CancelError> {
        loop {
            // Registered before looking, so that no change falls between.
            let changed = self.registry.changed.notified();
            if let Some(entry) = self.registry.get(run) {
                let (reply, done) = oneshot::channel();
                if entry.mailbox.send(Mail::Cancel(by.clone(), reply)).is_ok() && done.await.is_ok() {
                    return Ok(());
                }
                // The driver let go of it: look again for what has become of it.
            }
            if let Some(parked) = self.registry.parked(run) {
                return Err(CancelError::Parked { run: run.clone(), reason: parked.reason });
            }
            let Some(summary) = self.store.get(run).await? else {
                return Err(CancelError::UnknownRun(run.clone()));
            };
            if self.is_closing() {
                return Err(CancelError::Stopped(run.clone()));
            }
            if summary.status != RunStatus::Running {
                return Err(CancelError::NotLive { run: run.clone(), status: summary.status });
            }
            if summary.owner.as_ref() != Some(&self.worker) {
                return Err(CancelError::Elsewhere { run: run.clone(), owner: summary.owner });
            }
            // It is ours, and is about to be driven, or has just been let go of.
            if self.registry.get(run).is_none() {
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        }
    }
}
