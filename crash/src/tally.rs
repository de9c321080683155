//! What came of a trial that is made of many small ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::report;

/// How many violations are printed.
const SHOWN: usize = 10;

/// Figures and violations, gathered.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rows: Vec<(String, String)>,
    counts: BTreeMap<String, u64>,
    violations: Vec<String>,
}

impl Tally {
    /// A figure that is known beforehand.
    pub(crate) fn fact(&mut self, what: impl Into<String>, value: impl ToString) {
        self.rows.push((what.into(), value.to_string()));
    }

    /// Counts something, which is told even if it stays nothing.
    pub(crate) fn count(&mut self, what: &str, more: usize) {
        *self.counts.entry(what.to_owned()).or_default() += more as u64;
    }

    /// Something does not hold.
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    pub(crate) fn violations(&mut self, of: &str, what: impl IntoIterator<Item = String>) {
        self.violations.extend(what.into_iter().map(|what| format!("{of}: {what}")));
    }

    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.violations.extend(other.violations);
    }

    /// Prints it, and answers what the program ends with.
    pub(crate) fn tell(&self, seed: u64) -> ExitCode {
        let mut table = report::table(&["what happened", "count"]);
        for (what, value) in &self.rows {
            table.add_row([what, value]);
        }
        for (what, count) in &self.counts {
            table.add_row([what, &count.to_string()]);
        }
        table.add_row(["violations", &self.violations.len().to_string()]);
        println!("{table}");
        if self.holds() {
            return ExitCode::SUCCESS;
        }
        let mut text = String::new();
        for violation in self.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "VIOLATED: {violation}");
        }
        if let Some(more) = self.violations.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(text, "and {more} more");
        }
        println!("\n{text}\nonce more: {}", report::command_line(seed));
        ExitCode::from(1)
    }
}
