//! All that can happen next.

use std::fmt;
use std::time::Duration;

use crate::steps::{Steps, name};

/// How an attempt of an action ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It did what it is for, and says so.
    Succeeds,
    /// Effect unknown, to be tried again; it may have had its effect.
    Fails {
        /// Whether it had.
        did: bool,
        /// When the next attempt is to start, if there is one.
        again: Duration,
    },
    /// Effect unknown, not to be tried again: also a panic.
    Dies {
        /// Whether it had its effect.
        did: bool,
        /// When the next attempt is to start, if there is one: forward steps are tried again whatever they say.
        again: Duration,
    },
    /// It changed nothing, and says so.
    Rejects {
        /// When the next attempt is to start, if there is one.
        again: Duration,
    },
}

/// How an attempt of a compensation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// It took away what there was.
    Succeeds,
    /// To be tried again as its policy allows; it may have had its effect.
    Fails {
        /// Whether it had.
        did: bool,
        /// When the next attempt is to start, if there is one.
        again: Duration,
    },
    /// Not to be tried again.
    Dies {
        /// Whether it had its effect.
        did: bool,
    },
}

/// What a probe answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It happened.
    Done,
    /// It did not.
    NotDone,
    /// It cannot tell.
    Unknown,
}

/// What an operator asks of a resting run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Try again.
    Retry,
    /// This step was settled by hand.
    Skip(usize),
    /// Roll the halted run back.
    RollBack,
    /// Give it up.
    Abandon,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The append is durable, the owner learns of it and acts.
    Written,
    /// An action ends.
    Attempt(usize, Attempt),
    /// A compensation ends.
    Undo(usize, Undo),
    /// A probe answers.
    Probe(usize, Answer),
    /// The guard answers.
    Guard {
        /// That the subject is gone.
        gone: bool,
    },
    /// An action asks the guard in its wait, and learns that the subject is gone.
    Vanished,
    /// The finalizer ends.
    Finalizer {
        /// Whether it succeeded.
        told: bool,
    },
    /// Somebody cancels the run.
    Cancel,
    /// The deadline passes.
    Deadline,
    /// The earliest timer fires.
    Timer,
    /// The owner dies and another one takes the run up.
    Crash {
        /// Whether the append on its way became durable, unknown to the one who sent it.
        written: bool,
        /// Which of the actions and compensations in flight had their effect.
        had_effect: Steps,
    },
    /// Another owner claims the run while the first one still acts.
    TakeOver {
        /// Whether the append on its way came before the claim.
        written: bool,
        /// Which of the actions and compensations in flight had their effect before they were stopped.
        had_effect: Steps,
    },
    /// Who has claimed the run writes down that it takes it up.
    TakeUp,
    /// The last append of the first owner arrives at the store.
    Late,
    /// An operator's verb is written down.
    Operate(Verb),
    /// It is decided what follows from an operator's verb.
    GoOn,
}

/// What happens in one transition: one act, or two that are judged in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The first act.
    pub first: Act,
    /// The second.
    pub second: Option<Act>,
}

impl From<Act> for Move {
    fn from(first: Act) -> Self {
        Self { first, second: None }
    }
}

fn did_it(did: bool) -> &'static str {
    if did { "after its effect" } else { "before any effect" }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Written => write!(f, "the append is durable, its owner acts"),
            Self::Attempt(step, end) => {
                let step = name(step);
                match end {
                    Attempt::Succeeds => write!(f, "`{step}` succeeds"),
                    Attempt::Fails { did, .. } => write!(f, "`{step}` fails {}", did_it(did)),
                    Attempt::Dies { did, .. } => write!(f, "`{step}` fails fatally {}", did_it(did)),
                    Attempt::Rejects { .. } => write!(f, "`{step}` rejects: it changed nothing"),
                }
            }
            Self::Undo(step, end) => {
                let step = name(step);
                match end {
                    Undo::Succeeds => write!(f, "the undo of `{step}` succeeds"),
                    Undo::Fails { did, .. } => write!(f, "the undo of `{step}` fails {}", did_it(did)),
                    Undo::Dies { did } => write!(f, "the undo of `{step}` fails fatally {}", did_it(did)),
                }
            }
            Self::Probe(step, answer) => {
                let answer = match answer {
                    Answer::Done => "it happened",
                    Answer::NotDone => "it did not happen",
                    Answer::Unknown => "it cannot be told",
                };
                write!(f, "the probe of `{}` answers: {answer}", name(step))
            }
            Self::Guard { gone: true } => write!(f, "the guard answers: the subject is gone"),
            Self::Guard { gone: false } => write!(f, "the guard answers: the subject is there"),
            Self::Vanished => write!(f, "an action learns in its wait that the subject is gone"),
            Self::Finalizer { told: true } => write!(f, "the finalizer succeeds"),
            Self::Finalizer { told: false } => write!(f, "the finalizer fails"),
            Self::Cancel => write!(f, "somebody cancels the run"),
            Self::Deadline => write!(f, "the deadline passes"),
            Self::Timer => write!(f, "the earliest timer fires"),
            Self::Crash { written, had_effect } => {
                write!(f, "the owner dies{}", on_its_way(written))?;
                effects(f, had_effect)?;
                write!(f, "; another one takes the run up")
            }
            Self::TakeOver { written, had_effect } => {
                write!(f, "another owner claims the run while the first one acts{}", on_its_way(written))?;
                effects(f, had_effect)
            }
            Self::TakeUp => write!(f, "the new owner takes the run up"),
            Self::Late => write!(f, "the first owner's append arrives at the store"),
            Self::Operate(verb) => match verb {
                Verb::Retry => write!(f, "an operator says: retry"),
                Verb::Skip(step) => write!(f, "an operator says: skip `{}`, it was settled by hand", name(step)),
                Verb::RollBack => write!(f, "an operator says: roll back"),
                Verb::Abandon => write!(f, "an operator says: abandon"),
            },
            Self::GoOn => write!(f, "an owner reads the run and goes on"),
        }
    }
}

fn on_its_way(written: bool) -> &'static str {
    if written { ", its append became durable" } else { "" }
}

fn effects(f: &mut fmt::Formatter<'_>, had_effect: Steps) -> fmt::Result {
    if had_effect.is_empty() { Ok(()) } else { write!(f, ", what was in flight of {had_effect} had its effect") }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.second {
            None => self.first.fmt(f),
            Some(second) => write!(f, "{}; in the same turn {second}", self.first),
        }
    }
}
