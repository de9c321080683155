//! The files: how sled is opened, and what makes its writes durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::StoreError;
use crate::store::sled::lock::Lock;
use crate::store::sled::mark::Mark;
use crate::store::sled::{SledOptions, refused};

/// The format of the store as a whole.
const FORMAT: u32 = 2;
/// The one before: other entries of ended runs, which are read as they are, and no pages in the index by end.
const FORMAT_1: u32 = 1;
const FORMAT_KEY: &[u8] = b"saga-core/format";

/// sled's settings, in a file of their own.
const SETTINGS: &str = "conf";

/// At most so many bytes of frames are given to sled between two syncs.
///
/// sled may use a part of its file again once what replaced it was written, by its own notion of written, which leaves
/// out the drive's cache. It does not before two further segments of 512 KiB have been written. sled writes a leaf of up to
/// 19 values as a whole at every tenth change of it, so that each byte is written some three times: below this bound, that
/// cannot happen between two of our syncs. A group commit of 256 ordinary appends is well below it, and has one sync.
pub(super) const UNSYNCED_BYTES: usize = 128 * 1024;

/// How long to wait for sled to let go of its own lock, which it does a little after its last handle is gone.
const SLED_LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The open files. Fields are dropped in order: sled first, the lock last.
pub(super) struct Disk {
    /// Frame number to frame.
    pub(super) frames: sled::Tree,
    /// Frame number to the marks of the runs that it has entries of.
    pub(super) rolls: sled::Tree,
    /// Ended runs.
    pub(super) ended: sled::Tree,
    /// Ended runs by the time of their end.
    pub(super) by_end: sled::Tree,
    db: sled::Db,
    /// Our own handle on sled's file. The kernel reports a failed write-back once to each open file, and sled's thread
    /// that syncs twice a second only logs what it is told: with a handle of our own, we are told too.
    data: File,
    /// How far the store was acknowledged.
    pub(super) mark: Mark,
    path: PathBuf,
    min_free: u64,
    _lock: Lock,
}

impl Disk {
    pub(super) fn open(path: &Path, options: &SledOptions) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path).map_err(|error| StoreError::io("the directory cannot be made", error))?;
        let lock = Lock::take(path)?;
        remove_leftovers(path).map_err(|error| StoreError::io("leftovers of a crash cannot be removed", error))?;
        let mark = Mark::open(path).map_err(|error| StoreError::io("the mark cannot be opened", error))?;
        let db = open_sled(path, options)?;
        check_format(&db)?;
        let tree =
            |name: &str| db.open_tree(name).map_err(|error| refused(format!("a tree cannot be opened: {error}")));
        let (frames, rolls) = (tree("frames")?, tree("rolls")?);
        let (ended, by_end) = (tree("ended")?, tree("by_end")?);
        let data = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.join("db"))
            .map_err(|error| StoreError::io("sled's file cannot be opened", error))?;
        let min_free = options.min_free_bytes;
        let disk = Self { frames, rolls, ended, by_end, db, data, mark, path: path.to_owned(), min_free, _lock: lock };
        disk.sync().map_err(|reason| StoreError::Poisoned { reason })?;
        sync_directory(path).map_err(|error| StoreError::io("the directory cannot be synced", error))?;
        Ok(disk)
    }

    /// Makes all that was given to sled durable. When it fails, it is not known what is.
    pub(super) fn sync(&self) -> Result<(), String> {
        // `flush` writes; on Linux it ends in `sync_file_range`, which leaves the drive's cache and the file's length
        // alone. `fdatasync` sees to both.
        self.db.flush().map_err(|error| format!("sled could not write: {error}"))?;
        self.data.sync_data().map_err(|error| format!("the data could not be synced: {error}"))
    }

    /// Refuses to go on when the device is nearly full: sled does not recover from a write that finds no room.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), StoreError> {
        // sled writes a leaf anew every few changes of it, so a byte may be written several times.
        let wanted = self.min_free.saturating_add(4 * bytes as u64);
        match fs4::available_space(&self.path) {
            Ok(free) if self.min_free > 0 && free < wanted => Err(StoreError::Full {
                message: format!("{free} bytes are free at {}, {wanted} are needed", self.path.display()),
            }),
            // A file system that cannot tell is not one that is full.
            _ => Ok(()),
        }
    }

    /// The length of sled's file.
    pub(super) fn data_len(&self) -> u64 {
        self.data.metadata().map_or(0, |data| data.len())
    }
}

/// Removes what keeps sled from opening after a crash.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    // sled takes a half-written snapshot for a whole one (its issues 1527 and 1533).
    for file in std::fs::read_dir(path)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(file.path())?;
        } else if name.starts_with("snap.") && !is_whole_snapshot(&std::fs::read(file.path())?) {
            // It saves sled from reading all of its log, and holds nothing that is not in there.
            set_aside(path, &name)?;
        }
    }
    // sled writes its settings in two pieces, and syncs neither. They are the same in every store of ours, and where there
    // are none sled writes them anew. A database of somebody else may have others.
    let unused = std::fs::metadata(path.join("db")).map_or(0, |data| data.len()) == 0;
    if unused || Mark::is_in(path) {
        match std::fs::read(path.join(SETTINGS)) {
            Ok(bytes) if !are_whole_settings(&bytes) => set_aside(path, SETTINGS)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn set_aside(path: &Path, name: &str) -> io::Result<()> {
    tracing::warn!(file = %path.join(name).display(), "a file of sled's that it can do without is damaged, and is set aside");
    std::fs::rename(path.join(name), path.join(format!("damaged.{name}")))
}

/// Whether a snapshot is as sled has written it: what it holds, the length of that (8 bytes), and its CRC-32.
fn is_whole_snapshot(bytes: &[u8]) -> bool {
    let Some((bytes, checksum)) = bytes.split_last_chunk::<4>() else { return false };
    let Some((bytes, _length)) = bytes.split_last_chunk::<8>() else { return false };
    !bytes.is_empty() && crc32fast::hash(bytes).to_le_bytes() == *checksum
}

/// Whether sled's settings are as it has written them: lines of text, and their CRC-32.
fn are_whole_settings(bytes: &[u8]) -> bool {
    let Some((lines, checksum)) = bytes.split_last_chunk::<4>() else { return false };
    !lines.is_empty() && crc32fast::hash(lines).to_le_bytes() == *checksum
}

fn open_sled(path: &Path, options: &SledOptions) -> Result<sled::Db, StoreError> {
    let config = sled::Config::default().path(path).cache_capacity(options.cache_bytes);
    let give_up = std::time::Instant::now() + SLED_LOCK_PATIENCE;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            // We hold our lock, so it is a store of this very process that is on its way out.
            Err(sled::Error::Io(error))
                if error.to_string().contains("acquire lock") && std::time::Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(sled::Error::Io(error)) => return Err(StoreError::io("sled cannot open its files", error)),
            Err(error) => return Err(refused(format!("sled cannot make sense of its files: {error}"))),
        }
    }
}

fn check_format(db: &sled::Db) -> Result<(), StoreError> {
    let unreadable = |error: sled::Error| refused(format!("the format cannot be read: {error}"));
    match db.get(FORMAT_KEY).map_err(unreadable)? {
        Some(found) => {
            let found = found.as_ref().try_into().map_or(0, u32::from_le_bytes);
            match found {
                FORMAT => Ok(()),
                // Synced with all else at opening, before anything is written that an older release could not read.
                FORMAT_1 => db.insert(FORMAT_KEY, &FORMAT.to_le_bytes()).map_err(unreadable).map(drop),
                0 => Err(StoreError::Corrupt { what: "its format is not a number".into() }),
                found => Err(StoreError::NewerFormat { found, supported: FORMAT }),
            }
        }
        None if db.is_empty() && db.tree_names().len() <= 1 => {
            db.insert(FORMAT_KEY, &FORMAT.to_le_bytes()).map_err(unreadable).map(drop)
        }
        None => Err(StoreError::Corrupt { what: "there is a sled database, but it is not one of this crate".into() }),
    }
}

/// Makes the names of the files durable, and the settings, which sled writes but does not sync.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.join(SETTINGS))?.sync_all()?;
    #[cfg(unix)]
    {
        File::open(path)?.sync_all()?;
        File::open(path.join("blobs"))?.sync_all()?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}
