//! Goes through trials, judges them, and writes the report.

use std::collections::VecDeque;
use std::num::NonZero;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journal::{Event, ProbeAnswer};
use crate::plan::Plan;
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{FailedPoint, Kind, Report};
use crate::testkit::script::{Act, At, Script};
use crate::testkit::stage::{Appended, Log};
use crate::testkit::trial::{Seen, Trial};
use crate::testkit::{rules, wrap};

/// After so many the next ones tell nothing new.
const MOST_FAILED: usize = 100;

pub(super) struct Runner<'a, W: World, In, Out> {
    pub(super) kit: &'a Kit<W, In, Out>,
    report: Report,
    forecasts: rules::Forecasts<'a>,
    side_by_side: usize,
    /// Something cannot go on.
    over: bool,
    found: bool,
    /// The appends of the run that a crash or cancellation is set in, for those who read of one.
    pub(super) appends: Vec<Appended>,
}

impl<'a, W, In, Out> Runner<'a, W, In, Out>
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    pub(super) fn new(kit: &'a Kit<W, In, Out>) -> Self {
        let report = Report::new(kit.saga.name().clone(), kit.seed);
        let forecasts = rules::Forecasts::new(kit.saga.plan());
        let side_by_side = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { kit, report, forecasts, side_by_side, over: false, found: false, appends: Vec::new() }
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.kit.saga.plan()
    }

    pub(super) fn note(&mut self, note: String) {
        self.report.note(note);
    }

    /// Whether nothing more is looked at.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What is not looked at, as it is like what is.
    pub(super) fn left_out(&mut self, what: &'static str, points: usize) {
        self.report.left_out(what, points);
    }

    /// The run that nothing disturbs, if it does what it should: it completes.
    pub(super) fn undisturbed(&mut self) -> Option<Log> {
        let log = self.see(Kind::Undisturbed, Script::default())?.log;
        self.appends.clone_from(&log.appends);
        Some(log)
    }

    /// A trial that is gone through to see what points there are.
    pub(super) fn see(&mut self, kind: Kind, script: Script) -> Option<Seen> {
        if self.over {
            return None;
        }
        let seen = Trial::begin(self.kit, script.clone()).end(self.kit.give_up_after);
        let point = script.to_string();
        if kind != Kind::Undisturbed && self.kit.only.as_ref().is_some_and(|only| only.point != point) {
            return self.wrong(&script, &seen).is_empty().then_some(seen);
        }
        self.found |= self.kit.only.as_ref().is_some_and(|only| only.point == point);
        self.judge(kind, &script, point, &seen).then_some(seen)
    }

    /// Points, those of them that are asked for. Answers what was seen where all was well, in the same order.
    pub(super) fn look(&mut self, kind: Kind, scripts: impl IntoIterator<Item = Script>) -> Vec<(Script, Seen)> {
        let mut well = Vec::new();
        let mut scripts = scripts.into_iter();
        let mut under_way = VecDeque::new();
        loop {
            // Side by side, as many as there are cores; judged in order, so that the report is the same each time.
            while under_way.len() < self.side_by_side && !self.over {
                let Some(script) = scripts.next() else { break };
                let point = script.to_string();
                let is_asked_for = self.kit.only.as_ref().is_none_or(|only| only.point == point);
                // It may be the first part of the one that is.
                if is_asked_for || self.leads_to_what_is_asked_for(&script) {
                    let trial = Trial::begin(self.kit, script.clone());
                    under_way.push_back((script, point, is_asked_for, trial));
                }
            }
            let Some((script, point, is_asked_for, trial)) = under_way.pop_front() else { return well };
            let seen = trial.end(self.kit.give_up_after);
            if is_asked_for && !self.over {
                self.found = true;
                self.report.tried(kind);
                if !self.judge(kind, &script, point, &seen) {
                    continue;
                }
            }
            well.push((script, seen));
        }
    }

    fn leads_to_what_is_asked_for(&self, script: &Script) -> bool {
        let then = format!("{}, then crash ", script.act_in_words());
        self.kit.only.as_ref().is_some_and(|only| only.point.starts_with(&then))
    }

    /// Says whether all was well.
    fn judge(&mut self, kind: Kind, script: &Script, point: String, seen: &Seen) -> bool {
        let wrong = self.wrong(script, seen);
        if wrong.is_empty() {
            return true;
        }
        let outcome = seen.end.as_ref().ok().map(ToString::to_string);
        let about = self.about(script);
        self.report.failed(FailedPoint { kind, point, wrong, outcome, about, is_missing: false });
        if self.report.failures().len() >= MOST_FAILED {
            self.over = true;
            self.note(format!("stopped after {MOST_FAILED} failed points"));
        }
        if seen.runs_on {
            self.over = true;
            self.note("stopped: the last trial cannot be ended".to_owned());
        }
        false
    }

    fn wrong(&self, script: &Script, seen: &Seen) -> Vec<String> {
        let outcome = match &seen.end {
            Ok(outcome) => outcome,
            Err(trouble) => return vec![trouble.clone()],
        };
        let mut wrong: Vec<String> = unreached(script, &seen.log).into_iter().collect();
        wrong.extend(seen.log.wrong.iter().cloned());
        wrong.extend(seen.log.refused.as_ref().map(|refused| format!("the cancellation was refused: {refused}")));
        if wrong.is_empty() {
            wrong.extend(rules::judge(&self.forecasts, script, &seen.log, outcome).err());
        }
        wrong.extend(seen.verdict.as_ref().err().cloned());
        wrong
    }

    /// What the appends that a point speaks of are.
    fn about(&self, script: &Script) -> Vec<String> {
        let nth = script.points().next().and_then(|at| match at {
            At::Append { nth, .. } => Some(*nth),
            At::Call { .. } | At::Rest => None,
        });
        let append = nth.and_then(|nth| self.appends.iter().find(|append| append.nth == nth));
        let append = append.map(|append| format!("append {}: {}", append.nth, told(self.plan(), &append.events)));
        let deadline = match &script.act {
            Act::Deadline { after, .. } => Some(format!("the deadline: {after:?} after the start")),
            _ => None,
        };
        append.into_iter().chain(deadline).collect()
    }

    pub(super) fn report(mut self) -> Report {
        if let Some(only) = self.kit.only.as_ref().filter(|_| !self.found && !self.over) {
            let what = format!("there is no point {:?} here", only.point);
            if only.of_all {
                self.report.note(what);
            } else {
                let kind = Kind::Undisturbed;
                let point = only.point.clone();
                let (wrong, about) = (vec![what], Vec::new());
                self.report.failed(FailedPoint { kind, point, wrong, outcome: None, about, is_missing: true });
            }
        }
        self.report
    }
}

/// A trial that did not come to its point says nothing of it.
fn unreached(script: &Script, log: &Log) -> Option<String> {
    let failings: Vec<_> = script.failings().zip(&log.injected).collect();
    let looked_at = failings.len() - script.when.len();
    let (looked_at, when) = failings.split_at(looked_at);
    let missed = if looked_at.iter().any(|(_, times)| **times > 0) { None } else { looked_at.first() };
    let missed = missed.or_else(|| when.iter().find(|(_, times)| **times == 0));
    let what = match &script.act {
        _ if missed.is_some() => missed?.0.to_string(),
        _ if log.crashes < script.crashes.len() => format!("crash {}", script.crashes[log.crashes]),
        Act::Cancel(at) if !log.cancelled => format!("cancel {at}"),
        Act::Vanish(at) if !log.vanished => format!("subject gone {at}"),
        Act::Deadline { at, after } if log.lasted < *after => format!("deadline {at}"),
        Act::Repeat(what) if !log.repeated => format!("repeat {what}"),
        Act::Operate { .. } if !log.operated => script.act_in_words(),
        _ => return None,
    };
    Some(format!("the run never came to: {what} (does it act differently each time: random order, real time?)"))
}

/// Events in a few words.
fn told(plan: &Plan, events: &[Event]) -> String {
    let words: Vec<String> = events.iter().map(|event| word(plan, event)).collect();
    words.join("; ")
}

fn word(plan: &Plan, event: &Event) -> String {
    let place = |of: &crate::ItemRef| wrap::place(plan, of.step, of.item);
    match event {
        Event::RunStarted { .. } => "the run started".to_owned(),
        Event::Resumed { .. } => "the run was taken up".to_owned(),
        Event::StepStarted { name, .. } => format!("`{name}` started"),
        Event::AttemptStarted { of, attempt } => format!("attempt {attempt} of `{}` started", place(of)),
        Event::Checkpointed { of, .. } => format!("`{}` recorded a checkpoint", place(of)),
        Event::AttemptFailed { of, .. } => format!("`{}` failed", place(of)),
        Event::Probed { of, answer } => {
            let answer = match answer {
                ProbeAnswer::Done(_) => "done",
                ProbeAnswer::NotDone => "not done",
                ProbeAnswer::Unknown => "unknown",
            };
            format!("the probe of `{}` said: {answer}", place(of))
        }
        Event::Succeeded { of, .. } => format!("`{}` succeeded", place(of)),
        Event::AbortBegan { .. } => "the abort began".to_owned(),
        Event::SubjectChecked { gone } => format!("the guard said: {}", if *gone { "gone" } else { "there" }),
        Event::RollbackBegan => "the rollback began".to_owned(),
        Event::UndoStarted { of, .. } => format!("the undo of `{}` started", place(of)),
        Event::UndoFailed { of, .. } => format!("the undo of `{}` failed", place(of)),
        Event::Undone { of } => format!("`{}` was undone", place(of)),
        Event::Rested { .. } => "the run came to rest".to_owned(),
        Event::FinalizerFailed { .. } => "the finalizer failed".to_owned(),
        Event::Finalized => "the finalizer was told".to_owned(),
        Event::Operated { verb, .. } => format!("an operator: {verb}"),
    }
}
