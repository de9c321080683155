//! A forecast for people: a sentence for each row, or a table.

use std::fmt;

use crate::forecast::{Aftermath, FailedAs, Forecast, ForecastEnd, ForecastRow};
use crate::id::StepName;

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for ForecastRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.failure {
            FailedAs::EffectUnknown => "",
            FailedAs::NoEffect => " and is known to have changed nothing",
        };
        write!(f, "if `{}` fails{how}: {}", self.step, self.early)?;
        match &self.late {
            None => Ok(()),
            Some(late) => write!(f, "; if all that runs beside it is done by then: {late}"),
        }
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.undone.as_slice() {
            [] => f.write_str("nothing is undone")?,
            [one] => write!(f, "`{one}` is undone")?,
            more => write!(f, "{} are undone", quoted(more))?,
        }
        match self.finished.as_slice() {
            [] => {}
            [one] => write!(f, ", `{one}` is finished")?,
            more => write!(f, ", {} are finished", quoted(more))?,
        }
        f.write_str(match self.end {
            ForecastEnd::RolledBack => "; the run is rolled back, ",
            ForecastEnd::Halted => "; the run halts, ",
        })?;
        match self.kept.as_slice() {
            [] if self.end == ForecastEnd::Halted => f.write_str("nothing else stands"),
            [] if self.finished.is_empty() => f.write_str("nothing is left"),
            [] => f.write_str("nothing else is left"),
            [one] => write!(f, "`{one}` stands"),
            more => write!(f, "{} stand", quoted(more)),
        }
    }
}

fn quoted(names: &[StepName]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl Forecast {
    /// The forecast as a table of plain text: a line for each row, and one more where it makes a difference whether what
    /// runs beside the step is done.
    #[must_use]
    pub fn to_table(&self) -> String {
        let head = ["if this fails", "effect", "beside it", "undone", "finished", "kept", "the run is"];
        let mut lines = vec![head.map(str::to_owned)];
        for row in &self.rows {
            let effect = match row.failure {
                FailedAs::EffectUnknown => "unknown",
                FailedAs::NoEffect => "none",
            };
            match &row.late {
                None => lines.push(line(row.step.as_str(), effect, "any", &row.early)),
                Some(late) => {
                    lines.push(line(row.step.as_str(), effect, "not begun", &row.early));
                    lines.push(line("", "", "done", late));
                }
            }
        }
        aligned(&lines)
    }
}

fn line(step: &str, effect: &str, beside: &str, then: &Aftermath) -> [String; 7] {
    let list = |names: &[StepName]| match names {
        [] => "-".to_owned(),
        names => names.iter().map(StepName::as_str).collect::<Vec<_>>().join(", "),
    };
    let end = match then.end {
        ForecastEnd::RolledBack => "rolled back",
        ForecastEnd::Halted => "halted",
    };
    let (undone, finished, kept) = (list(&then.undone), list(&then.finished), list(&then.kept));
    [step.to_owned(), effect.to_owned(), beside.to_owned(), undone, finished, kept, end.to_owned()]
}

/// Columns as wide as their widest cell, two spaces apart.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
