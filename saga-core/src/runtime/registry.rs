//! The runs that a coordinator has at hand, and those that it had to set aside.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use crate::id::{Epoch, RunId};
use crate::runtime::error::ParkReason;
use crate::runtime::line::Line;

/// A run that is being driven, or waits for its turn.
struct Entry {
    line: Arc<Line>,
    /// When the claim may have run out, if it is not renewed. Counted from before the store was asked for it, so never too
    /// late. `None`: it was found to have run out.
    expires: Option<Instant>,
    /// What its driver had done when it was last looked at.
    turns: u32,
}

/// A run that was set aside because it could not be taken up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParkedRun {
    /// The run.
    pub run: RunId,
    /// Why it could not be taken up.
    pub reason: Arc<ParkReason>,
    pub(crate) epoch: Option<Epoch>,
}

#[derive(Default)]
pub(crate) struct Registry {
    runs: Mutex<HashMap<RunId, Entry>>,
    parked: Mutex<BTreeMap<RunId, ParkedRun>>,
    /// Runs that somebody is about to start or to move on.
    reserved: Mutex<HashSet<RunId>>,
    /// Claims of runs that were let go of, which others need not wait for.
    given_back: Mutex<Vec<(RunId, Epoch)>>,
    /// Told whenever a run is entered, parked or removed, or is no longer reserved.
    pub(crate) changed: Notify,
}

/// While it lives nobody else in this process starts the run, or moves it on.
pub(crate) struct Reservation<'a> {
    registry: &'a Registry,
    run: RunId,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.registry.reserved).remove(&self.run);
        self.registry.changed.notify_waiters();
    }
}

/// The maps are valid after every statement that changes them, so a panic elsewhere is no reason to give up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Enters a run that was taken up. If this worker has it under another claim too, the driver of the older one is told
    /// to stop.
    pub(crate) fn enter(&self, line: &Arc<Line>, expires: Instant) {
        lock(&self.parked).remove(line.run());
        let mut runs = lock(&self.runs);
        if runs.get(line.run()).is_some_and(|there| there.line.epoch() > line.epoch()) {
            drop(runs);
            line.lose();
            return;
        }
        let entry = Entry { line: Arc::clone(line), expires: Some(expires), turns: 0 };
        let before = runs.insert(line.run().clone(), entry);
        drop(runs);
        if let Some(before) = before {
            before.line.lose();
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self, run: &RunId) -> Option<Arc<Line>> {
        lock(&self.runs).get(run).map(|entry| Arc::clone(&entry.line))
    }

    /// Makes all drivers look.
    pub(crate) fn wake_all(&self) {
        let lines: Vec<_> = lock(&self.runs).values().map(|entry| Arc::clone(&entry.line)).collect();
        lines.iter().for_each(|line| line.rouse());
    }

    /// Asks those drivers to make themselves small that have done nothing since this was last called.
    pub(crate) fn let_rest(&self) {
        for entry in lock(&self.runs).values_mut() {
            entry.turns = entry.line.rest(entry.turns);
        }
    }

    /// Forgets a run, unless it has been taken up anew since.
    pub(crate) fn remove(&self, run: &RunId, epoch: Epoch) {
        let mut runs = lock(&self.runs);
        if runs.get(run).is_some_and(|entry| entry.line.epoch() == epoch) {
            runs.remove(run);
        }
        drop(runs);
        self.changed.notify_waiters();
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.runs).len()
    }

    /// The run for one who is about to start it or to move it on, unless somebody else is.
    pub(crate) fn reserve(&self, run: &RunId) -> Option<Reservation<'_>> {
        let free = lock(&self.reserved).insert(run.clone());
        free.then(|| Reservation { registry: self, run: run.clone() })
    }

    /// As [`reserve`](Self::reserve), after whoever has it now.
    pub(crate) async fn reserve_in_turn(&self, run: &RunId) -> Reservation<'_> {
        loop {
            // Registered before looking, so that no change falls between.
            let changed = self.changed.notified();
            if let Some(reserved) = self.reserve(run) {
                return reserved;
            }
            changed.await;
        }
    }

    /// Sets a run aside, unless it has been taken up anew since.
    pub(crate) fn park(&self, parked: ParkedRun) {
        let runs = lock(&self.runs);
        if runs.get(&parked.run).is_none_or(|entry| Some(entry.line.epoch()) == parked.epoch) {
            lock(&self.parked).insert(parked.run.clone(), parked);
        }
        drop(runs);
        self.changed.notify_waiters();
    }

    pub(crate) fn parked(&self, run: &RunId) -> Option<ParkedRun> {
        lock(&self.parked).get(run).cloned()
    }

    pub(crate) fn all_parked(&self) -> Vec<ParkedRun> {
        lock(&self.parked).values().cloned().collect()
    }

    /// Another worker has claimed a run since it was claimed under `epoch`.
    pub(crate) fn lost(&self, run: &RunId, epoch: Epoch) {
        // Under another epoch it is not what was lost: it came to rest and was moved on, say, since that was looked up.
        if let Some(line) = self.get(run).filter(|line| line.epoch() == epoch) {
            warn!(%run, "another worker has claimed the run");
            line.lose();
        }
        let mut parked = lock(&self.parked);
        if parked.get(run).is_some_and(|parked| parked.epoch == Some(epoch)) {
            parked.remove(run);
        }
    }

    /// Notes until when the claims hold that were renewed.
    pub(crate) fn renewed(&self, held: &[(RunId, Epoch)], expires: Instant) {
        let mut runs = lock(&self.runs);
        for (run, epoch) in held {
            if let Some(entry) = runs.get_mut(run).filter(|entry| entry.line.epoch() == *epoch)
                && let Some(until) = &mut entry.expires
            {
                *until = expires;
            }
        }
    }

    /// When the first claim runs out, if none is renewed.
    pub(crate) fn earliest_expiry(&self) -> Option<Instant> {
        lock(&self.runs).values().filter_map(|entry| entry.expires).min()
    }

    /// Lets go of the runs whose claims have run out.
    pub(crate) fn expire(&self, now: Instant) {
        let mut lost = Vec::new();
        for entry in lock(&self.runs).values_mut().filter(|entry| entry.expires.is_some_and(|at| at <= now)) {
            entry.expires = None;
            lost.push(Arc::clone(&entry.line));
        }
        // Not under the lock: what is told here, and who is woken, is code of others, which may ask for runs.
        for line in lost {
            warn!(run = %line.run(), "the claim could not be renewed in time; another worker may have the run by now");
            line.lose();
        }
    }

    /// Every run whose lease is to be renewed.
    pub(crate) fn held(&self) -> Vec<(RunId, Epoch)> {
        let runs = lock(&self.runs);
        let parked = lock(&self.parked);
        runs.iter()
            .map(|(run, entry)| (run.clone(), entry.line.epoch()))
            .chain(parked.values().filter_map(|parked| Some((parked.run.clone(), parked.epoch?))))
            .collect()
    }

    /// Remembers the claim of a run that was let go of unfinished.
    pub(crate) fn give_back(&self, run: RunId, epoch: Epoch) {
        lock(&self.given_back).push((run, epoch));
    }

    /// The claims of runs that were let go of.
    pub(crate) fn take_given_back(&self) -> Vec<(RunId, Epoch)> {
        std::mem::take(&mut *lock(&self.given_back))
    }

    /// Every claim that is there to be released.
    pub(crate) fn take_held(&self) -> Vec<(RunId, Epoch)> {
        let mut held = self.held();
        held.append(&mut lock(&self.given_back));
        held
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use futures::task::{ArcWake, Context, waker};

    use super::*;
    use crate::action::RunScope;
    use crate::id::SagaName;

    /// What an action waits with that looks at the runs as soon as it is woken.
    struct Curious {
        registry: Registry,
        has_looked: AtomicBool,
    }

    impl ArcWake for Curious {
        fn wake_by_ref(this: &Arc<Self>) {
            assert!(this.registry.runs.try_lock().is_ok(), "it would wait for ever");
            this.has_looked.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn who_is_woken_by_a_claim_that_ran_out_may_look_at_the_runs() {
        let curious = Arc::new(Curious { registry: Registry::default(), has_looked: AtomicBool::new(false) });
        let scope = RunScope::new(RunId::generate(), Epoch::FIRST, SagaName::new("saga").unwrap());
        let line = Arc::new(Line::new(scope));
        let expires = Instant::now();
        curious.registry.enter(&line, expires);
        let mut stopped = Box::pin(line.scope.stopped(true));
        let waker = waker(Arc::clone(&curious));
        assert!(stopped.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        curious.registry.expire(expires - Duration::from_nanos(1));
        assert!(!curious.has_looked.load(Ordering::SeqCst), "it had not run out");
        curious.registry.expire(expires);
        assert!(curious.has_looked.load(Ordering::SeqCst));
        assert_eq!(curious.registry.earliest_expiry(), None);
    }
}
