//! Errors as a person wants them: what happened, what became of things, what to do next.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Exit {
    /// All that was asked for was done.
    Done,
    /// An error.
    Error,
    /// The request itself is wrong.
    Usage,
    /// The operation was undone.
    RolledBack,
    /// The operation rests and needs a person.
    NeedsOperator,
    /// The operation goes on with the next command.
    Unfinished,
    /// A second Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees. Documented in `--help`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::NeedsOperator => 4,
            Self::Unfinished => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// What happened. May have several lines.
    pub(super) what: String,
    /// What was not touched, or what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) next: Vec<String>,
    /// How the program ends.
    pub(super) exit: Exit,
}

impl Trouble {
    /// Something that went wrong.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), state: None, next: Vec::new(), exit: Exit::Error }
    }

    /// A request that cannot be meant like that.
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(what) }.untouched()
    }

    /// An operation that was begun and goes on later.
    pub(super) fn unfinished(what: impl Into<String>) -> Self {
        Self { exit: Exit::Unfinished, ..Self::new(what) }
    }

    /// Nothing was changed.
    pub(super) fn untouched(self) -> Self {
        self.state("nothing was touched")
    }

    /// What became of things.
    pub(super) fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Something to do about it.
    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

/// The messages of an error and of all beneath it, in one line; a source that its error repeats is not told twice.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(beneath) = source {
        let message = beneath.to_string();
        if !told.contains(&message) {
            told = format!("{told}: {message}");
        }
        source = beneath.source();
    }
    told
}
