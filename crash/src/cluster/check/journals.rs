//! What the journals say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use saga_core::journal::{Event, ProbeAnswer, Rest};
use saga_core::{ItemRef, Payload, StepIndex};
use serde_json::Value;

use crate::check::Finding;
use crate::check::ends::{end, is_of_finalizer};
use crate::cluster::evidence::{Evidence, RunEvidence};

/// What a journal tells, in the words of clusters.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) cluster: String,
    pub(super) is_delete: bool,
    is_scale: bool,
    /// Who ordered it.
    by: String,
    /// The tokens of the machines that leave, once they are decommissioned.
    pub(super) decommissioned: BTreeSet<String>,
    /// The tokens of the machines whose making was undone.
    pub(super) undone: BTreeSet<String>,
    /// What was done that must not be.
    wrong: Vec<String>,
    /// How many destructions were looked at.
    destructions: usize,
    /// How it came to rest, each time.
    pub(super) rests: Vec<Rest>,
    /// Machines that were made, or may have been, and whose making was not undone.
    standing: BTreeSet<String>,
    configured: bool,
    gone: bool,
}

impl Story {
    pub(super) fn of(run: &RunEvidence) -> Self {
        let key = run.summary.key.as_ref().map(|key| key.as_str()).unwrap_or_default();
        let cluster = key.split('/').nth(1).unwrap_or_default().to_owned();
        let saga = run.summary.saga.as_str();
        let mut story =
            Self { cluster, is_delete: saga == "delete-cluster", is_scale: saga == "scale-cluster", ..Self::default() };
        let mut teller = Teller::default();
        for record in &run.journal {
            teller.tell(&mut story, &record.event);
        }
        story
    }
}

/// Reads a journal in its order.
#[derive(Default)]
struct Teller {
    steps: HashMap<StepIndex, String>,
    leaving: BTreeSet<String>,
    tokens: HashMap<ItemRef, String>,
    is_decommissioned: bool,
}

impl Teller {
    fn tell(&mut self, story: &mut Story, event: &Event) {
        match event {
            Event::RunStarted { input, .. } => {
                let input = json(input);
                let by = [&input["subject"]["by"]["name"], &input["by"]["name"]];
                story.by = by.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
                let leaving = input["leaving"].as_array().into_iter().flatten();
                self.leaving = leaving.filter_map(|node| Some(node["token"].as_str()?.to_owned())).collect();
            }
            Event::StepStarted { step, name, .. } => {
                self.steps.insert(*step, name.as_str().to_owned());
                story.configured |= name.as_str() == "configure";
            }
            Event::AttemptStarted { of, .. } if self.is(of, "terminate") => {
                story.destructions += 1;
                if !self.is_decommissioned {
                    story.wrong.push("it destroys nodes that are not decommissioned".to_owned());
                }
            }
            Event::Succeeded { of, .. } | Event::Probed { of, answer: ProbeAnswer::Done(_) }
                if self.is(of, "decommission") =>
            {
                self.is_decommissioned = true;
                story.decommissioned.clone_from(&self.leaving);
            }
            Event::Checkpointed { of, value } if self.is(of, "create") => {
                if let Some(token) = json(value).as_str() {
                    self.tokens.insert(*of, token.to_owned());
                    story.standing.insert(token.to_owned());
                }
            }
            Event::SubjectChecked { gone } => story.gone |= gone,
            Event::UndoStarted { of, .. } if self.is(of, "create") => {
                story.destructions += 1;
                if story.is_scale && story.configured && !story.gone {
                    story.wrong.push("it destroys new nodes that may hold data by then".to_owned());
                }
                story.undone.extend(self.tokens.get(of).cloned());
            }
            Event::Undone { of } if self.is(of, "create") => {
                if let Some(token) = self.tokens.get(of) {
                    story.standing.remove(token);
                }
            }
            Event::Rested { rest } => story.rests.push(rest.clone()),
            _ => {}
        }
    }

    fn is(&self, of: &ItemRef, step: &str) -> bool {
        self.steps.get(&of.step).is_some_and(|name| name == step)
    }
}

fn json(payload: &Payload) -> Value {
    payload.decode().unwrap_or_default()
}

pub(super) fn every_run_ended_once(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("every run ended, once, and nothing but the finalizer came after that");
    for run in &evidence.runs {
        let id = run.summary.run.as_str();
        let status = run.summary.status;
        finding.look_at(id, status.is_ended(), || format!("it is {status}, held by {:?}", run.summary.owner));
        let ends: Vec<_> = (0..).zip(&run.journal).filter_map(|(at, record)| Some((at, end(&record.event)?))).collect();
        let after = |at: usize| run.journal[at + 1..].iter().all(|record| is_of_finalizer(&record.event));
        let holds = matches!(&*ends, [(at, end)] if *end == status && after(*at));
        finding.look_at(id, holds, || format!("it is {status}; its journal ends with {ends:?}"));
        let gaps = (1..).zip(&run.journal).any(|(seq, record)| record.seq.0 != seq);
        finding.look_at(id, !gaps, || "its journal has gaps".to_owned());
    }
    finding
}

pub(super) fn every_run_was_ordered_once(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of(
        "every run was ordered, no order became two, what was said to have begun has, and a refusal touched nothing",
    );
    let mut runs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for run in &evidence.runs {
        runs.entry(Story::of(run).by).or_default().push(run.summary.run.as_str());
    }
    let orders: BTreeSet<&str> = evidence.told.iter().map(|told| told.by.as_str()).collect();
    for (by, ids) in &runs {
        finding.look_at(by, orders.contains(by.as_str()), || format!("nobody of that name has ordered {ids:?}"));
        finding.look_at(by, ids.len() == 1, || format!("the order became {ids:?}"));
    }
    let known: BTreeSet<&str> = evidence.runs.iter().map(|run| run.summary.run.as_str()).collect();
    for told in &evidence.told {
        if let Some(began) = told.began() {
            finding.look_at(&told.by, known.contains(began), || format!("the store does not have run {began}"));
        }
        let untouched = told.trouble().and_then(|trouble| trouble.state.as_deref()) == Some("nothing was touched");
        if untouched {
            let became = runs.get(&told.by);
            finding.look_at(&told.by, became.is_none(), || {
                format!("nothing was touched, it was told; it became {became:?}")
            });
        }
    }
    finding
}

pub(super) fn no_node_is_destroyed_without_proof(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of(
        "a scale destroys nodes only once they are decommissioned, and new ones only before they may hold data",
    );
    for run in evidence.runs.iter() {
        let story = Story::of(run);
        finding.looked += story.destructions;
        for wrong in story.wrong {
            finding.look_at(run.summary.run.as_str(), false, || wrong);
        }
    }
    finding
}

/// By the failure table: whatever a create or a scale made goes when it is rolled back, unless the new nodes were being set
/// up already.
pub(super) fn a_failed_operation_took_back_what_it_should(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("what is rolled back leaves no machine that it made, unless it may hold data");
    for run in &evidence.runs {
        let story = Story::of(run);
        if story.rests.last() == Some(&Rest::RolledBack) && !(story.is_scale && story.configured) {
            finding.look_at(run.summary.run.as_str(), story.standing.is_empty(), || {
                format!("it leaves {:?} of {}", story.standing, story.cluster)
            });
        }
    }
    finding
}
