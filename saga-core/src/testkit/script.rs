//! What is done to a run in one trial, and how that is called.
//!
//! The name of a point is its [`Script`]'s text: it is printed in reports, and is what `only` takes.

use std::fmt;
use std::time::Duration;

use crate::journal::FailureKind;
use crate::outcome::Place;
use crate::payload::Payload;

/// Code of the saga that is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum What {
    Action(Place),
    Undo(Place),
    Probe(Place),
    Guard(Asked),
    Finalizer,
}

/// When the guard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asked {
    /// An error has reached the top.
    AtTheTop,
    /// A step waits.
    InAWait,
}

impl What {
    /// It acts on the world, and is not only asked about it.
    pub(super) fn acts(&self) -> bool {
        matches!(self, Self::Action(_) | Self::Undo(_) | Self::Finalizer)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(place) => write!(f, "`{place}`"),
            Self::Undo(place) => write!(f, "the undo of `{place}`"),
            Self::Probe(place) => write!(f, "the probe of `{place}`"),
            Self::Guard(Asked::AtTheTop) => f.write_str("the guard"),
            Self::Guard(Asked::InAWait) => f.write_str("the guard of a wait"),
            Self::Finalizer => f.write_str("the finalizer"),
        }
    }
}

/// A place in a call, as far as one outside of it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    /// The call has not begun.
    Before,
    /// The call waits at an `await`: so many times it has waited by now.
    During(u32),
    /// The call has done its work, and nobody knows.
    After,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before"),
            Self::During(1) => f.write_str("during"),
            Self::During(n) => write!(f, "during wait {n} of"),
            Self::After => f.write_str("after"),
        }
    }
}

/// How a call is made to fail. The last three are for those that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Rejected,
    Failed,
    Fatal,
    Panic,
    TimedOut,
    /// A probe that does not know.
    Unknown,
    /// A guard that takes its time.
    Late,
    /// A guard that says that the subject is gone, and says so from then on.
    Gone,
}

impl Way {
    /// What it tells the machine.
    pub(super) fn kind(self) -> FailureKind {
        match self {
            Self::Rejected => FailureKind::Rejected,
            Self::Failed | Self::TimedOut | Self::Unknown | Self::Late | Self::Gone => FailureKind::Failed,
            Self::Fatal | Self::Panic => FailureKind::Fatal,
        }
    }
}

/// For how long a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Often {
    Once,
    /// A few times.
    ForAWhile,
    /// Until the run is being aborted; what is finished then may succeed.
    Forward,
    Always,
}

/// How many times that is.
pub(super) const A_WHILE: u32 = 5;

/// A failure that is brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) what: What,
    pub(super) way: Way,
    pub(super) moment: Moment,
    pub(super) often: Often,
    /// The first call that fails, from 1.
    pub(super) from: u32,
}

impl Failing {
    pub(super) fn new(what: What, way: Way, moment: Moment, often: Often) -> Self {
        Self { what, way, moment, often, from: 1 }
    }

    /// Whether the run goes on after it as if nothing had been: the call is made again, as the policy of its step has room
    /// for another attempt, or it was only asked something.
    pub(super) fn is_got_over(&self) -> bool {
        matches!(self.often, Often::Once | Often::ForAWhile) || !self.what.acts()
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        let asked = !what.acts();
        match self.way {
            Way::Rejected => write!(f, "{what} is rejected")?,
            Way::Failed if matches!(what, What::Guard(_)) => write!(f, "{what} cannot tell")?,
            Way::Failed => write!(f, "{what} fails")?,
            Way::Fatal => write!(f, "{what} fails fatally")?,
            Way::Panic => write!(f, "{what} panics")?,
            Way::TimedOut if asked => write!(f, "{what} hangs")?,
            Way::TimedOut => write!(f, "{what} times out")?,
            Way::Unknown => write!(f, "{what} does not know")?,
            Way::Late => write!(f, "{what} is late")?,
            Way::Gone => write!(f, "{what} says `gone`")?,
        }
        match (self.way, self.moment) {
            (Way::Rejected, _) => {}
            (_, Moment::During(n)) => write!(f, " in wait {n}")?,
            (_, Moment::Before) if asked => {}
            (_, Moment::After) if asked => f.write_str(" with its answer ready")?,
            (_, moment) => write!(f, " {moment} its effect")?,
        }
        if self.from > 1 {
            write!(f, " (call {})", self.from)?;
        }
        match self.often {
            Often::Once => f.write_str(" once"),
            Often::ForAWhile => f.write_str(" for a while"),
            Often::Forward => Ok(()),
            Often::Always if asked => Ok(()),
            // What is tried by a second, patient policy, is not done with when it has failed "for good".
            Often::Always => f.write_str(" each time"),
        }
    }
}

/// A point of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// At the append of that number, from 1.
    Append { nth: u64, durable: bool },
    /// At the call of that number, from 1, of something.
    Call { what: What, nth: u32, moment: Moment },
    /// When it rests, and waits for an operator.
    Rest,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { nth, durable } => write!(f, "{} append {nth}", if *durable { "after" } else { "before" }),
            Self::Call { what, nth: 1, moment } => write!(f, "{moment} {what}"),
            Self::Call { what, nth, moment } => write!(f, "{moment} {what} (call {nth})"),
            Self::Rest => f.write_str("at rest"),
        }
    }
}

/// What an operator asks of a run that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Retry,
    /// What had failed fails again.
    RetryInVain,
    Skip,
    RollBack,
    Abandon,
}

/// What is looked at in one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Act {
    #[default]
    Nothing,
    Fail(Vec<Failing>),
    Cancel(At),
    /// The deadline, so long after the start, passes at that point.
    Deadline {
        at: At,
        after: Duration,
    },
    /// The subject is taken away from the world.
    Vanish(At),
    Repeat(What),
    /// An operator moves the run on that rests at this place. What is skipped has this output.
    Operate {
        ask: Ask,
        place: Place,
        output: Option<Payload>,
    },
}

/// What is done to a run in one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) act: Act,
    /// The process dies at each of these in turn, each in a life of its own.
    pub(super) crashes: Vec<At>,
    /// Failures that are not what is looked at: they turn the run back, so that there is a rollback to look at.
    pub(super) when: Vec<Failing>,
}

impl Script {
    pub(super) fn new(act: Act) -> Self {
        Self { act, ..Self::default() }
    }

    pub(super) fn when(act: Act, failing: &[Failing]) -> Self {
        Self { act, when: failing.to_vec(), ..Self::default() }
    }

    pub(super) fn fail(failing: Failing) -> Self {
        Self::new(Act::Fail(vec![failing]))
    }

    pub(super) fn crash(points: Vec<At>, when: &[Failing]) -> Self {
        Self { crashes: points, when: when.to_vec(), ..Self::default() }
    }

    /// The same, and a crash besides.
    pub(super) fn then_crash(&self, at: At) -> Self {
        let mut script = self.clone();
        script.crashes.push(at);
        script
    }

    /// All failures, those that are looked at first.
    pub(super) fn failings(&self) -> impl Iterator<Item = &Failing> {
        let looked_at: &[Failing] = match &self.act {
            Act::Fail(failings) => failings,
            _ => &[],
        };
        looked_at.iter().chain(&self.when)
    }

    /// Where something is done besides failing: a crash, a cancellation.
    pub(super) fn points(&self) -> impl Iterator<Item = &At> {
        let at = match &self.act {
            Act::Cancel(at) | Act::Deadline { at, .. } | Act::Vanish(at) => Some(at),
            _ => None,
        };
        at.into_iter().chain(&self.crashes)
    }

    /// Without what turns the run back.
    pub(super) fn act_in_words(&self) -> String {
        Self { when: Vec::new(), ..self.clone() }.to_string()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Nothing if self.crashes.is_empty() && self.when.is_empty() => f.write_str("undisturbed")?,
            Act::Nothing => {}
            Act::Fail(failings) => list(f, " and ", failings)?,
            Act::Cancel(at) => write!(f, "cancel {at}")?,
            Act::Deadline { at, .. } => write!(f, "deadline {at}")?,
            Act::Vanish(at) => write!(f, "subject gone {at}")?,
            Act::Repeat(what) => write!(f, "repeat {what}")?,
            Act::Operate { ask, place, .. } => match ask {
                Ask::Retry => write!(f, "retry of `{place}`")?,
                Ask::RetryInVain => write!(f, "retry of `{place}` in vain")?,
                Ask::Skip => write!(f, "skip of `{place}`")?,
                Ask::RollBack => write!(f, "roll back at `{place}`")?,
                Ask::Abandon => write!(f, "abandon at `{place}`")?,
            },
        }
        if !self.crashes.is_empty() {
            f.write_str(if self.act == Act::Nothing { "crash " } else { ", then crash " })?;
            list(f, ", then crash ", &self.crashes)?;
        }
        if !self.when.is_empty() {
            let is_all = self.act == Act::Nothing && self.crashes.is_empty();
            f.write_str(if is_all { "" } else { ", when " })?;
            list(f, " and ", &self.when)?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, between: &str, parts: &[T]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if i == 0 { "" } else { between })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(step: &str, item: Option<u32>) -> Place {
        Place { step: step.parse().unwrap(), item }
    }

    #[test]
    fn a_script_reads_as_a_sentence() {
        let charge = What::Action(place("charge", None));
        let failing = Failing::new(charge.clone(), Way::Fatal, Moment::After, Often::Forward);
        let first = At::Append { nth: 7, durable: true };
        let second = At::Call { what: What::Undo(place("each", Some(2))), nth: 2, moment: Moment::During(1) };
        let script = Script::crash(vec![first.clone(), second], std::slice::from_ref(&failing));
        assert_eq!(
            script.to_string(),
            "crash after append 7, then crash during the undo of `each[2]` (call 2), \
             when `charge` fails fatally after its effect"
        );
        let cancelled = Script::new(Act::Cancel(At::Rest)).then_crash(first);
        assert_eq!(cancelled.to_string(), "cancel at rest, then crash after append 7");
        let once = Failing { way: Way::TimedOut, moment: Moment::During(3), often: Often::Once, ..failing.clone() };
        assert_eq!(Script::fail(once).to_string(), "`charge` times out in wait 3 once");
        assert_eq!(Script::new(Act::Repeat(charge)).to_string(), "repeat `charge`");
        let skip = Act::Operate { ask: Ask::Skip, place: place("charge", None), output: None };
        let skip = Script::when(skip, &[failing]).to_string();
        assert_eq!(skip, "skip of `charge`, when `charge` fails fatally after its effect");
    }

    #[test]
    fn what_is_asked_reads_as_a_sentence_too() {
        let probe = What::Probe(place("charge", None));
        let unknown = Failing::new(probe.clone(), Way::Unknown, Moment::Before, Often::Always);
        assert_eq!(unknown.to_string(), "the probe of `charge` does not know");
        let hangs = Failing::new(probe, Way::TimedOut, Moment::After, Often::Always);
        assert_eq!(hangs.to_string(), "the probe of `charge` hangs with its answer ready");
        let mut guard = Failing::new(What::Guard(Asked::InAWait), Way::Gone, Moment::Before, Often::Always);
        guard.from = 3;
        assert_eq!(guard.to_string(), "the guard of a wait says `gone` (call 3)");
        let guard = Failing::new(What::Guard(Asked::AtTheTop), Way::Failed, Moment::Before, Often::ForAWhile);
        assert_eq!(guard.to_string(), "the guard cannot tell for a while");
    }
}
