//! The driver of one run: observe, decide, commit, act.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::task::waker_ref;
use tracing::{debug, error, info, warn};

use crate::action::RunScope;
use crate::id::Seq;
use crate::journal::Event;
use crate::machine::{Command, IllegalEvent, State, decide_by, evolve, observe, outcome};
use crate::outcome::Outcome;
use crate::panics::panic_message;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::core::Taken;
use crate::runtime::draft::{Draft, recycle};
use crate::runtime::error::ParkReason;
use crate::runtime::execute::{Executor, Flight};
use crate::runtime::in_flight::InFlight;
use crate::runtime::line::Receiver;
use crate::runtime::metrics;
use crate::runtime::recovery::{fold, patiently};
use crate::runtime::seen::{Reply, Seen, rank};
use crate::runtime::signal::Signal;
use crate::store::{Append, Refused, Store};

/// What all drivers of a coordinator share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committer: Committer,
    /// Nothing new is begun; what is in flight may end. Drivers have to be woken for it.
    pub(crate) parking: Signal,
    /// Everything stops where it is. Drivers have to be woken for it.
    pub(crate) killed: Signal,
}

/// A run in the hands of this process. Kept small: it is what a waiting run consists of.
pub(crate) struct Driver<App> {
    shared: Arc<Shared>,
    executor: Arc<Executor<App>>,
    line: Receiver,
    state: Where,
    in_flight: InFlight<Flight>,
    seen: Vec<Seen>,
    /// What is to be done when the append is durable.
    commands: Vec<Command>,
}

/// Where the state of a run is.
enum Where {
    Here(Box<State>),
    /// In the journal, which ends there.
    Journaled(Seq),
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

/// What one turn comes to.
struct Turn {
    /// What the store has yet to be asked to write.
    unwritten: Option<Box<Append>>,
    /// To be given when the events are durable.
    replies: Vec<Reply>,
}

impl<App: Send + Sync + 'static> Driver<App> {
    pub(crate) fn new(shared: Arc<Shared>, app: Arc<App>, taken: Taken<App>, line: Receiver) -> Self {
        let Taken { definition, state, commands, seen } = taken;
        let executor = Executor { app, definition, input: state.input().clone(), line: Arc::clone(line.line()) };
        let mut driver = Self {
            shared,
            executor: Arc::new(executor),
            line,
            state: Where::Here(state),
            in_flight: InFlight::None,
            seen: seen.into_iter().map(Seen::from).collect(),
            commands,
        };
        driver.begin();
        driver
    }

    /// The line, when it does not drive any more.
    pub(crate) fn into_line(self) -> Receiver {
        self.line
    }

    /// Drives the run until it comes to rest, or until this process has to let go of it.
    pub(crate) async fn drive(&mut self) -> End {
        metrics::in_flight(1.0);
        let end = {
            let (shared, line) = (Arc::clone(&self.shared), Arc::clone(self.line.line()));
            let mut driving = pin!(AssertUnwindSafe(self.turns()).catch_unwind());
            poll_fn(move |cx| {
                // Before looking, so that nothing falls between.
                line.register(cx.waker());
                if shared.killed.is_given() {
                    return Poll::Ready(End::Stopped);
                }
                if line.scope.is_lost() {
                    return Poll::Ready(End::Lost);
                }
                driving.as_mut().poll(cx).map(|end| {
                    end.unwrap_or_else(|panic| {
                        error!(run = %line.run(), "the driver panicked: {}", panic_message(&*panic));
                        End::Parked(ParkReason::Internal(panic_message(&*panic).to_owned()))
                    })
                })
            })
            .await
        };
        let mut in_flight = std::mem::replace(&mut self.in_flight, InFlight::None);
        let is_lost = matches!(end, End::Lost);
        if is_lost {
            self.scope().lose();
        }
        let stopping = move || {
            if is_lost {
                // Those who watch for it have learned of it, and what they come to is not looked at.
                while in_flight.poll_ended(&mut Context::from_waker(Waker::noop())).is_ready() {}
            }
            drop(in_flight);
        };
        // What actions own may panic as it is dropped.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(stopping)) {
            error!(run = %self.scope().run, "an action that was stopped panicked: {}", panic_message(&*panic));
        }
        metrics::in_flight(-1.0);
        end
    }

    async fn turns(&mut self) -> End {
        loop {
            let turned = self.turn().await;
            let waited = match turned {
                Ok(()) => self.wait().await,
                ended => ended,
            };
            if let Err(end) = waited {
                return end;
            }
        }
    }

    /// A turn: judge all that was seen, decide, write it down, act upon it.
    async fn turn(&mut self) -> Result<(), End> {
        // Where nothing ever waits, a long run would keep its thread from all others.
        tokio::task::consume_budget().await;
        self.line.at_work();
        if let Where::Journaled(seq) = self.state
            && !Box::pin(self.recall(seq)).await?
        {
            return Ok(());
        }
        let turn = self.judge()?;
        let mut unwritten = turn.unwritten;
        if let Some(append) = unwritten.take() {
            Box::pin(self.commit(append)).await?;
        }
        self.act(turn.replies)
    }

    /// Judges all that was seen, decides what follows from it, and writes it down if the store answers at once.
    fn judge(&mut self) -> Result<Turn, End> {
        while let Some(mail) = self.line.try_recv() {
            self.seen.push(mail.into());
        }
        // Nothing is begun either of what is in no journal: a probe, the guard.
        if self.shared.killed.is_given() {
            return Err(End::Stopped);
        }
        // An action that is told of the loss may answer before this is stopped; that counts for nothing. Without this the
        // answer would be written if no other worker has claimed the run yet, as if the run itself had been called off.
        if self.scope().is_lost() {
            return Err(End::Lost);
        }
        let now = self.shared.clock.now();
        let Where::Here(state) = &mut self.state else { unreachable!("a turn begins with the state at hand") };
        let scope = &self.line.line().scope;
        let plan = &*self.executor.definition.plan;
        let mut turn = Turn { unwritten: None, replies: Vec::new() };
        let mut draft = Draft::new(state.seq(), now);
        // Stable: what is of one rank is judged in the order in which it came.
        self.seen.sort_by_key(rank);
        for Seen { what, reply } in self.seen.drain(..) {
            match observe(plan, state, what, now, fastrand::f64()) {
                Some(event) => {
                    evolve(plan, state, now, &event).map_err(illegal)?;
                    trace(plan, scope, &event);
                    draft.push(event);
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
        if !self.shared.parking.is_given() {
            let written = |event| {
                trace(plan, scope, &event);
                draft.push(event);
            };
            decide_by(plan, state, now, &mut self.commands, written).map_err(illegal)?;
        }
        if !draft.is_empty() {
            let mut append = draft.append(scope, state.status());
            match self.shared.committer.commit_now(&mut append) {
                Some(answer) => {
                    recycle(append);
                    self.written(answer)?;
                }
                None => turn.unwritten = Some(Box::new(append)),
            }
        }
        Ok(turn)
    }

    /// Acts upon what is durable.
    fn act(&mut self, replies: Vec<Reply>) -> Result<(), End> {
        replies.into_iter().for_each(Reply::done);
        let state = self.state();
        if state.is_aborting() || state.is_settled() {
            self.scope().abort();
        }
        self.begin();
        self.settled()
    }

    /// Returns when the append is durable. Meanwhile actions go on, and what they come to is kept in `seen`.
    async fn commit(&mut self, append: Box<Append>) -> Result<(), End> {
        let shared = Arc::clone(&self.shared);
        let mut writing = pin!(shared.committer.commit(*append));
        let written = poll_fn(|cx| {
            let done = writing.as_mut().poll(cx);
            if done.is_pending() {
                self.poll_in_flight();
            }
            done
        });
        let written = written.await;
        self.written(written)
    }

    fn poll_in_flight(&mut self) {
        if self.line.take_ready() {
            let waker = waker_ref(self.line.line());
            while let Poll::Ready(ended) = self.in_flight.poll_ended(&mut Context::from_waker(&waker)) {
                // One end at a time is all that most runs ever see.
                self.seen.reserve_exact(usize::from(self.seen.is_empty()));
                self.seen.push(ended.into());
            }
        }
    }

    /// What comes of an answer to an append.
    fn written(&self, answer: Result<(), CommitError>) -> Result<(), End> {
        match answer {
            Ok(()) => {
                // The end is told when nobody can find the run in flight any more.
                if !self.state().is_settled() {
                    self.line.appended();
                }
                Ok(())
            }
            Err(CommitError::Refused(refused @ Refused::TooLarge { .. })) => {
                Err(End::Parked(ParkReason::TooLarge(refused)))
            }
            Err(CommitError::Refused(refused)) => {
                warn!(run = %self.scope().run, %refused, "the run is no longer this worker's");
                Err(End::Lost)
            }
            Err(CommitError::Store(error)) => Err(End::Failed(error)),
            Err(CommitError::Closed) => Err(End::Stopped),
        }
    }

    fn begin(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            let flight = self.executor.execute(self.state(), command);
            self.in_flight.push(flight);
            self.line.set_ready();
        }
        // Its memory is used again.
        self.commands = commands;
    }

    fn settled(&self) -> Result<(), End> {
        let (plan, state) = (&self.executor.definition.plan, self.state());
        let Some(end) = state.is_settled().then(|| outcome(plan, state)).flatten() else { return Ok(()) };
        info!(run = %self.scope().run, saga = %plan.saga(), outcome = %end, "the run came to rest");
        metrics::run_rested(plan.saga(), state.status());
        Err(End::Settled(Arc::new(end)))
    }

    /// Waits until there is something to judge or decide, and takes the ends that are there.
    async fn wait(&mut self) -> Result<(), End> {
        let was_parking = self.shared.parking.is_given();
        // What was sent during the turn is written down too: whoever cancels a run is told that it is cancelled.
        if was_parking && self.in_flight.is_empty() && self.seen.is_empty() && !self.line.has_mail() {
            return Err(End::Stopped);
        }
        // While parking, the state may have been left to the journal.
        let wake = if was_parking { None } else { self.state().next_wake() };
        let mut timer = wake.map(|at| Box::pin(tokio::time::sleep_until(self.shared.clock.instant(at))));
        // The driver has one waker, which its line has too. Nothing starves: all that is there is taken before the next turn.
        poll_fn(|cx| {
            self.poll_in_flight();
            let parks = !was_parking && self.shared.parking.is_given();
            let is_due = !was_parking && timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            if !self.seen.is_empty() || self.line.has_mail() || parks || is_due {
                return Poll::Ready(());
            }
            if self.line.may_rest() {
                self.shrink();
            }
            Poll::Pending
        })
        .await;
        Ok(())
    }

    /// Drops what can be had again from the journal, for there is nothing to do for a while.
    fn shrink(&mut self) {
        if let Where::Here(state) = &self.state
            && state.is_in_journal()
        {
            self.state = Where::Journaled(state.seq());
            (self.seen, self.commands) = (Vec::new(), Vec::new());
        }
    }

    /// Reads the state again, which was left to the journal where that ended at `seq`. `false`: there is no need to, for the
    /// run is parked, and nothing was seen that is to be written down before.
    async fn recall(&mut self, seq: Seq) -> Result<bool, End> {
        let (shared, executor) = (Arc::clone(&self.shared), Arc::clone(&self.executor));
        let (plan, run) = (&executor.definition.plan, executor.line.run());
        let mut reading = pin!(patiently(run, || fold(&*shared.store, plan, run, seq, None)));
        let read = poll_fn(|cx| {
            self.poll_in_flight();
            // A store that cannot be read must not keep a run from being parked.
            if shared.parking.is_given() && self.seen.is_empty() && !self.line.has_mail() {
                return Poll::Ready(None);
            }
            reading.as_mut().poll(cx).map(Some)
        });
        let Some(read) = read.await else { return Ok(false) };
        let mut state = read?;
        // Another worker has written since, or is about to.
        if state.seq() != seq {
            return Err(End::Lost);
        }
        state.found_in_journal();
        self.state = Where::Here(Box::new(state));
        Ok(true)
    }

    fn scope(&self) -> &Arc<RunScope> {
        &self.line.line().scope
    }

    fn state(&self) -> &State {
        match &self.state {
            Where::Here(state) => state,
            Where::Journaled(_) => unreachable!("it is read again before anything is done"),
        }
    }
}

fn illegal(event: IllegalEvent) -> End {
    End::Parked(event.into())
}

fn trace(plan: &Plan, scope: &RunScope, event: &Event) {
    let run = &scope.run;
    match event {
        Event::AbortBegan { cause } => info!(%run, saga = %plan.saga(), %cause, "the run is being aborted"),
        Event::UndoFailed { of, retry_at: None, error, .. } => {
            error!(%run, step = %plan.step(of.step).name, %error, "could not be undone");
        }
        Event::Operated { verb, by } => info!(%run, %verb, %by, "an operator moved the run on"),
        event => debug!(%run, ?event),
    }
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
