//! What an operation tells while it works.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{NodeName, Timestamp};

/// One thing that an operation told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: ProgressKind,
}

/// What an operation told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProgressKind {
    /// About a phase as a whole.
    Phase {
        /// Its name, such as `create` or `decommission`.
        phase: String,
        /// How many nodes it is about.
        nodes: usize,
        /// What became of it.
        state: PhaseState,
    },
    /// About one node in a phase.
    Node {
        /// The phase.
        phase: String,
        /// The node.
        node: NodeName,
        /// What became of it.
        state: NodeState,
    },
    /// Anything else worth knowing, in plain words.
    Note {
        /// The words.
        text: String,
    },
}

/// What became of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PhaseState {
    /// It began.
    Started,
    /// It is done.
    Done,
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
    /// What it did is being undone.
    Undoing,
    /// What it did is undone.
    Undone,
}

/// What became of a node in a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeState {
    /// Its turn came.
    Started,
    /// So much of the work on it is done.
    Progress {
        /// The parts that are done.
        done: u64,
        /// All parts.
        total: u64,
    },
    /// It is done.
    Done,
    /// An attempt failed.
    Failed {
        /// Why.
        why: String,
        /// Whether it is tried again.
        again: bool,
    },
    /// What was done to it is undone.
    Undone,
}

impl fmt::Display for ProgressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase { phase, nodes, state } => {
                write!(f, "{phase}")?;
                match nodes {
                    0 => {}
                    1 => write!(f, " (1 node)")?,
                    nodes => write!(f, " ({nodes} nodes)")?,
                }
                match state {
                    PhaseState::Started => write!(f, ": started"),
                    PhaseState::Done => write!(f, ": done"),
                    PhaseState::Failed { why } => write!(f, ": failed: {why}"),
                    PhaseState::Undoing => write!(f, ": being undone"),
                    PhaseState::Undone => write!(f, ": undone"),
                }
            }
            Self::Node { phase, node, state } => {
                write!(f, "{phase} {node}")?;
                match state {
                    NodeState::Started => write!(f, ": started"),
                    NodeState::Progress { done, total } => write!(f, ": {done} of {total}"),
                    NodeState::Done => write!(f, ": done"),
                    NodeState::Failed { why, again: true } => write!(f, ": failed, will be tried again: {why}"),
                    NodeState::Failed { why, again: false } => write!(f, ": failed: {why}"),
                    NodeState::Undone => write!(f, ": undone"),
                }
            }
            Self::Note { text } => f.write_str(text),
        }
    }
}
