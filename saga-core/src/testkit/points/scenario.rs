//! Runs in which one step fails, so that there is a rollback (or a halt) to look at.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runner::Runner;
use crate::journal::Event;
use crate::outcome::{Outcome, Place};
use crate::payload::Payload;
use crate::plan::{Recovery, Shape};
use crate::testkit::World;
use crate::testkit::report::Kind;
use crate::testkit::script::{Failing, Moment, Often, Script, Way, What};
use crate::testkit::stage::{Appended, Call, Log};

pub(super) struct Scenario {
    pub(super) when: Vec<Failing>,
    pub(super) log: Log,
    pub(super) end: Outcome<Payload>,
}

impl Scenario {
    /// How many calls, and how many appends, came before the step that fails: up to there the run is as if undisturbed.
    pub(super) fn turns_at(&self) -> (usize, u64) {
        let is_it = |what: &What| self.when.iter().any(|failing| failing.what == *what);
        let at = self.log.calls.iter().position(|call| is_it(&call.what)).unwrap_or(0);
        (at, self.log.calls.get(at).map_or(0, |call| call.appends_before))
    }

    /// The calls and the appends that came when the run was being aborted.
    pub(super) fn in_abort(&self) -> (impl Iterator<Item = &Call>, impl Iterator<Item = &Appended>) {
        let aborts = |append: &&Appended| append.events.iter().any(|event| matches!(event, Event::AbortBegan { .. }));
        let from = self.log.appends.iter().find(aborts).map_or(u64::MAX, |append| append.nth);
        let calls = self.log.calls.iter().filter(move |call| call.appends_before >= from);
        (calls, self.log.appends.iter().filter(move |append| append.nth >= from))
    }
}

/// What has to fail for a run to end in each way there is besides completing: rolled back, halted, stuck.
pub(super) fn ends(scenarios: &[Scenario], undos: &[(Place, &Scenario)]) -> Vec<Vec<Failing>> {
    let rolled_back = scenarios.iter().find(|scenario| matches!(scenario.end, Outcome::RolledBack(_)));
    let halted = scenarios.iter().find(|scenario| matches!(scenario.end, Outcome::Halted(_)));
    let mut ends: Vec<Vec<Failing>> = rolled_back.into_iter().chain(halted).map(|one| one.when.clone()).collect();
    ends.extend(undos.first().map(|(place, scenario)| stuck_at(place, scenario, Moment::After)));
    ends
}

/// The compensation of this item fails too, and is not tried again.
pub(super) fn stuck_at(place: &Place, scenario: &Scenario, moment: Moment) -> Vec<Failing> {
    let undo = Failing::new(What::Undo(place.clone()), Way::Fatal, moment, Often::Always);
    scenario.when.iter().cloned().chain([undo]).collect()
}

/// One for each step that is made to fail: it fails fatally after its effect. One more for those of which it matters
/// that nothing happened.
pub(super) fn all<W, In, Out>(runner: &mut Runner<'_, W, In, Out>, undisturbed: &Log) -> Vec<Scenario>
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let plan = runner.plan();
    let mut scenarios = Vec::new();
    for index in plan.order().iter().copied().filter(|step| runner.kit.includes(*step)) {
        let step = plan.step(index);
        // The last item: by then others of its kind have succeeded.
        let last = undisturbed.calls.iter().filter_map(|call| match &call.what {
            What::Action(place) if place.step == step.name => Some(place),
            _ => None,
        });
        let Some(place) = last.max() else { continue };
        let fails = |way, moment| Failing::new(What::Action(place.clone()), way, moment, Often::Forward);
        let mut ways = vec![fails(Way::Fatal, Moment::After)];
        if step.is_non_compensable() || step.probed {
            ways.push(fails(Way::Rejected, Moment::Before));
        }
        for failing in ways {
            let Some(seen) = runner.see(Kind::Failure, Script::fail(failing.clone())) else { continue };
            // If a probe found that it was done, the run went on.
            if let Some(end) = seen.end.ok().filter(|end| !end.is_completed()) {
                scenarios.push(Scenario { when: vec![failing], log: seen.log, end });
            }
        }
    }
    scenarios
}

/// Every item that is undone in a scenario, each with one such scenario: the latest, where the most is undone.
pub(super) fn undos<'s, W, In, Out>(
    runner: &mut Runner<'_, W, In, Out>,
    undisturbed: &Log,
    scenarios: &'s [Scenario],
) -> Vec<(Place, &'s Scenario)>
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let plan = runner.plan();
    let mut undos = Vec::new();
    for call in &undisturbed.calls {
        let What::Action(place) = &call.what else { continue };
        let Some(index) = plan.find(place.step.as_str()).filter(|step| runner.kit.includes(*step)) else { continue };
        let step = plan.step(index);
        if call.nth > 1 || !matches!(step.recovery, Recovery::Compensable { .. }) {
            continue;
        }
        let undo = What::Undo(place.clone());
        let undoes = |scenario: &&Scenario| scenario.log.calls.iter().any(|call| call.what == undo);
        match scenarios.iter().rev().find(undoes) {
            Some(scenario) => undos.push((place.clone(), scenario)),
            None if !runner.is_over() && (step.shape == Shape::Single || place.item == Some(0)) => {
                runner.note(format!("{undo} was never reached by the failure of a step"));
            }
            None => {}
        }
    }
    undos
}
