//! The runs that a coordinator has at hand, and those that it had to set aside.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::action::StepError;
use crate::id::{Epoch, ItemRef, RunId};
use crate::journal::Actor;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::error::ParkReason;
use crate::store::StoreError;

/// How far a run has come, as its handles see it.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// It goes on; told anew after every append.
    Live,
    /// It came to rest.
    Settled(Arc<Outcome<Payload>>),
    /// It was set aside.
    Parked(Arc<ParkReason>),
    /// Its coordinator stopped, or another worker has claimed it.
    Stopped,
    /// The store failed for good.
    Failed(Arc<StoreError>),
}

/// What a driver is told from outside of its loop.
pub(crate) enum Mail {
    /// Somebody cancels the run; answered when that is durable.
    Cancel(Actor, oneshot::Sender<()>),
    /// An action records progress; answered when that is durable.
    Checkpoint(ItemRef, Payload, oneshot::Sender<Result<(), StepError>>),
    /// The guard said, in the middle of a wait, that the subject is gone.
    SubjectGone,
    /// Another worker has claimed the run.
    Lost,
}

/// A run that is being driven, or waits for its turn.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) epoch: Epoch,
    pub(crate) mailbox: mpsc::UnboundedSender<Mail>,
    pub(crate) progress: watch::Receiver<Progress>,
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
    /// Told whenever a run is entered, parked or removed.
    pub(crate) changed: Notify,
}

/// The maps are valid after every statement that changes them, so a panic elsewhere is no reason to give up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn enter(&self, run: RunId, entry: Entry) {
        lock(&self.runs).insert(run, entry);
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self, run: &RunId) -> Option<Entry> {
        lock(&self.runs).get(run).cloned()
    }

    /// Forgets a run, unless it has been taken up anew since.
    pub(crate) fn remove(&self, run: &RunId, epoch: Epoch) {
        let mut runs = lock(&self.runs);
        if runs.get(run).is_some_and(|entry| entry.epoch == epoch) {
            runs.remove(run);
        }
        drop(runs);
        self.changed.notify_waiters();
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.runs).len()
    }

    pub(crate) fn park(&self, parked: ParkedRun) {
        lock(&self.parked).insert(parked.run.clone(), parked);
        self.changed.notify_waiters();
    }

    pub(crate) fn unpark(&self, run: &RunId) {
        lock(&self.parked).remove(run);
    }

    pub(crate) fn parked(&self, run: &RunId) -> Option<ParkedRun> {
        lock(&self.parked).get(run).cloned()
    }

    pub(crate) fn all_parked(&self) -> Vec<ParkedRun> {
        lock(&self.parked).values().cloned().collect()
    }

    /// Every run whose lease is to be renewed.
    pub(crate) fn held(&self) -> Vec<(RunId, Epoch)> {
        let runs = lock(&self.runs);
        let parked = lock(&self.parked);
        runs.iter()
            .map(|(run, entry)| (run.clone(), entry.epoch))
            .chain(parked.values().filter_map(|parked| Some((parked.run.clone(), parked.epoch?))))
            .collect()
    }
}
