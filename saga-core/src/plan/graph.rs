//! The graph of a saga's steps.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::id::{SagaName, StepIndex, StepName};
use crate::plan::Fingerprint;
use crate::policy::Retry;

/// How a step recovers.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// It is undone.
    Compensable {
        /// When a failed compensation is tried again.
        undo_retry: Retry,
    },
    /// There is nothing to undo.
    ReadOnly,
    /// It stands; if it fails with its effect unknown, the run halts.
    NonCompensable,
    /// Once committed it is finished, not undone.
    Forward {
        /// The patient policy by which it is finished after its ordinary one is spent.
        patience: Retry,
    },
}

/// How many times a step acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Once.
    Single,
    /// Once for each element of its input.
    Each {
        /// How many items may be in flight at the same time.
        concurrency: u32,
    },
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// Nowhere: `()`.
    Unit,
    /// The run's input.
    Input,
    /// A step's output.
    Step(StepIndex),
    /// A tuple or a `Vec` of others.
    List(Vec<Wire>),
}

impl Wire {
    /// The steps whose outputs it needs, in ascending order, each once.
    #[must_use]
    pub fn steps(&self) -> BTreeSet<StepIndex> {
        fn walk(wire: &Wire, into: &mut BTreeSet<StepIndex>) {
            match wire {
                Wire::Unit | Wire::Input => {}
                Wire::Step(step) => {
                    into.insert(*step);
                }
                Wire::List(parts) => parts.iter().for_each(|part| walk(part, into)),
            }
        }
        let mut steps = BTreeSet::new();
        walk(self, &mut steps);
        steps
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Input => f.write_str("in"),
            Self::Step(step) => write!(f, "#{step}"),
            Self::List(parts) => {
                // Brackets, as in the JSON: an empty list is not `()`.
                f.write_str("[")?;
                for (i, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A step as the plan is built from.
#[derive(Debug, Clone)]
pub struct StepParts {
    /// Its name, unique in the saga.
    pub name: StepName,
    /// How it recovers.
    pub recovery: Recovery,
    /// How many times it acts.
    pub shape: Shape,
    /// Where its input comes from.
    pub input: Wire,
    /// The steps that it comes after without using their output.
    pub after: Vec<StepIndex>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// How long an attempt of the compensation may take.
    pub undo_timeout: Option<Duration>,
    /// Whether it can be asked if it happened.
    pub probed: bool,
}

/// A step as it stands in the plan.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepPlan {
    /// Its name, unique in the saga.
    pub name: StepName,
    /// How it recovers.
    pub recovery: Recovery,
    /// How many times it acts.
    pub shape: Shape,
    /// Where its input comes from.
    pub input: Wire,
    /// The steps that it comes after, ascending.
    pub deps: Vec<StepIndex>,
    /// The steps that come after it, ascending.
    pub dependents: Vec<StepIndex>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// How long an attempt of the compensation may take.
    pub undo_timeout: Option<Duration>,
    /// Whether it can be asked if it happened.
    pub probed: bool,
}

impl StepPlan {
    /// Whether it is finished, not undone, once committed.
    #[must_use]
    pub fn is_forward(&self) -> bool {
        matches!(self.recovery, Recovery::Forward { .. })
    }

    /// Whether it has a compensation.
    #[must_use]
    pub fn is_compensable(&self) -> bool {
        matches!(self.recovery, Recovery::Compensable { .. })
    }

    /// Whether its effect stands whatever comes later.
    #[must_use]
    pub fn is_non_compensable(&self) -> bool {
        matches!(self.recovery, Recovery::NonCompensable)
    }
}

/// What a plan is built from.
#[derive(Debug, Clone)]
pub struct PlanParts {
    /// The saga's name.
    pub saga: SagaName,
    /// The saga's version.
    pub version: u32,
    /// Its steps; a [`StepIndex`] is a position in here.
    pub steps: Vec<StepParts>,
    /// Where the run's output comes from.
    pub output: Wire,
    /// Whether there is a guard to ask if the subject is still there.
    pub guarded: bool,
    /// Whether there is a finalizer to tell of the end.
    pub finalized: bool,
}

/// Steps that all come after each other, so that none of them could ever start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The steps of one cycle, in order: each comes before the next, and the last before the first.
    pub steps: Vec<StepIndex>,
}

/// A saga's structure, checked and indexed.
#[derive(Debug, Clone)]
pub struct Plan {
    saga: SagaName,
    version: u32,
    fingerprint: Fingerprint,
    steps: Vec<StepPlan>,
    order: Vec<StepIndex>,
    output: Wire,
    guarded: bool,
    finalized: bool,
}

impl Plan {
    /// Indexes a saga's structure.
    ///
    /// # Errors
    ///
    /// [`Cycle`] if steps wait for each other.
    ///
    /// # Panics
    ///
    /// If a wire or an order names a step that is not there: the builder hands out no such handle.
    pub fn new(mut parts: PlanParts) -> Result<Self, Cycle> {
        let mut steps: Vec<StepPlan> = std::mem::take(&mut parts.steps).into_iter().map(StepPlan::from).collect();
        for at in 0..steps.len() {
            let index = StepIndex(u32::try_from(at).expect("a saga has less than 2^32 steps"));
            for dep in steps[at].deps.clone() {
                steps[dep.at()].dependents.push(index);
            }
        }
        let order = sort(&steps)?;
        let fingerprint = Fingerprint::of(&parts, &steps);
        Ok(Self {
            saga: parts.saga,
            version: parts.version,
            fingerprint,
            steps,
            order,
            output: parts.output,
            guarded: parts.guarded,
            finalized: parts.finalized,
        })
    }

    /// The saga's name.
    #[must_use]
    pub fn saga(&self) -> &SagaName {
        &self.saga
    }

    /// The saga's version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The saga's structure in short.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// All steps, by index.
    #[must_use]
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// One step.
    ///
    /// # Panics
    ///
    /// If there is no such step.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> &StepPlan {
        &self.steps[index.at()]
    }

    /// The step of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<StepIndex> {
        let at = self.steps.iter().position(|step| step.name.as_str() == name)?;
        u32::try_from(at).ok().map(StepIndex)
    }

    /// All steps, each after those that it depends on.
    #[must_use]
    pub fn order(&self) -> &[StepIndex] {
        &self.order
    }

    /// Where the run's output comes from.
    #[must_use]
    pub fn output(&self) -> &Wire {
        &self.output
    }

    /// Whether there is a guard.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Whether there is a finalizer.
    #[must_use]
    pub fn is_finalized(&self) -> bool {
        self.finalized
    }
}

impl From<StepParts> for StepPlan {
    fn from(parts: StepParts) -> Self {
        let mut deps = parts.input.steps();
        deps.extend(parts.after);
        Self {
            name: parts.name,
            recovery: parts.recovery,
            shape: parts.shape,
            input: parts.input,
            deps: deps.into_iter().collect(),
            dependents: Vec::new(),
            retry: parts.retry,
            timeout: parts.timeout,
            undo_timeout: parts.undo_timeout,
            probed: parts.probed,
        }
    }
}

/// Topological order by Kahn's algorithm (A. B. Kahn, *Topological sorting of large networks*, 1962), smallest index
/// first, so that the order is the same everywhere.
fn sort(steps: &[StepPlan]) -> Result<Vec<StepIndex>, Cycle> {
    let mut waiting: Vec<usize> = steps.iter().map(|step| step.deps.len()).collect();
    let mut ready: BTreeSet<StepIndex> =
        (0u32..).map(StepIndex).zip(&waiting).filter(|(_, n)| **n == 0).map(|(i, _)| i).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for dependent in &steps[next.at()].dependents {
            waiting[dependent.at()] -= 1;
            if waiting[dependent.at()] == 0 {
                ready.insert(*dependent);
            }
        }
    }
    if order.len() == steps.len() { Ok(order) } else { Err(find_cycle(steps, &waiting)) }
}

/// Walks back from a step that never became ready: each such step has a dependency that never did, so the walk must
/// come back to where it was.
fn find_cycle(steps: &[StepPlan], waiting: &[usize]) -> Cycle {
    let mut seen_at = vec![usize::MAX; steps.len()];
    let mut path: Vec<StepIndex> = Vec::new();
    let start = waiting.iter().position(|n| *n > 0).unwrap_or(0);
    let mut here = StepIndex(u32::try_from(start).unwrap_or(0));
    while seen_at[here.at()] == usize::MAX {
        seen_at[here.at()] = path.len();
        path.push(here);
        match steps[here.at()].deps.iter().find(|dep| waiting[dep.at()] > 0) {
            Some(dep) => here = *dep,
            None => break,
        }
    }
    let mut cycle = path.split_off(seen_at[here.at()]);
    cycle.reverse();
    Cycle { steps: cycle }
}
