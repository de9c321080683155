//! What is told in answer to a request: to the screen, and through the control socket. With `--json`, each of these is a
//! line.

use saga_core::RunId;
use serde::{Deserialize, Serialize};

use super::trouble::Trouble;
use crate::engine::EngineCheck;
use crate::model::{ClusterName, KindName};
use crate::service::{ClusterReport, HistoryEntry, Listing, Operation, OperationEnd, OperationKind, Progress};

/// Which operation something is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// Its run.
    pub(super) run: RunId,
    /// Its cluster.
    pub(super) cluster: ClusterName,
    /// What it does.
    pub(super) kind: OperationKind,
}

impl From<&Operation> for About {
    fn from(operation: &Operation) -> Self {
        Self { run: operation.run.clone(), cluster: operation.cluster.clone(), kind: operation.kind }
    }
}

/// What was copied from one store to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CopyReport {
    /// From where.
    pub(super) from: String,
    /// To where.
    pub(super) to: String,
    /// The runs.
    pub(super) runs: usize,
    /// The records of their journals.
    pub(super) records: u64,
    /// The runs that were there before.
    pub(super) runs_already_there: usize,
    /// The clusters.
    pub(super) clusters: usize,
    /// The clusters that were there before.
    pub(super) clusters_already_there: usize,
    /// The runs that have not ended, which both stores have now.
    pub(super) unfinished: Vec<RunId>,
    /// The file that marks where it was copied from, if there is one.
    pub(super) marked: Option<String>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Reply {
    /// An operation that an earlier process left unfinished was taken up.
    Resuming {
        /// Which.
        #[serde(flatten)]
        about: About,
    },
    /// An operation began.
    Began {
        /// Which.
        #[serde(flatten)]
        about: About,
    },
    /// An operation got on.
    Progress {
        /// Which.
        #[serde(flatten)]
        about: About,
        /// How.
        #[serde(flatten)]
        progress: Progress,
    },
    /// An operation ended, or came to rest.
    End {
        /// Its run.
        run: RunId,
        /// How.
        #[serde(flatten)]
        end: OperationEnd,
    },
    /// All clusters.
    List(Listing),
    /// One cluster.
    Report(Box<ClusterReport>),
    /// The past of one cluster.
    History {
        /// Which.
        cluster: ClusterName,
        /// What happened to it.
        entries: Vec<HistoryEntry>,
    },
    /// A store was copied.
    Copied(CopyReport),
    /// An engine was asked whether it could make a cluster.
    Checked {
        /// The cluster.
        cluster: ClusterName,
        /// The kind of engine.
        engine: KindName,
        /// What it found.
        #[serde(flatten)]
        check: EngineCheck,
    },
    /// Something worth knowing.
    Note {
        /// What.
        text: String,
    },
    /// The request was not done.
    Error(Trouble),
}

impl Reply {
    /// Something worth knowing.
    pub(super) fn note(text: impl Into<String>) -> Self {
        Self::Note { text: text.into() }
    }
}
