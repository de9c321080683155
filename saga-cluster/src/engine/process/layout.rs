//! Where the process engine keeps its machines: `<root>/<cluster>/<node>@<token>`.
//!
//! The path says all that identifies a machine, so that one `mkdir` makes its identity durable before its process
//! starts, and nothing has to be read to know what a directory is.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{ClusterName, NodeName, NodeToken};
use crate::node::LOCK;

/// The file that says which program a machine runs, if that is not the usual one.
const PROGRAM: &str = "program";

/// One machine: who it is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// The cluster that it is tagged with.
    pub cluster: ClusterName,
    /// The node that it is.
    pub name: NodeName,
    /// What it was made under.
    pub token: NodeToken,
    /// The directory that it has for itself. Unicode.
    pub dir: PathBuf,
}

/// How often a directory is made that another process takes away. It takes microseconds each time, and nobody goes on
/// taking it away for long.
const MAKE_ATTEMPTS: u32 = 100_000;

pub(super) fn cluster_dir(root: &Path, cluster: &ClusterName) -> PathBuf {
    root.join(cluster.as_str())
}

/// The machine of that node.
pub(super) fn site(root: &Path, cluster: &ClusterName, name: &NodeName, token: &NodeToken) -> Site {
    let dir = cluster_dir(root, cluster).join(format!("{name}@{token}"));
    Site { cluster: cluster.clone(), name: name.clone(), token: token.clone(), dir }
}

/// The machine whose directory has that name in the directory of a cluster.
fn read(root: &Path, cluster: &ClusterName, entry: &str) -> Option<Site> {
    let (name, token) = entry.split_once('@')?;
    Some(site(root, cluster, &name.parse().ok()?, &token.parse().ok()?))
}

/// The machine whose lock that file is, or was before it was removed.
pub(super) fn site_of_lock(root: &Path, file: &Path) -> Option<Site> {
    let file = file.strip_prefix(root).ok()?.to_str()?;
    let file = file.strip_suffix(" (deleted)").unwrap_or(file);
    let mut parts = file.split('/');
    let found = read(root, &parts.next()?.parse().ok()?, parts.next()?)?;
    (parts.next()? == LOCK && parts.next().is_none()).then_some(found)
}

/// The kind of program that a machine runs; none if that is the usual one, or was not decided before a crash.
pub(super) fn recorded_program(site: &Site) -> io::Result<Option<String>> {
    match std::fs::read_to_string(site.dir.join(PROGRAM)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// Writes down what kind of program a machine runs, so that whoever looks at it later knows how to talk to it.
pub(super) fn record_program(site: &Site, kind: &str) -> io::Result<()> {
    crate::node::write_atomically(&site.dir.join(PROGRAM), kind.as_bytes())
}

/// Makes the directory of a machine. The last one of a cluster takes the cluster's directory along when it goes, which may
/// happen just between the making of the two, in another process too: then both are made again.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    for _ in 1..MAKE_ATTEMPTS {
        match std::fs::create_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::thread::yield_now(),
            made => return made,
        }
    }
    std::fs::create_dir_all(dir)
}

/// The machines that have a directory in one cluster's directory.
pub(super) fn sites(root: &Path, cluster: &ClusterName) -> io::Result<Vec<Site>> {
    Ok(entries(&cluster_dir(root, cluster))?.iter().filter_map(|entry| read(root, cluster, entry)).collect())
}

/// The machines that have a directory anywhere.
pub(super) fn all_sites(root: &Path) -> io::Result<Vec<Site>> {
    let mut all = Vec::new();
    for cluster in entries(root)?.iter().filter_map(|entry| entry.parse().ok()) {
        all.extend(sites(root, &cluster)?);
    }
    Ok(all)
}

/// The names of the directories in a directory. One that is gone has none.
fn entries(dir: &Path) -> io::Result<Vec<String>> {
    let reading = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        reading => reading?,
    };
    let mut names = Vec::new();
    for entry in reading {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => names.extend(entry.file_name().into_string().ok()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_node_is_made_while_the_last_other_one_goes() {
        let root = tempfile::tempdir().unwrap();
        let cluster = root.path().join("demo");
        let enough = AtomicBool::new(false);
        let made = std::thread::scope(|threads| {
            threads.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let _ = std::fs::remove_dir(&cluster);
                }
            });
            let one = |_| make(&cluster.join("w-1@t")).and_then(|()| std::fs::remove_dir(cluster.join("w-1@t")));
            let made: io::Result<()> = (0..200).try_for_each(one);
            enough.store(true, Ordering::Relaxed);
            made
        });
        made.unwrap();
    }

    #[test]
    fn a_lock_says_whose_it_is() {
        let root = Path::new("/r");
        let (cluster, name) = ("demo".parse().unwrap(), "w-1".parse().unwrap());
        let one = site(root, &cluster, &name, &"w-1.t".parse().unwrap());
        assert_eq!(site_of_lock(root, Path::new("/r/demo/w-1@w-1.t/lock")), Some(one.clone()));
        assert_eq!(site_of_lock(root, Path::new("/r/demo/w-1@w-1.t/lock (deleted)")), Some(one));
        for other in
            ["/r/demo/w-1@w-1.t/log", "/q/demo/w-1@w-1.t/lock", "/r/demo/w-1@w-1.t/x/lock", "/r/lock", "pipe:[7]"]
        {
            assert_eq!(site_of_lock(root, Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_directory_says_which_node_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (cluster, name) = ("demo".parse().unwrap(), "w-1".parse().unwrap());
        let one = site(root.path(), &cluster, &name, &NodeToken::derive(&name, "key"));
        assert!(all_sites(root.path()).unwrap().is_empty());
        std::fs::create_dir_all(&one.dir).unwrap();
        std::fs::create_dir_all(root.path().join("demo/not a node")).unwrap();
        std::fs::create_dir_all(root.path().join("Not A Cluster/w-1@t")).unwrap();
        std::fs::write(root.path().join("demo/w-2@file"), b"").unwrap();
        assert_eq!(all_sites(root.path()).unwrap(), std::slice::from_ref(&one));
        assert_eq!(sites(root.path(), &cluster).unwrap(), [one]);
        assert!(sites(root.path(), &"other".parse().unwrap()).unwrap().is_empty());
    }
}
