//! What users were told.

use std::collections::{BTreeMap, HashMap};

use saga_cluster::model::{Cluster, Status};
use saga_core::journal::Rest;

use super::journals::Story;
use crate::check::Finding;
use crate::cluster::evidence::Evidence;
use crate::cluster::told::{End, Told};

pub(super) fn nothing_unexpected_happened(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("every command ended in time, as it says that commands end, and no worker ended of itself");
    for incident in &evidence.incidents {
        finding.look_at("", false, || incident.clone());
    }
    for told in &evidence.told {
        let Some(code) = told.code else { continue };
        let why = told.trouble().map(|trouble| trouble.what.as_str());
        let readable = told.unreadable == 0 && told.stderr.is_empty();
        let holds = matches!(code, 0..=5) && readable && why.is_none_or(is_a_reason);
        finding.look_at(&told.by, holds, || {
            let (arguments, unreadable) = (told.arguments.join(" "), told.unreadable);
            format!("`{arguments}` ended with {code}: {} {} ({unreadable} lines)", why.unwrap_or_default(), told.stderr)
        });
    }
    finding
}

/// Whether a command may be refused, or not be finished, for that reason: nothing else goes wrong in a trial.
fn is_a_reason(what: &str) -> bool {
    let reasons = [
        // What the cluster is, or is not, by then.
        "there is no cluster",
        "is busy",
        "there is a cluster",
        "already exists",
        "no node would stay to take the blocks",
        "the cluster is like that already",
        "and nothing waits for a decision",
        "is error,",
        "is deleting,",
        "is creating,",
        "is scaling,",
        // Who holds the data was killed, or told to end.
        "which holds",
        "which held the data, is gone",
        "is held by",
        "was told to stop",
    ];
    reasons.iter().any(|reason| what.contains(reason))
}

pub(super) fn what_was_told_is_what_is_written(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("the end that a command told is the one that is written, and its exit code says the same");
    let stories: HashMap<&str, Story> =
        evidence.runs.iter().map(|run| (run.summary.run.as_str(), Story::of(run))).collect();
    for told in &evidence.told {
        for end in told.ends() {
            let rests = stories.get(end.run.as_str()).map(|story| &story.rests);
            let written = rests.is_some_and(|rests| rests.iter().any(|rest| verdict(rest) == end.verdict));
            finding.look_at(&told.by, written, || format!("told of {}: {}; written: {rests:?}", end.run, end.verdict));
        }
        let Some(code) = told.code else { continue };
        let meant = match (told.own_end(), told.trouble()) {
            (_, Some(trouble)) => meaning_of_trouble(&trouble.exit),
            (Some(end), None) => meaning(told, end),
            (None, None) => None,
        };
        finding.look_at(&told.by, meant == Some(code), || {
            format!(
                "`{}` ended with {code}, and told {:?} {:?}",
                told.arguments.join(" "),
                told.own_end(),
                told.trouble()
            )
        });
    }
    finding
}

fn verdict(rest: &Rest) -> &'static str {
    match rest {
        Rest::Completed => "done",
        Rest::RolledBack => "rolled_back",
        Rest::Halted { .. } => "halted",
        Rest::Stuck => "stuck",
        Rest::Abandoned { .. } => "abandoned",
    }
}

/// The exit code that goes with an end.
fn meaning(told: &Told, end: &End) -> Option<i32> {
    Some(match end.verdict.as_str() {
        _ if !end.nodes_left.is_empty() => 4,
        "halted" | "stuck" => 4,
        "done" => 0,
        // Given up is what was asked for.
        "abandoned" if told.arguments[0] == "abandon" => 0,
        "rolled_back" | "abandoned" => 3,
        _ => return None,
    })
}

fn meaning_of_trouble(exit: &str) -> Option<i32> {
    match exit {
        "error" => Some(1),
        "usage" => Some(2),
        "unfinished" => Some(5),
        _ => None,
    }
}

/// A user who was told that it is done looks at the cluster when nothing works on it any more. If nothing else was ordered
/// meanwhile, it is what was ordered.
pub(super) fn what_was_told_to_be_done_is_so(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("what a command said to be done is so, and what it said to be undone left the cluster as it says");
    let mut starts: HashMap<&str, (String, u64)> = HashMap::new();
    for run in &evidence.runs {
        starts.insert(run.summary.run.as_str(), (Story::of(run).cluster, run.summary.created_at.0));
    }
    for told in &evidence.told {
        let (Some(looked), Some(end)) = (&told.looked, told.own_end()) else { continue };
        let own = starts.get(end.run.as_str()).map_or(0, |(_, at)| *at);
        // What an earlier command of this user has left behind may have begun later.
        let disturbed = starts.iter().any(|(run, (cluster, at))| {
            *run != end.run && *cluster == told.cluster && *at >= own && !is_later(evidence, run, told)
        });
        if disturbed || evidence.vanished.contains(&told.cluster) {
            continue;
        }
        match (told.code, &looked.record) {
            (Some(0), record) => {
                let found = record.as_ref().map(counts);
                let active = record.as_ref().is_some_and(|record| record.status == Status::Active);
                finding.look_at(&told.by, active && found.as_ref() == Some(&looked.ordered), || {
                    format!(
                        "ordered: {:?}; found: {:?} {found:?}",
                        looked.ordered,
                        record.as_ref().map(|one| one.status)
                    )
                });
            }
            (Some(3 | 4), record) => {
                let found = record.as_ref().map(|record| record.status.to_string());
                finding.look_at(&told.by, found == end.status, || format!("told: {:?}; found: {found:?}", end.status));
            }
            _ => {}
        }
    }
    finding
}

/// Whether a run was ordered by a command that came after that one.
fn is_later(evidence: &Evidence, run: &str, than: &Told) -> bool {
    let number = |by: &str| by.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
    let by = evidence.told.iter().find(|told| told.began() == Some(run)).map(|told| told.by.as_str());
    by.and_then(number) > number(&than.by)
}

/// How many nodes each group has.
fn counts(record: &Cluster) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> = record.spec.groups.iter().map(|one| (one.name.to_string(), 0)).collect();
    for node in &record.nodes {
        *counts.entry(node.group().to_string()).or_default() += 1;
    }
    counts
}
