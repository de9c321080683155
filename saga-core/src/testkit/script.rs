//! What is done to a run in one trial, and how that is called.
//!
//! The name of a point is its [`Script`]'s text: it is printed in reports, and is what `only` takes.

use std::fmt;

use crate::journal::FailureKind;
use crate::outcome::Place;

/// Code of the saga that is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum What {
    Action(Place),
    Undo(Place),
    Finalizer,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(place) => write!(f, "`{place}`"),
            Self::Undo(place) => write!(f, "the undo of `{place}`"),
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

/// How a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Rejected,
    Failed,
    Fatal,
    Panic,
    TimedOut,
}

impl Way {
    /// What it tells the machine.
    pub(super) fn kind(self) -> FailureKind {
        match self {
            Self::Rejected => FailureKind::Rejected,
            Self::Failed | Self::TimedOut => FailureKind::Failed,
            Self::Fatal | Self::Panic => FailureKind::Fatal,
        }
    }
}

/// For how long a call is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Often {
    Once,
    /// Until the run is being aborted; what is finished then may succeed.
    Forward,
    Always,
}

/// A failure that is brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) what: What,
    pub(super) way: Way,
    pub(super) moment: Moment,
    pub(super) often: Often,
}

impl Failing {
    /// Whether the call is tried again after it, as the policy of its step has room for another attempt.
    pub(super) fn is_got_over(&self) -> bool {
        self.often == Often::Once
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match self.way {
            Way::Rejected => write!(f, "{what} is rejected")?,
            Way::Failed => write!(f, "{what} fails")?,
            Way::Fatal => write!(f, "{what} fails fatally")?,
            Way::Panic => write!(f, "{what} panics")?,
            Way::TimedOut => write!(f, "{what} times out")?,
        }
        match (self.way, self.moment) {
            (Way::Rejected, _) => {}
            (_, Moment::During(n)) => write!(f, " in wait {n}")?,
            (_, moment) => write!(f, " {moment} its effect")?,
        }
        match self.often {
            Often::Once => f.write_str(" once"),
            Often::Forward => Ok(()),
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
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { nth, durable } => write!(f, "{} append {nth}", if *durable { "after" } else { "before" }),
            Self::Call { what, nth: 1, moment } => write!(f, "{moment} {what}"),
            Self::Call { what, nth, moment } => write!(f, "{moment} {what} (call {nth})"),
        }
    }
}

/// What is looked at in one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Act {
    #[default]
    Nothing,
    Fail(Vec<Failing>),
    /// The process dies at each of these in turn, each in a life of its own.
    Crash(Vec<At>),
    Cancel(At),
    Repeat(What),
}

/// What is done to a run in one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) act: Act,
    /// Failures that are not what is looked at: they turn the run back, so that there is a rollback to look at.
    pub(super) when: Vec<Failing>,
}

impl Script {
    pub(super) fn new(act: Act) -> Self {
        Self { act, when: Vec::new() }
    }

    pub(super) fn when(act: Act, failing: &[Failing]) -> Self {
        Self { act, when: failing.to_vec() }
    }

    /// All failures, those that are looked at first.
    pub(super) fn failings(&self) -> impl Iterator<Item = &Failing> {
        let looked_at: &[Failing] = match &self.act {
            Act::Fail(failings) => failings,
            _ => &[],
        };
        looked_at.iter().chain(&self.when)
    }

    pub(super) fn crashes(&self) -> &[At] {
        match &self.act {
            Act::Crash(points) => points,
            _ => &[],
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Nothing => f.write_str("undisturbed")?,
            Act::Fail(failings) => list(f, " and ", failings)?,
            Act::Crash(points) => {
                f.write_str("crash ")?;
                list(f, ", then crash ", points)?;
            }
            Act::Cancel(at) => write!(f, "cancel {at}")?,
            Act::Repeat(what) => write!(f, "repeat {what}")?,
        }
        if !self.when.is_empty() {
            f.write_str(", when ")?;
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

    #[test]
    fn a_script_reads_as_a_sentence() {
        let place = |step: &str, item| Place { step: step.parse().unwrap(), item };
        let charge = What::Action(place("charge", None));
        let failing = Failing { what: charge.clone(), way: Way::Fatal, moment: Moment::After, often: Often::Forward };
        let first = At::Append { nth: 7, durable: true };
        let second = At::Call { what: What::Undo(place("each", Some(2))), nth: 2, moment: Moment::During(1) };
        let script = Script::when(Act::Crash(vec![first, second]), std::slice::from_ref(&failing));
        assert_eq!(
            script.to_string(),
            "crash after append 7, then crash during the undo of `each[2]` (call 2), \
             when `charge` fails fatally after its effect"
        );
        let once = Failing { way: Way::TimedOut, moment: Moment::During(3), often: Often::Once, ..failing };
        assert_eq!(Script::new(Act::Fail(vec![once])).to_string(), "`charge` times out in wait 3 once");
        assert_eq!(Script::new(Act::Repeat(charge)).to_string(), "repeat `charge`");
    }
}
