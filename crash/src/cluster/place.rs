//! Where a trial of clusters is held: the command, its data, and the faults of machines that are to come.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use saga_cluster::model::Cluster;
use saga_cluster::repository::{ClusterRepository, SledRepository};
use saga_postgres::testing;
use tokio::process::Command;

use super::faults::Fault;
use super::{COMMAND, FAULTY_NODE};
use crate::Fail;

/// The folder of a trial.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// The database, if the store is not the data directory.
    pub(crate) database: Option<String>,
}

impl Place {
    /// Furnishes a folder. In it this program goes by the names of the command and of a machine.
    pub(crate) fn furnish(folder: &Path, database: Option<String>, program: Option<&Path>) -> io::Result<Self> {
        // Machines are told by the path of their directory, so there must be one way to write it.
        let folder = folder.canonicalize()?;
        let this = std::env::current_exe()?;
        symlink(program.unwrap_or(&this).canonicalize()?, folder.join(COMMAND))?;
        symlink(&this, folder.join(FAULTY_NODE))?;
        let place = Self { folder, database };
        std::fs::create_dir(place.faults())?;
        std::fs::create_dir(place.specs())?;
        std::fs::create_dir_all(place.machines())?;
        Ok(place)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.data().join("machines")
    }

    fn faults(&self) -> PathBuf {
        faults_of(&self.folder)
    }

    fn specs(&self) -> PathBuf {
        self.folder.join("specs")
    }

    /// The file that whoever holds the data directory has locked.
    pub(crate) fn lock(&self) -> PathBuf {
        self.data().join("lock")
    }

    /// The command, with arguments.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.folder.join(COMMAND));
        command.args(arguments).env("SAGA_CLUSTER_DATA", self.data()).env_remove("RUST_LOG");
        command.env("SAGA_CLUSTER_NODE_PROGRAM", self.folder.join(FAULTY_NODE));
        match &self.database {
            Some(url) => command.env("SAGA_CLUSTER_STORE", url),
            None => command.env_remove("SAGA_CLUSTER_STORE"),
        };
        command
    }

    /// Writes a spec into a file.
    pub(crate) fn spec(&self, name: &str, groups: &[(&str, u32)]) -> io::Result<PathBuf> {
        let mut text = format!("name = '{name}'\nplugin = 'blocks'\nengine = 'process'\n");
        for (group, count) in groups {
            text.push_str(&format!("\n[[groups]]\nname = '{group}'\ncount = {count}\n"));
        }
        let path = self.specs().join(format!("{name}.toml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Has a machine that is to come have a fault.
    pub(crate) fn plant(&self, cluster: &str, node: &str, fault: Fault) -> io::Result<()> {
        std::fs::write(self.faults().join(format!("{cluster}@{node}")), fault.to_string())
    }

    /// The directories of the machines of a cluster.
    pub(crate) fn machines_of(&self, cluster: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(self.machines().join(cluster)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.path())).collect()
    }

    /// Takes all faults away from a cluster.
    pub(crate) fn mend(&self, cluster: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(self.faults())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&format!("{cluster}@")) {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.machines_of(cluster)?.iter().for_each(|machine| super::faults::mend(machine));
        Ok(())
    }

    /// Removes a cluster's record behind everybody's back. `kill` ends whoever holds the data directory.
    pub(crate) async fn remove_record(&self, cluster: &str, kill: impl Fn()) -> Result<bool, Fail> {
        match &self.database {
            Some(url) => {
                // Names of clusters are of letters, digits and dashes.
                let sql = format!(
                    "WITH gone AS (DELETE FROM saga.clusters WHERE name = '{cluster}' RETURNING 1)
                                   SELECT count(*) FROM gone"
                );
                Ok(testing::ask::<i64>(url, &sql).await > 0)
            }
            None => {
                let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.lock())?;
                loop {
                    match lock.try_lock() {
                        Ok(()) => break,
                        Err(TryLockError::WouldBlock) => kill(),
                        Err(TryLockError::Error(error)) => return Err(error.into()),
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                let records = self.data().join("clusters");
                let repository = tokio::task::spawn_blocking(move || SledRepository::open(records)).await??;
                let removed = repository.remove(&cluster.parse()?).await?;
                // Closed before the lock goes.
                drop(repository);
                Ok(removed)
            }
        }
    }
}

/// Where it stands which machines are to have faults.
pub(crate) fn faults_of(folder: &Path) -> PathBuf {
    folder.join("faults")
}

/// The machine of each node of a record, as its directory is named.
pub(crate) fn machines_in(record: &Cluster) -> BTreeSet<String> {
    record.nodes.iter().map(|node| format!("{}@{}", node.name, node.token)).collect()
}
