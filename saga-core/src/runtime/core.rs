//! What a coordinator is made of, and how it takes a run in hand and lets go of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::definition::Definition;
use crate::id::{Epoch, RunId, SagaName, WorkerId};
use crate::machine::{Command, Observation, State};
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::driver::{Driver, End, Shared};
use crate::runtime::error::ParkReason;
use crate::runtime::metrics;
use crate::runtime::registry::{Entry, Mail, ParkedRun, Progress, Registry};
use crate::store::{RunSummary, Store};

pub(crate) type Sagas<App> = HashMap<(SagaName, u32), Arc<Definition<App>>>;

/// What a coordinator is made of; its handles and tasks share it.
pub(crate) struct Core<App> {
    pub(crate) app: Arc<App>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sagas: Sagas<App>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) registry: Registry,
    pub(crate) tasks: TaskTracker,
    /// No new run is taken on.
    pub(super) closing: AtomicBool,
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
    /// A core with its committer at work.
    pub(super) fn new(
        app: Arc<App>,
        store: Arc<dyn Store>,
        sagas: Sagas<App>,
        worker: WorkerId,
        lease: Duration,
        most_in_flight: usize,
    ) -> Arc<Self> {
        let (committer, writing) = Committer::new(Arc::clone(&store));
        let killed = CancellationToken::new();
        let shared =
            Shared { clock: Clock::new(), committer, parking: CancellationToken::new(), killed: killed.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = writing => {}
                () = killed.cancelled() => {}
            }
        });
        Arc::new(Self {
            app,
            store,
            sagas,
            shared: Arc::new(shared),
            worker,
            lease,
            slots: Arc::new(Semaphore::new(most_in_flight)),
            registry: Registry::default(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || self.shared.killed.is_cancelled()
    }

    /// Enters a run among those at hand.
    pub(crate) fn lines(&self, run: &RunId, epoch: Epoch) -> Lines {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let (progress, following) = watch::channel(Progress::Live);
        self.registry.enter(run.clone(), Entry { epoch, mailbox: mailbox.clone(), progress: following });
        Lines { mailbox, mail, progress }
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
            End::Stopped => {
                if self.is_closing() {
                    self.registry.give_back(run.clone(), epoch);
                }
                Progress::Stopped
            }
            End::Failed(error) => Progress::Failed(error),
            End::Parked(reason) => {
                error!(%run, %reason, "the run is parked");
                metrics::run_parked();
                self.registry.park(ParkedRun { run: run.clone(), reason: Arc::new(reason), epoch: Some(epoch) });
                Progress::Parked
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
}
