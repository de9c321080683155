//! What a store refuses, and what it fails with.

use crate::id::{Epoch, ExclusiveKey, RunId, Seq, WorkerId};

/// Why a store did not take one append. The other appends of the batch are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Another worker has claimed the run since. Stop driving it at once.
    #[error("run {run} was claimed by another worker: epoch {current}, not {found}")]
    Stale {
        /// The run.
        run: RunId,
        /// The newest epoch.
        current: Epoch,
        /// The writer's epoch.
        found: Epoch,
    },
    /// The journal does not end where the writer believes it to end.
    #[error("the journal of run {run} ends at {current}, not at {expected}")]
    OutOfSequence {
        /// The run.
        run: RunId,
        /// Where it ends.
        current: Seq,
        /// Where the writer believed it to end.
        expected: Seq,
    },
    /// The store knows no such run.
    #[error("there is no run {run}")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// A run of this id was started before.
    #[error("run {run} was started before")]
    Exists {
        /// The run.
        run: RunId,
    },
    /// Another live or resting run holds the exclusive key.
    #[error("the key {key} is held by run {holder}")]
    KeyHeld {
        /// The key.
        key: ExclusiveKey,
        /// The run that holds it.
        holder: RunId,
    },
    /// The run has ended: nothing can be added to it.
    #[error("run {run} has ended")]
    Ended {
        /// The run.
        run: RunId,
    },
    /// The append is malformed: it has no records, or they do not follow each other.
    #[error("the append to run {run} is malformed: {what}")]
    Malformed {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A part of the run's journal is lost, so nothing is added to it. Restore the store from a copy, or give the run up.
    #[error("the journal of run {run} is damaged: {what}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is known of the damage.
        what: String,
    },
    /// A record is larger than the store takes.
    #[error("a record of run {run} has {bytes} bytes, the store takes {limit} at most")]
    TooLarge {
        /// The run.
        run: RunId,
        /// The record's size.
        bytes: usize,
        /// The largest size that is taken.
        limit: usize,
    },
}

/// What a store can fail with as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not work this time and may work the next: the caller tries again, later.
    #[error("the store is not available: {message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// Where it came from.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The disk is full. Make room; appends are tried again until there is.
    #[error("there is no room left on the store's device: {message}")]
    Full {
        /// What happened.
        message: String,
    },
    /// A write or a sync failed in a way that leaves it unknown what is durable. Close the store and open it again.
    #[error("the store must be reopened, it is not known what of it is durable: {reason}")]
    Poisoned {
        /// What happened.
        reason: String,
    },
    /// Another process has the store open.
    #[error("the store at {path} is in use by {holder}")]
    Locked {
        /// Where the store is.
        path: String,
        /// Who holds it, as well as that is known.
        holder: String,
    },
    /// The store holds bytes that it did not write.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// A newer release wrote this store. Run that release, or a newer one.
    #[error("the store has format {found}; this build reads formats up to {supported}: use a newer release")]
    NewerFormat {
        /// The format that was found.
        found: u32,
        /// The newest format that this build knows.
        supported: u32,
    },
    /// The store was closed by its owner.
    #[error("the store is closed")]
    Closed,
    /// The store takes no writes: it is a replica, or was made read-only. If it is a replica by mistake, give the address of
    /// the primary; while a primary fails over this passes, and is tried again.
    #[error("the store is read-only: {message}")]
    ReadOnly {
        /// What happened.
        message: String,
    },
    /// The store does not let us in: wrong credentials, no such database, or a permission that is missing.
    #[error("the store does not let us in: {message}")]
    Denied {
        /// What it says.
        message: String,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// The run has not ended, so it cannot be deleted.
    #[error("run {run} has not ended, it cannot be deleted")]
    NotEnded {
        /// The run.
        run: RunId,
    },
}

impl StoreError {
    /// An I/O error, taken for one that may pass.
    #[cfg(feature = "sled")]
    pub(crate) fn io(what: &str, error: std::io::Error) -> Self {
        Self::Unavailable { message: format!("{what}: {error}"), source: Some(Box::new(error)) }
    }

    /// Whether the same call may succeed later without anybody doing anything to this process.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. } | Self::ReadOnly { .. })
    }
}

/// Why one run could not be claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another worker holds it, and its lease has not expired.
    #[error("run {run} is held by worker {owner}")]
    Held {
        /// The run.
        run: RunId,
        /// The worker.
        owner: WorkerId,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// It has ended: there is nothing to drive.
    #[error("run {run} has ended")]
    Ended {
        /// The run.
        run: RunId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
