//! The rules that every store here shares: what is a sound append, who may write it, who holds a run.
//!
//! No I/O and no clock: time comes in as an argument. [`MemoryStore`](super::MemoryStore) and the sled store both decide
//! by it, so that they cannot come to differ.

use std::time::Duration;

use tokio::time::Instant;

use crate::id::{Epoch, SagaName, Seq, WorkerId};
use crate::store::{Append, NewRun, Refused, RunStatus, RunSummary};

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
    match append.records.iter().map(|record| record.bytes.len()).max() {
        Some(bytes) if bytes > limit => Err(Refused::TooLarge { run: append.run.clone(), bytes, limit }),
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
            lease: Some(Lease { owner: new.worker.clone(), expires: expiry(now, new.lease) }),
        };
        head.advance(append);
        head
    }

    /// The head of a run that was found in a store, which nobody holds.
    #[cfg(feature = "sled")]
    pub(super) fn found(mut summary: RunSummary) -> Self {
        summary.owner = None;
        Self { summary, lease: None }
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
        }
    }

    /// Takes over what was planned on a copy of this head, and is durable now. The lease may have been renewed or released
    /// meanwhile, which stands, unless the run came to rest (and perhaps was set going again).
    #[cfg(feature = "sled")]
    pub(super) fn settle(&mut self, planned: &Self) {
        self.summary = planned.summary.clone();
        if planned.lease.is_none() {
            self.lease = None;
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
    pub(super) fn is_claimable(&self, sagas: &[(SagaName, u32)], now: Instant) -> bool {
        let RunSummary { saga, version, .. } = &self.summary;
        self.status().is_live()
            && self.owner(now).is_none()
            && sagas.iter().any(|(name, number)| name == saga && number == version)
    }

    /// Gives the run to a worker, under a new epoch.
    pub(super) fn claim(&mut self, worker: &WorkerId, lease: Duration, now: Instant) {
        self.summary.epoch = self.summary.epoch.next();
        self.lease = Some(Lease { owner: worker.clone(), expires: expiry(now, lease) });
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
