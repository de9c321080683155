//! Failing on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::Shared;
use crate::id::{RunId, Seq};
use crate::store::StoreError;

/// How an injected failure looks to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// As [`StoreError::Unavailable`].
    Unavailable,
    /// As [`StoreError::Full`].
    Full,
}

impl Fault {
    fn error(self) -> StoreError {
        match self {
            Self::Unavailable => StoreError::Unavailable { message: "injected".into(), source: None },
            Self::Full => StoreError::Full { message: "injected".into() },
        }
    }
}

/// Makes a [`MemoryStore`](super::MemoryStore) fail, and counts what it is asked. Clones act on the same store.
///
/// Appends are counted singly, not by batch, and only those that were taken: a linear saga of three steps makes
/// `appends()` grow by four.
#[derive(Debug, Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct FaultState {
    // A watch wakes all who wait for a change: held appends, and those who wait for a crash.
    state: watch::Sender<State>,
    /// Which life it is in which nothing is planned, and nothing has happened; `TROUBLED` if that is not so. What most
    /// appends of most stores have to look at.
    sound: AtomicU64,
    batches: AtomicU64,
    appends: AtomicU64,
    records: AtomicU64,
}

/// No life has this number.
const TROUBLED: u64 = u64::MAX;

impl Default for FaultState {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
            sound: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            records: AtomicU64::new(0),
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct State {
    life: u64,
    crashed: bool,
    closed: bool,
    poisoned: Option<String>,
    held: bool,
    waiting: usize,
    fail: Option<(usize, Fault)>,
    lose: usize,
    crash_before: Option<u64>,
    crash_after: Option<u64>,
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing special.
    Go,
    /// It never returns.
    Crash,
    /// It is done, but the caller is told that it failed.
    Lose,
}

impl FaultState {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut answer = None;
        self.state.send_modify(|state| {
            answer = Some(change(state));
            let is_sound = *state == State { life: state.life, ..State::default() };
            self.sound.store(if is_sound { state.life } else { TROUBLED }, Ordering::SeqCst);
        });
        answer.expect("send_modify always calls its closure")
    }

    /// Whether an append by this life's handle has nothing to fear.
    pub(super) fn is_sound(&self, life: u64) -> bool {
        self.sound.load(Ordering::SeqCst) == life
    }

    /// Counts one append, of so many records if it was taken. To be called under the lock of the runs.
    pub(super) fn count(&self, taken: Option<usize>) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        if let Some(records) = taken {
            self.appends.fetch_add(1, Ordering::Relaxed);
            self.records.fetch_add(records as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn next_life(&self) -> u64 {
        self.change(|state| {
            *state = State { life: state.life + 1, ..State::default() };
            state.life
        })
    }

    pub(super) fn close(&self, life: u64) {
        self.change(|state| {
            if state.life == life {
                state.closed = true;
            }
        });
    }

    fn check(state: &State, life: u64) -> Option<Result<(), StoreError>> {
        if state.crashed || state.life != life {
            return None;
        }
        Some(match &state.poisoned {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None if state.closed => Err(StoreError::Closed),
            None => Ok(()),
        })
    }

    pub(super) async fn alive(&self, life: u64) -> Result<(), StoreError> {
        let answer = Self::check(&self.state.borrow(), life);
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Waits until appends are not held.
    pub(super) async fn unheld(&self, life: u64) -> Result<(), StoreError> {
        if !self.state.borrow().held {
            return Ok(());
        }
        let mut changes = self.state.subscribe();
        self.change(|state| state.waiting += 1);
        let _ = changes.wait_for(|state| !state.held || state.life != life).await;
        self.change(|state| state.waiting = state.waiting.saturating_sub(1));
        self.alive(life).await
    }

    pub(super) fn before_append(&self, life: u64, appends: usize) -> Result<Turn, StoreError> {
        self.change(|state| {
            match Self::check(state, life) {
                None => return Ok(Turn::Crash),
                Some(answer) => answer?,
            }
            self.batches.fetch_add(1, Ordering::Relaxed);
            if let Some((left, fault)) = state.fail {
                state.fail = left.checked_sub(1).filter(|left| *left > 0).map(|left| (left, fault));
                return Err(fault.error());
            }
            // Nothing of a batch becomes durable if any of it would be the one before which the process dies: a batch is
            // taken as a whole or not at all.
            let last = self.appends.load(Ordering::Relaxed) + appends as u64;
            if state.crash_before.is_some_and(|k| last >= k) {
                state.crashed = true;
                return Ok(Turn::Crash);
            }
            Ok(Turn::Go)
        })
    }

    pub(super) fn after_append(&self, appends: u64, records: usize) -> Turn {
        self.appends.fetch_add(appends, Ordering::Relaxed);
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.change(|state| {
            if state.crash_after.is_some_and(|k| self.appends.load(Ordering::Relaxed) >= k) {
                state.crashed = true;
                Turn::Crash
            } else if state.lose > 0 {
                state.lose -= 1;
                Turn::Lose
            } else {
                Turn::Go
            }
        })
    }
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.shared.faults.change(change)
    }

    /// How many appends were taken, over the whole life of the store.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.shared.faults.appends.load(Ordering::Relaxed)
    }

    /// How many records were taken, over the whole life of the store.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.shared.faults.records.load(Ordering::Relaxed)
    }

    /// How many times `append` was called, over the whole life of the store, with or without success.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.shared.faults.batches.load(Ordering::Relaxed)
    }

    /// The next `calls` of `append` fail with `fault` and have no effect.
    pub fn fail_appends(&self, calls: usize, fault: Fault) {
        self.change(|state| state.fail = (calls > 0).then_some((calls, fault)));
    }

    /// The next `calls` of `append` have their effect, but tell the caller that the store is unavailable.
    pub fn lose_answers(&self, calls: usize) {
        self.change(|state| state.lose = calls);
    }

    /// Appends wait, without effect, until [`release`](Self::release).
    pub fn hold(&self) {
        self.change(|state| state.held = true);
    }

    /// Lets held appends go on.
    pub fn release(&self) {
        self.change(|state| state.held = false);
    }

    /// Waits until at least `calls` appends are held.
    pub async fn held(&self, calls: usize) {
        let mut changes = self.shared.faults.state.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = changes.wait_for(|state| state.waiting >= calls).await;
    }

    /// From now on every call fails with [`StoreError::Poisoned`], until the store is
    /// [reopened](super::MemoryStore::reopen).
    pub fn poison(&self, reason: impl Into<String>) {
        self.change(|state| state.poisoned = Some(reason.into()));
    }

    /// The process dies just before append number `k` (see [`appends`](Self::appends); the first is 1) becomes durable:
    /// that call and every one after it never return, until the store is [reopened](super::MemoryStore::reopen).
    ///
    /// A batch is durable as a whole or not at all, so nothing of the batch that has append `k` is.
    pub fn crash_before_append(&self, k: u64) {
        self.change(|state| state.crash_before = Some(k));
    }

    /// As [`crash_before_append`](Self::crash_before_append), but just after append `k` has become durable: nobody hears
    /// of it.
    pub fn crash_after_append(&self, k: u64) {
        self.change(|state| state.crash_after = Some(k));
    }

    /// The process dies now.
    pub fn crash(&self) {
        self.change(|state| state.crashed = true);
    }

    /// Waits until a planned crash has happened.
    pub async fn crashed(&self) {
        let mut changes = self.shared.faults.state.subscribe();
        let _ = changes.wait_for(|state| state.crashed).await;
    }

    /// Whether a planned crash has happened.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.shared.faults.state.borrow().crashed
    }

    /// Changes the stored bytes of one record, and says whether there is such a record.
    ///
    /// To damage a journal, flip a byte: `faults.edit(&run, Seq(2), |bytes| bytes[9] ^= 1)`.
    pub fn edit(&self, run: &RunId, seq: Seq, edit: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.shared.runs().by_id.get_mut(run).is_some_and(|found| found.journal.edit(seq, edit))
    }

    /// Flips a bit in the stored bytes of one record, and says whether there is such a record.
    pub fn corrupt(&self, run: &RunId, seq: Seq) -> bool {
        self.edit(run, seq, |bytes| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 0x20;
            }
        })
    }
}
