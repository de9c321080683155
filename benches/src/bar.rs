//! A bar that this project sets itself: what a figure has to reach, what was measured, and the verdict.

use serde::Serialize;

use crate::report::{number, table};

/// A bar, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// What is measured.
    pub what: String,
    /// Which way the limit is not to be passed.
    pub wanted: Wanted,
    /// The limit.
    pub limit: f64,
    /// The figure; `None` if it could not be measured.
    pub measured: Option<f64>,
    /// What the limit and the figure are in.
    pub unit: Unit,
    /// Whether it was reached; `None` if it could not be measured.
    pub met: Option<bool>,
    /// Of what the figure was made, for people; or why there is none.
    pub of: String,
}

/// Which way a limit is not to be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// The figure is to be no greater.
    AtMost,
    /// The figure is to be no less.
    AtLeast,
}

/// What a bar is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// So many times the other figure.
    Times,
    /// Per cent of the other figure.
    Percent,
    /// KiB.
    Kibibytes,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Times => format!("{} x", number(value)),
            Self::Percent => format!("{value:.0} %"),
            Self::Kibibytes => format!("{value:.2} KiB"),
        }
    }

    /// A limit has no more digits than it was given.
    fn show_limit(self, value: f64) -> String {
        match self {
            Self::Times => format!("{value} x"),
            Self::Percent => format!("{value} %"),
            Self::Kibibytes => format!("{value} KiB"),
        }
    }
}

impl Bar {
    /// A bar that a figure meets which is no greater than this. It has not been measured yet.
    #[must_use]
    pub fn at_most(what: impl Into<String>, limit: f64, unit: Unit) -> Self {
        Self { what: what.into(), wanted: Wanted::AtMost, limit, measured: None, unit, met: None, of: String::new() }
    }

    /// A bar that a figure meets which is no less than this. It has not been measured yet.
    #[must_use]
    pub fn at_least(what: impl Into<String>, limit: f64, unit: Unit) -> Self {
        Self { wanted: Wanted::AtLeast, ..Self::at_most(what, limit, unit) }
    }

    /// The bar with its figure, and of what that was made.
    #[must_use]
    pub fn measured(self, figure: f64, of: impl Into<String>) -> Self {
        let met = match self.wanted {
            Wanted::AtMost => figure <= self.limit,
            Wanted::AtLeast => figure >= self.limit,
        };
        Self { measured: Some(figure), met: Some(met), of: of.into(), ..self }
    }

    /// The bar without a figure, and why there is none.
    #[must_use]
    pub fn not_measured(self, why: impl Into<String>) -> Self {
        Self { measured: None, met: None, of: why.into(), ..self }
    }

    /// The figure, for people.
    #[must_use]
    pub fn show_measured(&self) -> String {
        self.measured.map_or_else(|| "-".to_owned(), |measured| self.unit.show(measured))
    }
}

/// The bars, for people.
#[must_use]
pub fn bars_table(bars: &[Bar]) -> String {
    let rows = bars.iter().map(|bar| {
        let wanted = match bar.wanted {
            Wanted::AtMost => "at most",
            Wanted::AtLeast => "at least",
        };
        let verdict = match bar.met {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        vec![
            bar.what.clone(),
            format!("{wanted} {}", bar.unit.show_limit(bar.limit)),
            bar.show_measured(),
            verdict.to_owned(),
            bar.of.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let met = bars.iter().filter(|bar| bar.met == Some(true)).count();
    format!(
        "{}\n\n{met} of {} bars are met",
        table(&["bar", "wanted", "measured", "verdict", "of"], 1..3, rows),
        bars.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_given_by_the_bar() {
        let at_most = |figure| Bar::at_most("one", 1.3, Unit::Times).measured(figure, "");
        let at_least = |figure| Bar::at_least("another", 90.0, Unit::Percent).measured(figure, "");
        let nobody = Bar::at_least("a third", 30.0, Unit::Times).not_measured("nobody is there");
        let bars = [at_most(1.3), at_most(1.31), at_least(90.0), at_least(89.0), nobody];
        assert_eq!(bars.each_ref().map(|bar| bar.met), [Some(true), Some(false), Some(true), Some(false), None]);
        let table = bars_table(&bars);
        assert_eq!(table.lines().filter(|line| line.contains("not met")).count(), 2, "{table}");
        assert!(table.contains("not measured  nobody is there"), "{table}");
        assert!(table.ends_with("2 of 5 bars are met"), "{table}");
    }

    #[test]
    fn a_bar_is_a_document() {
        let bar = Bar::at_most("one", 1.3, Unit::Times).measured(0.5, "1 against 2");
        let document = serde_json::json!({
            "what": "one",
            "wanted": "at_most",
            "limit": 1.3,
            "measured": 0.5,
            "unit": "times",
            "met": true,
            "of": "1 against 2",
        });
        assert_eq!(serde_json::to_value(bar).unwrap(), document);
    }
}
