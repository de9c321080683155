//! What one trial's calls and appends go through: it counts them, and lets happen what the script says.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::script::{A_WHILE, Act, Ask, Asked, At, Failing, Moment, Often, Script, Way, What};
use crate::id::ItemRef;
use crate::journal::{Event, Record, Verb};
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::store::Faults;

/// How many waits of one call are looked at: one that polls has thousands, and they are all alike.
pub(super) const MOST_WAITS: u32 = 4;
/// No item is tried so often in a trial, unless without end.
const MOST_CALLS: u32 = 10_000;
/// How long a call may be put off, to bring those that are made at the same time into another order.
const LONGEST_DELAY: Duration = Duration::from_millis(10);

/// A call that was made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) what: What,
    /// The how manyeth call of it this is, from 1.
    pub(super) nth: u32,
    /// The process in which it was made, from 0.
    pub(super) life: usize,
    /// How many appends were durable when it was made.
    pub(super) appends_before: u64,
    /// How often it waited.
    pub(super) waits: u32,
    /// When it came to each of its moments.
    pub(super) reached: Vec<(Moment, Duration)>,
    /// It has done its work.
    pub(super) worked: bool,
    /// It has given its answer.
    pub(super) answered: bool,
}

/// An append that became durable.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub(super) nth: u64,
    pub(super) life: usize,
    pub(super) events: Vec<Event>,
    /// When.
    pub(super) at: Duration,
}

/// What was seen in a trial.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) life: usize,
    pub(super) calls: Vec<Call>,
    pub(super) appends: Vec<Appended>,
    /// How often each failure of the script was brought about, in the order of [`Script::failings`].
    pub(super) injected: Vec<u32>,
    pub(super) crashes: usize,
    pub(super) cancelled: bool,
    /// The run was being aborted when it was cancelled, or rested: that is of no consequence.
    pub(super) cancelled_late: bool,
    pub(super) repeated: bool,
    /// The subject was taken away from the world.
    pub(super) vanished: bool,
    /// The guard was made to say that the subject is gone.
    pub(super) said_gone: bool,
    /// An operator has moved the run on, durably.
    pub(super) operated: bool,
    /// How the run rested before an operator moved it on.
    pub(super) rested: Option<Outcome<Payload>>,
    /// How long all lives have lasted.
    pub(super) lasted: Duration,
    /// What is wrong besides the run's end.
    pub(super) wrong: Vec<String>,
    /// Asks of the guard by waits that were not looked at.
    pub(super) unlisted: usize,
    pub(super) aborting: bool,
    /// What a person has to know of a cancellation that was refused.
    pub(super) refused: Option<String>,
    counts: HashMap<What, u32>,
    checkpoints: BTreeMap<ItemRef, Vec<Payload>>,
    origin: Option<Instant>,
}

impl Log {
    fn now(&self) -> Duration {
        self.origin.map_or(Duration::ZERO, |origin| origin.elapsed())
    }

    fn call(&mut self, id: &CallId) -> Option<&mut Call> {
        self.calls.get_mut(id.at?)
    }

    /// The calls that were made in the last process and have not answered.
    pub(super) fn in_flight(&self) -> Vec<String> {
        let last = self.calls.iter().filter(|call| call.life == self.life && !call.answered);
        last.map(|call| format!("{} (call {})", call.what, call.nth)).collect()
    }

    fn take_in(&mut self, record: &Record) {
        match &record.event {
            Event::AbortBegan { .. } => self.aborting = true,
            Event::Operated { verb, .. } => {
                self.operated = true;
                // A halted run goes forward again; one that is stuck goes on going back.
                let forward = matches!(verb, Verb::Retry | Verb::Skip { .. });
                self.aborting &= !(forward && matches!(self.rested, Some(Outcome::Halted(_))));
            }
            Event::Checkpointed { of, value } => self.checkpoints.entry(*of).or_default().push(value.clone()),
            _ => {}
        }
    }
}

/// What all processes of one trial share, and the world does not see.
pub(super) struct Stage {
    pub(super) script: Script,
    seed: u64,
    log: Mutex<Log>,
    faults: Faults,
    /// The world can lose its subject.
    can_vanish: bool,
    cancel_wanted: Notify,
    cancel_over: watch::Sender<bool>,
    vanish_wanted: Notify,
    vanish_over: watch::Sender<bool>,
    runaway: Notify,
}

/// A call, for those who have to say more of it later.
pub(super) struct CallId {
    /// Its place in the log, if it is listed.
    at: Option<usize>,
    what: What,
    nth: u32,
}

impl Stage {
    pub(super) fn new(script: Script, seed: u64, can_vanish: bool, faults: Faults) -> Self {
        let log = Log { injected: vec![0; script.failings().count()], ..Log::default() };
        Self {
            script,
            seed,
            log: Mutex::new(log),
            faults,
            can_vanish,
            cancel_wanted: Notify::new(),
            cancel_over: watch::Sender::new(false),
            vanish_wanted: Notify::new(),
            vanish_over: watch::Sender::new(false),
            runaway: Notify::new(),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> Log {
        self.log().clone()
    }

    /// A process begins, with what is durable. The first one began at `origin`.
    pub(super) fn begin_life(&self, life: usize, origin: Instant, journal: &[Record]) {
        let mut log = self.log();
        (log.life, log.origin) = (life, Some(origin));
        // An answer may have been lost with the process before.
        log.checkpoints.clear();
        (log.aborting, log.operated) = (false, false);
        journal.iter().for_each(|record| log.take_in(record));
        match self.script.crashes.get(life) {
            Some(At::Append { nth, durable: true }) => self.faults.crash_after_append(*nth),
            Some(At::Append { nth, durable: false }) => self.faults.crash_before_append(*nth),
            _ => {}
        }
    }

    pub(super) fn crashed(&self) {
        self.log().crashes += 1;
    }

    /// A call begins, which may take so long.
    pub(super) async fn enter(&self, what: &What, limit: Option<Duration>) -> CallId {
        let of_wait = *what == What::Guard(Asked::InAWait);
        let id = {
            let mut log = self.log();
            let count = log.counts.entry(what.clone()).or_default();
            *count += 1;
            let nth = *count;
            let (life, appends_before) = (log.life, self.faults.appends());
            // Waits ask the guard again and again. As long as nothing else happens the answers are all alike.
            let is_same = |call: &Call| call.life == life && call.appends_before == appends_before;
            let at = if of_wait && log.calls.iter().rev().find(|call| call.what == *what).is_some_and(is_same) {
                log.unlisted += 1;
                None
            } else {
                let reached = vec![(Moment::Before, log.now())];
                let what = what.clone();
                let (waits, worked, answered) = (0, false, false);
                log.calls.push(Call { what, nth, life, appends_before, waits, reached, worked, answered });
                Some(log.calls.len() - 1)
            };
            CallId { at, what: what.clone(), nth }
        };
        if of_wait {
            return id;
        }
        if id.nth > MOST_CALLS {
            self.runaway.notify_one();
            std::future::pending::<()>().await;
        }
        if limit.is_none_or(|limit| limit >= LONGEST_DELAY * 10) {
            let mut hasher = DefaultHasher::new();
            (self.seed, what, id.nth).hash(&mut hasher);
            tokio::time::sleep(LONGEST_DELAY.mul_f64(f64::from(hasher.finish() as u8) / 256.0)).await;
        }
        id
    }

    /// A call waits; says how often it has by now.
    pub(super) fn waits(&self, call: &CallId) -> u32 {
        let mut log = self.log();
        let now = log.now();
        let Some(call) = log.call(call) else { return 0 };
        call.waits += 1;
        if call.waits <= MOST_WAITS {
            call.reached.push((Moment::During(call.waits), now));
        }
        call.waits
    }

    pub(super) fn leave(&self, call: &CallId) {
        if let Some(call) = self.log().call(call) {
            call.answered = true;
        }
    }

    /// What the script has for this moment of a call happens: a crash, after which this never returns; a cancellation,
    /// after which it does when that is durable; or the subject goes.
    pub(super) async fn reach(&self, call: &CallId, moment: Moment) {
        if moment == Moment::After {
            let mut log = self.log();
            let now = log.now();
            if let Some(call) = log.call(call) {
                call.worked = true;
                call.reached.push((moment, now));
            }
        }
        let is_here = |at: &At| {
            matches!(at, At::Call { what, nth, moment: when }
                if *what == call.what && *nth == call.nth && *when == moment)
        };
        match &self.script.act {
            Act::Cancel(at) if is_here(at) => self.cancel().await,
            Act::Vanish(at) if is_here(at) => self.vanish().await,
            _ => {}
        }
        let life = self.log().life;
        if self.script.crashes.get(life).is_some_and(is_here) {
            self.faults.crash();
            std::future::pending::<()>().await;
        }
    }

    /// Whether a call has to be looked at after it has waited so often.
    pub(super) fn stops_at(&self, call: &CallId, waits: u32) -> bool {
        let moment = Moment::During(waits);
        let at = At::Call { what: call.what.clone(), nth: call.nth, moment };
        self.script.points().any(|point| *point == at)
            || self.script.failings().any(|failing| failing.what == call.what && failing.moment == moment)
    }

    /// The failure that this call is to have at this moment.
    pub(super) fn failing(&self, call: &CallId, moment: Moment) -> Option<Failing> {
        let mut log = self.log();
        if self.is_repaired(&log) {
            return None;
        }
        let due = |at: usize, failing: &Failing| {
            let is_it = failing.what == call.what && call.nth >= failing.from;
            // What is gone is gone, whoever asks.
            let is_gone = failing.way == Way::Gone && log.said_gone && matches!(call.what, What::Guard(_));
            let is_due = match failing.often {
                Often::Once => log.injected[at] == 0,
                Often::ForAWhile => log.injected[at] < A_WHILE,
                Often::Forward => !log.aborting,
                Often::Always => true,
            };
            (is_it || is_gone) && failing.moment == moment && is_due
        };
        let (at, failing) = self.script.failings().enumerate().find(|(at, failing)| due(*at, failing))?;
        log.injected[at] += 1;
        log.said_gone |= failing.way == Way::Gone;
        Some(failing.clone())
    }

    /// An operator moves a run on when what made it rest is repaired, unless it is done in vain.
    fn is_repaired(&self, log: &Log) -> bool {
        log.operated && !matches!(self.script.act, Act::Operate { ask: Ask::RetryInVain, .. })
    }

    /// Whether a call that went well is made once more.
    pub(super) fn repeats(&self, call: &CallId) -> bool {
        let repeats = self.script.act == Act::Repeat(call.what.clone()) && !self.log().repeated;
        if repeats {
            self.log().repeated = true;
        }
        repeats
    }

    pub(super) fn checkpoints(&self, of: ItemRef) -> Vec<Payload> {
        self.log().checkpoints.get(&of).cloned().unwrap_or_default()
    }

    /// The store has taken an append.
    pub(super) async fn appended(&self, records: Vec<Record>) {
        let nth = {
            let mut log = self.log();
            records.iter().for_each(|record| log.take_in(record));
            let (nth, life, at) = (self.faults.appends(), log.life, log.now());
            let events = records.into_iter().map(|record| record.event).collect();
            log.appends.push(Appended { nth, life, events, at });
            nth
        };
        let here = At::Append { nth, durable: true };
        if self.script.act == Act::Vanish(here.clone()) {
            self.vanish().await;
        }
        if self.script.act == Act::Cancel(here) {
            // The run learns of it when it learns that this is durable.
            self.cancel_wanted.notify_one();
            while !self.log().cancelled {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Something is wrong, whatever comes of the run.
    pub(super) fn wrong(&self, what: String) {
        self.log().wrong.push(what);
    }

    /// The run has come to rest, for good or until an operator moves it on.
    pub(super) fn lasted(&self) {
        let mut log = self.log();
        log.lasted = log.now();
    }

    /// What an operator is to ask of a run that has come to rest, if nobody has yet.
    pub(super) fn ask(&self, outcome: &Outcome<Payload>) -> Option<&Act> {
        let mut log = self.log();
        if !matches!(self.script.act, Act::Operate { .. }) || log.operated {
            return None;
        }
        log.rested = Some(outcome.clone());
        Some(&self.script.act)
    }

    /// Whether the run is to be cancelled where it rests.
    pub(super) fn cancels_at_rest(&self) -> bool {
        let mut log = self.log();
        let cancels = self.script.act == Act::Cancel(At::Rest) && !log.cancelled;
        (log.cancelled, log.cancelled_late) = (log.cancelled || cancels, log.cancelled_late || cancels);
        cancels
    }

    /// The world loses the subject; returns when it has.
    pub(super) async fn vanish(&self) {
        self.vanish_wanted.notify_one();
        let mut over = self.vanish_over.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = over.wait_for(|over| *over).await;
    }

    pub(super) fn can_vanish(&self) -> bool {
        self.can_vanish
    }

    /// The world has lost the subject.
    pub(super) fn has_vanished(&self) -> bool {
        self.log().vanished
    }

    /// Resolves when the subject is to go.
    pub(super) async fn vanish_wanted(&self) {
        self.vanish_wanted.notified().await;
    }

    /// The subject has gone.
    pub(super) fn vanished(&self) {
        self.log().vanished = true;
        self.vanish_over.send_replace(true);
    }

    async fn cancel(&self) {
        self.cancel_wanted.notify_one();
        let mut over = self.cancel_over.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = over.wait_for(|over| *over).await;
    }

    /// Resolves when the run is to be cancelled.
    pub(super) async fn cancel_wanted(&self) {
        self.cancel_wanted.notified().await;
        let mut log = self.log();
        (log.cancelled, log.cancelled_late) = (true, log.aborting);
    }

    /// The cancellation is durable, or was refused.
    pub(super) fn cancel_over(&self, refused: Option<String>) {
        self.log().refused = refused;
        self.cancel_over.send_replace(true);
    }

    /// Resolves when something is tried again and again without end.
    pub(super) async fn runaway(&self) {
        self.runaway.notified().await;
    }

    pub(super) async fn died(&self) {
        self.faults.crashed().await;
    }
}
