//! Why there is no cloud to talk to.

use std::path::PathBuf;

use thiserror::Error;

/// The configuration of a cloud is missing or cannot be used. Mend what it names; nothing was sent anywhere. No message
/// holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No cloud is configured anywhere.
    #[error(
        "no OpenStack cloud is configured: OS_CLOUD and OS_AUTH_URL are not set, and there is no clouds.yaml (looked for: {})",
        .looked.join(", ")
    )]
    NotConfigured {
        /// The files that were looked for.
        looked: Vec<String>,
    },
    /// There are several clouds, and nothing says which.
    #[error("{file} has several clouds: set OS_CLOUD to one of {}", .known.join(", "))]
    NotChosen {
        /// The file that has them.
        file: PathBuf,
        /// Their names.
        known: Vec<String>,
    },
    /// The cloud that is asked for is not in the file, or there is no file.
    #[error("there is no cloud `{name}` ({})", found(.known, .looked))]
    NoSuchCloud {
        /// What OS_CLOUD says.
        name: String,
        /// The clouds that there are.
        known: Vec<String>,
        /// The files that were looked for.
        looked: Vec<String>,
    },
    /// A file is there and cannot be read.
    #[error("{file} cannot be used: {why}")]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Something is missing, or makes no sense, in what was found.
    #[error("{origin} cannot be used: {}", .problems.join("; "))]
    Unusable {
        /// Where it was found.
        origin: String,
        /// Everything that is wrong, never empty.
        problems: Vec<String>,
    },
}

fn found(known: &[String], looked: &[String]) -> String {
    if known.is_empty() { format!("looked for: {}", looked.join(", ")) } else { format!("known: {}", known.join(", ")) }
}
