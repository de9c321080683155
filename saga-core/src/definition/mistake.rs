//! What can be wrong with a saga, as data.

use std::fmt;

use crate::definition::MAX_STEPS;
use crate::id::{InvalidId, SagaName};

/// A saga that cannot be built, with every mistake that was found in it.
///
/// A saga is composed by code, so this is a mistake of the program: correct the lines that compose it. Nothing was
/// registered or started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saga {saga:?} cannot be built:{}", Lines(mistakes))]
#[non_exhaustive]
pub struct BuildError {
    /// The saga's name, as it was given.
    pub saga: String,
    /// The mistakes. There is at least one.
    pub mistakes: Vec<Mistake>,
}

struct Lines<'a>(&'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mistake| write!(f, "\n- {mistake}"))
    }
}

/// One thing that is wrong with a saga. Steps are named as they were given, since their names may be the mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The saga's name cannot be used. Choose another.
    #[error("{0}")]
    SagaName(InvalidId),
    /// The name of a step cannot be used. Choose another.
    #[error("step number {number}: {error}")]
    StepName {
        /// Which step, counted from 1 as they were added.
        number: usize,
        /// What is wrong with its name.
        error: InvalidId,
    },
    /// The name under which a saga is included cannot be used. Choose another.
    #[error("an included saga: {0}")]
    IncludeName(InvalidId),
    /// Steps have the same name: journals and residue could not tell them apart. Rename all but one.
    #[error("{times} steps are named {name:?}")]
    DuplicateName {
        /// The name.
        name: String,
        /// How many steps have it.
        times: usize,
    },
    /// A handle of another builder was used. Use the handles that this builder returned; to use another saga's steps,
    /// [`include`](crate::Builder::include) it.
    #[error("{used} is a handle of another builder")]
    ForeignHandle {
        /// Where it was used.
        used: HandleUse,
    },
    /// Steps wait for each other, so none of them could ever start. Drop one of the orders among them.
    #[error("steps wait for each other: {}", Circle(steps))]
    Cycle {
        /// The steps of one cycle: each comes before the next, and the last before the first.
        steps: Vec<String>,
    },
    /// A step was ordered before the run's input, which is there before everything.
    #[error("a step cannot come before the run's input")]
    BeforeInput,
    /// The output is the run's input. Build with the handle of a step.
    #[error("the output is the run's own input, but must be the output of a step")]
    OutputIsInput,
    /// A step was begun and never given a recovery verb, so it was not added. Say how it recovers.
    #[error("step {step:?} does not say how it recovers, so it was not added")]
    NoRecovery {
        /// The step.
        step: String,
    },
    /// There are more than [`MAX_STEPS`] steps. Make what repeats a [`for_each`](crate::Builder::for_each).
    #[error("there are {steps} steps, but at most {MAX_STEPS} are allowed")]
    TooManySteps {
        /// How many there are.
        steps: usize,
    },
    /// There are no steps.
    #[error("there are no steps")]
    NoSteps,
    /// An included saga has a guard of its own, which only the outermost can have. Include one without, and guard the
    /// outer one.
    #[error("the saga `{saga}`, included as {name:?}, has a guard: only the outermost saga can have one")]
    IncludedGuard {
        /// The name that it was included under.
        name: String,
        /// The included saga.
        saga: SagaName,
    },
    /// An included saga has a finalizer of its own, which only the outermost can have. Include one without, and finalize
    /// the outer one.
    #[error("the saga `{saga}`, included as {name:?}, has a finalizer: only the outermost saga can have one")]
    IncludedFinalizer {
        /// The name that it was included under.
        name: String,
        /// The included saga.
        saga: SagaName,
    },
    /// There is more than one guard. Ask both questions in one.
    #[error("there is more than one guard")]
    TwoGuards,
    /// There is more than one finalizer. Do both things in one.
    #[error("there is more than one finalizer")]
    TwoFinalizers,
    /// A fan-out may have no item in flight, so it would never end. Allow at least one.
    #[error("step {step:?} has a concurrency of 0, so none of its items could ever start")]
    ZeroConcurrency {
        /// The step.
        step: String,
    },
}

/// Where a handle was used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleUse {
    /// As an input of a step.
    Input {
        /// The step.
        step: String,
    },
    /// As what a step comes after.
    After {
        /// The step.
        step: String,
    },
    /// As an input of an included saga.
    Include {
        /// The name that it was included under.
        name: String,
    },
    /// In [`order`](crate::Builder::order).
    Order,
    /// As the output of the saga.
    Output,
}

impl fmt::Display for HandleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { step } => write!(f, "an input of step {step:?}"),
            Self::After { step } => write!(f, "what step {step:?} comes after"),
            Self::Include { name } => write!(f, "an input of the saga included as {name:?}"),
            Self::Order => f.write_str("one of two steps that are to be ordered"),
            Self::Output => f.write_str("the output"),
        }
    }
}

/// A cycle as people draw it: back at its first step. A long one is cut in the middle.
struct Circle<'a>(&'a [String]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for step in self.0.iter().take(SHOWN) {
            write!(f, "{step:?} -> ")?;
        }
        if self.0.len() > SHOWN {
            write!(f, "({} more) -> ", self.0.len() - SHOWN)?;
        }
        write!(f, "{:?}", self.0.first().map_or("", String::as_str))
    }
}
