//! The files of a node's directory, and writing them so that a crash leaves the old or the new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::NodeError;

/// What the process prints.
pub(crate) const LOG: &str = "log";
/// Locked while a process runs on the directory.
pub(crate) const LOCK: &str = "lock";

/// How long a starting node waits for the lock: whoever tests it holds it for a moment too.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How often a node looks whether it is still wanted.
const REMOVED_CHECK: Duration = Duration::from_millis(500);

pub(super) fn address(dir: &Path) -> PathBuf {
    dir.join("address")
}

pub(super) fn state(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

pub(super) fn blocks(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join(LOCK)
}

/// Locks a node's directory, if no process runs on it. The lock ends with the file, and with the process.
///
/// # Errors
/// `WouldBlock`, if a process runs on it; `NotFound`, if the directory is gone.
pub(crate) fn try_lock(dir: &Path) -> io::Result<File> {
    let path = lock_path(dir);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The file may have been removed between opening and locking it: then the lock guards nothing.
    let (held, named) = (file.metadata()?, std::fs::metadata(&path)?);
    if (held.dev(), held.ino()) == (named.dev(), named.ino()) { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The lock, if it was given to this process as its standard input: then it is held for as long as the process lives.
fn given_lock(dir: &Path) -> bool {
    let stdin = std::io::stdin();
    let (Ok(given), Ok(named)) = (rustix::fs::fstat(&stdin), rustix::fs::stat(lock_path(dir))) else { return false };
    let same = (given.st_dev, given.st_ino) == (named.st_dev, named.st_ino);
    // Whoever has it can lock it again.
    same && rustix::fs::flock(&stdin, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Locks the directory for as long as the node lives. No file, if that was done by whoever started it.
pub(super) async fn lock_for_life(dir: &Path) -> Result<Option<File>, NodeError> {
    if given_lock(dir) {
        return Ok(None);
    }
    let started = Instant::now();
    loop {
        match try_lock(dir) {
            Ok(lock) => return Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NodeError::Destroyed { dir: dir.to_owned() });
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(NodeError::io("locking")(error)),
            Err(_) if started.elapsed() > LOCK_PATIENCE => return Err(NodeError::InUse { dir: dir.to_owned() }),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Returns once the directory was removed: then nobody can find the node by it, and it should end.
pub(super) async fn removed(dir: &Path) {
    let lock = lock_path(dir);
    while !matches!(std::fs::exists(&lock), Ok(false)) {
        tokio::time::sleep(REMOVED_CHECK).await;
    }
}

/// Writes a file whole: under another name, synced, then renamed, and the rename synced.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    write_synced(&draft, bytes)?;
    std::fs::rename(&draft, path)?;
    sync_directory(path)
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the creation, renaming or removal of that file durable.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let lock = try_lock(dir.path()).unwrap();
        assert_eq!(try_lock(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        // A process that another test is just starting has the file too, until it has become another program.
        while let Err(error) = try_lock(dir.path()) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            std::thread::yield_now();
        }
        assert_eq!(try_lock(&dir.path().join("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_removed_directory_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        drop(try_lock(&path).unwrap());
        dir.close().unwrap();
        tokio::time::timeout(Duration::from_secs(60), removed(&path)).await.unwrap();
        assert!(matches!(lock_for_life(&path).await, Err(NodeError::Destroyed { .. })));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}
