//! Blocks on disk: one file each, written once, checked when read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files;

/// The largest block, in bytes.
pub const MAX_BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// How many keys are listed at a time.
const PAGE: usize = 500;

/// Not the key of a block. The caller can only choose another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}` is no key: 1 to 100 characters of a-z, A-Z, 0-9, `.`, `_` and `-`, the first a letter or a digit")]
pub struct InvalidBlockKey {
    /// What was refused.
    pub key: String,
}

/// The key of a block: 1 to 100 characters that are safe in a file's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlockKey(String);

impl BlockKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`InvalidBlockKey`], if it is too long or holds other characters.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidBlockKey> {
        let key = key.into();
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        let begins = key.starts_with(|c: char| c.is_ascii_alphanumeric());
        if plain && begins && key.len() <= 100 { Ok(Self(key)) } else { Err(InvalidBlockKey { key }) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for BlockKey {
    type Err = InvalidBlockKey;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::new(key)
    }
}

impl TryFrom<String> for BlockKey {
    type Error = InvalidBlockKey;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::new(key)
    }
}

impl From<BlockKey> for String {
    fn from(key: BlockKey) -> Self {
        key.0
    }
}

/// What came of writing a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there, durably: now, or since an earlier attempt with the same bytes.
    Here,
    /// There is another block under that key, and it stays.
    Taken,
}

/// The blocks of one node.
#[derive(Debug)]
pub(super) struct Blocks {
    dir: PathBuf,
    drafts: AtomicU64,
}

impl Blocks {
    /// Opens the blocks in a directory. Drafts that a crash left behind are removed: nobody was told that they are
    /// blocks.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        files::sync_directory(&dir)?;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { dir, drafts: AtomicU64::new(0) })
    }

    /// Writes a block, once and for all.
    pub(super) fn put(&self, key: &BlockKey, bytes: &[u8]) -> io::Result<Written> {
        let path = self.path(key);
        // Keys never begin with a dot.
        let draft = self.dir.join(format!(".{}", self.drafts.fetch_add(1, Ordering::Relaxed)));
        let mut content = crc32fast::hash(bytes).to_be_bytes().to_vec();
        content.extend_from_slice(bytes);
        files::write_synced(&draft, &content)?;
        // A link, not a rename: it fails if the name is taken, so of two writers at once one is told so.
        let linked = std::fs::hard_link(&draft, &path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if std::fs::read(&path)? != content {
                    return Ok(Written::Taken);
                }
            }
            other => other?,
        }
        files::sync_directory(&path)?;
        Ok(Written::Here)
    }

    /// Reads a block, and checks it.
    ///
    /// # Errors
    /// `InvalidData`, if the file is damaged.
    pub(super) fn get(&self, key: &BlockKey) -> io::Result<Option<Vec<u8>>> {
        let mut content = match std::fs::read(self.path(key)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("block {key} is damaged"));
        let checksum = *content.first_chunk::<4>().ok_or_else(damaged)?;
        content.drain(..4);
        if crc32fast::hash(&content).to_be_bytes() == checksum { Ok(Some(content)) } else { Err(damaged()) }
    }

    /// Removes a block. None is fine.
    pub(super) fn delete(&self, key: &BlockKey) -> io::Result<()> {
        let path = self.path(key);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => files::sync_directory(&path),
        }
    }

    /// The next keys after one, in order; none means that there are no more.
    pub(super) fn list(&self, after: Option<&BlockKey>) -> io::Result<Vec<BlockKey>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            // A file that cannot be a block is not passed over: a node that holds something unknown is not empty.
            let key = BlockKey::new(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if after.is_none_or(|after| key > *after) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys.truncate(PAGE);
        Ok(keys)
    }

    fn path(&self, key: &BlockKey) -> PathBuf {
        Path::new(&self.dir).join(key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> BlockKey {
        BlockKey::new(text).unwrap()
    }

    #[test]
    fn a_block_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path().join("blocks")).unwrap();
        assert_eq!(blocks.put(&key("a"), b"one").unwrap(), Written::Here);
        assert_eq!(blocks.put(&key("a"), b"one").unwrap(), Written::Here);
        assert_eq!(blocks.put(&key("a"), b"two").unwrap(), Written::Taken);
        assert_eq!(blocks.get(&key("a")).unwrap().unwrap(), b"one");
        blocks.delete(&key("a")).unwrap();
        blocks.delete(&key("a")).unwrap();
        assert_eq!(blocks.get(&key("a")).unwrap(), None);
        assert!(blocks.list(None).unwrap().is_empty());
    }

    #[test]
    fn damage_is_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path().to_owned()).unwrap();
        blocks.put(&key("a"), b"content").unwrap();
        for damage in [&b"xxxxcontent"[..], b"", b"abc"] {
            std::fs::write(dir.path().join("a"), damage).unwrap();
            assert_eq!(blocks.get(&key("a")).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn drafts_of_a_crash_are_no_blocks_but_unknown_files_are_not_ignored() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".7"), b"half").unwrap();
        let blocks = Blocks::open(dir.path().to_owned()).unwrap();
        assert!(blocks.list(None).unwrap().is_empty());
        assert!(!dir.path().join(".7").exists());
        std::fs::write(dir.path().join("what is this"), b"?").unwrap();
        assert!(blocks.list(None).is_err());
    }

    #[test]
    fn keys_are_listed_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..PAGE + 2 {
            std::fs::write(dir.path().join(format!("k{i:05}")), b"").unwrap();
        }
        let blocks = Blocks::open(dir.path().to_owned()).unwrap();
        let first = blocks.list(None).unwrap();
        let second = blocks.list(first.last()).unwrap();
        assert_eq!((first.len(), second.len()), (PAGE, 2));
        assert!(blocks.list(second.last()).unwrap().is_empty());
    }

    #[test]
    fn keys_are_safe_in_a_path() {
        for wrong in ["", ".", "..", ".a", "a/b", "a b", &"x".repeat(101)] {
            assert!(BlockKey::new(wrong).is_err(), "{wrong}");
        }
    }
}
