//! What can be asked of a service, as it is passed on to the process that holds the data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::{Change, NewGroup};
use crate::model::{ClusterName, ClusterSpec};

/// A command that needs the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Request {
    /// Create a cluster.
    Create {
        /// What it is to be.
        spec: Box<ClusterSpec>,
    },
    /// Scale a cluster.
    Scale {
        /// Which.
        name: ClusterName,
        /// How its groups change.
        changes: Vec<Change>,
        /// Groups to add.
        new_groups: Vec<NewGroup>,
    },
    /// Delete a cluster.
    Delete {
        /// Which.
        name: ClusterName,
        /// Whether to give up on machines that will not die.
        force: bool,
    },
    /// Try again what rests.
    Retry {
        /// The cluster.
        name: ClusterName,
        /// Why.
        reason: String,
    },
    /// Give up what rests.
    Abandon {
        /// The cluster.
        name: ClusterName,
        /// Why.
        reason: String,
    },
    /// All clusters.
    List,
    /// One cluster.
    Show {
        /// Which.
        name: ClusterName,
    },
    /// The past of one cluster.
    History {
        /// Which.
        name: ClusterName,
    },
}

impl Request {
    /// Whether it changes nothing.
    pub(super) fn is_question(&self) -> bool {
        matches!(self, Self::List | Self::Show { .. } | Self::History { .. })
    }

    /// The cluster that it is about.
    pub(super) fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Create { spec } => Some(&spec.name),
            Self::Scale { name, .. }
            | Self::Delete { name, .. }
            | Self::Retry { name, .. }
            | Self::Abandon { name, .. }
            | Self::Show { name }
            | Self::History { name } => Some(name),
            Self::List => None,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Scale { .. } => "scale",
            Self::Delete { .. } => "delete",
            Self::Retry { .. } => "retry",
            Self::Abandon { .. } => "abandon",
            Self::List => "list",
            Self::Show { .. } => "show",
            Self::History { .. } => "history",
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        self.cluster().map_or(Ok(()), |name| write!(f, " `{name}`"))
    }
}
