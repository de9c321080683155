//! How much may go wrong in one run.

use std::fmt;

/// How often things are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Policies {
    /// Attempts that an action has
    #[arg(long, default_value_t = Self::USUAL.attempts, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub attempts: u8,
    /// Attempts that a forward step has by its patient policy
    #[arg(long, default_value_t = Self::USUAL.patience, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub patience: u8,
    /// Attempts that a compensation has
    #[arg(long, default_value_t = Self::USUAL.undo_attempts, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub undo_attempts: u8,
}

/// How much may go wrong in one run, at most. What is left of it is part of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::Args)]
pub struct Bounds {
    /// Attempts that fail
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub failures: u8,
    /// Compensations (or finalizers) that fail
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub undo_failures: u8,
    /// Crashes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub crashes: u8,
    /// Times that another owner takes over while the first one still acts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub takeovers: u8,
    /// Times that somebody cancels
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub cancels: u8,
    /// Whether the run has a deadline, that passes at some time or does not
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub deadlines: u8,
    /// Whether the subject may vanish (of a saga with a guard)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub vanishings: u8,
    /// Acts of an operator on a run at rest
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub operators: u8,
    /// All of the above together
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=16))]
    pub mishaps: u8,
    /// How many ends of actions may be judged in one turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub batch: u8,
}

/// Something that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    Failure,
    UndoFailure,
    Crash,
    TakeOver,
    Cancel,
    Deadline,
    Vanishing,
    Operator,
}

impl Policies {
    /// Those of the command line, if it says nothing.
    pub const USUAL: Self = Self { attempts: 2, patience: 1, undo_attempts: 2 };
}

impl Bounds {
    /// At most one of each but a deadline, and so much in all.
    #[must_use]
    pub const fn one_of_each(mishaps: u8) -> Self {
        Self {
            failures: 1,
            undo_failures: 1,
            crashes: 1,
            takeovers: 1,
            cancels: 1,
            deadlines: 0,
            vanishings: 1,
            operators: 1,
            mishaps,
            batch: 1,
        }
    }

    fn of(&mut self, mishap: Mishap) -> &mut u8 {
        match mishap {
            Mishap::Failure => &mut self.failures,
            Mishap::UndoFailure => &mut self.undo_failures,
            Mishap::Crash => &mut self.crashes,
            Mishap::TakeOver => &mut self.takeovers,
            Mishap::Cancel => &mut self.cancels,
            Mishap::Deadline => &mut self.deadlines,
            Mishap::Vanishing => &mut self.vanishings,
            Mishap::Operator => &mut self.operators,
        }
    }

    /// What is left when it happens once more, if it may.
    pub(crate) fn after(mut self, mishap: Mishap) -> Option<Self> {
        self.mishaps = self.mishaps.checked_sub(1)?;
        let left = self.of(mishap);
        *left = left.checked_sub(1)?;
        Some(self)
    }

    /// Whether it may happen once more.
    pub(crate) fn allows(self, mishap: Mishap) -> bool {
        self.after(mishap).is_some()
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, patience, undo_attempts } = self;
        write!(f, "--attempts {attempts} --patience {patience} --undo-attempts {undo_attempts}")
    }
}

/// As they are written on the command line.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failures,
            undo_failures,
            crashes,
            takeovers,
            cancels,
            deadlines,
            vanishings,
            operators,
            mishaps,
            batch,
        } = self;
        write!(f, "--failures {failures} --undo-failures {undo_failures} --crashes {crashes} --takeovers {takeovers}")?;
        write!(f, " --cancels {cancels} --deadlines {deadlines} --vanishings {vanishings} --operators {operators}")?;
        write!(f, " --mishaps {mishaps} --batch {batch}")
    }
}
