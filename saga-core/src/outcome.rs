//! How a run ended.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::StepName;
use crate::journal::{Actor, Cause, Failure};
use crate::payload::{Payload, PayloadError};

/// How a run ended, or came to rest.
///
/// Every state but `Completed` tells what of the run stands in the outside world.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// Every step succeeded; this is the output.
    Completed(T),
    /// All that had to be undone was undone.
    RolledBack(RolledBack),
    /// Resting: a non-compensable step failed with its effect unknown, so nothing at all was undone.
    Halted(Halted),
    /// Resting: something could not be undone, or a forward step could not be finished.
    Stuck(Stuck),
    /// An operator gave the run up.
    Abandoned(Abandoned),
}

/// A run that was rolled back.
#[derive(Debug, Clone, PartialEq)]
pub struct RolledBack {
    /// Why it did not go on.
    pub cause: Cause,
    /// Every item whose effect stands: non-compensable steps, finished forward steps, and the compensable steps that
    /// these pin. Empty means that nothing is left.
    pub kept: Vec<Place>,
}

/// A run that rests because going on and going back would both be a guess.
#[derive(Debug, Clone, PartialEq)]
pub struct Halted {
    /// The item that failed.
    pub at: Place,
    /// What went wrong.
    pub error: Failure,
    /// Why the run was being aborted: mostly that very failure.
    pub cause: Cause,
    /// All that stands in the outside world, or may.
    pub residue: Vec<Residue>,
}

/// A run that rests because something could not be cleaned up.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    /// Why the run was being rolled back.
    pub cause: Cause,
    /// Every item whose effect stands by right, as in a run that was [rolled back](RolledBack::kept).
    pub kept: Vec<Place>,
    /// What is left behind and should not be: what could not be undone or finished, and what waits for that.
    pub residue: Vec<Residue>,
}

/// A run that an operator gave up.
#[derive(Debug, Clone, PartialEq)]
pub struct Abandoned {
    /// Who gave it up, and why.
    pub by: Actor,
    /// All that stands in the outside world, or may.
    pub residue: Vec<Residue>,
}

/// An item of a step, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The step.
    pub step: StepName,
    /// The item, if the step is a fan-out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => write!(f, "{}", self.step),
            Some(item) => write!(f, "{}[{item}]", self.step),
        }
    }
}

/// Something that a run left behind: what a person would have to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Residue {
    /// What made it.
    pub place: Place,
    /// Why it is left.
    pub why: Left,
    /// The input that it was made from.
    pub input: Option<Payload>,
    /// What the action recorded while it worked.
    pub checkpoints: Vec<Payload>,
    /// What the action returned, if it succeeded.
    pub output: Option<Payload>,
}

/// Why something is left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Left {
    /// The step succeeded and was not undone.
    Stands,
    /// The step failed, and it is not known what it did.
    EffectUnknown {
        /// What went wrong.
        error: Failure,
    },
    /// Its compensation failed.
    UndoFailed {
        /// What went wrong.
        error: Failure,
    },
    /// It was not undone, because something that depends on it could not be undone.
    Blocked,
    /// It is a forward step that could not be finished.
    Unfinished {
        /// What went wrong, if it got as far as that.
        error: Option<Failure>,
    },
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stands => f.write_str("stands"),
            Self::EffectUnknown { error } => write!(f, "effect unknown: {error}"),
            Self::UndoFailed { error } => write!(f, "could not be undone: {error}"),
            Self::Blocked => f.write_str("not undone: something that depends on it could not be"),
            Self::Unfinished { error: Some(error) } => write!(f, "could not be finished: {error}"),
            Self::Unfinished { error: None } => f.write_str("could not be finished"),
        }
    }
}

impl Outcome<Payload> {
    /// Decodes the output.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the output is no `T`.
    pub fn decode<T: DeserializeOwned>(self) -> Result<Outcome<T>, PayloadError> {
        Ok(match self {
            Self::Completed(output) => Outcome::Completed(output.decode()?),
            Self::RolledBack(end) => Outcome::RolledBack(end),
            Self::Halted(end) => Outcome::Halted(end),
            Self::Stuck(end) => Outcome::Stuck(end),
            Self::Abandoned(end) => Outcome::Abandoned(end),
        })
    }
}

impl<T> Outcome<T> {
    /// The output, if the run completed.
    #[must_use]
    pub fn completed(self) -> Option<T> {
        match self {
            Self::Completed(output) => Some(output),
            _ => None,
        }
    }

    /// Whether the run completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// Whether the run waits for an operator.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        matches!(self, Self::Halted(_) | Self::Stuck(_))
    }

    /// Why the run did not complete, where there is a cause.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Completed(_) | Self::Abandoned(_) => None,
            Self::RolledBack(end) => Some(&end.cause),
            Self::Halted(end) => Some(&end.cause),
            Self::Stuck(end) => Some(&end.cause),
        }
    }

    /// What is left behind, where something is.
    #[must_use]
    pub fn residue(&self) -> &[Residue] {
        match self {
            Self::Completed(_) | Self::RolledBack(_) => &[],
            Self::Halted(end) => &end.residue,
            Self::Stuck(end) => &end.residue,
            Self::Abandoned(end) => &end.residue,
        }
    }
}

impl<T> fmt::Display for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(_) => f.write_str("completed"),
            Self::RolledBack(end) => {
                write!(f, "rolled back: {}", end.cause)?;
                list(f, "; kept: ", end.kept.iter())
            }
            Self::Halted(end) => write!(f, "halted at `{}`: {}", end.at, end.error),
            Self::Stuck(end) => {
                write!(f, "stuck: {}", end.cause)?;
                list(f, "; left: ", end.residue.iter().map(|left| &left.place))
            }
            Self::Abandoned(end) => {
                write!(f, "abandoned by {}", end.by)?;
                list(f, "; left: ", end.residue.iter().map(|left| &left.place))
            }
        }
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, intro: &str, places: impl Iterator<Item = &'a Place>) -> fmt::Result {
    for (i, place) in places.enumerate() {
        write!(f, "{}`{place}`", if i == 0 { intro } else { ", " })?;
    }
    Ok(())
}
