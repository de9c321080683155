//! The three things that an error can mean to a saga, shared by engines and plugins.

use std::fmt;

/// What an error says about the effect of the attempt, and about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The effect is unknown. Trying again may help.
    Failed,
    /// The effect is unknown. Trying again does not help.
    Fatal,
    /// This attempt changed nothing. Trying again does not help.
    Rejected,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Failed => "failed",
            Self::Fatal => "failed for good",
            Self::Rejected => "rejected",
        })
    }
}

/// Any error beneath one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Gives an error type its kind, its message, its source, and the constructors that name the kind.
macro_rules! failure {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[error("{message}")]
        pub struct $name {
            kind: $crate::failure::FailureKind,
            message: String,
            source: Option<$crate::failure::BoxError>,
        }

        impl $name {
            fn new(kind: $crate::failure::FailureKind, message: impl Into<String>) -> Self {
                Self { kind, message: message.into(), source: None }
            }

            /// The effect is unknown; trying again may help.
            pub fn failed(message: impl Into<String>) -> Self {
                Self::new($crate::failure::FailureKind::Failed, message)
            }

            /// The effect is unknown; trying again does not help.
            pub fn fatal(message: impl Into<String>) -> Self {
                Self::new($crate::failure::FailureKind::Fatal, message)
            }

            /// Nothing was changed by this attempt; trying again does not help.
            pub fn rejected(message: impl Into<String>) -> Self {
                Self::new($crate::failure::FailureKind::Rejected, message)
            }

            /// Adds what caused it.
            #[must_use]
            pub fn because(mut self, source: impl Into<$crate::failure::BoxError>) -> Self {
                self.source = Some(source.into());
                self
            }

            /// What it says about the effect, and about trying again.
            pub fn kind(&self) -> $crate::failure::FailureKind {
                self.kind
            }

            /// The message, without its source.
            pub fn message(&self) -> &str {
                &self.message
            }
        }
    };
}
pub(crate) use failure;
