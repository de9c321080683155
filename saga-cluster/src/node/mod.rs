//! What runs on a machine of the process engine: one process, one directory, one loopback port.
//!
//! A node keeps blocks for the [blocks plugin](crate::plugin::BlocksPlugin), and answers questions about itself. Its
//! directory holds all that it has:
//!
//! | file | what it is |
//! |---|---|
//! | `lock` | locked while a process runs on the directory: two can't |
//! | `address` | where the process listens. May be stale: whoever connects asks for the token first |
//! | `state.json` | whether the node is configured, started, retired |
//! | `blocks/` | one file per block |
//! | `log` | what the process prints |

mod block;
mod client;
mod files;
mod server;
mod service;
mod wire;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;

use crate::model::{ClusterName, NodeName, NodeToken};

pub use block::{BlockKey, InvalidBlockKey, MAX_BLOCK_BYTES};
pub(crate) use client::{CallError, Connection};
pub(crate) use files::{LOCK, LOG, try_lock, write_atomically};
pub(crate) use wire::{Refusal, State};

/// Who a node is. Also the end of its command line, by which the process engine finds it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct NodeArgs {
    /// The cluster that it belongs to.
    #[arg(long)]
    pub cluster: ClusterName,
    /// Its name in the cluster.
    #[arg(long)]
    pub name: NodeName,
    /// The token that it was made under.
    #[arg(long)]
    pub token: NodeToken,
    /// Its directory. It must exist: a node whose directory was removed must not come back.
    #[arg(long)]
    pub dir: PathBuf,
}

impl NodeArgs {
    /// The name of the subcommand that runs a node.
    pub const SUBCOMMAND: &'static str = "node";

    /// The subcommand and its arguments, always in this order: what [`from_command_line`](Self::from_command_line)
    /// reads back.
    pub(crate) fn to_command_line(&self) -> Vec<OsString> {
        vec![
            Self::SUBCOMMAND.into(),
            "--cluster".into(),
            self.cluster.as_str().into(),
            "--name".into(),
            self.name.to_string().into(),
            "--token".into(),
            self.token.as_str().into(),
            "--dir".into(),
            self.dir.clone().into(),
        ]
    }

    /// Reads the arguments of a process, if they end like those of a node.
    pub(crate) fn from_command_line(args: &[&str]) -> Option<Self> {
        let tail = args.get(args.len().checked_sub(9)?..)?;
        match *tail {
            [Self::SUBCOMMAND, "--cluster", cluster, "--name", name, "--token", token, "--dir", dir] => Some(Self {
                cluster: cluster.parse().ok()?,
                name: name.parse().ok()?,
                token: token.parse().ok()?,
                dir: dir.into(),
            }),
            _ => None,
        }
    }
}

/// A node could not run, or had to stop.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Another process runs on its directory: this one is superfluous.
    #[error("another process runs on {}", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Its directory is gone: the node was destroyed.
    #[error("the directory {} is gone", .dir.display())]
    Destroyed {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or the network failed.
    #[error("the node failed: {doing}")]
    Io {
        /// What it was doing.
        doing: &'static str,
        /// What went wrong beneath.
        #[source]
        source: io::Error,
    },
}

impl NodeError {
    fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// Runs a node until it is killed or destroyed: the body of the command's hidden subcommand.
///
/// # Errors
/// [`NodeError`] when it cannot run, or its directory is removed. The process should end then.
pub async fn run(args: NodeArgs) -> Result<Infallible, NodeError> {
    let dir = args.dir.clone();
    let _lock = files::lock_for_life(&dir).await?;
    let service = service::Service::open(args).map_err(NodeError::io("opening its blocks"))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(NodeError::io("listening"))?;
    let address = listener.local_addr().map_err(NodeError::io("listening"))?;
    files::write_atomically(&files::address(&dir), address.to_string().as_bytes())
        .map_err(NodeError::io("writing its address"))?;
    tokio::select! {
        error = server::serve(listener, Arc::new(service)) => Err(NodeError::io("accepting connections")(error)),
        () = files::removed(&dir) => Err(NodeError::Destroyed { dir }),
    }
}

/// The address that a node wrote, if any. It may be stale.
pub(crate) fn written_address(dir: &Path) -> Option<std::net::SocketAddr> {
    std::fs::read_to_string(files::address(dir)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> NodeArgs {
        NodeArgs {
            cluster: "demo".parse().unwrap(),
            name: "w-1".parse().unwrap(),
            token: "w-1.t".parse().unwrap(),
            dir: "/tmp/a b/c".into(),
        }
    }

    #[test]
    fn a_command_line_is_read_back_whatever_stands_before_it() {
        let line = args().to_command_line();
        let mut line: Vec<&str> = line.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(NodeArgs::from_command_line(&line), Some(args()));
        line.insert(0, "/usr/bin/saga-cluster");
        assert_eq!(NodeArgs::from_command_line(&line), Some(args()));
        line.push("--more");
        assert_eq!(NodeArgs::from_command_line(&line), None);
        assert_eq!(NodeArgs::from_command_line(&[]), None);
    }
}
