//! Where things are in the data directory.

use std::fs::DirBuilder;
use std::io::Write;
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

    /// There once all of it was copied to another store, and says to which.
    pub(super) fn moved(&self) -> PathBuf {
        self.0.join("moved")
    }

    /// Says that all of it is in another store now.
    pub(super) fn mark_moved(&self, to: &str) -> std::io::Result<()> {
        let mut marker = std::fs::File::create(self.moved())?;
        writeln!(marker, "{to}")?;
        marker.sync_all()?;
        std::fs::File::open(&self.0)?.sync_all()
    }

    /// Refuses to go on with what is in another store now: there, it may have gone on.
    pub(super) fn check_not_moved(&self) -> Result<(), Trouble> {
        let place = self.0.display();
        let to = match std::fs::read_to_string(self.moved()) {
            Ok(to) => to,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Trouble::new(format!("{} cannot be read: {error}", self.moved().display()))),
        };
        Err(Trouble::new(format!("{place} was moved to {}", to.trim()))
            .untouched()
            .next(format!("use that: {} {}", if to.contains("://") { "--store" } else { "--data" }, to.trim()))
            .next("remove the file `moved` in it to use it all the same"))
    }

    /// The programs that specs can name.
    pub(super) fn commands(&self) -> PathBuf {
        self.0.join("commands")
    }

    /// The machines of the process engine.
    pub(super) fn machines(&self) -> PathBuf {
        self.0.join("machines")
    }
}
