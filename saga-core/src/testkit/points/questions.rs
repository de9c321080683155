//! Probes and guards that do not answer as they should, and a subject that goes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failures::tries_again;
use super::runner::Runner;
use super::{at, moments, points, scenario};
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::script::{Act, Asked, Failing, Moment, Often, Script, Way, What};
use crate::testkit::stage::{Call, Log};

pub(in crate::testkit) fn every_question<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let plan = runner.plan();
    if !plan.is_guarded() && !plan.steps().iter().any(|step| step.probed) {
        return runner.report();
    }
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    probes(&mut runner, &undisturbed);
    if plan.is_guarded() {
        guard(&mut runner, &undisturbed);
    }
    runner.report()
}

/// Each probe, asked about an action that failed, and about one that was cut short.
fn probes<W, In, Out>(runner: &mut Runner<'_, W, In, Out>, undisturbed: &Log)
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let plan = runner.plan();
    for call in undisturbed.calls.iter().filter(|call| call.nth == 1) {
        let What::Action(place) = &call.what else { continue };
        let Some(step) = plan.find(place.step.as_str()).filter(|step| runner.kit.includes(*step)) else { continue };
        let step = plan.step(step);
        if !step.probed {
            continue;
        }
        let probe = What::Probe(place.clone());
        let fails = |way, moment, often| Failing::new(call.what.clone(), way, moment, often);
        let mut causes =
            vec![fails(Way::Fatal, Moment::Before, Often::Forward), fails(Way::Fatal, Moment::After, Often::Forward)];
        if tries_again(&step.retry, Way::Failed, step.timeout) {
            causes.push(fails(Way::Failed, Moment::After, Often::Once));
        }
        for cause in causes {
            let when = [cause];
            let Some(seen) = runner.see(Kind::Question, Script::when(Act::Nothing, &when)) else { continue };
            let Some(asked) = seen.log.calls.iter().find(|call| call.what == probe) else { continue };
            let mute = of_probe(asked).into_iter();
            runner.look(Kind::Question, mute.map(|failing| Script::when(Act::Fail(vec![failing]), &when)));
        }
        let unknown = [Failing::new(probe, Way::Unknown, Moment::Before, Often::Always)];
        let crashes = moments(call).map(|moment| Script::crash(vec![at(call, moment)], &unknown));
        runner.look(Kind::Question, crashes);
    }
}

fn of_probe(call: &Call) -> Vec<Failing> {
    let mut ways = vec![(Way::Unknown, Moment::Before)];
    for way in [Way::Failed, Way::Panic] {
        ways.extend([(way, Moment::Before), (way, Moment::After)]);
    }
    ways.extend(moments(call).map(|moment| (Way::TimedOut, moment)));
    ways.into_iter().map(|(way, moment)| Failing::new(call.what.clone(), way, moment, Often::Always)).collect()
}

/// The guard, wherever it is asked; and the subject, which goes wherever it can.
fn guard<W, In, Out>(runner: &mut Runner<'_, W, In, Out>, undisturbed: &Log)
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let of_waits = undisturbed.calls.iter().filter(|call| call.what == What::Guard(Asked::InAWait));
    runner.look(Kind::Question, of_waits.flat_map(of_guard).map(Script::fail));
    runner.left_out("asks of the guard by waits in which nothing else happens", undisturbed.unlisted);
    let vanishes = runner.kit.vanish.is_some();
    if vanishes {
        // The first append is the start: what is gone by then nobody starts anything for.
        let appends = undisturbed.appends.iter().filter(|append| append.nth > 1);
        let gone = points(&undisturbed.calls, appends).map(|at| Script::new(Act::Vanish(at)));
        runner.look(Kind::Question, gone);
    }
    for scenario in scenario::all(runner, undisturbed) {
        runner.appends.clone_from(&scenario.log.appends);
        let top = scenario.log.calls.iter().find(|call| call.what == What::Guard(Asked::AtTheTop));
        let failings = top.into_iter().flat_map(of_guard);
        runner.look(Kind::Question, failings.map(|failing| Script::when(Act::Fail(vec![failing]), &scenario.when)));
        if vanishes {
            let (calls, appends) = scenario.in_abort();
            let gone = points(calls, appends).map(|at| Script::when(Act::Vanish(at), &scenario.when));
            runner.look(Kind::Question, gone);
        }
    }
}

fn of_guard(call: &Call) -> Vec<Failing> {
    let ways = [
        (Way::Failed, Often::Once),
        (Way::Failed, Often::ForAWhile),
        (Way::Panic, Often::Once),
        (Way::TimedOut, Often::Once),
        (Way::Late, Often::Once),
        (Way::Gone, Often::Always),
    ];
    let failing =
        |(way, often)| Failing { from: call.nth, ..Failing::new(call.what.clone(), way, Moment::Before, often) };
    ways.map(failing).into()
}
