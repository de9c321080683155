//! What came of a trial of clusters, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use saga_core::journal::Event;
use serde_json::json;

use super::evidence::Evidence;
use super::processes::Hits;
use crate::Fail;
use crate::check::Finding;
use crate::report::{findings_in_words, table};

/// The report.
pub(super) fn report(evidence: &Evidence, hits: &Hits, took: Duration, findings: &[Finding]) -> String {
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed).to_string();
    let taken_up = evidence.runs.iter().map(|run| takeovers(&run.journal)).sum::<usize>();
    let written: usize = evidence.blocks.len();
    let rows = [
        ("seconds", format!("{:.1}", took.as_secs_f64())),
        ("processes killed", hits.kills().to_string()),
        ("of these workers", count(&hits.workers)),
        ("of these users' commands, by chance", count(&hits.clients)),
        ("of these users' commands, by their users", count(&hits.by_users)),
        ("of these observers that held the data", count(&hits.observers)),
        ("workers told to end", count(&hits.farewells)),
        ("commands of users", evidence.told.len().to_string()),
        ("records that vanished", evidence.vanished.len().to_string()),
        ("takeovers of runs", taken_up.to_string()),
        ("machines seen", evidence.machines.len().to_string()),
        ("clusters that stood at the end", evidence.calm.records.len().to_string()),
        ("blocks looked for", written.to_string()),
    ];
    let mut text = String::new();
    let mut happened = table(&["what happened", "count"]);
    for (what, count) in rows {
        happened.add_row([what, &count]);
    }
    let _ = writeln!(text, "{happened}\n");
    let mut runs: BTreeMap<(String, String), usize> = BTreeMap::new();
    for run in &evidence.runs {
        *runs.entry((run.summary.saga.to_string(), run.summary.status.to_string())).or_default() += 1;
    }
    let mut outcomes = table(&["operation", "outcome", "runs"]);
    for ((saga, status), count) in runs {
        outcomes.add_row([saga, status, count.to_string()]);
    }
    let mut exits: BTreeMap<(String, String), usize> = BTreeMap::new();
    for told in &evidence.told {
        let code = told.code.map_or("killed".to_owned(), |code| code.to_string());
        *exits.entry((told.arguments[0].clone(), code)).or_default() += 1;
    }
    let mut codes = table(&["command", "exit code", "commands"]);
    for ((verb, code), count) in exits {
        codes.add_row([verb, code, count.to_string()]);
    }
    let _ = writeln!(text, "{outcomes}\n\n{codes}\n\n{}", findings_in_words(findings));
    text
}

/// How often a run was taken up by another worker after its first step had begun.
fn takeovers(journal: &[saga_core::journal::Record]) -> usize {
    let begun = journal.iter().position(|record| matches!(record.event, Event::StepStarted { .. }));
    let rest = begun.map_or(&[][..], |at| &journal[at..]);
    rest.iter().filter(|record| matches!(record.event, Event::Resumed { .. })).count()
}

/// Writes the evidence down, for whoever looks for a cause.
pub(super) fn keep(evidence: &Evidence, folder: &Path) -> Result<(), Fail> {
    let lines = |name: &str, lines: Vec<serde_json::Value>| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.join(name), text)
    };
    lines("commands", evidence.told.iter().map(|told| json!(told)).collect())?;
    lines("looks", evidence.looks.iter().map(|look| json!(look)).collect())?;
    let runs = evidence.runs.iter().map(|run| json!({"run": run.summary, "journal": run.journal}));
    lines("runs", runs.collect())?;
    let found = json!({
        "machines": evidence.machines, "blocks": evidence.blocks, "deleted": evidence.deleted, "calm": evidence.calm,
        "vanished": evidence.vanished, "helped": evidence.helped, "left": evidence.left, "left_records": evidence.left_records,
        "incidents": evidence.incidents,
    });
    Ok(std::fs::write(folder.join("found"), serde_json::to_vec_pretty(&found)?)?)
}
