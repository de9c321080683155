//! Cancellations, going forward and when it is too late for them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runner::Runner;
use super::{points, scenario};
use crate::journal::{Cause, Event};
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::script::{Act, At, Script};
use crate::testkit::stage::Log;

pub(in crate::testkit) fn every_cancel<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    // Nobody can cancel what was not started yet: the first append is the start.
    let appends = undisturbed.appends.iter().filter(|append| append.nth > 1);
    let cancels = points(&undisturbed.calls, appends).map(|at| Script::new(Act::Cancel(at)));
    let well = runner.look(Kind::Cancel, cancels);

    // Whoever cancelled it has heard nothing, so it may have been or not.
    let durable = well.iter().filter_map(|(script, seen)| Some((script, cancelled_by(&seen.log)?)));
    let crashes = durable
        .flat_map(|(script, nth)| [false, true].map(|durable| script.then_crash(At::Append { nth, durable })))
        .collect::<Vec<_>>();
    runner.look(Kind::Cancel, crashes);

    for scenario in scenario::all(&mut runner, &undisturbed) {
        runner.appends.clone_from(&scenario.log.appends);
        let (calls, appends) = scenario.in_abort();
        let at_rest = scenario.end.is_resting().then_some(At::Rest);
        let late = points(calls, appends).chain(at_rest);
        runner.look(Kind::Cancel, late.map(|at| Script::when(Act::Cancel(at), &scenario.when)));
    }
    runner.report()
}

/// The append that made a cancellation durable.
fn cancelled_by(log: &Log) -> Option<u64> {
    let cancels = |event: &Event| matches!(event, Event::AbortBegan { cause: Cause::Cancelled { .. } });
    log.appends.iter().find(|append| append.events.iter().any(cancels)).map(|append| append.nth)
}
