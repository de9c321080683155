//! The rules that every store here shares: what is a sound append, who may write it, who holds a run.
//!
//! No I/O and no clock: time comes in as an argument. [`MemoryStore`](super::MemoryStore) and the sled store both decide
//! by it, so that they cannot come to differ.

use std::time::Duration;

use tokio::time::Instant;

use crate::id::{Epoch, RunId, Seq, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::store::{Append, Claim, KnownSaga, NewRun, Refused, RunStatus, RunSummary};

/// Who drives a run, and until when that is certain.
#[derive(Debug, Clone)]
struct Lease {
    owner: WorkerId,
    expires: Instant,
}

/// The head of a run, with the lease of the newest claim.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// The summary; its owner is always `None`, the lease says who it is.
    summary: RunSummary,
    lease: Option<Lease>,
    /// Who asked for it to be cancelled, while it is live.
    cancel: Option<Actor>,
}

/// Far enough away to be never, near enough not to overflow.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

fn expiry(now: Instant, lease: Duration) -> Instant {
    now + lease.min(NEVER)
}

/// Checks what can be checked without knowing the run.
pub(super) fn check_form(append: &Append, limit: usize) -> Result<(), Refused> {
    let malformed = |what| Err(Refused::Malformed { run: append.run.clone(), what });
    if append.records.is_empty() {
        return malformed("it has no records");
    }
    let mut before = append.expected;
    for record in &append.records {
        if record.seq != before.plus(1) {
            return malformed("its records do not follow each other from where it expects the journal to end");
        }
        before = record.seq;
    }
    if append.start.is_some() && append.expected != Seq::ZERO {
        return malformed("it starts a run, but expects that there are records already");
    }
    if append.start.is_some() && append.epoch != Epoch::FIRST {
        return malformed("it starts a run, but not under the first epoch");
    }
    check_size(&append.run, &append.records, limit)
}

/// Checks a run that comes from another store.
pub(super) fn check_restored(summary: &RunSummary, records: &[EncodedRecord], limit: usize) -> Result<(), Refused> {
    let run = || -> RunId { summary.run.clone() };
    let whole = records.iter().map(|record| record.seq.0).eq(1..=summary.seq.0);
    if records.is_empty() || !whole {
        return Err(Refused::Malformed { run: run(), what: "its records are not those from the first to its newest" });
    }
    check_size(&summary.run, records, limit)
}

fn check_size(run: &RunId, records: &[EncodedRecord], limit: usize) -> Result<(), Refused> {
    match records.iter().map(|record| record.bytes.len()).max() {
        Some(bytes) if bytes > limit => Err(Refused::TooLarge { run: run.clone(), bytes, limit }),
        _ => Ok(()),
    }
}

impl Head {
    /// The head of a run as `append` leaves it, which starts it.
    pub(super) fn start(append: &Append, new: &NewRun, now: Instant) -> Self {
        let mut head = Self {
            summary: RunSummary {
                run: append.run.clone(),
                saga: new.saga.clone(),
                version: new.version,
                fingerprint: new.fingerprint,
                key: new.key.clone(),
                status: append.status,
                seq: Seq::ZERO,
                epoch: append.epoch,
                owner: None,
                created_at: append.at,
                updated_at: append.at,
            },
            lease: new
                .claim
                .as_ref()
                .map(|claim| Lease { owner: claim.worker.clone(), expires: expiry(now, claim.lease) }),
            cancel: None,
        };
        head.advance(append);
        head
    }

    /// The head of a run that was found in a store, or comes from another one, and which nobody holds.
    pub(super) fn found(mut summary: RunSummary) -> Self {
        summary.owner = None;
        Self { summary, lease: None, cancel: None }
    }

    /// Whether the run may be appended to.
    ///
    /// The order of the checks matters: a stale writer is told so before anything else, because it must stop; a writer
    /// whose append was taken but whose answer was lost is told `OutOfSequence` even if that append ended the run,
    /// because it looks for its records then.
    pub(super) fn check(&self, append: &Append) -> Result<(), Refused> {
        let run = || append.run.clone();
        let RunSummary { epoch, seq, status, .. } = self.summary;
        if append.epoch != epoch {
            Err(Refused::Stale { run: run(), current: epoch, found: append.epoch })
        } else if append.expected != seq {
            Err(Refused::OutOfSequence { run: run(), current: seq, expected: append.expected })
        } else if status.is_ended() {
            Err(Refused::Ended { run: run() })
        } else {
            Ok(())
        }
    }

    /// Moves the head behind an append that was [checked](Self::check).
    pub(super) fn advance(&mut self, append: &Append) {
        self.summary.seq = append.expected.plus(append.records.len());
        self.summary.status = append.status;
        self.summary.updated_at = append.at;
        if !append.status.is_live() {
            self.lease = None;
            self.cancel = None;
        }
    }

    /// Takes over what was planned on a copy of this head, and is durable now. Meanwhile the lease may have been renewed or
    /// released, or a request been left, which stands, unless the run came to rest (and perhaps was set going again).
    #[cfg(feature = "sled")]
    pub(super) fn settle(&mut self, planned: &Self) {
        self.summary = planned.summary.clone();
        if planned.lease.is_none() {
            self.lease = None;
            self.cancel = None;
        }
    }

    /// The head without its lease.
    pub(super) fn summary(&self) -> &RunSummary {
        &self.summary
    }

    /// The head as it is told to callers: with the owner, unless its lease has expired.
    pub(super) fn view(&self, now: Instant) -> RunSummary {
        RunSummary { owner: self.owner(now).cloned(), ..self.summary.clone() }
    }

    /// Where the run stands.
    pub(super) fn status(&self) -> RunStatus {
        self.summary.status
    }

    /// Who holds the run, now.
    pub(super) fn owner(&self, now: Instant) -> Option<&WorkerId> {
        self.lease.as_ref().filter(|lease| now < lease.expires).map(|lease| &lease.owner)
    }

    /// The worker that keeps `worker` from claiming the run now, if there is one.
    pub(super) fn held_from(&self, worker: &WorkerId, now: Instant) -> Option<WorkerId> {
        self.owner(now).filter(|owner| *owner != worker).cloned()
    }

    /// Whether a claim for one of the given sagas takes this run.
    pub(super) fn is_claimable(&self, sagas: &[KnownSaga], now: Instant) -> bool {
        let RunSummary { saga, version, fingerprint, .. } = &self.summary;
        let is_its =
            |known: &KnownSaga| known.saga == *saga && known.version == *version && known.fingerprint == *fingerprint;
        self.status().is_live() && self.owner(now).is_none() && sagas.iter().any(is_its)
    }

    /// Gives the run to a worker, under a new epoch.
    pub(super) fn claim(&mut self, worker: &WorkerId, lease: Duration, now: Instant) -> Claim {
        self.summary.epoch = self.summary.epoch.next();
        self.lease = Some(Lease { owner: worker.clone(), expires: expiry(now, lease) });
        Claim { summary: self.view(now), journal: None, cancel: self.cancel.clone() }
    }

    /// Leaves word that the run should be cancelled, if it is live.
    pub(super) fn request_cancel(&mut self, by: &Actor) -> RunStatus {
        if self.status().is_live() {
            self.cancel.get_or_insert_with(|| by.clone());
        }
        self.status()
    }

    /// Who asked for the run to be cancelled, if the worker holds it.
    pub(super) fn cancel_request(&self, worker: &WorkerId, now: Instant) -> Option<(RunId, Actor)> {
        let by = self.cancel.as_ref().filter(|_| self.owner(now) == Some(worker))?;
        Some((self.summary.run.clone(), by.clone()))
    }

    /// Extends the worker's lease, if the claim is still its own. One that has expired, but that nobody took, revives.
    pub(super) fn renew(&mut self, worker: &WorkerId, epoch: Epoch, lease: Duration, now: Instant) -> bool {
        match &mut self.lease {
            Some(held) if held.owner == *worker && self.summary.epoch == epoch => {
                held.expires = expiry(now, lease);
                true
            }
            _ => false,
        }
    }

    /// Ends the lease, if the claim is still that of `epoch`.
    pub(super) fn release(&mut self, epoch: Epoch) {
        if self.summary.epoch == epoch {
            self.lease = None;
        }
    }
}
