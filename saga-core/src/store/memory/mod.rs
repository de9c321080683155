//! A store in memory: the reference of what a store does, and the store of tests.

mod faults;
mod journal;

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::faults::{Fault, Faults};
use self::faults::{FaultState, Turn};
use self::journal::{Journal, Piece};
use crate::id::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::store::head::{self, Head};
use crate::store::{
    Append, Claim, ClaimError, Hint, HintSource, Hints, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, Store,
    StoreError,
};

/// The largest record that [`MemoryStore`] takes: the limit of the sled store, so that a test meets it too.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// A store that lives as long as its handles do.
///
/// It does all that [`Store`] promises, but for outliving the process: what it calls durable is what outlives a
/// *coordinator*. Clones are handles on one store, so a test can drop one coordinator and start the next on a clone.
/// Leases follow tokio's clock, so they expire under paused time. [`faults`](Self::faults) makes it fail on purpose.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), saga_core::store::StoreError> {
/// use saga_core::store::{MemoryStore, Query, Store};
/// let store = MemoryStore::new();
/// assert!(store.list(&Query::default()).await?.runs.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Which life of the store this handle belongs to; see [`MemoryStore::reopen`].
    life: u64,
}

#[derive(Debug, Default)]
struct Shared {
    runs: Mutex<Runs>,
    faults: FaultState,
    hints: HintSource,
}

#[derive(Debug, Default)]
struct Runs {
    by_id: HashMap<RunId, Box<Run>>,
    /// In the order in which they are listed.
    order: BTreeSet<RunId>,
    keys: HashMap<ExclusiveKey, RunId>,
}

#[derive(Debug)]
struct Run {
    head: Head,
    journal: Journal,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The means to make this store fail, and to count what it is asked.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.shared))
    }

    /// The store as a new process would find it: with all that is durable, with no lease.
    ///
    /// Every handle from before is dead from now on: its calls never return, as those of a process that was killed never
    /// do. Planned crashes, holds and a poisoning end with the life that they were meant for; the counts go on.
    #[must_use]
    pub fn reopen(&self) -> Self {
        for run in self.runs().by_id.values_mut() {
            let epoch = run.head.summary().epoch;
            run.head.release(epoch);
        }
        Self { shared: Arc::clone(&self.shared), life: self.shared.faults.next_life() }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.shared.runs()
    }

    /// Waits for ever if this handle's life is over, and fails if the store is poisoned or closed.
    async fn alive(&self) -> Result<(), StoreError> {
        self.shared.faults.alive(self.life).await
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        // A panic in between leaves no append half done: each is checked first, then taken as a whole.
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Runs {
    /// Takes an append; `piece` is made of its records.
    fn take(&mut self, append: &Append, piece: Piece) -> Result<(), Refused> {
        head::check_form(append, MAX_RECORD_BYTES)?;
        let run = || append.run.clone();
        let Self { by_id, order, keys } = self;
        let found = match (&append.start, by_id.get_mut(&append.run)) {
            (Some(_), Some(_)) => return Err(Refused::Exists { run: run() }),
            (None, None) => return Err(Refused::UnknownRun { run: run() }),
            (None, Some(found)) => {
                found.head.check(append)?;
                found.head.advance(append);
                found
            }
            (Some(new), None) => {
                take_key(keys, new.key.as_ref(), &append.run)?;
                order.insert(run());
                let head = Head::start(append, new, Instant::now());
                by_id.entry(run()).or_insert(Box::new(Run { head, journal: Journal::default() }))
            }
        };
        found.journal.append(piece);
        if append.status.is_ended()
            && let Some(key) = &found.head.summary().key
        {
            keys.remove(key);
        }
        Ok(())
    }

    fn restore(&mut self, summary: &RunSummary, records: &[EncodedRecord]) -> Result<(), Refused> {
        head::check_restored(summary, records, MAX_RECORD_BYTES)?;
        let run = summary.run.clone();
        if self.by_id.contains_key(&run) {
            return Err(Refused::Exists { run });
        }
        if !summary.status.is_ended() {
            take_key(&mut self.keys, summary.key.as_ref(), &run)?;
        }
        self.order.insert(run.clone());
        let mut journal = Journal::default();
        journal.append(Piece::of(records));
        self.by_id.insert(run, Box::new(Run { head: Head::found(summary.clone()), journal }));
        Ok(())
    }

    fn remove(&mut self, run: &RunId) {
        self.order.remove(run);
        self.by_id.remove(run);
    }

    /// The runs in their order, from one on.
    fn from(&self, after: Bound<&RunId>) -> impl Iterator<Item = &Run> {
        self.order.range((after, Bound::Unbounded)).filter_map(|run| self.by_id.get(run)).map(|run| &**run)
    }

    fn delete(&mut self, run: &RunId) -> Result<(), StoreError> {
        match self.by_id.get(run) {
            None => Err(StoreError::UnknownRun { run: run.clone() }),
            Some(found) if !found.head.status().is_ended() => Err(StoreError::NotEnded { run: run.clone() }),
            Some(_) => {
                self.remove(run);
                Ok(())
            }
        }
    }
}

fn take_key(keys: &mut HashMap<ExclusiveKey, RunId>, key: Option<&ExclusiveKey>, run: &RunId) -> Result<(), Refused> {
    let Some(key) = key else { return Ok(()) };
    if let Some(holder) = keys.get(key) {
        return Err(Refused::KeyHeld { key: key.clone(), holder: holder.clone() });
    }
    keys.insert(key.clone(), run.clone());
    Ok(())
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        self.alive().await?;
        let faults = &self.shared.faults;
        faults.unheld(self.life).await?;
        let (answers, turn) = {
            // One lock over the decision to fail and the effect, so that the k-th append is the k-th for everybody.
            let mut runs = self.runs();
            let turn = faults.before_append(self.life, batch.len())?;
            if turn == Turn::Crash {
                (Vec::new(), turn)
            } else {
                let answers: Vec<_> =
                    batch.iter().map(|append| runs.take(append, Piece::of(&append.records))).collect();
                let taken = batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
                let (appends, records) =
                    taken.fold((0, 0), |(appends, records), (append, _)| (appends + 1, records + append.records.len()));
                (answers, faults.after_append(appends, records))
            }
        };
        if batch.iter().any(Append::is_for_anyone) {
            self.shared.hints.tell(Hint::Work);
        }
        match turn {
            Turn::Go => Ok(answers),
            Turn::Crash => std::future::pending().await,
            Turn::Lose => {
                Err(StoreError::Unavailable { message: "injected: the answer was lost".into(), source: None })
            }
        }
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.alive().await?;
        let runs = self.runs();
        let found = runs.by_id.get(run).ok_or_else(|| StoreError::UnknownRun { run: run.clone() })?;
        Ok(found.journal.read(after, limit))
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.alive().await?;
        Ok(self.runs().by_id.get(run).map(|found| found.head.view(Instant::now())))
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.alive().await?;
        Ok(self.runs().keys.get(key).cloned())
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.alive().await?;
        let (runs, now) = (self.runs(), Instant::now());
        let after = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = runs.from(after).map(|run| &run.head).filter(|head| query.matches(head.summary()));
        let page: Vec<_> = found.by_ref().take(query.limit.max(1)).map(|head| head.view(now)).collect();
        let next = found.next().and_then(|_| page.last().map(|last| last.run.clone()));
        Ok(Page { runs: page, next })
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.alive().await?;
        let (mut runs, now) = (self.runs(), Instant::now());
        let mut claimable: Vec<&mut Head> =
            runs.by_id.values_mut().map(|run| &mut run.head).filter(|head| head.is_claimable(sagas, now)).collect();
        claimable.sort_unstable_by(|one, other| one.summary().run.cmp(&other.summary().run));
        Ok(claimable.into_iter().take(limit).map(|head| head.claim(worker, lease, now)).collect())
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        self.alive().await?;
        let (mut runs, now) = (self.runs(), Instant::now());
        let head = match runs.by_id.get_mut(run) {
            None => return Err(ClaimError::UnknownRun { run: run.clone() }),
            Some(found) => &mut found.head,
        };
        if head.status().is_ended() {
            return Err(ClaimError::Ended { run: run.clone() });
        }
        if let Some(owner) = head.held_from(worker, now) {
            return Err(ClaimError::Held { run: run.clone(), owner });
        }
        Ok(head.claim(worker, lease, now))
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.alive().await?;
        let (mut runs, now) = (self.runs(), Instant::now());
        let mut lost = Vec::new();
        for (run, epoch) in held {
            if !runs.by_id.get_mut(run).is_some_and(|found| found.head.renew(worker, *epoch, lease, now)) {
                lost.push(run.clone());
            }
        }
        Ok(lost)
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.alive().await?;
        let mut runs = self.runs();
        for (run, epoch) in held {
            if let Some(found) = runs.by_id.get_mut(run) {
                found.head.release(*epoch);
            }
        }
        drop(runs);
        self.shared.hints.tell(Hint::Work);
        Ok(())
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        self.alive().await?;
        let mut runs = self.runs();
        let found = runs.by_id.get_mut(run).ok_or_else(|| StoreError::UnknownRun { run: run.clone() })?;
        let status = found.head.request_cancel(by);
        drop(runs);
        self.shared.hints.tell(Hint::Requests);
        Ok(status)
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.alive().await?;
        let (runs, now) = (self.runs(), Instant::now());
        let mut requests: Vec<_> =
            runs.by_id.values().filter_map(|found| found.head.cancel_request(worker, now)).collect();
        requests.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(requests)
    }

    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        // Before the lock, for which all runs wait.
        let piece = Piece::of(&append.records);
        let mut runs = self.runs();
        if !self.shared.faults.is_sound(self.life) || append.is_for_anyone() {
            return None;
        }
        let taken = runs.take(append, piece);
        self.shared.faults.count(taken.is_ok().then_some(append.records.len()));
        Some(taken)
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.shared.hints.subscribe())
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        self.alive().await?;
        let restored = self.runs().restore(summary, records);
        self.shared.hints.tell(Hint::Work);
        Ok(restored)
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.alive().await?;
        self.runs().delete(run)
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.alive().await?;
        let mut runs = self.runs();
        let mut ended: Vec<_> = runs
            .by_id
            .iter()
            .map(|(run, found)| (found.head.summary().updated_at, found.head.status(), run))
            .filter(|(at, status, _)| status.is_ended() && *at < ended_before)
            .map(|(at, _, run)| (at, run.clone()))
            .collect();
        ended.sort_unstable();
        ended.truncate(limit);
        for (_, run) in &ended {
            runs.remove(run);
        }
        Ok(ended.len())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.faults.close(self.life);
        Ok(())
    }
}
