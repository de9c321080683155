//! The durable home of journals.
//!
//! A [`Store`] keeps, for every run, its journal (encoded records, in order) and a small head ([`RunSummary`]). It knows
//! nothing of what the records mean. The trait is batch-first: the committer gathers what all runs have to write and
//! hands it over in one call, so that one sync serves many runs.

mod copy;
mod error;
mod head;
mod hints;
mod layer;
mod memory;
#[cfg(feature = "sled")]
mod sled;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::time::Duration;

use async_trait::async_trait;

use crate::id::{Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::plan::Fingerprint;

pub use self::copy::{Copied, CopyError, CopyPlan, CopyProgress, Obstacle, copy};
pub use self::error::{ClaimError, Refused, StoreError};
pub use self::hints::{Hint, HintSource, Hints};
pub use self::layer::Layer;
pub use self::memory::{Fault, Faults, MemoryStore};
#[cfg(all(fuzzing, feature = "sled"))]
#[doc(hidden)]
pub use self::sled::fuzz::frames as fuzz_frames;
#[cfg(feature = "sled")]
pub use self::sled::{Damage, SledOptions, SledStore};

/// Where a run stands, as far as a store needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Live: it goes forward, or rolls back, or its finalizer has yet to succeed.
    Running,
    /// Resting: a non-compensable step failed with its effect unknown. An operator moves it on.
    Halted,
    /// Resting: something could not be undone or finished. An operator moves it on.
    Stuck,
    /// Ended: every step succeeded.
    Completed,
    /// Ended: all that had to be undone was undone.
    RolledBack,
    /// Ended: an operator gave it up.
    Abandoned,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Halted, Self::Stuck, Self::Completed, Self::RolledBack, Self::Abandoned];

    /// Whether a worker has something to do for it.
    #[must_use]
    pub fn is_live(self) -> bool {
        self == Self::Running
    }

    /// Whether it waits for an operator.
    #[must_use]
    pub fn is_resting(self) -> bool {
        matches!(self, Self::Halted | Self::Stuck)
    }

    /// Whether nothing will ever happen to it again.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Abandoned)
    }

    /// The status in a word or two, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::RolledBack => "rolled back",
            Self::Abandoned => "abandoned",
        }
    }
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The head of a run: what a store knows about it without reading its journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The saga that it follows.
    pub saga: SagaName,
    /// The version of that saga.
    pub version: u32,
    /// The structure of that saga.
    pub fingerprint: Fingerprint,
    /// The exclusive key that it holds (or held, once ended).
    pub key: Option<ExclusiveKey>,
    /// Where it stands.
    pub status: RunStatus,
    /// The place of its newest event.
    pub seq: Seq,
    /// The newest claim.
    pub epoch: Epoch,
    /// The worker that holds the newest claim, unless it was released or has expired.
    pub owner: Option<WorkerId>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When its newest event was decided.
    pub updated_at: Timestamp,
}

/// What a new run needs besides its first records.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewRun {
    /// The saga that it follows.
    pub saga: SagaName,
    /// The version of that saga.
    pub version: u32,
    /// The structure of that saga.
    pub fingerprint: Fingerprint,
    /// The exclusive key that it is to hold until it ends.
    pub key: Option<ExclusiveKey>,
    /// The worker that drives it, under [`Epoch::FIRST`]. `None`: whoever claims it first.
    pub claim: Option<FirstClaim>,
}

/// The claim of the worker that starts a run and drives it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FirstClaim {
    /// The worker.
    pub worker: WorkerId,
    /// How long its claim holds without being renewed.
    pub lease: Duration,
}

/// Records to add to the end of one run's journal, if the run is still where the writer believes it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The run.
    pub run: RunId,
    /// The claim under which it is written. For a new run: [`Epoch::FIRST`].
    pub epoch: Epoch,
    /// The place of the newest event that the writer knows of. For a new run: [`Seq::ZERO`].
    pub expected: Seq,
    /// The records, at least one, in order and without gaps from `expected` on.
    pub records: Vec<EncodedRecord>,
    /// Where the run stands after them. Resting and ended runs lose their owner; ended ones also their exclusive key.
    pub status: RunStatus,
    /// When they were decided.
    pub at: Timestamp,
    /// For the first append of a run; `None` for every other.
    pub start: Option<NewRun>,
}

impl Append {
    /// Whether it starts a run that is left to whoever claims it: a store hints at it.
    #[must_use]
    pub fn is_for_anyone(&self) -> bool {
        self.start.as_ref().is_some_and(|new| new.claim.is_none())
    }
}

/// A run as it was found: its head, and its journal if the store had that at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The head.
    pub summary: RunSummary,
    /// All records up to [`RunSummary::seq`]. `None`: whoever wants them has to [`read`](Store::read) them.
    pub journal: Option<Vec<EncodedRecord>>,
}

impl From<RunSummary> for Found {
    /// A run whose journal is not at hand.
    fn from(summary: RunSummary) -> Self {
        Self { summary, journal: None }
    }
}

/// A claim that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The run, with the new epoch and owner.
    pub summary: RunSummary,
    /// All records of the run, which are what the claimer wants next, if the store had them at hand; `None`: to be read.
    pub journal: Option<Vec<EncodedRecord>>,
    /// Who asked for the run to be cancelled, if somebody [did](Store::request_cancel) and it has not come to rest since.
    pub cancel: Option<Actor>,
}

/// A definition that a worker has: it can drive the runs that were started under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownSaga {
    /// The saga.
    pub saga: SagaName,
    /// Its version.
    pub version: u32,
    /// Its structure. A run of the same name and version that was started under another structure is left to others.
    pub fingerprint: Fingerprint,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Runs of these statuses; of all, if empty.
    pub statuses: Vec<RunStatus>,
    /// Runs of this saga; of all, if `None`.
    pub saga: Option<SagaName>,
    /// Runs that hold this exclusive key, or held it until they ended; of any or no key, if `None`.
    pub key: Option<ExclusiveKey>,
    /// Runs whose id sorts after this one: the [`Page::next`] of the page before.
    pub after: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { statuses: Vec::new(), saga: None, key: None, after: None, limit: 100 }
    }
}

impl Query {
    /// Whether a run is among those asked for, paging aside.
    #[must_use]
    pub fn matches(&self, summary: &RunSummary) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&summary.status))
            && self.saga.as_ref().is_none_or(|saga| *saga == summary.saga)
            && (self.key.is_none() || self.key == summary.key)
    }
}

/// A part of a listing, in ascending order of run ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// What to pass as [`Query::after`] for the next page; `None` if this is the last.
    pub next: Option<RunId>,
}

/// The durable home of journals.
///
/// Implementations must pass the conformance suite (feature `conformance`); one that only changes some calls to another
/// store is a [`Layer`]. What they promise:
///
/// - **Durable means durable.** When [`append`](Self::append) or a claim returns, what it did survives power loss.
/// - **Conditional.** An append is taken only if the run ends at `expected` and the writer's epoch is the newest, checked
///   in the same transaction as the write. The appends of one batch are independent: one that is refused does not hold
///   up the others. They are checked in order, so one batch can start a run and go on with it.
/// - **One holder.** At most one live or resting run holds an exclusive key; that is checked by the append that starts it.
/// - **One clock.** Leases are measured by one clock, the store's own, whatever the clocks of its workers say.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Adds records to many journals, durably, with one answer for each append, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the batch as a whole failed. Then either all of it or nothing of it was taken, and it is not
    /// known which: an append that is tried again and finds itself done already answers `OutOfSequence` (or `Exists`)
    /// with the records in place, which the caller resolves by [`read`](Self::read)ing.
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError>;

    /// The records of a run that come after `after`, at most `limit` of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], or what reading can fail with.
    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError>;

    /// The head of a run, if there is such a run.
    ///
    /// # Errors
    ///
    /// What reading can fail with.
    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError>;

    /// Many runs, in any order. Those that there are not are left out. Asked for by those who wait for their ends: a store
    /// that can tell the journals of those at rest without a further call does so where they are short.
    ///
    /// # Errors
    ///
    /// What reading can fail with.
    async fn look(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::with_capacity(runs.len());
        for run in runs {
            found.extend(self.get(run).await?.map(Found::from));
        }
        Ok(found)
    }

    /// The live or resting run that holds an exclusive key, if there is one.
    ///
    /// # Errors
    ///
    /// What reading can fail with.
    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError>;

    /// The heads of many runs, by page.
    ///
    /// # Errors
    ///
    /// What reading can fail with.
    async fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// Claims live runs of the given sagas that nobody holds, each under a new epoch, durably. Workers that claim at the
    /// same time get different runs, and do not wait for each other.
    ///
    /// # Errors
    ///
    /// What writing can fail with.
    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    /// Claims one live or resting run that nobody (or the same worker) holds, under a new epoch, durably.
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError>;

    /// Extends the leases of the runs that a worker holds, and names those that it holds no longer.
    ///
    /// # Errors
    ///
    /// What writing can fail with. The leases go on until they expire.
    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError>;

    /// Gives runs back, so that others can claim them at once. Those that are no longer held are passed over.
    ///
    /// # Errors
    ///
    /// What writing can fail with. The leases go on until they expire.
    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError>;

    /// Leaves word that a run should be cancelled, for whoever holds it or claims it next:
    /// [`cancel_requests`](Self::cancel_requests) and the claims pass it on until the run comes to rest. The first one to
    /// ask is remembered. Answers where the run stands: a request is only left with a live run.
    ///
    /// It lasts as long as the claims do: a store that forgets its claims with the process forgets the requests too.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], or what writing can fail with.
    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError>;

    /// The runs that a worker holds of which somebody [asked](Self::request_cancel) that they be cancelled, and who. Told
    /// every time, until they come to rest; asked for often, so it should cost little if there are none.
    ///
    /// # Errors
    ///
    /// What reading can fail with.
    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError>;

    /// Whether other processes can have the store open at the same time. Then a run whose saga a worker does not know may
    /// be another worker's; else there is no other.
    fn is_shared(&self) -> bool {
        false
    }

    /// As [`append`](Self::append) with this one, if the store can answer on the spot; else `None`, the append is as it was,
    /// and `append` is to be called. If it is taken, its records may be taken out of it. Asked only if the store
    /// [is immediate](Self::is_immediate).
    ///
    /// It is there because a saga in memory costs little more than its calls to the store.
    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        let _ = append;
        None
    }

    /// Whether [`append`](Self::append) answers at once, because it waits for no disk and no network. Then there is nothing
    /// to be gained by gathering the appends of many runs into one batch: each run makes its own, where it is.
    fn is_immediate(&self) -> bool {
        false
    }

    /// Told whenever there may be runs to claim, or requests for runs that are held: hints to look before it is time to,
    /// which may be missed, or be for nothing. `None`, which is the default, if the store gives no hints.
    fn hints(&self) -> Option<Hints> {
        None
    }

    /// Adds a run as it was in another store: with its whole journal, its epoch and its times, held by nobody. It is there
    /// as a whole or not at all. `summary.owner` counts for nothing.
    ///
    /// The refusals are those of a start: [`Refused::Exists`], [`Refused::KeyHeld`], [`Refused::TooLarge`], and
    /// [`Refused::Malformed`] if the records are not those from the first to `summary.seq`.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    async fn restore(&self, summary: &RunSummary, records: &[EncodedRecord])
    -> Result<Result<(), Refused>, StoreError>;

    /// Deletes an ended run and its journal.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], [`StoreError::NotEnded`], or what writing can fail with.
    async fn delete(&self, run: &RunId) -> Result<(), StoreError>;

    /// Deletes at most `limit` runs that ended before the given time, those that ended first before others, and says how
    /// many it deleted. The time of a run's end is its [`RunSummary::updated_at`].
    ///
    /// # Errors
    ///
    /// What writing can fail with; some may have been deleted.
    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Stops taking calls, after those under way. Called again, it does nothing.
    ///
    /// # Errors
    ///
    /// What writing can fail with.
    async fn close(&self) -> Result<(), StoreError>;
}
