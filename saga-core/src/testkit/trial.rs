//! One trial: a world, a run, and as many processes as it takes.
//!
//! Each trial has a thread of its own, and each process in it a runtime of its own: when the process dies, the runtime
//! goes with everything that was spawned on it. Time is virtual, and goes on from one process to the next.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::kit::Kit;
use super::script::{Act, Ask, Script};
use super::stage::{Log, Stage};
use super::tap::Tap;
use super::wrap;
use super::{RUN, World};
use crate::id::{ExclusiveKey, RunId, Seq, Timestamp};
use crate::journal::{Actor, Record};
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::{CancelError, Clock, Coordinator, StartOptions};
use crate::store::{MemoryStore, Store};

/// The time at which every trial begins. Any will do; one that is always the same makes journals that are.
const EPOCH: Timestamp = Timestamp(1_700_000_000_000);
/// One that is not renewed all the time: there is nobody else.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// What a trial came to.
pub(super) struct Seen {
    pub(super) log: Log,
    /// How the run came to rest, or why it did not.
    pub(super) end: Result<Outcome<Payload>, String>,
    /// What the author's invariant says of it.
    pub(super) verdict: Result<(), String>,
    /// The trial is still running, on a thread that nothing can stop.
    pub(super) runs_on: bool,
}

/// How a process ended.
enum LifeEnd {
    Died,
    Rested(Outcome<Payload>),
    Trouble(String),
}

type Ended = (Result<Outcome<Payload>, String>, Result<(), String>);

/// A trial under way, on a thread of its own.
pub(super) struct Trial {
    stage: Arc<Stage>,
    thread: JoinHandle<()>,
    told: mpsc::Receiver<Ended>,
}

impl Trial {
    pub(super) fn begin<W, In, Out>(kit: &Kit<W, In, Out>, script: Script) -> Self
    where
        W: World,
        In: Serialize + DeserializeOwned + Send + 'static,
        Out: DeserializeOwned + 'static,
    {
        let store = MemoryStore::new();
        let stage = Arc::new(Stage::new(script, kit.seed, kit.vanish.is_some(), store.faults()));
        let (tell, told) = mpsc::channel();
        let trial = {
            let (kit, stage) = (kit.clone(), Arc::clone(&stage));
            move || {
                let ended = catch_unwind(AssertUnwindSafe(|| go_through(&kit, &stage, store)));
                let ended = ended.unwrap_or_else(|panic| (Err(format!("panicked: {}", message(&*panic))), Ok(())));
                // Whoever waited may have given up.
                let _ = tell.send(ended);
            }
        };
        let thread = std::thread::Builder::new().name("saga-testkit".to_owned()).spawn(trial);
        Self { stage, thread: thread.expect("a thread can be started"), told }
    }

    /// Waits for its end, but not for ever.
    pub(super) fn end(self, give_up_after: Duration) -> Seen {
        let Ok((end, verdict)) = self.told.recv_timeout(give_up_after) else {
            let log = self.stage.seen();
            let what = format!("{give_up_after:?} of real time have passed, and no end is in sight{}", at_work(&log));
            return Seen { log, end: Err(what), verdict: Ok(()), runs_on: true };
        };
        // It has said all that it had to say.
        let _ = self.thread.join();
        Seen { log: self.stage.seen(), end, verdict, runs_on: false }
    }
}

fn go_through<W, In, Out>(kit: &Kit<W, In, Out>, stage: &Arc<Stage>, mut store: MemoryStore) -> Ended
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    // The coordinator rolls its dice on this thread.
    fastrand::seed(kit.seed);
    let world = (kit.world)();
    let mut elapsed = Duration::ZERO;
    for life in 0.. {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let end = runtime.block_on(async {
            let begun = Instant::now();
            tokio::time::advance(elapsed).await;
            let end = live(kit, stage, &store, &world, life, (begun, elapsed)).await;
            elapsed = begun.elapsed();
            end
        });
        // It does not wait for what blocks a thread: neither does a death.
        runtime.shutdown_background();
        match end {
            LifeEnd::Died => {
                stage.crashed();
                store = store.reopen();
            }
            LifeEnd::Trouble(what) => return (Err(what), Ok(())),
            LifeEnd::Rested(outcome) => {
                let verdict = judged(kit, &world, &outcome);
                return (Ok(outcome), verdict);
            }
        }
    }
    unreachable!("one life ends the trial")
}

/// One process: it starts the run, or takes it up, and drives it to its end or its own.
async fn live<W, In, Out>(
    kit: &Kit<W, In, Out>,
    stage: &Arc<Stage>,
    store: &MemoryStore,
    world: &W,
    life: usize,
    (origin, elapsed): (Instant, Duration),
) -> LifeEnd
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let run = RunId::new(RUN).expect("a valid id");
    let journal = journal(store, &run).await;
    let key = ExclusiveKey::new(RUN).expect("a valid key");
    stage.begin_life(life, origin, &journal);
    let saga = kit.saga.with_code(|definition| wrap::staged(definition, stage));
    let driving = async {
        let tap = Tap { store: store.clone(), stage: Arc::clone(stage), key: key.clone() };
        let coordinator = Coordinator::builder(tap, world.app())
            .register(&saga)
            .lease(LEASE)
            .clock(Clock::starting_at(EPOCH.plus(elapsed)))
            .start()
            .await
            .map_err(|error| format!("the coordinator does not start: {error}"))?;
        // Whoever has not heard that it was started starts it again, under the same id.
        let mut options = StartOptions::new().id(run.clone()).key(key);
        if let Act::Deadline { after, .. } = &stage.script.act {
            options = options.deadline(*after);
        }
        let started = coordinator.start_with(&saga, (kit.input)(), options).await;
        started.map_err(|error| format!("the run does not start: {error}"))?;
        let handle = coordinator.attach::<Payload>(&run).await.map_err(|error| error.to_string())?;
        let resting = async {
            let outcome = handle.outcome().await.map_err(|error| error.to_string())?;
            if !outcome.is_resting() {
                return Ok(outcome);
            }
            if let Some(act) = stage.ask(&outcome) {
                if let Err(wrong) = judged(kit, world, &outcome) {
                    stage.wrong(format!("where it rests: {wrong}"));
                }
                operate(&coordinator, &run, act).await?;
            } else if stage.cancels_at_rest() {
                match coordinator.cancel(&run, by_kit()).await {
                    Err(CancelError::NotLive { .. }) => {}
                    other => return Err(format!("a run at rest was cancelled, which came to: {other:?}")),
                }
            }
            handle.outcome().await.map_err(|error| error.to_string())
        };
        let cancelling = async {
            stage.cancel_wanted().await;
            let refused = coordinator.cancel(&run, by_kit()).await.err();
            // One that comes too late is none.
            let refused = refused.filter(|error| !matches!(error, CancelError::NotLive { .. }));
            stage.cancel_over(refused.map(|error| error.to_string()));
            std::future::pending::<()>().await;
        };
        let vanishing = async {
            stage.vanish_wanted().await;
            if let Some(vanish) = &kit.vanish {
                vanish(world);
            }
            stage.vanished();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            outcome = resting => outcome,
            () = cancelling => unreachable!("it never ends"),
            () = vanishing => unreachable!("it never ends"),
        }
    };
    tokio::select! {
        biased;
        () = stage.died() => LifeEnd::Died,
        () = stage.runaway() => LifeEnd::Trouble(format!("something is tried again without end{}", at_work(&stage.seen()))),
        ended = tokio::time::timeout(kit.limit(), driving) => match ended {
            Ok(Ok(outcome)) => {
                stage.lasted();
                LifeEnd::Rested(outcome)
            }
            Ok(Err(trouble)) => LifeEnd::Trouble(trouble),
            Err(_) => {
                let limit = kit.limit();
                LifeEnd::Trouble(format!("not at rest after {limit:?} of virtual time{}", at_work(&stage.seen())))
            }
        },
    }
}

fn by_kit() -> Actor {
    Actor::new("testkit", "injected")
}

/// An operator moves the run on.
async fn operate<App: Send + Sync + 'static>(
    coordinator: &Coordinator<App>,
    run: &RunId,
    act: &Act,
) -> Result<(), String> {
    let Act::Operate { ask, place, output } = act else { return Ok(()) };
    let operated = match ask {
        Ask::Retry | Ask::RetryInVain => coordinator.retry(run, by_kit()).await,
        Ask::Skip => coordinator.skip(run, place, output.clone(), by_kit()).await,
        Ask::RollBack => coordinator.roll_back(run, by_kit()).await,
        Ask::Abandon => coordinator.abandon(run, by_kit()).await,
    };
    operated.map(drop).map_err(|error| format!("an operator's act was refused: {error}"))
}

async fn journal(store: &MemoryStore, run: &RunId) -> Vec<Record> {
    // There is none before the run has been started.
    let records = store.read(run, Seq(0), usize::MAX).await.unwrap_or_default();
    records.iter().filter_map(|record| record.decode().ok()).collect()
}

fn at_work(log: &Log) -> String {
    let in_flight = log.in_flight();
    if in_flight.is_empty() { String::new() } else { format!("; still at work: {}", in_flight.join(", ")) }
}

fn judged<W, In, Out>(kit: &Kit<W, In, Out>, world: &W, outcome: &Outcome<Payload>) -> Result<(), String>
where
    W: World,
    Out: DeserializeOwned,
{
    let outcome = outcome.clone().decode::<Out>().map_err(|error| format!("the output cannot be read: {error}"))?;
    let judging = AssertUnwindSafe(|| (kit.check)(world, &outcome));
    catch_unwind(judging).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    crate::panics::panic_message(panic).to_owned()
}
