//! How a repository fails.

use std::path::PathBuf;

use thiserror::Error;

use crate::failure::BoxError;
use crate::model::{ClusterName, IllegalTransition, Status};

/// A record could not be read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// A cluster of that name exists. Choose another name, or delete it first.
    #[error("there is a cluster `{name}` already")]
    AlreadyExists {
        /// The name that is taken.
        name: ClusterName,
    },
    /// That cluster is gone, or never was. Whoever works for it should stop.
    #[error("there is no cluster `{name}`, or not the one that was meant")]
    NotFound {
        /// The name that was asked for.
        name: ClusterName,
    },
    /// It was changed by someone else. Get it again and decide anew, or use [`modify`](super::modify).
    #[error("cluster `{name}` was changed meanwhile: it has version {found} now")]
    Conflict {
        /// Whose record it is.
        name: ClusterName,
        /// The version that it has.
        found: u64,
    },
    /// The lifecycle does not lead there. Look at the cluster again.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
    /// The record is damaged, or was written by a newer release. It is left as it is; only removing it is possible.
    #[error("the record of cluster `{name}` cannot be read")]
    Unreadable {
        /// Whose record it is.
        name: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// Another process has the repository open. Stop it, or ask it.
    #[error("the repository at {} is in use by another process", .path.display())]
    InUse {
        /// Where the repository is.
        path: PathBuf,
    },
    /// The disk or the database failed. It is unknown whether a change was made: look again before repeating it.
    #[error("the repository failed: {doing}")]
    Store {
        /// What it was doing.
        doing: &'static str,
        /// What went wrong beneath.
        #[source]
        source: BoxError,
    },
    /// An earlier write could not be made durable, so nothing that is read now can be trusted. Reopen the repository.
    #[error("the repository could not make an earlier write durable; reopen it")]
    Poisoned,
}

impl RepositoryError {
    pub(crate) fn store(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Store { doing, source: source.into() }
    }

    /// The refused change of status, if it is that.
    pub fn illegal_transition(&self) -> Option<(Status, Status)> {
        match self {
            Self::IllegalTransition(refused) => Some((refused.from, refused.to)),
            _ => None,
        }
    }
}
