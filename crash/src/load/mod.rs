//! The load: what is ordered, and the sagas that fulfil it.

mod act;
mod sagas;

use std::time::Duration;

use saga_core::{ExclusiveKey, RunId};
use serde::{Deserialize, Serialize};

pub(crate) use self::act::Made;
pub(crate) use self::sagas::Sagas;

/// What becomes of a run if all goes as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One step after the other, with a finalizer. Completes.
    Linear,
    /// Two branches that meet. Completes.
    Diamond,
    /// As many items as the order says. Completes.
    FanOut,
    /// Its last step fails for good. Rolled back, and nothing is left.
    Doomed,
    /// Cancelled by the client, somewhere. Rolled back, unless it was done before.
    Cancelled,
    /// Has a deadline that it may miss. Rolled back then.
    Overdue,
    /// A non-compensable step fails with its effect unknown, until an operator has settled it.
    Halting,
    /// A non-compensable step with a probe, which settles what it did.
    Probed,
    /// A forward step beside one that fails for good. Rolled back, but for what the forward step was built on.
    Forward,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Linear,
        Self::Diamond,
        Self::FanOut,
        Self::Doomed,
        Self::Cancelled,
        Self::Overdue,
        Self::Halting,
        Self::Probed,
        Self::Forward,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Diamond => "diamond",
            Self::FanOut => "fan-out",
            Self::Doomed => "doomed",
            Self::Cancelled => "cancelled",
            Self::Overdue => "overdue",
            Self::Halting => "halting",
            Self::Probed => "probed",
            Self::Forward => "forward",
        }
    }
}

/// The input of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    /// Which of its attempts fail, and how long they take, follows from this.
    pub(crate) salt: u64,
    /// How many items a fan-out has.
    pub(crate) width: u32,
}

/// What an operator does about a run that halts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Help {
    Retry,
    Skip,
    RollBack,
    Abandon,
}

/// A run that is to be started, and how its client goes about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) run: RunId,
    pub(crate) order: Order,
    pub(crate) key: Option<ExclusiveKey>,
    /// Started by two clients at once.
    pub(crate) twice: bool,
    /// When it is cancelled, or its deadline passes: see its kind.
    pub(crate) patience: Duration,
    pub(crate) help: Help,
}

/// The load of a seed: the same every time.
pub(crate) fn jobs(seed: u64, count: usize) -> Vec<Job> {
    let mut dice = fastrand::Rng::with_seed(seed);
    // Some ten runs wait for each key, one after the other.
    let keys = (count / 100).max(4);
    let job = |at: usize| {
        let kind = Kind::ALL[at % Kind::ALL.len()];
        let key = (dice.u32(..10) == 0).then(|| format!("key/{}", dice.usize(..keys)));
        Job {
            run: RunId::new(format!("s{seed}-{at:06}")).expect("a valid id"),
            order: Order { kind, salt: dice.u64(..), width: dice.u32(..9) },
            key: key.map(|key| ExclusiveKey::new(key).expect("a valid key")),
            twice: dice.u32(..20) == 0,
            patience: Duration::from_millis(dice.u64(5..400)),
            help: *dice.choice(&[Help::Retry, Help::Skip, Help::RollBack, Help::Abandon]).expect("there are some"),
        }
    };
    let mut jobs: Vec<_> = (0..count).map(job).collect();
    dice.shuffle(&mut jobs);
    jobs
}
