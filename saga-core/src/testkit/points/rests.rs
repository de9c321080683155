//! Runs that rest, and operators who move them on.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failures::is_spent;
use super::runner::Runner;
use super::scenario;
use crate::journal::Event;
use crate::outcome::Place;
use crate::payload::Payload;
use crate::plan::{Plan, Recovery, Shape};
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::script::{Act, Ask, At, Failing, Moment, Often, Script, Way, What};
use crate::testkit::stage::Log;

/// What makes a run rest: with the effect of what fails, or without.
struct Rest {
    place: Place,
    with_effect: Vec<Failing>,
    without: Vec<Failing>,
    is_halt: bool,
    /// Of a step that is skipped.
    output: Option<Payload>,
}

pub(in crate::testkit) fn every_rest<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    let mut rests = of_steps(&runner, &undisturbed);
    let scenarios = scenario::all(&mut runner, &undisturbed);
    rests.extend(scenario::undos(&mut runner, &undisturbed, &scenarios).into_iter().map(|(place, scenario)| Rest {
        with_effect: scenario::stuck_at(&place, scenario, Moment::After),
        without: scenario::stuck_at(&place, scenario, Moment::Before),
        is_halt: false,
        output: None,
        place,
    }));
    for rest in rests {
        let act = |ask| Act::Operate {
            ask,
            place: rest.place.clone(),
            output: (ask == Ask::Skip).then(|| rest.output.clone()).flatten(),
        };
        let mut scripts = vec![
            Script::when(act(Ask::Retry), &rest.with_effect),
            Script::when(act(Ask::Retry), &rest.without),
            Script::when(act(Ask::RetryInVain), &rest.without),
            Script::when(act(Ask::Skip), &rest.with_effect),
            Script::when(act(Ask::Abandon), &rest.with_effect),
        ];
        if rest.is_halt {
            scripts.push(Script::when(act(Ask::RollBack), &rest.without));
        }
        let well = runner.look(Kind::Rest, scripts);
        let mut crashes = Vec::new();
        for (script, seen) in &well {
            let operates = |event: &Event| matches!(event, Event::Operated { .. });
            let from = seen.log.appends.iter().position(|append| append.events.iter().any(operates));
            let after = seen.log.appends.iter().skip(from.unwrap_or(usize::MAX));
            let points = after.flat_map(|append| [false, true].map(|durable| At::Append { nth: append.nth, durable }));
            crashes.extend(points.map(|at| script.then_crash(at)));
        }
        runner.look(Kind::Rest, crashes);
    }
    runner.report()
}

/// Steps at which a run halts, and forward steps that cannot be finished.
fn of_steps<W, In, Out>(runner: &Runner<'_, W, In, Out>, undisturbed: &Log) -> Vec<Rest>
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let (plan, within) = (runner.plan(), runner.kit.limit() / 4);
    let mut rests = Vec::new();
    for call in undisturbed.calls.iter().filter(|call| call.nth == 1) {
        let What::Action(place) = &call.what else { continue };
        let Some(index) = plan.find(place.step.as_str()).filter(|step| runner.kit.includes(*step)) else { continue };
        let step = plan.step(index);
        let often = match &step.recovery {
            Recovery::NonCompensable => Often::Forward,
            Recovery::Forward { patience } if is_spent(patience, step.timeout.unwrap_or_default(), within) => {
                Often::Always
            }
            _ => continue,
        };
        let fails = |moment| {
            // A probe that knows would settle it.
            let mute = Failing::new(What::Probe(place.clone()), Way::Unknown, Moment::Before, Often::Always);
            let failing = Failing::new(call.what.clone(), Way::Fatal, moment, often);
            std::iter::once(failing).chain(step.probed.then_some(mute)).collect::<Vec<_>>()
        };
        rests.push(Rest {
            with_effect: fails(Moment::After),
            without: fails(Moment::Before),
            is_halt: step.is_non_compensable(),
            output: output(plan, undisturbed, place),
            place: place.clone(),
        });
    }
    rests
}

/// What an item's action returned in the run that nothing disturbed.
fn output(plan: &Plan, undisturbed: &Log, place: &Place) -> Option<Payload> {
    let step = plan.find(place.step.as_str())?;
    debug_assert_eq!(place.item.is_some(), plan.step(step).shape != Shape::Single);
    undisturbed.appends.iter().flat_map(|append| &append.events).find_map(|event| match event {
        Event::Succeeded { of, output } if of.step == step && of.item == place.item.unwrap_or(0) => {
            Some(output.clone())
        }
        _ => None,
    })
}
