//! The stores that are measured.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use saga_core::store::{MemoryStore, SledStore, Store};
use saga_postgres::PostgresStore;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In memory: what the runs themselves cost. Nothing is durable
    Memory,
    /// Embedded, on this disk
    Sled,
    /// PostgreSQL, on a server of this run's own unless one is named
    Postgres,
}

/// Where stores are to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// A directory of their own on the disk that is measured.
    pub directory: PathBuf,
    /// The URL of an empty database, for the store that needs one.
    pub database: Option<String>,
    /// Where the server of that database keeps its tables, if that can be looked at.
    pub tables: Option<PathBuf>,
}

/// A store that is open.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where it keeps its files.
    files: Option<PathBuf>,
}

impl StoreKind {
    /// Every store.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Sled, Self::Postgres];

    /// The name that it has on the command line and in what is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sled => "sled",
            Self::Postgres => "postgres",
        }
    }

    /// Whether what it holds survives power loss, so that the disk limits it.
    #[must_use]
    pub fn is_durable(self) -> bool {
        match self {
            Self::Memory => false,
            Self::Sled | Self::Postgres => true,
        }
    }

    /// Whether several processes can have it open.
    #[must_use]
    pub fn is_shared(self) -> bool {
        match self {
            Self::Memory | Self::Sled => false,
            Self::Postgres => true,
        }
    }

    /// When it acknowledges, for people.
    #[must_use]
    pub fn durability(self) -> &'static str {
        match self {
            Self::Memory => "none",
            Self::Sled => "fdatasync before each answer",
            Self::Postgres => "commit of the server before each answer",
        }
    }

    /// Opens the store at this place.
    ///
    /// # Errors
    ///
    /// What opening it fails with.
    pub async fn open(self, place: &Place) -> Result<Opened, Failure> {
        match self {
            Self::Memory => Ok(Opened { store: Arc::new(MemoryStore::new()), files: None }),
            Self::Sled => {
                let files = place.directory.join("sled");
                Ok(Opened { store: Arc::new(SledStore::open(&files)?), files: Some(files) })
            }
            Self::Postgres => {
                let url = place.database.as_deref().ok_or("there is no database for PostgreSQL")?;
                Ok(Opened { store: Arc::new(PostgresStore::connect(url).await?), files: place.tables.clone() })
            }
        }
    }
}

impl Opened {
    /// How much of the disk the store takes, in bytes, if it is known.
    ///
    /// # Errors
    ///
    /// What the file system fails with.
    pub fn disk_bytes(&self) -> std::io::Result<Option<u64>> {
        self.files.as_deref().map(allocated).transpose()
    }
}

/// What is allocated for the files of a directory, in bytes. Holes are not counted.
fn allocated(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The store works meanwhile, and may have removed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        bytes += if metadata.is_dir() { allocated(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted_in_all_folders() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("folder")).unwrap();
        let empty = allocated(directory.path()).unwrap();
        for file in ["one", "folder/two"] {
            let path = directory.path().join(file);
            std::fs::write(&path, vec![1; 100_000]).unwrap();
            // Some file systems allocate when they write back.
            std::fs::File::open(&path).unwrap().sync_all().unwrap();
        }
        assert!(allocated(directory.path()).unwrap() - empty >= 100_000);
    }
}
