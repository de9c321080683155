//! Failures.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runner::Runner;
use super::scenario;
use crate::id::StepIndex;
use crate::plan::{Plan, Recovery};
use crate::policy::Retry;
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::rules::is_built_on;
use crate::testkit::script::{Act, Failing, Moment, Often, Script, Way, What};
use crate::testkit::stage::{Call, MOST_WAITS};

/// A policy with more attempts than this is taken for one without end.
const MANY_ATTEMPTS: u32 = 1_000;

pub(in crate::testkit) fn every_failure<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    let plan = runner.plan();
    let mut acting: Vec<(StepIndex, What)> = Vec::new();
    let mut scripts = Vec::new();
    for call in undisturbed.calls.iter().filter(|call| call.nth == 1) {
        let failings = match &call.what {
            What::Action(place) => match plan.find(place.step.as_str()).filter(|step| kit.includes(*step)) {
                Some(step) => {
                    acting.push((step, call.what.clone()));
                    of_action(plan, step, call, kit.limit())
                }
                None => continue,
            },
            What::Undo(_) | What::Probe(_) | What::Guard(_) => continue,
            What::Finalizer => of_finalizer(call),
        };
        scripts.extend(failings.into_iter().map(Script::fail));
    }
    scripts.extend(at_once(plan, &acting, kit.at_once).into_iter().map(|failings| Script::new(Act::Fail(failings))));
    runner.look(Kind::Failure, scripts);
    let scenarios = scenario::all(&mut runner, &undisturbed);
    let undos = scenario::undos(&mut runner, &undisturbed, &scenarios);
    for (place, scenario) in &undos {
        let step = plan.find(place.step.as_str()).expect("it was found before");
        let what = What::Undo(place.clone());
        let call = scenario.log.calls.iter().find(|call| call.what == what).expect("it is undone in there");
        let failings = of_undo(plan, step, call, kit.limit()).into_iter();
        runner.look(Kind::Failure, failings.map(|failing| Script::when(Act::Fail(vec![failing]), &scenario.when)));
    }
    for when in scenario::ends(&scenarios, &undos) {
        let Some(seen) = runner.see(Kind::Failure, Script::when(Act::Nothing, &when)) else { continue };
        let Some(call) = seen.log.calls.iter().find(|call| call.what == What::Finalizer) else { continue };
        let failings = of_finalizer(call).into_iter();
        runner.look(Kind::Failure, failings.map(|failing| Script::when(Act::Fail(vec![failing]), &when)));
    }
    let waits = undisturbed.calls.iter().map(|call| call.waits.saturating_sub(MOST_WAITS) as usize);
    runner.left_out("waits after the fourth of a call", waits.sum());
    runner.report()
}

/// The ways in which a call can fail. One that is rejected says that it did nothing, so it does nothing.
fn ways(call: &Call) -> Vec<(Way, Moment)> {
    let mut ways = vec![(Way::Rejected, Moment::Before)];
    for way in [Way::Failed, Way::Fatal, Way::Panic] {
        ways.extend([(way, Moment::Before), (way, Moment::After)]);
    }
    ways.push((Way::TimedOut, Moment::Before));
    ways.extend((1..=call.waits.min(MOST_WAITS)).map(|wait| (Way::TimedOut, Moment::During(wait))));
    ways.push((Way::TimedOut, Moment::After));
    ways
}

/// Whether another attempt follows a first one that took so long.
pub(super) fn tries_again(policy: &Retry, way: Way, limit: Option<Duration>) -> bool {
    let took = if way == Way::TimedOut { limit.unwrap_or_default() } else { Duration::ZERO };
    is_tried_again(way) && policy.delay_after(1, took, 0.0).is_some()
}

fn is_tried_again(way: Way) -> bool {
    way.kind() == crate::FailureKind::Failed
}

/// Whether later attempts may not come to this moment: one that finds a checkpoint waits less often than the first.
fn differs_each_time(moment: Moment, policy: &Retry) -> bool {
    matches!(moment, Moment::During(_)) && policy.delay_after(1, Duration::ZERO, 0.0).is_some()
}

/// Whether a policy is spent within so much time, whatever the dice say.
pub(super) fn is_spent(policy: &Retry, attempt: Duration, within: Duration) -> bool {
    let mut elapsed = Duration::ZERO;
    for failures in 1..=MANY_ATTEMPTS {
        elapsed = elapsed.saturating_add(attempt);
        match policy.delay_after(failures, elapsed, 0.0) {
            None => return true,
            Some(delay) => elapsed = elapsed.saturating_add(delay),
        }
        if elapsed > within {
            return false;
        }
    }
    false
}

fn of_action(plan: &Plan, step: StepIndex, call: &Call, patience: Duration) -> Vec<Failing> {
    let step = plan.step(step);
    let within = patience / 4;
    let attempt = step.timeout.unwrap_or_default();
    let spent = is_spent(&step.retry, attempt, within);
    let mut failings = Vec::new();
    for (way, moment) in ways(call) {
        let mut fails = |often| failings.push(Failing::new(call.what.clone(), way, moment, often));
        if tries_again(&step.retry, way, step.timeout) {
            fails(Often::Once);
        }
        if is_tried_again(way) && !spent || differs_each_time(moment, &step.retry) {
            continue;
        }
        // A forward step goes on by its patient policy, whatever it says: it is finished, or ends as residue.
        match &step.recovery {
            Recovery::Forward { patience } => {
                // Without a single patient attempt it could only ever be left half done.
                if !patience.allows_after(Duration::ZERO) {
                    continue;
                }
                fails(Often::Forward);
                if is_spent(patience, attempt, within) && !differs_each_time(moment, patience) {
                    fails(Often::Always);
                }
            }
            _ => fails(Often::Forward),
        }
    }
    failings
}

fn of_undo(plan: &Plan, step: StepIndex, call: &Call, patience: Duration) -> Vec<Failing> {
    let step = plan.step(step);
    let Recovery::Compensable { undo_retry } = &step.recovery else { return Vec::new() };
    let spent = is_spent(undo_retry, step.undo_timeout.unwrap_or_default(), patience / 4);
    let mut failings = Vec::new();
    for (way, moment) in ways(call) {
        let mut fails = |often| failings.push(Failing::new(call.what.clone(), way, moment, often));
        if tries_again(undo_retry, way, step.undo_timeout) {
            fails(Often::Once);
        }
        if (!is_tried_again(way) || spent) && !differs_each_time(moment, undo_retry) {
            fails(Often::Always);
        }
    }
    failings
}

/// It is tried again until it succeeds.
fn of_finalizer(call: &Call) -> Vec<Failing> {
    let ways = ways(call).into_iter().filter(|(way, _)| *way != Way::Rejected);
    ways.map(|(way, moment)| Failing::new(call.what.clone(), way, moment, Often::Once)).collect()
}

/// Two and more, up to so many, of those that may run at the same time.
fn at_once(plan: &Plan, acting: &[(StepIndex, What)], most: usize) -> Vec<Vec<Failing>> {
    let beside = |a: StepIndex, b: StepIndex| !is_built_on(plan, a, b) && !is_built_on(plan, b, a);
    let mut sets: Vec<Vec<usize>> = (0..acting.len()).map(|at| vec![at]).collect();
    let mut found = Vec::new();
    for _ in 1..most {
        let mut larger = Vec::new();
        for set in &sets {
            let from = set.last().map_or(0, |last| last + 1);
            let fits = |next: &usize| set.iter().all(|at| beside(acting[*at].0, acting[*next].0));
            larger.extend((from..acting.len()).filter(fits).map(|next| [set.as_slice(), &[next]].concat()));
        }
        found.extend(larger.iter().cloned());
        sets = larger;
    }
    let ways = [(Way::Fatal, Moment::After), (Way::Rejected, Moment::Before)];
    let failing = |at: &usize, (way, moment)| Failing::new(acting[*at].1.clone(), way, moment, Often::Forward);
    let all = found.iter().flat_map(|set| ways.map(|way| set.iter().map(|at| failing(at, way)).collect()));
    all.collect()
}
