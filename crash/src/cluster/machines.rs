//! Which machines there really are: by the processes and the directories, and by nobody's word.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

/// The machines of a trial at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Machines {
    /// The processes of each machine, by `cluster/node@token`.
    pub(crate) processes: BTreeMap<String, Vec<i32>>,
    /// The directories, machines' and clusters', by their path under the root.
    pub(crate) directories: Vec<String>,
}

impl Machines {
    /// Looks at all that is under a root, and at every process of this computer.
    pub(crate) fn look(root: &Path) -> io::Result<Self> {
        Ok(Self { processes: processes(root)?, directories: directories(root)? })
    }

    /// Those of one cluster.
    pub(crate) fn of(&self, cluster: &str) -> Self {
        let prefix = format!("{cluster}/");
        let is_of = |path: &str| path == cluster || path.starts_with(&prefix);
        let processes = self.processes.iter().filter(|(path, _)| is_of(path));
        Self {
            processes: processes.map(|(path, pids)| (path.clone(), pids.clone())).collect(),
            directories: self.directories.iter().filter(|path| is_of(path)).cloned().collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.directories.is_empty()
    }
}

/// Every process that names a directory under the root on its command line.
fn processes(root: &Path) -> io::Result<BTreeMap<String, Vec<i32>>> {
    let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // It may have ended meanwhile, and then it is none.
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        let machine = line.split('\0').find_map(|word| Path::new(word).strip_prefix(root).ok());
        if let Some(machine) = machine.filter(|path| path.components().count() == 2) {
            found.entry(machine.to_string_lossy().into_owned()).or_default().push(pid);
        }
    }
    Ok(found)
}

fn directories(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for cluster in entries(root)? {
        found.push(cluster.clone());
        found.extend(entries(&root.join(&cluster))?.into_iter().map(|machine| format!("{cluster}/{machine}")));
    }
    found.sort_unstable();
    Ok(found)
}

/// The names in a directory. One that is gone has none.
fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
