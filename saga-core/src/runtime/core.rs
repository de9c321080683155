//! What a coordinator and a client are made of, and how a run is taken in hand and let go of.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::action::RunScope;
use crate::definition::Definition;
use crate::id::{Epoch, RunId, SagaName, WorkerId};
use crate::machine::{Command, Observation, State};
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::driver::{Driver, End, Shared};
use crate::runtime::error::ParkReason;
use crate::runtime::heads::Heads;
use crate::runtime::line::{Line, Progress, Receiver};
use crate::runtime::metrics;
use crate::runtime::pace::Pace;
use crate::runtime::registry::{ParkedRun, Registry};
use crate::runtime::signal::Signal;
use crate::store::{RunSummary, Store};

pub(crate) type Sagas<App> = HashMap<(SagaName, u32), Arc<Definition<App>>>;

/// What a coordinator or a client is made of; its handles and tasks share it.
pub(crate) struct Core<App> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) heads: Heads,
    pub(crate) sagas: Sagas<App>,
    /// How long the runs of each saga take that are left to the workers.
    pub(crate) paces: HashMap<(SagaName, u32), Arc<Pace>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
    /// What it takes to drive runs; a client has none of it.
    pub(crate) driving: Option<Driving<App>>,
    pub(crate) registry: Registry,
    pub(crate) tasks: TaskTracker,
    /// No new run is taken on.
    pub(super) closing: AtomicBool,
}

/// What it takes to drive runs.
pub(crate) struct Driving<App> {
    pub(crate) app: Arc<App>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) most_in_flight: usize,
    /// There were more runs to claim than there were places.
    pub(crate) backlog: AtomicBool,
    /// Told when there are places again, while there is a backlog.
    pub(crate) room: Arc<Notify>,
}

impl<App> Driving<App> {
    pub(super) fn new(app: Arc<App>, most_in_flight: usize) -> Self {
        Self {
            app,
            slots: Arc::new(Semaphore::new(most_in_flight)),
            most_in_flight,
            backlog: AtomicBool::new(false),
            room: Arc::new(Notify::new()),
        }
    }
}

/// A run in the hands of this process, before its driver begins to work.
pub(crate) struct Taken<App> {
    pub(crate) definition: Arc<Definition<App>>,
    pub(crate) state: Box<State>,
    /// Commands whose events are durable.
    pub(crate) commands: Vec<Command>,
    /// Seen before the driver begins to work.
    pub(crate) seen: Vec<Observation>,
}

impl<App> Core<App> {
    /// Everything stops where it is.
    pub(super) fn kill(&self) {
        self.shared.killed.give();
        self.registry.wake_all();
    }

    /// Nothing new is begun.
    pub(super) fn park(&self) {
        self.shared.parking.give();
        self.registry.wake_all();
    }
}

impl<App: Send + Sync + 'static> Core<App> {
    /// A core with its committer at work.
    pub(super) fn new(
        store: Arc<dyn Store>,
        sagas: Sagas<App>,
        worker: WorkerId,
        lease: Duration,
        clock: Clock,
        driving: Option<Driving<App>>,
    ) -> Arc<Self> {
        let killed = Signal::default();
        let (committer, writing) = Committer::new(Arc::clone(&store), killed.token());
        let (heads, reading) = Heads::new(Arc::clone(&store));
        let until = killed.token();
        let shared = Shared { clock, store: Arc::clone(&store), committer, parking: Signal::default(), killed };
        tokio::spawn(async move { until.run_until_cancelled(futures::future::join(writing, reading)).await });
        Arc::new(Self {
            store,
            heads,
            paces: sagas.keys().map(|key| (key.clone(), Arc::default())).collect(),
            sagas,
            shared: Arc::new(shared),
            worker,
            lease,
            driving,
            registry: Registry::default(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || self.shared.killed.is_given()
    }

    /// Enters a run among those at hand, whose claim holds until `expires`.
    pub(crate) fn enter(&self, run: &RunId, epoch: Epoch, saga: &SagaName, expires: Instant) -> Receiver {
        let line = Receiver::new(Line::new(RunScope::new(run.clone(), epoch, saga.clone())));
        self.registry.enter(line.line(), expires);
        line
    }

    /// Drives a run that has a place as far as it goes.
    pub(crate) fn drive_to_end(
        self: Arc<Self>,
        taken: Taken<App>,
        line: Receiver,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Made here, and not moved by the future, which would have room for it twice.
        let app = self.driving.as_ref().map(|driving| Arc::clone(&driving.app));
        let mut driver = app.map(|app| Driver::new(Arc::clone(&self.shared), app, taken, line));
        async move {
            let Some(driving) = &mut driver else { return };
            let end = driving.drive().await;
            let Some(line) = driver.take().map(Driver::into_line) else { return };
            drop(slot);
            self.let_go(&line, end);
        }
    }

    /// Forgets a run, and tells those who follow it why. In this order: whoever learns that a run rests can move it on.
    pub(crate) fn let_go(&self, line: &Receiver, end: End) {
        let (run, epoch) = (line.line().run(), line.line().epoch());
        let told = match end {
            End::Settled(outcome) => Progress::Settled(outcome),
            End::Stopped => {
                if self.is_closing() {
                    self.registry.give_back(run.clone(), epoch);
                }
                Progress::Stopped
            }
            // If it is lost to nobody, a renewal that was under way may have kept the claim: nobody is to wait for that.
            End::Lost => {
                self.registry.give_back(run.clone(), epoch);
                Progress::Stopped
            }
            End::Failed(error) => {
                self.registry.give_back(run.clone(), epoch);
                Progress::Failed(error)
            }
            End::Parked(reason) => {
                error!(%run, %reason, "the run is parked");
                metrics::run_parked();
                self.registry.park(ParkedRun { run: run.clone(), reason: Arc::new(reason), epoch: Some(epoch) });
                Progress::Parked
            }
        };
        self.registry.remove(run, epoch);
        line.ended(told);
        self.tell_of_room();
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

    /// Why the run is set aside here, if it is, and no other worker has it.
    pub(crate) fn parked(&self, summary: &RunSummary) -> Option<ParkedRun> {
        let parked = self.registry.parked(&summary.run)?;
        let elsewhere = parked.epoch.is_none() && summary.owner.is_some();
        (!elsewhere).then_some(parked)
    }
}
