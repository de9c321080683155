//! Moderate colours, where they are wanted.

use std::io::IsTerminal;

use crate::model::Status;

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours what goes to that stream, if it is a terminal and nobody said no (`NO_COLOR`).
    pub(in crate::cli) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: stream.is_terminal() && !refused }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { on: false }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(in crate::cli) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(in crate::cli) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(in crate::cli) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(in crate::cli) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(in crate::cli) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(in crate::cli) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    pub(in crate::cli) fn status(self, status: Status) -> String {
        let text = status.to_string();
        match status {
            Status::Active => self.green(&text),
            Status::Error => self.red(&text),
            Status::Creating | Status::Scaling | Status::Deleting => self.yellow(&text),
        }
    }
}
