//! Deadlines that pass.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runner::Runner;
use super::{at, scenario};
use crate::testkit::World;
use crate::testkit::kit::Kit;
use crate::testkit::report::{Kind, Report};
use crate::testkit::script::{Act, Asked, At, Moment, Script, What};
use crate::testkit::stage::{Appended, Call};

pub(in crate::testkit) fn every_deadline<W, In, Out>(kit: &Kit<W, In, Out>) -> Report
where
    W: World,
    In: Serialize + DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + 'static,
{
    let mut runner = Runner::new(kit);
    let Some(undisturbed) = runner.undisturbed() else { return runner.report() };
    let times = times(&undisturbed.calls, &undisturbed.appends, None, undisturbed.lasted);
    runner.look(Kind::Deadline, times.into_iter().map(Script::new));
    for scenario in scenario::all(&mut runner, &undisturbed) {
        let (calls, appends) = scenario.in_abort();
        let began = scenario.in_abort().1.next().map(|append| append.at);
        let times = self::times(calls, appends, began, scenario.log.lasted);
        runner.look(Kind::Deadline, times.into_iter().map(|act| Script::when(act, &scenario.when)));
    }
    runner.report()
}

/// A deadline for each point after a moment, of those that come at the same time for the first only.
fn times<'c>(
    calls: impl IntoIterator<Item = &'c Call>,
    appends: impl IntoIterator<Item = &'c Appended>,
    began: Option<Duration>,
    lasted: Duration,
) -> Vec<Act> {
    let mut times: BTreeMap<Duration, At> = BTreeMap::new();
    let appends = appends.into_iter().map(|append| (append.at, At::Append { nth: append.nth, durable: true }));
    let calls = calls.into_iter().filter(|call| call.what != What::Guard(Asked::InAWait));
    let calls = calls.flat_map(|call| call.reached.iter().map(|(moment, when)| (*when, at(call, *moment))));
    for (when, at) in calls.chain(appends) {
        // What passes in a wait passes a little later than that begins.
        let wait = matches!(at, At::Call { moment: Moment::During(_), .. });
        times.entry(millis(when, u64::from(wait))).or_insert(at);
    }
    let began = began.map(|began| millis(began, 0));
    times.retain(|after, _| *after <= lasted && began.is_none_or(|began| *after > began));
    times.into_iter().map(|(after, at)| Act::Deadline { at, after }).collect()
}

/// Runs reckon in milliseconds.
fn millis(when: Duration, more: u64) -> Duration {
    let millis = u64::try_from(when.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_add(more))
}
