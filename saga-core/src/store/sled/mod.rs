//! The embedded durable store, on sled.
//!
//! # How it works
//!
//! A commit, which may be a batch of appends of many runs, is laid out as one or more **frames**: values of at most 5 KiB
//! in one sled tree, under increasing numbers. They are given to sled, flushed, and synced; then the call returns. An
//! index in memory knows, for every live and resting run, its head and in which frames its records are; it is rebuilt from
//! the frames when the store is opened. When a run ends, both go into a tree of their own and leave memory.
//!
//! Frames are removed from the oldest on, when nothing in them is of use any more. When more than half of all frames is of
//! no use, what is still of use in the oldest is copied into new ones, so that a run that lives for months does not keep
//! what came and went meanwhile.
//!
//! # What sled is not trusted with
//!
//! - *Its sync.* On Linux, `flush` ends in `sync_file_range`. The store calls `fdatasync` on sled's file itself.
//! - *Large values.* sled puts what is over 128 KiB into files of their own, which it never syncs. What counts is not a
//!   value but a leaf of the tree, which sled writes as a whole now and then: 16 values, and 3 more in a merge. Hence the
//!   5 KiB. A larger record goes on from one frame to the next.
//! - *Snapshots.* A half-written `snap.*.generating` would be taken for a snapshot; it is removed before sled is opened.
//! - *Its end.* It takes bytes that make no sense for the end of its log. The file `acknowledged` says how far that went.
//! - *Its snapshots' bytes.* One whose checksum is wrong is set aside; sled then reads its whole log.
//! - *Its settings' bytes.* They are never synced by sled. When their checksum is wrong they are set aside, and sled writes
//!   them anew: they are the same in every store.
//! - *Its nerves.* It panics over some damaged files. Opening answers with an error then.
//! - *Its lock.* It says nothing about who holds it. The file `lock` does.
//! - *Transactions.* None is used. A group of frames counts when all are there, and is dropped otherwise.
//!
//! # The bytes
//!
//! All numbers are little endian, but for those in keys, which are big endian so that they sort.
//!
//! ```text
//! tree (default)   "saga-core/format" -> u32, the format of all that follows (2)
//! tree "frames"    u64 number -> frame
//! tree "rolls"     u64 number -> for each run with an entry in that frame, or a record that goes on in it: CRC-32 of its id
//! tree "ended"     id, byte 0, u32 number of the part -> part of the entry of an ended run
//! tree "by_end"    u64 earliest time of an end, u64 frame that the commit begins with, u32 number of the page -> page: runs
//!                  that ended in that commit
//!                  u64 time of the end, id -> nothing: a run that is on no page
//! file "acknowledged"  u64 number of the frame after the last that was acknowledged, CRC-32 of these 8 bytes
//!
//! frame
//!   byte 0         version (1)
//!   bytes 1-4      CRC-32 of all from byte 5 to the end of the directory
//!   bytes 5-8      place of the frame in its group, from 0
//!   bytes 9-12     number of frames in the group
//!   bytes 13-16    length of the directory; 0 in a frame that only goes on with the record before it
//!   then           directory: entries one after the other
//!   then           records, in the order of the directory; each has a checksum of its own (see `journal`)
//!
//! entry of a directory
//!   byte           1 start, 2 append, 3 copy, 4 claim, 5 drop
//!   u16, bytes     the run's id
//!   u64            epoch; for a drop 0
//!   and for 1 to 3:
//!   u64            place of the first record
//!   byte           status of the run: 0 running, 1 halted, 2 stuck, 3 completed, 4 rolled back, 5 abandoned
//!   u64            time
//!   u16, bytes     JSON of what is told once: saga, version, fingerprint, key, created_at; empty for an append
//!   u16            number of records
//!   u32 each       their lengths
//!
//! entry of an ended run (cut into parts of 4 KiB)
//!   byte 0         version (2)
//!   bytes 1-4      CRC-32 of the head
//!   bytes 5-8      CRC-32 of the extents
//!   bytes 9-12     length of the extents
//!   bytes 13-14    length of the head
//!   byte 15        side: parts but for the first are numbered from 1, or from 2^31 + 1 if this is 1
//!   then           head: u16 and bytes of each the id, the saga's name, the key (empty if there is none); u32 version of
//!                  the saga, 16 bytes fingerprint, status as above, u64 each place of the newest record, epoch, time of
//!                  the start, time of the end; the key of the page that names it (as it is there), if one does
//!   then           extents, six numbers each, seven bits to a byte: place of the first record after the end of the extent
//!                  before, number of records, frame (difference to the extent before, zigzag), entry in its directory,
//!                  number of frames that it goes on in, bytes
//!
//! page
//!   byte 0         version (1)
//!   bytes 1-4      CRC-32 of what follows
//!   then for each  u64 time of its end, u16 and bytes of its id
//! ```
//!
//! In format 1 the version of the entry of an ended run was 1, its head was the JSON of the run's summary, and there were no
//! pages. Such entries are read as they are, and stay until they are deleted or moved.

mod by_end;
mod claims;
mod clean;
mod commit;
mod disk;
mod ended;
mod frame;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod group;
mod index;
mod lock;
mod lost;
mod mark;
mod read;
mod recover;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::commit::Writer;
use self::disk::Disk;
use self::index::Index;
use crate::id::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::panics::panic_message;
use crate::store::{
    Append, Claim, ClaimError, Hint, HintSource, Hints, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, Store,
    StoreError,
};

/// The largest record that is taken: larger ones are refused with [`Refused::TooLarge`].
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

const DEFAULT_CACHE_BYTES: u64 = 64 * 1024 * 1024;
const DEFAULT_MIN_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// How a [`SledStore`] is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    cache_bytes: u64,
    min_free_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: DEFAULT_CACHE_BYTES, min_free_bytes: DEFAULT_MIN_FREE_BYTES }
    }
}

impl SledOptions {
    /// How much of its files sled keeps in memory. 64 MiB, unless told otherwise.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How much room must be left on the device for appends to be taken: below it they fail with [`StoreError::Full`] and
    /// may be tried again. 32 MiB, unless told otherwise; 0 to not look.
    ///
    /// A write that runs into a full device cannot be tried again: the store has to be opened anew then. So it is better to
    /// stop before.
    #[must_use]
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.min_free_bytes = bytes;
        self
    }

    /// Opens the store in the given directory, which is made if it is not there. Blocks while the journals are scanned.
    ///
    /// Every claim from before is over: the lock proves that whoever held it is gone.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Locked`] if another process has it open, or another store of this one.
    /// - [`StoreError::NewerFormat`] if a newer release wrote it.
    /// - [`StoreError::Corrupt`] if sled cannot make sense of its files: restore the whole directory from a copy. Damage
    ///   that only affects some runs does not keep the store from opening, see [`SledStore::damage`].
    /// - [`StoreError::Unavailable`] if a file cannot be used, [`StoreError::Poisoned`] if one cannot be synced.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SledStore, StoreError> {
        let open = || Disk::open(path.as_ref(), self).and_then(Core::recover);
        // sled asserts where it could answer. What it had open is dropped with it.
        let core = std::panic::catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|panic| Err(refused(format!("sled gave up on its files: {}", panic_message(&*panic)))))?;
        Ok(SledStore { shared: Arc::new(RwLock::new(Some(core))), hints: HintSource::default() })
    }
}

/// Something in the store that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The frame, if it is one.
    pub frame: Option<u64>,
    /// The run that is affected, if that is known. It is parked: see [`SledStore::damage`].
    pub run: Option<RunId>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "run {run}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A store in a directory of the local file system, for one process at a time. Clones are handles on one store.
///
/// Records of up to 16 MiB are taken. What is appended or claimed is on the disk, past the drive's cache as far as the
/// drive is honest, when the call returns. Ended runs stay until [`delete`](Store::delete) or [`prune`](Store::prune).
///
/// The methods of [`Store`] need a tokio runtime, on whose threads for blocking work they do their I/O. The store is closed
/// by [`close`](Store::close), or when its last handle is dropped.
#[derive(Clone)]
pub struct SledStore {
    shared: Arc<RwLock<Option<Core>>>,
    /// Told when there may be something to claim, or a request.
    hints: HintSource,
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").finish_non_exhaustive()
    }
}

/// An open store.
struct Core {
    disk: Disk,
    // Taken for moments only: whoever waits for the disk holds `writer`, not this.
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    poison: OnceLock<String>,
    damage: Vec<Damage>,
}

impl Core {
    fn new(disk: Disk, index: Index, writer: Writer, damage: Vec<Damage>) -> Self {
        Self { disk, index: RwLock::new(index), writer: Mutex::new(writer), poison: OnceLock::new(), damage }
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything from now on: it is not known what is durable.
    fn poison(&self, reason: String) -> StoreError {
        let reason = self.poison.get_or_init(|| reason).clone();
        StoreError::Poisoned { reason }
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

/// The error of a store that cannot be opened at all.
fn refused(what: impl fmt::Display) -> StoreError {
    let what = format!("{what}. Restore its whole directory from a copy, or move it away to begin with an empty one");
    StoreError::Corrupt { what }
}

fn damaged(what: &str, error: &sled::Error) -> StoreError {
    StoreError::Corrupt { what: format!("{what}: {error}") }
}

impl SledStore {
    /// Opens the store in the given directory as [`SledOptions::open`] does, with the default options.
    ///
    /// # Errors
    ///
    /// As [`SledOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::options().open(path)
    }

    /// The default options, to be changed and opened with.
    #[must_use]
    pub fn options() -> SledOptions {
        SledOptions::default()
    }

    /// What could not be read when the store was opened; empty, but after an accident.
    ///
    /// A run that is named here is parked. It cannot be read, since what is left may not be its whole journal, and nothing
    /// can be added to it: see [`salvage`](Self::salvage) for what there is, and [`discard`](Self::discard) to give it up.
    /// All other runs work. Of a run that began in what is lost, nothing else tells: then only the frame is named, at each
    /// opening, until it is given up by [`discard_lost_frames`](Self::discard_lost_frames). Until all is given up no room is
    /// given back, so that nothing is lost that could tell more. Restoring the store from a copy is better, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`].
    pub fn damage(&self) -> Result<Vec<Damage>, StoreError> {
        self.with(|core| Ok(core.damage.clone()))
    }

    /// The records of a damaged run that are left, up to the first that cannot be read.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], or what reading can fail with.
    pub async fn salvage(&self, run: &RunId) -> Result<Vec<EncodedRecord>, StoreError> {
        let run = run.clone();
        self.blocking(move |core| core.read_what_there_is(&run, Seq::ZERO, usize::MAX).map(|(records, _)| records))
            .await
    }

    /// Gives up a run that [`damage`](Self::damage) names, as if it had never been. Its id and its key are free then.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`] if it is not among the damaged ones (an ended one is given up by
    /// [`delete`](Store::delete)), or what writing can fail with.
    pub async fn discard(&self, run: &RunId) -> Result<(), StoreError> {
        let run = run.clone();
        self.blocking(move |core| core.discard(&run)).await
    }

    /// Gives up the frames that [`damage`](Self::damage) names, and with them the runs that began there, of which nothing is
    /// known. They are not named again, and room is given back again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], and nothing is changed, if there are runs that are known to be damaged: give each up first,
    /// by [`discard`](Self::discard) or [`delete`](Store::delete). Or what writing can fail with.
    pub async fn discard_lost_frames(&self) -> Result<(), StoreError> {
        self.blocking(Core::discard_lost_frames).await
    }

    /// How large sled's file is, in bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`].
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.with(|core| Ok(core.disk.data_len()))
    }

    fn with<T, E: From<StoreError>>(&self, act: impl FnOnce(&Core) -> Result<T, E>) -> Result<T, E> {
        // Held as long as the call lasts: closing waits for it.
        let core = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        match &*core {
            Some(core) => core.check_poison().map_err(E::from).and_then(|()| act(core)),
            None => Err(StoreError::Closed.into()),
        }
    }

    async fn blocking<T, E>(&self, act: impl FnOnce(&Core) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || store.with(act)).await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => {
                // Whatever it was about, the index may have been left half-way.
                self.with(|core| Err(core.poison("a call panicked".to_owned()).into()))
            }
            // The runtime is shutting down, and it never began.
            Err(_) => Err(StoreError::Closed.into()),
        }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let for_anyone = batch.iter().any(Append::is_for_anyone);
        let (batch, now) = (batch.to_vec(), Instant::now());
        let answers = self.blocking(move |core| core.append(&batch, now)).await?;
        if for_anyone {
            self.hints.tell(Hint::Work);
        }
        Ok(answers)
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        let run = run.clone();
        self.blocking(move |core| core.read(&run, after, limit)).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        let (run, now) = (run.clone(), Instant::now());
        self.blocking(move |core| core.get(&run, now)).await
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.with(|core| Ok(core.index().keys.get(key).cloned()))
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let (query, now) = (query.clone(), Instant::now());
        self.blocking(move |core| core.list(&query, now)).await
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let (worker, sagas, now) = (worker.clone(), sagas.to_vec(), Instant::now());
        self.blocking(move |core| core.claim(&worker, &sagas, lease, limit, now)).await
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        let (worker, run, now) = (worker.clone(), run.clone(), Instant::now());
        self.blocking(move |core| core.claim_run(&worker, &run, lease, now)).await
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.with(|core| Ok(core.renew(worker, held, lease, Instant::now())))
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.with::<_, StoreError>(|core| {
            core.release(held);
            Ok(())
        })?;
        self.hints.tell(Hint::Work);
        Ok(())
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        let (run, by) = (run.clone(), by.clone());
        let status = self.blocking(move |core| core.request_cancel(&run, &by)).await?;
        self.hints.tell(Hint::Requests);
        Ok(status)
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.with(|core| Ok(core.cancel_requests(worker, Instant::now())))
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.hints.subscribe())
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        let (summary, records) = (summary.clone(), records.to_vec());
        let restored = self.blocking(move |core| core.restore(&summary, &records)).await?;
        self.hints.tell(Hint::Work);
        Ok(restored)
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        let run = run.clone();
        self.blocking(move |core| core.delete(&run)).await
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.blocking(move |core| core.prune(ended_before, limit)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let closing = tokio::task::spawn_blocking(move || {
            let core = shared.write().unwrap_or_else(PoisonError::into_inner).take();
            let Some(core) = core else { return Ok(()) };
            let mut writer = core.write()?;
            core.sync(&mut writer)?;
            core.disk.mark.sync()
        });
        closing.await.unwrap_or(Err(StoreError::Closed))
    }
}
