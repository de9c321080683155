//! Records in a sled database.
//!
//! A record is JSON in an envelope with a format number, cut into chunks of [`CHUNK`] bytes: sled 0.34 moves values of
//! more than about 128 KiB into files of their own, which it never syncs, and a leaf of its tree (up to 17 values)
//! counts as one value. One transaction writes all chunks of a record.
//!
//! sled's `flush` does not reach the disk: it ends in `sync_file_range`. So each change is followed by a sync of the
//! database file, before it is acknowledged.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sled::transaction::{
    ConflictableTransactionError, TransactionError, TransactionalTree, UnabortableTransactionError,
};
use sled::{Db, Tree};
use tokio::task::spawn_blocking;

use super::{ClusterRepository, Listing, RepositoryError, check_update, check_version, envelope};
use crate::model::{Cluster, ClusterId, ClusterName};

const TREE: &str = "clusters";
const CHUNK: usize = 4096;
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How long sled may take to let go of its own lock after it was closed.
const SLED_LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Keeps records in a sled database, durably: what a call returned survives a loss of power.
#[derive(Debug, Clone)]
pub struct SledRepository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Declared before the lock: sled must have closed its files when the next process may open them.
    tree: Tree,
    db: Db,
    file: File,
    poisoned: AtomicBool,
    _lock: Option<Lock>,
}

impl SledRepository {
    /// Opens a repository of its own in a directory, or makes one. Blocks while it reads the database.
    ///
    /// # Errors
    /// [`RepositoryError::InUse`], if another process has it open; [`RepositoryError::Store`], if it cannot be opened.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, RepositoryError> {
        let directory = directory.as_ref();
        let failed = |error| RepositoryError::store("opening the directory", error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = Lock::take(directory)?;
        remove_half_made_snapshots(directory).map_err(failed)?;
        Self::assemble(open_sled(directory, SLED_LOCK_PATIENCE)?, directory, Some(lock))
    }

    /// Keeps the records in a tree of a database that is open already. `directory` is where that database is: its
    /// file is synced from here.
    ///
    /// # Errors
    /// [`RepositoryError::Store`], if the tree or the database's file cannot be opened.
    pub fn within(db: Db, directory: impl AsRef<Path>) -> Result<Self, RepositoryError> {
        Self::assemble(db, directory.as_ref(), None)
    }

    fn assemble(db: Db, directory: &Path, lock: Option<Lock>) -> Result<Self, RepositoryError> {
        let tree = db.open_tree(TREE).map_err(|error| RepositoryError::store("opening the tree", error))?;
        let file = OpenOptions::new().read(true).write(true).open(directory.join("db"));
        let file = file.map_err(|error| RepositoryError::store("opening the database's file", error))?;
        let inner = Inner { tree, db, file, poisoned: AtomicBool::new(false), _lock: lock };
        inner.sync()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs blocking work on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let inner = Arc::clone(&self.inner);
        let done = spawn_blocking(move || {
            if inner.poisoned.load(Ordering::SeqCst) {
                return Err(RepositoryError::Poisoned);
            }
            work(&inner)
        });
        done.await.map_err(|error| RepositoryError::store("waiting for the database", error))?
    }
}

impl Inner {
    /// Runs a transaction and makes it durable.
    fn change<T>(
        &self,
        name: &ClusterName,
        change: impl Fn(&Record<'_>) -> Result<T, Abort>,
    ) -> Result<T, RepositoryError> {
        let done = self.tree.transaction(|tree| {
            change(&Record { tree, name }).map_err(|abort| match abort {
                Abort::Refused(error) => ConflictableTransactionError::Abort(*error),
                Abort::Sled(error) => error.into(),
            })
        });
        match done {
            Ok(value) => self.sync().map(|()| value),
            Err(TransactionError::Abort(error)) => Err(error),
            Err(TransactionError::Storage(error)) => Err(RepositoryError::store("running a transaction", error)),
        }
    }

    fn sync(&self) -> Result<(), RepositoryError> {
        let flushed = self.db.flush().map_err(|error| RepositoryError::store("flushing", error));
        let synced = flushed
            .and_then(|_| self.file.sync_data().map_err(|error| RepositoryError::store("syncing the file", error)));
        if synced.is_err() {
            // After a failed sync the kernel may drop the dirty pages and report success the next time.
            self.poisoned.store(true, Ordering::SeqCst);
        }
        synced
    }
}

/// Why a transaction ends without effect: we refuse, or sled wants it repeated or is broken.
enum Abort {
    Refused(Box<RepositoryError>),
    Sled(UnabortableTransactionError),
}

impl From<RepositoryError> for Abort {
    fn from(error: RepositoryError) -> Self {
        Self::Refused(Box::new(error))
    }
}

impl From<UnabortableTransactionError> for Abort {
    fn from(error: UnabortableTransactionError) -> Self {
        Self::Sled(error)
    }
}

/// The chunks of one record, inside a transaction.
struct Record<'a> {
    tree: &'a TransactionalTree,
    name: &'a ClusterName,
}

impl Record<'_> {
    fn bytes(&self) -> Result<Option<Vec<u8>>, Abort> {
        let mut bytes = None;
        for index in 0.. {
            match self.tree.get(key(self.name, index))? {
                Some(chunk) => bytes.get_or_insert_with(Vec::new).extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(bytes)
    }

    fn read(&self) -> Result<Option<Cluster>, Abort> {
        Ok(self.bytes()?.map(|bytes| envelope::decode(self.name.as_str(), &bytes)).transpose()?)
    }

    fn write(&self, cluster: &Cluster) -> Result<(), Abort> {
        let bytes = envelope::encode(cluster)?;
        let mut index = 0;
        for chunk in bytes.chunks(CHUNK) {
            self.tree.insert(key(self.name, index), chunk)?;
            index += 1;
        }
        self.truncate(index)?;
        Ok(())
    }

    /// Removes the chunks from `index` on, and says whether there were any.
    fn truncate(&self, mut index: u32) -> Result<bool, Abort> {
        let first = index;
        while self.tree.remove(key(self.name, index))?.is_some() {
            index += 1;
        }
        Ok(index > first)
    }
}

#[async_trait]
impl ClusterRepository for SledRepository {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.blocking(move |inner| {
            let name = cluster.name();
            inner.change(name, |record| match record.bytes()? {
                // Readable or not: a record that this build does not understand still says that the name is taken.
                Some(_) => Err(RepositoryError::AlreadyExists { name: name.clone() }.into()),
                None => record.write(&cluster),
            })?;
            Ok(cluster)
        })
        .await
    }

    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        let name = name.clone();
        self.blocking(move |inner| {
            let read = inner.tree.transaction(|tree| match (Record { tree, name: &name }).read() {
                Ok(cluster) => Ok(cluster),
                Err(Abort::Refused(error)) => Err(ConflictableTransactionError::Abort(*error)),
                Err(Abort::Sled(error)) => Err(error.into()),
            });
            read.map_err(|error| match error {
                TransactionError::Abort(error) => error,
                TransactionError::Storage(error) => RepositoryError::store("reading a record", error),
            })
        })
        .await
    }

    async fn list(&self) -> Result<Listing, RepositoryError> {
        let first_chunks = self.blocking(|inner| {
            let keys = inner.tree.iter().keys();
            let names = keys.map(|key| key.map(|key| name_of_first_chunk(&key)));
            let names: Result<Vec<_>, _> = names.filter_map(Result::transpose).collect();
            names.map_err(|error| RepositoryError::store("listing the records", error))
        });
        let mut listing = Listing::default();
        for name in first_chunks.await? {
            let read = match ClusterName::new(name.clone()) {
                Ok(name) => self.get(&name).await,
                Err(error) => Err(RepositoryError::Unreadable { name, source: error.into() }),
            };
            match read {
                // One that was removed meanwhile is as if it had been removed before.
                Ok(cluster) => listing.clusters.extend(cluster),
                Err(error @ RepositoryError::Unreadable { .. }) => listing.unreadable.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }

    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        self.blocking(move |inner| {
            let name = cluster.name();
            inner.change(name, |record| {
                let found = record.read()?.ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
                let next = check_update(&found, expected_version, cluster.clone())?;
                record.write(&next)?;
                Ok(next)
            })
        })
        .await
    }

    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        let (name, id) = (name.clone(), id.clone());
        self.blocking(move |inner| {
            inner.change(&name, |record| {
                let found = record.read()?.ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
                check_version(&found, &id, expected_version)?;
                record.truncate(0).map(drop)
            })
        })
        .await
    }

    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        let name = name.clone();
        self.blocking(move |inner| inner.change(&name, |record| record.truncate(0))).await
    }
}

/// A name, a slash (which no name holds), and the chunk's index, big-endian so that chunks sort.
fn key(name: &ClusterName, index: u32) -> Vec<u8> {
    let mut key = name.as_str().as_bytes().to_vec();
    key.push(b'/');
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The name in a key, if it is that of a record's first chunk.
fn name_of_first_chunk(key: &[u8]) -> Option<String> {
    let name = key.strip_suffix(&[b'/', 0, 0, 0, 0])?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// A lock of our own, taken before sled's: the half-made snapshot of a *living* process must not be removed.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn take(directory: &Path) -> Result<Self, RepositoryError> {
        let failed = |error| RepositoryError::store("locking the directory", error);
        let path = directory.join("repository.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(std::fs::TryLockError::WouldBlock) => Err(RepositoryError::InUse { path: directory.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close the file is not enough: a process that is just being started has it too, until it has become another
        // program.
        let _ = self.0.unlock();
    }
}

/// Opens sled's database. We hold our lock, so whoever has it open may be a repository of this very process that is on its
/// way out.
fn open_sled(directory: &Path, patience: Duration) -> Result<Db, RepositoryError> {
    let config = sled::Config::new().path(directory).cache_capacity(CACHE_BYTES);
    let give_up = Instant::now() + patience;
    loop {
        match config.open().map_err(|error| open_error(error, directory)) {
            Err(RepositoryError::InUse { .. }) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// A kill while sled writes a snapshot leaves a file that can make the database unopenable. It is only a draft.
fn remove_half_made_snapshots(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// sled reports a database that is in use as an I/O error which only its text tells from others.
fn open_error(error: sled::Error, directory: &Path) -> RepositoryError {
    match &error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            RepositoryError::InUse { path: directory.to_owned() }
        }
        _ => RepositoryError::store("opening the database", error),
    }
}

#[cfg(test)]
#[path = "sled_tests.rs"]
mod tests;
