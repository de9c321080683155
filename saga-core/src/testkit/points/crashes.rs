//! Crashes, and crashes inside of the recovery from them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runner::Runner;
use super::{at, moments, scenario};
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::script::{Act, Asked, At, Failing, Moment, Often, Script, Way, What};
use crate::testkit::stage::{Call, Log};

/// How many appends, and how many calls, of the process that takes the run up are looked at for another crash. What comes
/// later is as after one crash.
const SOON: usize = 1;

pub(in crate::testkit) fn every_crash<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    crash_in(&mut runner, &undisturbed, &[], (0, 0));
    let scenarios = scenario::all(&mut runner, &undisturbed);
    for scenario in &scenarios {
        runner.appends.clone_from(&scenario.log.appends);
        crash_in(&mut runner, &scenario.log, &scenario.when, scenario.turns_at());
    }
    // A finalizer that fails is tried again, by whoever is there then.
    let undos = scenario::undos(&mut runner, &undisturbed, &scenarios);
    for mut when in std::iter::once(Vec::new()).chain(scenario::ends(&scenarios, &undos)) {
        if !runner.plan().is_finalized() {
            break;
        }
        when.push(Failing::new(What::Finalizer, Way::Fatal, Moment::After, Often::Once));
        let Some(seen) = runner.see(Kind::Crash, Script::when(Act::Nothing, &when)) else { continue };
        let Some(at) = seen.log.calls.iter().position(|call| call.what == What::Finalizer) else { continue };
        runner.appends.clone_from(&seen.log.appends);
        crash_in(&mut runner, &seen.log, &when, (at, seen.log.calls[at].appends_before));
    }
    runner.report()
}

/// A crash at every point of a run, after so many calls and appends of it.
fn crash_in<W, In, Out>(runner: &mut Runner<'_, W, In, Out>, run: &Log, when: &[Failing], after: (usize, u64))
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let most = if runner.kit.thorough { usize::MAX } else { SOON };
    let (calls, appends) = after;
    let appends = run.appends.iter().filter(|append| append.nth > appends).count();
    let appends = run.appends.len() - appends;
    let crash = |points: Vec<At>| Script::crash(points, when);
    let once = points_of(run, 0, (calls, appends), usize::MAX).into_iter().map(|first| crash(vec![first]));
    // If one crash is too much, two tell nothing new.
    let well = runner.look(Kind::Crash, once);
    let thorough = runner.kit.thorough;
    let twice = well.iter().flat_map(|(script, seen)| {
        let first = &script.crashes[0];
        let second =
            if thorough || !is_told_by_appends(first) { points_of(&seen.log, 1, (0, 0), most) } else { Vec::new() };
        second.into_iter().map(move |second| crash(vec![first.clone(), second]))
    });
    let twice: Vec<_> = twice.collect();
    let all = well.iter().map(|(_, seen)| points_of(&seen.log, 1, (0, 0), usize::MAX).len()).sum::<usize>();
    runner.left_out("crashes later in a recovery", all - twice.len());
    runner.look(Kind::Crash, twice);
}

/// What is left of a process that died before or after a call is what is left of one that died after the append before
/// it, or before the append after it.
fn is_told_by_appends(at: &At) -> bool {
    matches!(at, At::Call { moment: Moment::Before | Moment::After, .. })
}

/// The points of one process, but for so many of its first calls and appends, and at most so many of each.
fn points_of(run: &Log, life: usize, (calls, appends): (usize, usize), most: usize) -> Vec<At> {
    // A guard that is asked in a wait is looked at with the wait.
    let is_of_wait = |call: &&Call| call.what == What::Guard(Asked::InAWait);
    let calls = run.calls.iter().filter(|call| call.life == life).skip(calls);
    let calls = calls.filter(|call| !is_of_wait(call)).take(most);
    let appends = run.appends.iter().filter(|append| append.life == life).skip(appends).take(most);
    let at_calls = calls.flat_map(|call| moments(call).map(|moment| at(call, moment)));
    let at_appends = appends.flat_map(|append| [false, true].map(|durable| At::Append { nth: append.nth, durable }));
    at_appends.chain(at_calls).collect()
}
