//! What the service tells about clusters and operations.

use std::collections::BTreeMap;
use std::fmt;

use saga_core::store::RunStatus;
use saga_core::{Residue, RunId};
use serde::{Deserialize, Serialize};

use crate::engine::Machine;
use crate::model::{Cluster, ClusterName, NodeName, Status, Timestamp};
use crate::plugin::Light;

/// What an operation does to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// It makes the cluster.
    Create,
    /// It adds and removes nodes.
    Scale,
    /// It removes the cluster.
    Delete,
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Scale => "scale",
            Self::Delete => "delete",
        })
    }
}

/// How an operation ended, or came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that was asked for is done.
    Done,
    /// It failed, or was cancelled, and all that had to be undone was undone.
    RolledBack,
    /// It rests: to go on or to go back would be a guess. Retry it, or delete the cluster.
    Halted,
    /// It rests: something could not be cleaned up. Retry it, or delete the cluster.
    Stuck,
    /// It was given up.
    Abandoned,
}

impl Verdict {
    /// Whether the operation waits for a person.
    pub fn is_resting(self) -> bool {
        matches!(self, Self::Halted | Self::Stuck)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::RolledBack => "rolled back",
            Self::Halted => "halted",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
        })
    }
}

/// How an operation ended, and what that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationEnd {
    /// The cluster.
    pub cluster: ClusterName,
    /// What the operation was to do.
    pub kind: OperationKind,
    /// How it ended.
    pub verdict: Verdict,
    /// The cluster's status now; none if it has no record (any more).
    pub status: Option<Status>,
    /// Why it ended so; empty if there is nothing to say.
    pub reason: String,
    /// The nodes that should be gone, but may still exist.
    pub nodes_left: Vec<NodeName>,
    /// What can be asked for next.
    pub allowed: Vec<String>,
}

/// All clusters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The records, by name.
    pub clusters: Vec<Cluster>,
    /// What is wrong with records that could not be read. They do not hide the others.
    pub unreadable: Vec<String>,
}

/// Everything about one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Its name.
    pub name: ClusterName,
    /// Its record; none if it is gone while machines, or a run, are still there.
    pub record: Option<Cluster>,
    /// The machines that the engine really has, or why it cannot tell.
    pub machines: Result<Vec<Machine>, String>,
    /// How the cluster is as a whole, and why it is not green; none if the plugin cannot tell.
    #[serde(default)]
    pub light: Option<(Light, String)>,
    /// How the nodes of the record are, in words, or why the plugin cannot tell.
    pub health: Result<BTreeMap<NodeName, String>, String>,
    /// The run that works on it, or rests.
    pub run: Option<RunReport>,
    /// What can be asked for now.
    pub allowed: Vec<String>,
}

/// A run that works on a cluster, or rests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// What it does.
    pub kind: OperationKind,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it rests, or cannot go on; empty while it works.
    pub reason: String,
    /// What it leaves behind as it stands, if it rests.
    pub residue: Vec<Residue>,
}

/// One event of a cluster's past, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The run that it belongs to.
    pub run: RunId,
    /// What that run does.
    pub kind: OperationKind,
    /// What happened.
    pub text: String,
}
