//! The driver of one run: observe, decide, commit, act.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::action::StepError;
use crate::definition::Definition;
use crate::id::{Epoch, RunId, Seq, Timestamp};
use crate::journal::{EncodedRecord, Event, Record};
use crate::machine::{Command, IllegalEvent, Observation, State, decide, evolve, observe, outcome};
use crate::outcome::Outcome;
use crate::panics::panic_message;
use crate::payload::Payload;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::error::ParkReason;
use crate::runtime::execute::Executor;
use crate::runtime::mailbox::{Mail, Mailbox, Mails};
use crate::runtime::metrics;
use crate::runtime::registry::Progress;
use crate::store::{Append, Refused};

/// What all drivers of a coordinator share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) committer: Committer,
    /// Nothing new is begun; what is in flight may end.
    pub(crate) parking: CancellationToken,
    /// Everything stops where it is.
    pub(crate) killed: CancellationToken,
}

/// A run in the hands of this process.
pub(crate) struct Driver<App> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) definition: Arc<Definition<App>>,
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) state: State,
    /// Commands whose events are durable.
    pub(crate) commands: Vec<Command>,
    /// Seen before the driver began to work.
    pub(crate) seen: Vec<Observation>,
    pub(crate) app: Arc<App>,
    pub(crate) mail: Mails,
    pub(crate) mailbox: Mailbox,
    pub(crate) progress: watch::Sender<Progress>,
    /// The run is no longer this worker's.
    pub(crate) lost: CancellationToken,
}

/// Why a driver let go of its run.
pub(crate) enum End {
    Settled(Arc<Outcome<Payload>>),
    Stopped,
    /// Another worker has claimed the run, or may have by now.
    Lost,
    Parked(ParkReason),
    Failed(Arc<crate::store::StoreError>),
}

/// Something that was seen, and who waits for it to be durable.
struct Seen {
    what: Observation,
    reply: Option<Reply>,
}

enum Reply {
    Checkpoint(oneshot::Sender<Result<(), StepError>>),
    Cancel(oneshot::Sender<()>),
}

impl Reply {
    /// Whoever asked may have stopped waiting.
    fn done(self) {
        match self {
            Self::Checkpoint(reply) => drop(reply.send(Ok(()))),
            Self::Cancel(reply) => drop(reply.send(())),
        }
    }

    /// What was seen makes no event.
    fn of_no_consequence(self) {
        match self {
            Self::Checkpoint(reply) => {
                drop(reply.send(Err(StepError::failed("the attempt has ended, nothing more can be recorded"))));
            }
            // It has what it wants: the run does not go forward.
            Self::Cancel(reply) => drop(reply.send(())),
        }
    }
}

impl From<Observation> for Seen {
    fn from(what: Observation) -> Self {
        Self { what, reply: None }
    }
}

/// In which order things are judged that were seen at the same time.
fn rank(seen: &Seen) -> u8 {
    match seen.what {
        // What an attempt recorded it recorded before it ended.
        Observation::Resumed { .. } | Observation::Checkpoint { .. } => 0,
        Observation::Cancel { .. } | Observation::SubjectGone => 2,
        _ => 1,
    }
}

/// What one turn comes to.
#[derive(Default)]
struct Turn {
    events: Vec<Event>,
    commands: Vec<Command>,
    /// To be given when the events are durable.
    replies: Vec<Reply>,
}

type InFlight = FuturesUnordered<BoxFuture<'static, Observation>>;

impl<App: Send + Sync + 'static> Driver<App> {
    /// Drives the run until it comes to rest, or until this process has to let go of it.
    pub(crate) async fn drive(self) -> End {
        let (killed, lost, run) = (self.shared.killed.clone(), self.lost.clone(), self.run.clone());
        metrics::in_flight(1.0);
        let mut in_flight = InFlight::new();
        let mut driving = AssertUnwindSafe(Box::pin(self.turns(&mut in_flight))).catch_unwind();
        let end = tokio::select! {
            biased;
            () = killed.cancelled() => End::Stopped,
            () = lost.cancelled() => End::Lost,
            end = &mut driving => end.unwrap_or_else(|panic| {
                error!(%run, "the driver panicked: {}", panic_message(&*panic));
                End::Parked(ParkReason::Internal(panic_message(&*panic).to_owned()))
            }),
        };
        drop(driving);
        let is_lost = matches!(end, End::Lost);
        let stopping = move || {
            if is_lost {
                // Those who watch for it learn of it, and what they come to is not looked at.
                lost.cancel();
                while let Some(Some(_)) = in_flight.next().now_or_never() {}
            }
            drop(in_flight);
        };
        // What actions own may panic as it is dropped.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(stopping)) {
            error!(%run, "an action that was stopped panicked: {}", panic_message(&*panic));
        }
        metrics::in_flight(-1.0);
        end
    }

    async fn turns(mut self, in_flight: &mut InFlight) -> End {
        let executor = Arc::new(Executor {
            app: Arc::clone(&self.app),
            definition: Arc::clone(&self.definition),
            run: self.run.clone(),
            epoch: self.epoch,
            input: self.state.input().clone(),
            mailbox: self.mailbox.clone(),
            lost: self.lost.clone(),
            cancelled: self.lost.child_token(),
            aborting: AtomicBool::new(false),
        });
        let mut seen: Vec<Seen> = std::mem::take(&mut self.seen).into_iter().map(Seen::from).collect();
        let commands = std::mem::take(&mut self.commands);
        self.act(&executor, in_flight, commands);
        let shared = Arc::clone(&self.shared);
        loop {
            // A turn: judge all that was seen, decide, write it down, act upon it.
            while let Some(mail) = self.mail.try_recv() {
                seen.push(open(mail));
            }
            // An action that is told of the loss may answer before this is stopped; that counts for nothing. Without this the
            // answer would be written if no other worker has claimed the run yet, as if the run itself had been called off.
            if self.lost.is_cancelled() {
                return End::Lost;
            }
            let now = shared.clock.now();
            let Turn { events, commands, replies } = match self.turn(seen, now, shared.parking.is_cancelled()) {
                Ok(turned) => turned,
                Err(illegal) => return End::Parked(ParkReason::Illegal(illegal)),
            };
            seen = Vec::new();
            if !events.is_empty() {
                match self.commit(now, events, in_flight, &mut seen).await {
                    Ok(()) => {}
                    Err(end) => return end,
                }
            }
            replies.into_iter().for_each(Reply::done);
            if self.state.is_aborting() || self.state.is_settled() {
                executor.aborting.store(true, Ordering::Relaxed);
                executor.cancelled.cancel();
            }
            self.act(&executor, in_flight, commands);
            if let Some(end) = self.settled() {
                return end;
            }
            if shared.parking.is_cancelled() && in_flight.is_empty() && seen.is_empty() {
                return End::Stopped;
            }
            if seen.is_empty() {
                seen = self.wait(&shared, in_flight).await;
            }
        }
    }

    /// Folds what was seen, and decides what follows from it.
    fn turn(&mut self, mut seen: Vec<Seen>, now: Timestamp, parking: bool) -> Result<Turn, IllegalEvent> {
        let plan = &self.definition.plan;
        let mut turn = Turn::default();
        // Stable: what is of one rank is judged in the order in which it came.
        seen.sort_by_key(rank);
        for Seen { what, reply } in seen {
            match observe(plan, &self.state, what, now, fastrand::f64()) {
                Some(event) => {
                    evolve(plan, &mut self.state, now, &event)?;
                    turn.events.push(event);
                    turn.replies.extend(reply);
                }
                None => {
                    if let Some(reply) = reply {
                        reply.of_no_consequence();
                    }
                }
            }
        }
        // While parking, what was seen is written down; what follows from it is decided when the run is taken up again.
        if !parking {
            let decision = decide(plan, &mut self.state, now)?;
            turn.events.extend(decision.append);
            turn.commands = decision.then;
        }
        Ok(turn)
    }

    /// Returns when the events are durable. Meanwhile actions go on, and what they come to is kept in `seen`.
    async fn commit(
        &mut self,
        at: Timestamp,
        events: Vec<Event>,
        in_flight: &mut InFlight,
        seen: &mut Vec<Seen>,
    ) -> Result<(), End> {
        for event in &events {
            self.trace(event);
        }
        let expected = Seq(self.state.seq().0 - events.len() as u64);
        let append = Append {
            run: self.run.clone(),
            epoch: self.epoch,
            expected,
            records: encode(expected, at, events),
            status: self.state.status(),
            at,
            start: None,
        };
        let shared = Arc::clone(&self.shared);
        let mut writing = std::pin::pin!(shared.committer.commit(append));
        let written = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written,
                Some(end) = in_flight.next() => seen.push(end.into()),
            }
        };
        match written {
            Ok(()) => {
                // The end is told when nobody can find the run in flight any more.
                if !self.state.is_settled() && self.progress.borrow().is_watched() {
                    self.progress.send_modify(|_| {});
                }
                Ok(())
            }
            Err(CommitError::Refused(refused @ Refused::TooLarge { .. })) => {
                Err(End::Parked(ParkReason::TooLarge(refused)))
            }
            Err(CommitError::Refused(refused)) => {
                warn!(run = %self.run, %refused, "the run is no longer this worker's");
                Err(End::Lost)
            }
            Err(CommitError::Store(error)) => Err(End::Failed(error)),
            Err(CommitError::Closed) => Err(End::Stopped),
        }
    }

    fn act(&self, executor: &Arc<Executor<App>>, in_flight: &InFlight, commands: Vec<Command>) {
        for command in commands {
            in_flight.push(executor.execute(&self.state, command));
        }
    }

    fn settled(&self) -> Option<End> {
        let end = self.state.is_settled().then(|| outcome(&self.definition.plan, &self.state)).flatten()?;
        info!(run = %self.run, saga = %self.definition.plan.saga(), outcome = %end, "the run came to rest");
        metrics::run_rested(self.definition.plan.saga(), self.state.status());
        Some(End::Settled(Arc::new(end)))
    }

    /// Waits until there is something to judge or decide, and takes the ends that are there.
    async fn wait(&mut self, shared: &Shared, in_flight: &mut InFlight) -> Vec<Seen> {
        let wake = self.state.next_wake().map(|at| shared.clock.instant(at));
        let parking = shared.parking.is_cancelled();
        let mut seen = Vec::new();
        // In a fixed order, so that a run under paused time is the same each time. Nothing starves: all that is there is
        // taken before the next turn.
        tokio::select! {
            biased;
            Some(end) = in_flight.next() => seen.push(end.into()),
            mail = self.mail.recv() => seen.push(open(mail)),
            () = sleep_until(wake), if !parking => {}
            () = shared.parking.cancelled(), if !parking => {}
        }
        while let Some(Some(end)) = in_flight.next().now_or_never() {
            seen.push(end.into());
        }
        seen
    }

    fn trace(&self, event: &Event) {
        let plan = &self.definition.plan;
        match event {
            Event::AbortBegan { cause } => {
                info!(run = %self.run, saga = %plan.saga(), %cause, "the run is being aborted");
            }
            Event::UndoFailed { of, retry_at: None, error, .. } => {
                error!(run = %self.run, step = %plan.step(of.step).name, %error, "could not be undone");
            }
            Event::Operated { verb, by } => info!(run = %self.run, %verb, %by, "an operator moved the run on"),
            event => debug!(run = %self.run, ?event),
        }
    }
}

/// What a mail lets the run see.
fn open(mail: Mail) -> Seen {
    match mail {
        Mail::Cancel(by, reply) => Seen { what: Observation::Cancel { by }, reply: Some(Reply::Cancel(reply)) },
        Mail::Checkpoint(of, value, reply) => {
            Seen { what: Observation::Checkpoint { of, value }, reply: Some(Reply::Checkpoint(reply)) }
        }
        Mail::SubjectGone => Observation::SubjectGone.into(),
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Gives events their places and their time.
pub(crate) fn encode(after: Seq, at: Timestamp, events: Vec<Event>) -> Vec<EncodedRecord> {
    let records = (after.0 + 1..).zip(events).map(|(seq, event)| Record { seq: Seq(seq), at, event });
    records.map(|record| EncodedRecord::encode(&record)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock, Weak};
    use std::time::Duration;

    use crate::action::{Ctx, StepError};
    use crate::definition::Saga;
    use crate::id::{Epoch, Seq};
    use crate::journal::Event;
    use crate::runtime::coordinator::Coordinator;
    use crate::runtime::core::Core;
    use crate::store::{MemoryStore, Store};

    struct App(OnceLock<Weak<Core<App>>>);

    /// Found by `saga-crash postgres --lease-ms 300 --workers 4 --at-once 1500`: a claim ran out on another thread, in the
    /// middle of a turn; the action answered that it was called off; and the run was rolled back for it.
    #[tokio::test(start_paused = true)]
    async fn what_an_action_answers_to_the_loss_of_its_claim_is_not_written() {
        let mut saga = Saga::<App, u32>::builder("count", 1);
        let input = saga.input();
        let counted = saga.step("count", input, async |ctx: Ctx<App>, n: u32| {
            let core = ctx.app().0.get().and_then(Weak::upgrade).expect("the coordinator is there");
            core.registry.lost(ctx.run(), ctx.epoch());
            if ctx.is_cancelled() { Err(StepError::rejected("called off")) } else { Ok(n) }
        });
        let counted = counted.nothing_to_undo();
        let saga = saga.build(counted).unwrap();
        let store = Arc::new(MemoryStore::new());
        let coordinator =
            Coordinator::builder_shared(Arc::clone(&store) as Arc<dyn Store>, Arc::new(App(OnceLock::new())));
        let coordinator = coordinator.register(&saga).start().await.unwrap();
        coordinator.app().0.set(Arc::downgrade(coordinator.client().core())).unwrap();
        let run = coordinator.start(&saga, 1).await.unwrap();
        while coordinator.in_memory() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let journal = store.read(run.id(), Seq::ZERO, 10).await.unwrap();
        let events: Vec<_> = journal.iter().map(|record| record.decode().unwrap().event).collect();
        assert!(matches!(&*events, [Event::RunStarted { .. }, Event::StepStarted { .. }]), "{events:?}");
        assert_eq!(run.summary().await.unwrap().epoch, Epoch::FIRST);
    }
}
