//! How far the store was acknowledged, noted outside of sled.
//!
//! When sled finds bytes in its log that make no sense, it takes them for the end of what was written, and forgets all that
//! comes behind. After a loss of power that is right. When the bytes were durable, and were damaged later (or the file was
//! cut), it is not: what was acknowledged would be gone, and nobody would notice. The mark tells the two apart.
//!
//! It is written after each sync and is not synced itself, as that would double what a commit costs. So it survives the
//! death of the process, may be behind by what the kernel had not written back when the power went, and is never ahead.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::store::StoreError;

const NAME: &str = "acknowledged";

/// The file with the mark: the number of the frame that comes next (8 bytes), and the CRC-32 of that (4 bytes).
pub(super) struct Mark {
    file: File,
    found: Found,
}

/// What a mark said when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There was none: the store is new, or an older release wrote it.
    Nothing,
    /// All frames before this one were acknowledged.
    Next(u64),
    /// It makes no sense.
    Unreadable,
}

impl Mark {
    /// Whether there is one, so that the directory is that of a store of ours.
    pub(super) fn is_in(directory: &Path) -> bool {
        directory.join(NAME).exists()
    }

    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let found = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        Ok(Self { file, found })
    }

    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Notes that all frames before `next` are acknowledged.
    pub(super) fn write(&self, next: u64) -> io::Result<()> {
        let next = next.to_le_bytes();
        let bytes = [next.as_slice(), &crc32fast::hash(&next).to_le_bytes()].concat();
        #[cfg(unix)]
        std::os::unix::fs::FileExt::write_all_at(&self.file, &bytes, 0)?;
        #[cfg(not(unix))]
        {
            use std::io::{Seek, Write};
            (&self.file).rewind()?;
            (&self.file).write_all(&bytes)?;
        }
        Ok(())
    }

    /// Makes it durable, so that it is not behind whatever happens next.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|error| StoreError::io("the mark cannot be synced", error))
    }
}

fn read(bytes: &[u8]) -> Found {
    if bytes.is_empty() {
        // It was made, and the power went before anything was in it: so nothing was acknowledged yet.
        return Found::Nothing;
    }
    let Some((next, checksum)) = bytes.split_first_chunk::<8>() else { return Found::Unreadable };
    if *checksum == crc32fast::hash(next).to_le_bytes() {
        Found::Next(u64::from_le_bytes(*next))
    } else {
        Found::Unreadable
    }
}
