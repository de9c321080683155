//! Where the process engine keeps its machines: `<root>/<cluster>/<node>@<token>`.
//!
//! The path says all that identifies a machine, so that one `mkdir` makes its identity durable before its process
//! starts, and nothing has to be read to know what a directory is.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{ClusterName, NodeName, NodeToken};
use crate::node::NodeArgs;

pub(super) fn cluster_dir(root: &Path, cluster: &ClusterName) -> PathBuf {
    root.join(cluster.as_str())
}

/// The arguments of the node that belongs there.
pub(super) fn node(root: &Path, cluster: &ClusterName, name: &NodeName, token: &NodeToken) -> NodeArgs {
    let dir = cluster_dir(root, cluster).join(format!("{name}@{token}"));
    NodeArgs { cluster: cluster.clone(), name: name.clone(), token: token.clone(), dir }
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
    use super::*;

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
