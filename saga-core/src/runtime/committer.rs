//! Group commit: what all runs have to write, gathered and written with one sync.
//!
//! Batches are formed by load, not by timers: while one batch is being written the next one gathers, and a lone run
//! never waits for company. A store that answers at once has no use for batches: there every append is written by whoever
//! makes it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::panics::panic_message;
use crate::runtime::metrics;
use crate::store::{Append, Refused, Store, StoreError};

/// More than any store's frame holds, and little enough that one batch does not hold up the next for long.
const MOST_APPENDS: usize = 4096;
/// With so many at hand a batch waits for no more. While it is written, the runs of the others go on; were all of them in one
/// batch, nobody would have anything to do meanwhile, and the store nothing while they go on. It is enough to be worth a sync.
const ENOUGH: usize = 64;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Why an append will not become durable.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Refused(Refused),
    #[error(transparent)]
    Store(Arc<StoreError>),
    #[error("the coordinator is closed")]
    Closed,
}

pub(crate) struct Request {
    append: Append,
    reply: oneshot::Sender<Result<(), CommitError>>,
}

/// Where appends are written.
pub(crate) enum Committer {
    /// By the loop that gathers them.
    Gathering(mpsc::UnboundedSender<Request>),
    /// By whoever makes them, for the store answers at once.
    Immediate { store: Arc<dyn Store>, killed: CancellationToken },
}

impl Committer {
    /// The committer, and the loop that somebody has to run for it. It takes nothing more after `killed`.
    pub(crate) fn new(store: Arc<dyn Store>, killed: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        // Unbounded, but each run in flight has at most one append under way, and runs in flight are bounded.
        let (requests, incoming) = mpsc::unbounded_channel();
        let committer = if store.is_immediate() {
            Self::Immediate { store: Arc::clone(&store), killed }
        } else {
            Self::Gathering(requests)
        };
        (committer, write_batches(store, incoming))
    }

    /// Writes the append, if the store answers at once; its records may be taken out of it then. A store that panics has
    /// failed for good: whoever is here, a caller of `start` above all, is not to unwind for it.
    pub(crate) fn commit_now(&self, append: &mut Append) -> Option<Answer> {
        let Self::Immediate { store, killed } = self else { return None };
        if killed.is_cancelled() {
            return Some(Err(CommitError::Closed));
        }
        let began = metrics::Began::now();
        let answer = match catch_unwind(AssertUnwindSafe(|| store.append_now(append))) {
            Ok(answer) => answer?.map_err(CommitError::Refused),
            Err(panic) => Err(CommitError::Store(Arc::new(panicked(&*panic)))),
        };
        metrics::committed(began, 1);
        Some(answer)
    }

    /// Returns when the append is durable, or refused. A store that fails for a while is waited for.
    pub(crate) async fn commit(&self, append: Append) -> Result<(), CommitError> {
        match self {
            Self::Gathering(requests) => {
                let (reply, answer) = oneshot::channel();
                requests.send(Request { append, reply }).map_err(|_| CommitError::Closed)?;
                answer.await.unwrap_or(Err(CommitError::Closed))
            }
            Self::Immediate { store, killed } => {
                let mut append = append;
                if let Some(answer) = self.commit_now(&mut append) {
                    return answer;
                }
                let answers = killed.run_until_cancelled(write_batch(&**store, std::slice::from_ref(&append))).await;
                answers.and_then(|mut answers| answers.pop()).unwrap_or(Err(CommitError::Closed))
            }
        }
    }
}

async fn write_batches(store: Arc<dyn Store>, mut incoming: mpsc::UnboundedReceiver<Request>) {
    let mut requests = Vec::new();
    while incoming.recv_many(&mut requests, MOST_APPENDS).await > 0 {
        gather(&mut requests, &mut incoming).await;
        let (batch, replies): (Vec<Append>, Vec<_>) =
            requests.drain(..).map(|request| (request.append, request.reply)).unzip();
        for (reply, answer) in replies.into_iter().zip(write_batch(&*store, &batch).await) {
            // Nobody may be waiting any more; what was written is written.
            let _ = reply.send(answer);
        }
    }
}

/// Writes a batch, whatever the store does, and gives one answer for each append.
async fn write_batch(store: &dyn Store, batch: &[Append]) -> Vec<Answer> {
    let (began, started) = (metrics::Began::now(), Instant::now());
    let answers = match AssertUnwindSafe(write(store, batch)).catch_unwind().await {
        Ok(answers) => answers,
        Err(panic) => failed_for_good(panicked(&*panic), batch.len()),
    };
    metrics::committed(began, batch.len());
    debug!(appends = batch.len(), micros = started.elapsed().as_micros(), "committed");
    answers
}

/// Adds what comes from those who are ready to run, and have only not had their turn yet: above all those whom the batch
/// before has just answered. Without it a large batch is followed by a tiny one, with what the first of them had to say.
///
/// It stops at [`ENOUGH`]: so hundreds of runs fall into two halves, one of which is written while the other is driven.
async fn gather(requests: &mut Vec<Request>, incoming: &mut mpsc::UnboundedReceiver<Request>) {
    loop {
        let before = requests.len();
        tokio::task::yield_now().await;
        while requests.len() < MOST_APPENDS
            && let Ok(request) = incoming.try_recv()
        {
            requests.push(request);
        }
        if requests.len() == before || requests.len() >= ENOUGH {
            return;
        }
    }
}

type Answer = Result<(), CommitError>;

pub(super) fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    StoreError::Poisoned { reason: format!("it panicked: {}", panic_message(panic)) }
}

fn failed_for_good(failure: StoreError, appends: usize) -> Vec<Answer> {
    error!(%failure, appends, "the store failed for good");
    let failure = Arc::new(failure);
    (0..appends).map(|_| Err(CommitError::Store(Arc::clone(&failure)))).collect()
}

/// Writes a batch, as often as it takes.
async fn write(store: &dyn Store, batch: &[Append]) -> Vec<Answer> {
    let mut delay = FIRST_DELAY;
    let mut in_doubt = false;
    loop {
        match store.append(batch).await {
            Ok(answers) if answers.len() != batch.len() => {
                let reason = format!("it gave {} answers to {} appends", answers.len(), batch.len());
                return failed_for_good(StoreError::Poisoned { reason }, batch.len());
            }
            Ok(answers) => {
                let mut results = Vec::with_capacity(batch.len());
                for (append, answer) in batch.iter().zip(answers) {
                    results.push(match answer {
                        Ok(()) => Ok(()),
                        Err(refused) if in_doubt => settle(store, append, refused).await,
                        Err(refused) => Err(CommitError::Refused(refused)),
                    });
                }
                return results;
            }
            Err(failure) if failure.is_transient() => {
                warn!(%failure, retry_in = ?delay, appends = batch.len(), "the store failed; runs wait until it works again");
                in_doubt = true;
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
            Err(failure) => return failed_for_good(failure, batch.len()),
        }
    }
}

/// An append was refused that may have been refused because an earlier try, whose answer was lost, had written it.
async fn settle(store: &dyn Store, append: &Append, refused: Refused) -> Answer {
    // Whatever was written before: a writer whose claim has passed to another must stop.
    if !matches!(refused, Refused::OutOfSequence { .. } | Refused::Exists { .. } | Refused::Ended { .. }) {
        return Err(CommitError::Refused(refused));
    }
    let mut delay = FIRST_DELAY;
    loop {
        match is_written(store, append).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(CommitError::Refused(refused)),
            Err(failure) if failure.is_transient() => {
                warn!(%failure, retry_in = ?delay, run = %append.run, "the store failed; the run waits until it works again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
            Err(failure) => return Err(CommitError::Store(Arc::new(failure))),
        }
    }
}

/// Whether this very append is in the journal.
async fn is_written(store: &dyn Store, append: &Append) -> Result<bool, StoreError> {
    if let Some(new) = &append.start {
        // Two workers that start the same run in the same millisecond write the same records.
        let owner = store.get(&append.run).await?.and_then(|summary| summary.owner);
        let claimed = new.claim.as_ref().map(|claim| &claim.worker);
        if append.status.is_live() && claimed.is_some() && owner.as_ref() != claimed {
            return Ok(false);
        }
    }
    Ok(store.read(&append.run, append.expected, append.records.len()).await? == append.records)
}
