//! What is told, made visible: progress bars on a terminal, plain lines elsewhere, JSON for programs.
//!
//! Answers (tables, and how an operation ended) go to standard output; progress, notes and errors to standard error.
//! With `--json` everything goes to standard output, one object per line.

mod answer;
mod bars;
mod json;
mod paint;
mod plain;
mod table;

use std::io::{IsTerminal, Write};

use super::args::Options;
use super::reply::Reply;

pub(super) use answer::{report, trouble};
pub(super) use paint::Paint;
pub(super) use table::wrapped;

/// Where replies are shown.
pub(super) trait Screen: Send {
    /// Shows a part of the answer.
    fn show(&mut self, reply: &Reply);

    /// Nothing comes any more.
    fn close(&mut self) {}
}

/// The screen that fits the options and the terminal.
pub(super) fn screen(options: &Options) -> Box<dyn Screen> {
    if options.json {
        Box::new(json::Json)
    } else if std::io::stderr().is_terminal() && options.verbose == 0 {
        Box::new(bars::Bars::new())
    } else {
        // Bars and a log do not go together on one terminal.
        Box::new(plain::Plain::new())
    }
}

/// The screen for what goes on until it is ended: lines, and no bars.
pub(super) fn lines(options: &Options) -> Box<dyn Screen> {
    if options.json { Box::new(json::Json) } else { Box::new(plain::Plain::new()) }
}

/// Prints an answer to standard output. If nobody reads it (`| head`), nobody misses it.
pub(super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn err(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
