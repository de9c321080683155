//! Which points there are, and a trial for each.
//!
//! Points are found by looking: at a run that nothing disturbs, and at runs in which one step fails. What was seen there
//! (calls, waits, appends) is where the other trials fail, crash or cancel. As time is virtual and the order of
//! concurrent steps is seeded, a run comes to the same points each time.

mod cancels;
mod crashes;
mod deadlines;
mod failures;
mod questions;
mod rests;
mod runner;
mod scenario;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use cancels::every_cancel;
pub(super) use crashes::every_crash;
pub(super) use deadlines::every_deadline;
pub(super) use failures::every_failure;
pub(super) use questions::every_question;
pub(super) use rests::every_rest;

use self::runner::Runner;
use super::World;
use super::kit::Kit;
use super::report::{Kind, Report};
use super::script::{Act, Asked, At, Moment, Script, What};
use super::stage::{Appended, Call, MOST_WAITS};

/// The moments of a call at which something can happen to it.
fn moments(call: &Call) -> impl Iterator<Item = Moment> + use<> {
    let during = (1..=call.waits.min(MOST_WAITS)).map(Moment::During);
    std::iter::once(Moment::Before).chain(during).chain(call.worked.then_some(Moment::After))
}

fn at(call: &Call, moment: Moment) -> At {
    At::Call { what: call.what.clone(), nth: call.nth, moment }
}

/// All moments of calls, and the appends when they are durable. A guard that is asked in a wait is looked at with the wait.
fn points<'c>(
    calls: impl IntoIterator<Item = &'c Call>,
    appends: impl IntoIterator<Item = &'c Appended>,
) -> impl Iterator<Item = At> {
    let calls = calls.into_iter().filter(|call| call.what != What::Guard(Asked::InAWait));
    let calls = calls.flat_map(|call| moments(call).map(|moment| at(call, moment)));
    calls.chain(appends.into_iter().map(|append| At::Append { nth: append.nth, durable: true }))
}

pub(super) fn every_repeat<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    let calls = undisturbed.calls.iter().filter(|call| call.nth == 1 && call.what.acts());
    runner.look(Kind::Repeat, calls.map(|call| Script::new(Act::Repeat(call.what.clone()))));
    let scenarios = scenario::all(&mut runner, &undisturbed);
    let undos = scenario::undos(&mut runner, &undisturbed, &scenarios).into_iter();
    let repeat =
        |(undo, scenario): (_, &scenario::Scenario)| Script::when(Act::Repeat(What::Undo(undo)), &scenario.when);
    runner.look(Kind::Repeat, undos.map(repeat));
    runner.report()
}
