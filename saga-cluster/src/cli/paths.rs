//! Where things are in the data directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::trouble::Trouble;

/// The directory that holds all that this program knows.
#[derive(Debug, Clone)]
pub(super) struct DataDir(PathBuf);

impl DataDir {
    /// The directory that was asked for, or that of the platform's convention. Makes it, for its owner alone.
    pub(super) fn open(asked_for: Option<&Path>) -> Result<Self, Trouble> {
        let path = match asked_for {
            Some(path) => path.to_owned(),
            None => directories::ProjectDirs::from("", "", "saga-cluster")
                .map(|dirs| dirs.data_local_dir().to_owned())
                .ok_or_else(|| {
                    Trouble::new("there is no home directory to keep data in")
                        .untouched()
                        .next("say where: --data DIR, or the variable SAGA_CLUSTER_DATA")
                })?,
        };
        let refused = |doing: &str, error: std::io::Error| {
            Trouble::new(format!("the data directory {} cannot be {doing}: {error}", path.display()))
                .untouched()
                .next("choose another one: --data DIR, or the variable SAGA_CLUSTER_DATA")
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| refused("made", error))?;
        Ok(Self(path.canonicalize().map_err(|error| refused("used", error))?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Locked by the one process that holds the data.
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Where that process listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// The journals of operations.
    pub(super) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The records of clusters.
    pub(super) fn records(&self) -> PathBuf {
        self.0.join("clusters")
    }

    /// The machines of the process engine.
    pub(super) fn machines(&self) -> PathBuf {
        self.0.join("machines")
    }
}
