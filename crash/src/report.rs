//! What came of a trial, for people.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{Table, presets};
use saga_core::journal::Event;

use crate::chaos::Done;
use crate::check::{self, Finding};
use crate::evidence::Evidence;
use crate::ledger::{Act, Mark};

/// How many violations of one rule are printed.
const SHOWN: usize = 10;

/// What was done to the workers, and how long it took.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    rows: Vec<(&'static str, String)>,
}

impl Figures {
    pub(crate) fn new(done: &Done, took: Duration) -> Self {
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed).to_string();
        let rows = vec![
            ("seconds", format!("{:.1}", took.as_secs_f64())),
            ("workers killed", count(&done.kills)),
            ("of these shortly after their start", count(&done.kills_of_newborns)),
            ("of these by themselves, at a chosen moment", count(&done.suicides)),
            ("workers told to end", count(&done.farewells)),
            ("workers put to sleep", count(&done.stops)),
            ("restarts of the database", count(&done.restarts)),
        ];
        Self { rows }
    }

    /// Adds what only this kind of trial counts.
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = (&'static str, usize)>) {
        self.rows.extend(rows.into_iter().map(|(what, count)| (what, count.to_string())));
    }
}

/// What the chaos came to, by the journals and the ledger.
#[derive(Debug, Default)]
struct Hits {
    takeovers: usize,
    while_recovering: usize,
    while_aborting: usize,
    attempts: usize,
    attempts_cut: usize,
    repeated: usize,
    undos: usize,
    undos_cut: usize,
    undone: usize,
}

impl Hits {
    fn of(evidence: &Evidence) -> Self {
        let mut hits = Self::default();
        for kept in evidence.runs.iter().filter_map(|run| run.kept.as_ref()) {
            let (mut begun, mut aborting, mut just_resumed) = (false, false, false);
            for record in &kept.journal {
                match &record.event {
                    Event::AbortBegan { .. } => aborting = true,
                    Event::Operated { .. } => aborting = false,
                    Event::StepStarted { .. } => begun = true,
                    Event::Succeeded { .. }
                    | Event::AttemptFailed { .. }
                    | Event::Probed { .. }
                    | Event::Undone { .. }
                    | Event::UndoFailed { .. } => just_resumed = false,
                    // Clients that move a run on are no workers, and have generated names.
                    Event::Resumed { worker, .. } if begun && !worker.as_str().contains('-') => {
                        hits.takeovers += 1;
                        hits.while_aborting += usize::from(aborting);
                        hits.while_recovering += usize::from(just_resumed);
                        just_resumed = true;
                    }
                    _ => {}
                }
            }
        }
        let mut open = HashSet::new();
        for entry in &evidence.ledger {
            let attempt = (&entry.key, entry.act, entry.attempt, entry.epoch);
            match entry.mark {
                Mark::Begin => drop(open.insert(attempt)),
                Mark::Checkpoint => {}
                Mark::Done { .. } | Mark::Failed | Mark::Rejected => drop(open.remove(&attempt)),
            }
            match (entry.act, entry.mark) {
                (Act::Do, Mark::Begin) => hits.attempts += 1,
                (Act::Undo, Mark::Begin) => hits.undos += 1,
                (Act::Do, Mark::Done { fresh: false }) => hits.repeated += 1,
                (Act::Undo, Mark::Done { fresh: true }) => hits.undone += 1,
                _ => {}
            }
        }
        let cut = |of| open.iter().filter(|(_, act, ..)| *act == of).count();
        (hits.attempts_cut, hits.undos_cut) = (cut(Act::Do), cut(Act::Undo));
        hits
    }
}

/// The report.
pub(crate) fn report(evidence: &Evidence, figures: &Figures, findings: &[Finding]) -> String {
    let hits = Hits::of(evidence);
    let mut rows: Vec<(&str, String)> = figures.rows.clone();
    rows.extend([
        ("runs", evidence.runs.len().to_string()),
        ("takeovers of runs", hits.takeovers.to_string()),
        ("of these while rolling back", hits.while_aborting.to_string()),
        ("of these from one that had just taken over itself", hits.while_recovering.to_string()),
        ("attempts of actions", hits.attempts.to_string()),
        ("of these cut short", hits.attempts_cut.to_string()),
        ("effects found to be there already", hits.repeated.to_string()),
        ("attempts of compensations", hits.undos.to_string()),
        ("of these cut short", hits.undos_cut.to_string()),
        ("effects undone", hits.undone.to_string()),
        ("late entries in the ledger", check::late(evidence).to_string()),
        ("records cut short by a kill", evidence.torn.to_string()),
    ]);
    let mut text = String::new();
    let mut table = table(&["what happened", "count"]);
    for (what, count) in rows {
        table.add_row([what, &count]);
    }
    let _ = writeln!(text, "{table}\n\n{}\n", outcomes(evidence));
    text.push_str(&findings_in_words(findings));
    text
}

/// What must hold, and what does not.
pub(crate) fn findings_in_words(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut table = table(&["what must hold", "looked at", "violations"]);
    for finding in findings {
        table.add_row([finding.rule.to_owned(), finding.looked.to_string(), finding.violations.len().to_string()]);
    }
    let _ = writeln!(text, "{table}");
    for finding in findings.iter().filter(|finding| !finding.holds()) {
        let _ = writeln!(text, "\nVIOLATED: {}", finding.rule);
        for violation in finding.violations.iter().take(SHOWN) {
            let run = violation.run.as_ref().map(|run| format!("{run}: ")).unwrap_or_default();
            let _ = writeln!(text, "  {run}{}", violation.what);
        }
        if let Some(more) = finding.violations.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(text, "  and {more} more");
        }
    }
    text
}

fn outcomes(evidence: &Evidence) -> Table {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for run in &evidence.runs {
        let status = run.kept.as_ref().map_or("lost", |kept| kept.summary.status.as_str());
        *counts.entry((run.job.order.kind.as_str(), status.to_owned())).or_default() += 1;
    }
    let mut table = table(&["kind", "outcome", "runs"]);
    for ((kind, outcome), count) in counts {
        table.add_row([kind.to_owned(), outcome, count.to_string()]);
    }
    table
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(header);
    table
}

/// The line that holds this trial once more. Everything that is left to chance follows from what it says, but for the time
/// that things take.
pub(crate) fn command_line(seed: u64) -> String {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument.starts_with("--seed")) {
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
    }
    format!("cargo run --release -p saga-crash -- {}", arguments.join(" "))
}
