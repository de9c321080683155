//! Answers in words and tables.

use std::collections::BTreeMap;

use saga_core::store::RunStatus;

use super::paint::Paint;
use super::table::{table, wrapped, wrapped_error};
use crate::cli::reply::CopyReport;
use crate::cli::trouble::{Exit, Trouble};
use crate::engine::{EngineCheck, Finding, Severity};
use crate::model::{Cluster, ClusterName, KindName, NodeGroup, NodeToken, Status};
use crate::plugin::Light;
use crate::service::{ClusterReport, HistoryEntry, Listing, OperationEnd, RunReport, Verdict};

/// An error: what, what became of things, what to do.
pub(in crate::cli) fn trouble(trouble: &Trouble, paint: Paint) -> String {
    let label = match trouble.exit {
        Exit::Unfinished => paint.yellow("not finished:"),
        _ => paint.red("error:"),
    };
    let mut text = format!("{label} {}", trouble.what);
    if let Some(state) = &trouble.state {
        text.push_str(&format!("\n  {}", wrapped_error(2, state)));
    }
    for next in &trouble.next {
        text.push_str(&format!("\n  {} {}", paint.cyan("→"), wrapped_error(4, next)));
    }
    text
}

/// How an operation ended.
pub(super) fn end(end: &OperationEnd, paint: Paint) -> String {
    let OperationEnd { cluster, kind, .. } = end;
    let verdict = end.verdict.to_string();
    let verdict = match end.verdict {
        Verdict::Done => paint.green(&verdict),
        Verdict::RolledBack | Verdict::Abandoned => paint.yellow(&verdict),
        Verdict::Halted | Verdict::Stuck => paint.red(&verdict),
    };
    let state = match end.status {
        Some(status) => format!("the cluster is {}", in_words(status, paint)),
        None => "there is no such cluster any more".to_owned(),
    };
    let mut text = format!("{verdict}: {kind} `{cluster}`; {state}");
    if !end.reason.is_empty() {
        text.push_str(&format!("\n  why:     {}", wrapped(11, &end.reason)));
    }
    if !end.nodes_left.is_empty() {
        let names: Vec<String> = end.nodes_left.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n  left:    {}", wrapped(11, &names.join(", "))));
    }
    let in_order = matches!(end.status, None | Some(Status::Active)) && end.nodes_left.is_empty();
    if !in_order && !end.allowed.is_empty() {
        text.push_str(&format!("\n  allowed: {}", wrapped(11, &allowed(&end.allowed, cluster))));
    }
    text
}

/// What was copied.
pub(super) fn copied(report: &CopyReport) -> String {
    let CopyReport { from, to, runs, records, clusters, unfinished, .. } = report;
    let mut text = format!("copied from {from} to {to}: {clusters} clusters, {runs} operations of {records} events");
    let (clusters, runs) = (report.clusters_already_there, report.runs_already_there);
    if clusters + runs > 0 {
        text.push_str(&format!("\n  there already: {clusters} clusters, {runs} operations"));
    }
    if !unfinished.is_empty() {
        text.push_str(&format!(
            "\n  {} operations have not ended, and both stores have them now: work on one of the two only",
            unfinished.len()
        ));
    }
    if let Some(marked) = &report.marked {
        text.push_str(&format!("\n  {from} is marked as moved: remove {marked} to use it all the same"));
    }
    text
}

/// What an engine says of a spec.
pub(super) fn checked(cluster: &ClusterName, engine: &KindName, check: &EngineCheck, paint: Paint) -> String {
    let verdict = match check.worst() {
        Severity::Ok => format!("{}: engine `{engine}` could make `{cluster}` now", paint.green("fine")),
        Severity::Warning => format!("{}: engine `{engine}` may be able to make `{cluster}`", paint.yellow("unsure")),
        Severity::Problem => format!("{}: engine `{engine}` could not make `{cluster}` now", paint.red("problem")),
    };
    let row = |finding: &Finding| vec![finding.severity.to_string(), finding.about.clone(), finding.text.clone()];
    match check.findings.is_empty() {
        true => verdict,
        false => format!("{}\n\n{verdict}", table(&["", "WHAT", "HOW IT IS"], check.findings.iter().map(row))),
    }
}

/// All clusters.
pub(super) fn list(listing: &Listing, paint: Paint) -> String {
    let mut parts = Vec::new();
    if listing.clusters.is_empty() && listing.unreadable.is_empty() {
        return "no clusters; `saga-cluster create SPEC.toml` makes one".to_owned();
    }
    if !listing.clusters.is_empty() {
        parts.push(table(
            &["NAME", "STATUS", "NODES", "GROUPS", "WHY"],
            listing.clusters.iter().map(|cluster| {
                vec![
                    cluster.name().to_string(),
                    cluster.status.to_string(),
                    cluster.nodes.len().to_string(),
                    groups(cluster),
                    cluster.status_description.clone(),
                ]
            }),
        ));
    }
    for why in &listing.unreadable {
        parts.push(format!("{} {}", paint.red("unreadable:"), wrapped(2, why)));
    }
    parts.join("\n")
}

/// The groups of a cluster, with the nodes that each has, and should have if that is another number.
fn groups(cluster: &Cluster) -> String {
    let in_words = |group: &NodeGroup| match u32::try_from(cluster.nodes_in(&group.name).count()) {
        Ok(has) if has == group.count => format!("{}={has}", group.name),
        has => format!("{}={}/{}", group.name, has.unwrap_or(u32::MAX), group.count),
    };
    let groups: Vec<_> = cluster.spec.groups.iter().map(in_words).collect();
    // More would leave no room for why.
    match groups.len() {
        0..=3 => groups.join(" "),
        more => format!("{} and {} more", groups[..2].join(" "), more - 2),
    }
}

/// Everything about one cluster.
pub(in crate::cli) fn report(report: &ClusterReport, paint: Paint) -> String {
    let name = &report.name;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let head = match &report.record {
        Some(record) => {
            if !record.status_description.is_empty() {
                facts.push(("why", record.status_description.clone()));
            }
            if let Some((light, why)) = &report.light {
                facts.push(("health", health(*light, why, paint)));
            }
            facts.push(("nodes", format!("{}: {}", record.nodes.len(), groups(record))));
            facts.push(("by", format!("plugin {}, engine {}", record.spec.plugin, record.spec.engine)));
            facts.push(("made", format!("{}, last changed {}", record.created, record.updated)));
            format!("{} is {}", paint.bold(name.as_str()), in_words(record.status, paint))
        }
        None => format!("{}: {}", paint.bold(name.as_str()), paint.red("no record; what is left of it is shown")),
    };
    if let Some(run) = &report.run {
        let told = report.record.as_ref().is_some_and(|record| record.status_description == run.reason);
        facts.push(("run", run_in_words(run, told)));
        let left: Vec<_> = run.residue.iter().map(|left| format!("{}: {}", left.place, left.why)).collect();
        if !left.is_empty() {
            facts.push(("left", left.join("\n")));
        }
    }
    if !report.allowed.is_empty() {
        facts.push(("allowed", allowed(&report.allowed, name)));
    }
    let mut text = head;
    for (label, fact) in facts {
        text.push_str(&format!("\n  {label:<8} {}", wrapped(11, &fact)));
    }
    text.push_str(&format!("\n\n{}", nodes(report)));
    text.push_str(&strangers(report, paint));
    text
}

fn health(light: Light, why: &str, paint: Paint) -> String {
    let word = light.to_string();
    let word = match light {
        Light::Green => paint.green(&word),
        Light::Yellow => paint.yellow(&word),
        Light::Red => paint.red(&word),
    };
    if why.is_empty() { word } else { format!("{word}: {why}") }
}

fn in_words(status: Status, paint: Paint) -> String {
    match status {
        Status::Error => format!("in {}", paint.status(status)),
        status => paint.status(status),
    }
}

fn run_in_words(run: &RunReport, reason_is_told: bool) -> String {
    let status = match run.status {
        RunStatus::Running => "going on",
        RunStatus::Halted => "halted: to go on or back would be a guess, so a person decides",
        RunStatus::Stuck => "stuck: something could not be cleaned up, so a person decides",
        _ => "ended",
    };
    let reason = if run.reason.is_empty() || reason_is_told { String::new() } else { format!("\n{}", run.reason) };
    format!("{} {}: {status}{reason}", run.kind, run.run)
}

fn nodes(report: &ClusterReport) -> String {
    let Some(record) = &report.record else { return String::new() };
    let none = BTreeMap::new();
    let health = report.health.as_ref().unwrap_or(&none);
    let machines = report.machines.as_ref().ok();
    let rows = record.nodes.iter().map(|node| {
        let there = machines.is_none_or(|machines| machines.iter().any(|machine| machine.token == node.token));
        let health = health.get(&node.name).map_or("unknown", String::as_str);
        let address = node.address.map_or("-".to_owned(), |address| address.to_string());
        let health = if there { health.to_owned() } else { "its machine is gone".to_owned() };
        vec![node.name.to_string(), node.group().to_string(), address, health]
    });
    let mut text = match record.nodes.is_empty() {
        true => "it has no nodes".to_owned(),
        false => table(&["NODE", "GROUP", "ADDRESS", "HEALTH"], rows),
    };
    if let Err(why) = &report.health {
        text.push_str(&format!("\nhow they are cannot be told: {}", wrapped(2, why)));
    }
    text
}

/// Machines that carry the cluster's tag and are not in its record.
fn strangers(report: &ClusterReport, paint: Paint) -> String {
    let machines = match &report.machines {
        Ok(machines) => machines,
        Err(why) => return format!("\nthe machines cannot be listed: {}", wrapped(2, why)),
    };
    let known = |token: &NodeToken| {
        report.record.as_ref().is_some_and(|record| record.nodes.iter().any(|node| node.token == *token))
    };
    let strangers: Vec<_> = machines.iter().filter(|machine| !known(&machine.token)).collect();
    if strangers.is_empty() {
        return String::new();
    }
    let names: Vec<String> = strangers.iter().map(|machine| machine.node.to_string()).collect();
    let what = match report.record.as_ref().map(|record| record.status) {
        Some(Status::Creating | Status::Scaling | Status::Deleting) => "being made or removed",
        _ => "not in the record; `delete` finds and kills them too",
    };
    let names = format!("{} ({what})", names.join(", "));
    format!("\n\n{} {}", paint.yellow("further machines:"), wrapped(18, &names))
}

/// What happened, one event a line.
pub(super) fn history(cluster: &ClusterName, entries: &[HistoryEntry], paint: Paint) -> String {
    if entries.is_empty() {
        return format!("nothing is known of the past of `{cluster}`");
    }
    let mut text = Vec::new();
    let mut run = None;
    for entry in entries {
        if run != Some(&entry.run) {
            run = Some(&entry.run);
            text.push(format!("{} {}", paint.bold(&entry.kind.to_string()), paint.dim(&format!("run {}", entry.run))));
        }
        text.push(format!("  {}  {}", paint.dim(&entry.at.to_string()), wrapped(24, &entry.text)));
    }
    text.join("\n")
}

/// What is allowed, as commands where there is one.
fn allowed(allowed: &[String], cluster: &ClusterName) -> String {
    let command = |verb: &String| match verb.as_str() {
        "scale" => format!("`saga-cluster scale {cluster} GROUP=COUNT`"),
        "retry" | "delete" => format!("`saga-cluster {verb} {cluster}`"),
        "delete --force" => format!("`saga-cluster delete {cluster} --force`"),
        "abandon" => format!("`saga-cluster abandon {cluster} --reason …`"),
        other => other.to_owned(),
    };
    allowed.iter().map(command).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
