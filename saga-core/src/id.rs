//! The names of things: sagas, steps, runs, workers, and the numbers that fence and order them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest identifier that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 200;

/// An identifier that cannot be used, and why.
///
/// Returned by the constructors of [`RunId`], [`ExclusiveKey`] and the other names. The caller should choose another
/// identifier; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The identifier is the empty string.
    #[error("the {what} is empty")]
    Empty {
        /// What was to be named.
        what: &'static str,
    },
    /// The identifier is longer than [`MAX_ID_BYTES`].
    #[error("the {what} is {bytes} bytes long, at most {MAX_ID_BYTES} are allowed")]
    TooLong {
        /// What was to be named.
        what: &'static str,
        /// The length that was found, in bytes.
        bytes: usize,
    },
    /// The identifier has a control character.
    #[error("the {what} {id:?} has a control character")]
    ControlCharacter {
        /// What was to be named.
        what: &'static str,
        /// The identifier that was refused.
        id: String,
    },
}

fn check(what: &'static str, id: &str) -> Result<(), InvalidId> {
    if id.is_empty() {
        Err(InvalidId::Empty { what })
    } else if id.len() > MAX_ID_BYTES {
        Err(InvalidId::TooLong { what, bytes: id.len() })
    } else if id.chars().any(char::is_control) {
        Err(InvalidId::ControlCharacter { what, id: id.to_owned() })
    } else {
        Ok(())
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Names a ", $what, ".")]
            ///
            /// # Errors
            ///
            /// [`InvalidId`] if the text is empty, longer than [`MAX_ID_BYTES`] or has a control character.
            pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidId> {
                check($what, id.as_ref())?;
                Ok(Self(Arc::from(id.as_ref())))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(id: String) -> Result<Self, InvalidId> {
                Self::new(id)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(id: &str) -> Result<Self, InvalidId> {
                Self::new(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(id: &str) -> Result<Self, InvalidId> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextOf(|id: &str| Self::new(id)))
            }
        }
    };
}

/// Reads an identifier without a `String` in between.
struct TextOf<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, InvalidId>> Visitor<'_> for TextOf<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<T, E> {
        (self.0)(id).map_err(E::custom)
    }
}

text_id!(
    /// The identity of one run: generated ([`RunId::generate`]) or the caller's own ([`RunId::new`]).
    ///
    /// Starting the same saga under the same id twice is one run, which is what makes a start idempotent.
    ///
    /// ```
    /// use saga_core::RunId;
    /// let by_caller = RunId::new("order-2041")?;
    /// assert_eq!(by_caller.as_str(), "order-2041");
    /// assert!(RunId::generate() < RunId::generate(), "generated ids sort by the time of their making");
    /// # Ok::<(), saga_core::InvalidId>(())
    /// ```
    RunId,
    "run id"
);
text_id!(
    /// A key that at most one live or resting run can hold, such as `cluster/42`.
    ExclusiveKey,
    "exclusive key"
);
text_id!(
    /// The identity of one coordinator process, as it stands in claims and leases.
    WorkerId,
    "worker id"
);
text_id!(
    /// The name of a saga: with its version it says which definition a run follows.
    SagaName,
    "saga name"
);
text_id!(
    /// The name of a step, unique in its saga.
    StepName,
    "step name"
);

impl RunId {
    /// A new id that no other run has: a UUID of version 7, so ids sort by the time of their making.
    #[must_use]
    pub fn generate() -> Self {
        Self(Arc::from(&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())))
    }
}

impl WorkerId {
    /// A new id that no other worker has.
    #[must_use]
    pub fn generate() -> Self {
        Self(Arc::from(uuid::Uuid::now_v7().to_string()))
    }
}

/// The position of a step in its saga's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(pub u32);

impl StepIndex {
    /// The index as one into a slice.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for StepIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One unit of work of a run: an item of a step. A step that is no fan-out has the one item 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemRef {
    /// The step.
    pub step: StepIndex,
    /// The item of the step, from 0.
    pub item: u32,
}

impl ItemRef {
    /// Names an item of a step.
    #[must_use]
    pub fn new(step: StepIndex, item: u32) -> Self {
        Self { step, item }
    }
}

/// The position of an event in its run's journal; the first event has 1, and 0 stands before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position before the first event.
    pub const ZERO: Self = Self(0);

    /// The position `events` further on.
    #[must_use]
    pub fn plus(self, events: usize) -> Self {
        Self(self.0 + events as u64)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing number of a claim. Every claim of a run has a higher one than the claim before, and a store refuses the
/// appends of any but the newest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the worker that starts a run.
    pub const FIRST: Self = Self(1);

    /// The epoch of the claim after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: milliseconds since the Unix epoch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This point in time and `after` further on. Saturates instead of wrapping.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}
