//! Where the process engine keeps its machines: `<root>/<cluster>/<node>@<token>`.
//!
//! The path says all that identifies a machine, so that one `mkdir` makes its identity durable before its process
//! starts, and nothing has to be read to know what a directory is.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{ClusterName, NodeName, NodeToken};
use crate::node::NodeArgs;

/// How often a directory is made that another process takes away. It takes microseconds each time, and nobody goes on
/// taking it away for long.
const MAKE_ATTEMPTS: u32 = 100_000;

pub(super) fn cluster_dir(root: &Path, cluster: &ClusterName) -> PathBuf {
    root.join(cluster.as_str())
}

/// The arguments of the node that belongs there.
pub(super) fn node(root: &Path, cluster: &ClusterName, name: &NodeName, token: &NodeToken) -> NodeArgs {
    let dir = cluster_dir(root, cluster).join(format!("{name}@{token}"));
    NodeArgs { cluster: cluster.clone(), name: name.clone(), token: token.clone(), dir }
}

/// Makes the directory of a node. The last node of a cluster takes the cluster's directory along when it goes, which may
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

/// The nodes that have a directory in one cluster's directory.
pub(super) fn nodes(root: &Path, cluster: &ClusterName) -> io::Result<Vec<NodeArgs>> {
    let parse = |entry: &str| {
        let (name, token) = entry.split_once('@')?;
        Some(node(root, cluster, &name.parse().ok()?, &token.parse().ok()?))
    };
    Ok(entries(&cluster_dir(root, cluster))?.iter().filter_map(|entry| parse(entry)).collect())
}

/// The nodes that have a directory anywhere.
pub(super) fn all_nodes(root: &Path) -> io::Result<Vec<NodeArgs>> {
    let mut all = Vec::new();
    for cluster in entries(root)?.iter().filter_map(|entry| entry.parse().ok()) {
        all.extend(nodes(root, &cluster)?);
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
    fn a_directory_says_which_node_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (cluster, name) = ("demo".parse().unwrap(), "w-1".parse().unwrap());
        let args = node(root.path(), &cluster, &name, &NodeToken::derive(&name, "key"));
        assert!(all_nodes(root.path()).unwrap().is_empty());
        std::fs::create_dir_all(&args.dir).unwrap();
        std::fs::create_dir_all(root.path().join("demo/not a node")).unwrap();
        std::fs::create_dir_all(root.path().join("Not A Cluster/w-1@t")).unwrap();
        std::fs::write(root.path().join("demo/w-2@file"), b"").unwrap();
        assert_eq!(all_nodes(root.path()).unwrap(), std::slice::from_ref(&args));
        assert_eq!(nodes(root.path(), &cluster).unwrap(), [args]);
        assert!(nodes(root.path(), &"other".parse().unwrap()).unwrap().is_empty());
    }
}
