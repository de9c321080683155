//! What one trial's calls and appends go through: it counts them, and lets happen what the script says.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::script::{Act, At, Failing, Moment, Often, Script, What};
use crate::id::ItemRef;
use crate::journal::{Event, Record};
use crate::payload::Payload;
use crate::store::Faults;

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
    pub(super) repeated: bool,
    /// What a person has to know of a cancellation that was refused.
    pub(super) refused: Option<String>,
    counts: HashMap<What, u32>,
    checkpoints: BTreeMap<ItemRef, Vec<Payload>>,
    aborting: bool,
}

impl Log {
    /// The calls that were made in the last process and have not answered.
    pub(super) fn in_flight(&self) -> Vec<String> {
        let last = self.calls.iter().filter(|call| call.life == self.life && !call.answered);
        last.map(|call| format!("{} (call {})", call.what, call.nth)).collect()
    }

    fn take_in(&mut self, record: &Record) {
        match &record.event {
            Event::AbortBegan { .. } => self.aborting = true,
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
    cancel_wanted: Notify,
    cancel_over: watch::Sender<bool>,
    runaway: Notify,
}

/// A call, for those who have to say more of it later.
pub(super) struct CallId {
    at: usize,
    what: What,
    nth: u32,
}

impl Stage {
    pub(super) fn new(script: Script, seed: u64, faults: Faults) -> Self {
        let log = Log { injected: vec![0; script.failings().count()], ..Log::default() };
        Self {
            script,
            seed,
            log: Mutex::new(log),
            faults,
            cancel_wanted: Notify::new(),
            cancel_over: watch::Sender::new(false),
            runaway: Notify::new(),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> Log {
        self.log().clone()
    }

    /// A process begins, with what is durable.
    pub(super) fn begin_life(&self, life: usize, journal: &[Record]) {
        let mut log = self.log();
        log.life = life;
        // An answer may have been lost with the process before.
        log.checkpoints.clear();
        journal.iter().for_each(|record| log.take_in(record));
        match self.script.crashes().get(life) {
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
        let id = {
            let mut log = self.log();
            let count = log.counts.entry(what.clone()).or_default();
            *count += 1;
            let nth = *count;
            let (life, appends_before) = (log.life, self.faults.appends());
            let call = Call { what: what.clone(), nth, life, appends_before, waits: 0, worked: false, answered: false };
            log.calls.push(call);
            CallId { at: log.calls.len() - 1, what: what.clone(), nth }
        };
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
        let waits = &mut log.calls[call.at].waits;
        *waits += 1;
        *waits
    }

    pub(super) fn leave(&self, call: &CallId) {
        self.log().calls[call.at].answered = true;
    }

    /// What the script has for this moment of a call happens: a crash, after which this never returns, or a
    /// cancellation, after which it does when the run is being aborted.
    pub(super) async fn reach(&self, call: &CallId, moment: Moment) {
        if moment == Moment::After {
            self.log().calls[call.at].worked = true;
        }
        let is_here = |at: &At| {
            matches!(at, At::Call { what, nth, moment: when }
                if *what == call.what && *nth == call.nth && *when == moment)
        };
        let life = self.log().life;
        if self.script.crashes().get(life).is_some_and(is_here) {
            self.faults.crash();
            std::future::pending::<()>().await;
        }
        if let Act::Cancel(at) = &self.script.act
            && is_here(at)
        {
            self.cancel().await;
        }
    }

    /// Whether a call has to be looked at after it has waited so often.
    pub(super) fn stops_at(&self, call: &CallId, waits: u32) -> bool {
        let moment = Moment::During(waits);
        let at = At::Call { what: call.what.clone(), nth: call.nth, moment };
        self.script.crashes().contains(&at)
            || self.script.act == Act::Cancel(at)
            || self.script.failings().any(|failing| failing.what == call.what && failing.moment == moment)
    }

    /// The failure that this call is to have at this moment.
    pub(super) fn failing(&self, call: &CallId, moment: Moment) -> Option<Failing> {
        let mut log = self.log();
        let due = |at: usize, failing: &Failing| {
            failing.what == call.what
                && failing.moment == moment
                && match failing.often {
                    Often::Once => log.injected[at] == 0,
                    Often::Forward => !log.aborting,
                    Often::Always => true,
                }
        };
        let (at, failing) = self.script.failings().enumerate().find(|(at, failing)| due(*at, failing))?;
        log.injected[at] += 1;
        Some(failing.clone())
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
            let (nth, life) = (self.faults.appends(), log.life);
            log.appends.push(Appended { nth, life, events: records.into_iter().map(|record| record.event).collect() });
            nth
        };
        if self.script.act == Act::Cancel(At::Append { nth, durable: true }) {
            // The run learns of it when it learns that this is durable.
            self.cancel_wanted.notify_one();
            while !self.log().cancelled {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
        }
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
        self.log().cancelled = true;
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
