//! Names that people choose: clusters, groups, kinds of plugin and of engine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name that a cluster, a group or a kind may have, in characters.
pub const MAX_NAME_LENGTH: usize = 40;

/// A name was refused. The caller can only choose another one; the message says what is wrong with this one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// It is empty.
    #[error("a name must not be empty")]
    Empty,
    /// It is longer than [`MAX_NAME_LENGTH`].
    #[error("`{name}` has {length} characters, the limit is {MAX_NAME_LENGTH}")]
    TooLong {
        /// The refused name.
        name: String,
        /// How many characters it has.
        length: usize,
    },
    /// It holds something other than `a-z`, `0-9` and `-`.
    #[error("`{name}` may only hold a-z, 0-9 and `-`, not {found:?}")]
    Character {
        /// The refused name.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// It begins or ends with `-`, which would make the names of nodes ambiguous and look like an option.
    #[error("`{name}` must begin and end with a letter or a digit")]
    Edge {
        /// The refused name.
        name: String,
    },
    /// It is not the name of a node: a group, a dash, and an ordinal without leading zeros.
    #[error("`{name}` is not a node's name, which is a group, a `-` and a number")]
    NotANode {
        /// The refused name.
        name: String,
    },
}

fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if let Some(found) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(InvalidName::Character { name: name.to_owned(), found });
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(InvalidName::TooLong { name: name.to_owned(), length: name.len() });
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(InvalidName::Edge { name: name.to_owned() });
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// `a-z`, `0-9` and `-`, 1 to 40 characters, no dash at either end: safe in a path, on a command line and as
        /// a key.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the name.
            ///
            /// # Errors
            /// [`InvalidName`], which says what is wrong with it.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

label! {
    /// The name of a cluster, unique in a repository.
    ClusterName
}
label! {
    /// The name of a node group, unique in its cluster.
    GroupName
}
label! {
    /// The name of a kind of plugin or engine, such as `blocks` or `process`.
    KindName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_accepted() {
        for name in ["a", "workers", "data-2", "0", &"x".repeat(MAX_NAME_LENGTH)] {
            assert_eq!(ClusterName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let long = "x".repeat(MAX_NAME_LENGTH + 1);
        assert_eq!(GroupName::new(""), Err(InvalidName::Empty));
        assert!(matches!(GroupName::new(long), Err(InvalidName::TooLong { length: 41, .. })));
        assert!(matches!(GroupName::new("Workers"), Err(InvalidName::Character { found: 'W', .. })));
        assert!(matches!(GroupName::new("../etc"), Err(InvalidName::Character { found: '.', .. })));
        assert!(matches!(GroupName::new("-a"), Err(InvalidName::Edge { .. })));
        assert!(matches!(GroupName::new("a-"), Err(InvalidName::Edge { .. })));
    }

    #[test]
    fn reading_one_checks_it_too() {
        assert!(serde_json::from_str::<ClusterName>("\"demo\"").is_ok());
        assert!(serde_json::from_str::<ClusterName>("\"../demo\"").is_err());
    }
}
