//! What is legal but maybe not meant.

use std::fmt;

use crate::id::{StepIndex, StepName};
use crate::plan::Plan;

/// The most warnings that are given about one saga.
pub const MAX_WARNINGS: usize = 100;

/// Something about a saga that is legal, but may surprise whoever composed it when it is rolled back.
///
/// Most are settled by another order of the steps: first all that can be undone, then what cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A compensable step can still fail while a non-compensable one, which is not ordered before or after it, may stand
    /// already: then one half of the saga is undone, and the other is not.
    BesidePivot {
        /// The compensable step.
        step: StepName,
        /// The non-compensable step; the first, if there are several.
        pivot: StepName,
        /// How many other such non-compensable steps there are.
        others: usize,
    },
    /// A compensable step comes after a non-compensable one. If it fails it is undone, but the saga cannot go back behind
    /// the other.
    AfterPivot {
        /// The compensable step.
        step: StepName,
        /// The non-compensable step; the last, if there are several.
        pivot: StepName,
        /// How many other such non-compensable steps there are.
        others: usize,
    },
    /// There are more warnings than [`MAX_WARNINGS`].
    More {
        /// How many were left out.
        omitted: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BesidePivot { step, pivot, others } => write!(
                f,
                "`{step}` is undone if it fails, but `{pivot}`{} may run beside it, and stands: order one after the other",
                Others(*others)
            ),
            Self::AfterPivot { step, pivot, others } => write!(
                f,
                "`{step}` is undone if it fails, but it comes after `{pivot}`{}, and the saga cannot go back behind that",
                Others(*others)
            ),
            Self::More { omitted } => write!(f, "and {omitted} more warnings"),
        }
    }
}

struct Others(usize);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            others => write!(f, " (and {others} more)"),
        }
    }
}

/// All warnings about a plan, by step.
pub(super) fn warnings(plan: &Plan) -> Vec<Warning> {
    let compensable = || (0u32..).map(StepIndex).zip(plan.steps()).filter(|(_, step)| step.is_compensable());
    let mut beside = vec![Pivots::default(); plan.steps().len()];
    let mut before = vec![Pivots::default(); plan.steps().len()];
    let pivots: Vec<StepIndex> =
        plan.order().iter().copied().filter(|step| plan.step(*step).is_non_compensable()).collect();
    // A word of bits at a time: time grows with (pivots / 64) x edges, and memory with the steps only.
    let mut reach = Reach::new(plan);
    for some in pivots.chunks(64) {
        reach.of(plan, some);
        for (index, _) in compensable() {
            beside[index.at()].note(some, reach.beside(index));
            before[index.at()].note(some, reach.before(index));
        }
    }
    let name = |pivot: StepIndex| plan.step(pivot).name.clone();
    let mut found = Vec::new();
    let mut omitted = 0;
    for (index, step) in compensable() {
        let step = &step.name;
        let beside = beside[index.at()].ends.map(|(first, _)| Warning::BesidePivot {
            step: step.clone(),
            pivot: name(first),
            others: beside[index.at()].count - 1,
        });
        let before = before[index.at()].ends.map(|(_, last)| Warning::AfterPivot {
            step: step.clone(),
            pivot: name(last),
            others: before[index.at()].count - 1,
        });
        for warning in beside.into_iter().chain(before) {
            // One place is kept, to say that there are more.
            if found.len() < MAX_WARNINGS - 1 { found.push(warning) } else { omitted += 1 }
        }
    }
    if omitted > 0 {
        found.push(Warning::More { omitted });
    }
    found
}

/// The pivots that a step has something to do with: the first and the last in the plan's order, and how many.
#[derive(Clone, Default)]
struct Pivots {
    ends: Option<(StepIndex, StepIndex)>,
    count: usize,
}

impl Pivots {
    /// Adds those of `pivots` whose bits are set. Later calls are about later pivots.
    fn note(&mut self, pivots: &[StepIndex], bits: u64) {
        if bits == 0 {
            return;
        }
        let first = pivots[bits.trailing_zeros() as usize];
        let last = pivots[bits.ilog2() as usize];
        self.ends = Some((self.ends.map_or(first, |(first, _)| first), last));
        self.count += bits.count_ones() as usize;
    }
}

/// For up to 64 pivots, which steps come before and after them: in each word, a bit for each pivot.
struct Reach {
    /// The pivots that a step is or comes after.
    before: Vec<u64>,
    /// The pivots that a step is or comes before.
    after: Vec<u64>,
    all: u64,
}

impl Reach {
    fn new(plan: &Plan) -> Self {
        Self { before: vec![0; plan.steps().len()], after: vec![0; plan.steps().len()], all: 0 }
    }

    fn of(&mut self, plan: &Plan, pivots: &[StepIndex]) {
        self.before.fill(0);
        self.after.fill(0);
        self.all = 0;
        for (bit, pivot) in pivots.iter().enumerate() {
            self.before[pivot.at()] |= 1 << bit;
            self.after[pivot.at()] |= 1 << bit;
            self.all |= 1 << bit;
        }
        for index in plan.order() {
            let inherited = plan.step(*index).deps.iter().fold(0, |bits, dep| bits | self.before[dep.at()]);
            self.before[index.at()] |= inherited;
        }
        for index in plan.order().iter().rev() {
            let inherited = plan.step(*index).dependents.iter().fold(0, |bits, next| bits | self.after[next.at()]);
            self.after[index.at()] |= inherited;
        }
    }

    fn before(&self, step: StepIndex) -> u64 {
        self.before[step.at()]
    }

    fn beside(&self, step: StepIndex) -> u64 {
        self.all & !self.before[step.at()] & !self.after[step.at()]
    }
}
