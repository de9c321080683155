//! What a journal says by the letter of the design (section 3), told without the machine.
//!
//! It knows only events and the graph, and looks into no state of the machine.

use saga_core::FailureKind;
use saga_core::journal::{Cause, Event, ProbeAnswer, Rest, Verb};

use crate::saga::{Class, Saga};
use crate::steps::{MAX_STEPS, Steps};

/// How a run came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Every step succeeded.
    Completed,
    /// All that had to be undone was undone.
    RolledBack,
    /// At this step.
    Halted(usize),
    /// Something could not be undone or finished.
    Stuck,
    /// An operator gave it up.
    Abandoned,
}

/// What the rules say of a rollback at the moment when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Forward steps that must be finished.
    pub committed: Steps,
    /// What was built on stands: effective and committed steps, and all below them.
    pub stands: Steps,
    /// What must be undone.
    pub to_undo: Steps,
}

/// What is known of a run after some of its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Steps that were ever tried.
    pub started: Steps,
    /// An attempt is in flight.
    pub running: Steps,
    /// The last attempt ended, and what it did is being asked.
    pub probing: Steps,
    /// The action succeeded, or was settled by hand.
    pub succeeded: Steps,
    /// Nobody knows what the action did.
    pub unknown: Steps,
    /// A compensation is in flight.
    pub undoing: Steps,
    /// The compensation's policy is spent.
    pub undo_failed: Steps,
    /// The compensation is done.
    pub undone: Steps,
    /// The run was aborted.
    pub aborted: bool,
    /// Its subject is known to be gone.
    pub gone: bool,
    /// An operator asked for a rollback of the halted run.
    pub forced: bool,
    /// Once a rollback has begun.
    pub verdict: Option<Verdict>,
    /// While the run is at rest.
    pub rest: Option<End>,
    /// The finalizer knows of it.
    pub told: bool,
    /// Attempts of each action.
    pub attempts: [u8; MAX_STEPS],
    /// Attempts of each compensation.
    pub undo_attempts: [u8; MAX_STEPS],
}

impl Ledger {
    /// Adds an event.
    pub fn add(&mut self, saga: &Saga, event: &Event) {
        match event {
            Event::RunStarted { .. } | Event::Checkpointed { .. } | Event::FinalizerFailed { .. } => {}
            Event::Resumed { .. } => {
                self.unknown |= self.running;
                for step in self.running.iter() {
                    self.attempt_over(saga, step);
                }
                self.undoing = Steps::NONE;
            }
            Event::StepStarted { step, .. } => self.attempt(step.at()),
            Event::AttemptStarted { of, .. } => self.attempt(of.step.at()),
            Event::AttemptFailed { of, error, .. } => {
                let step = of.step.at();
                if error.kind != FailureKind::Rejected {
                    self.unknown.set(step, true);
                }
                self.attempt_over(saga, step);
            }
            Event::Probed { of, answer } => {
                let step = of.step.at();
                self.probing.set(step, false);
                match answer {
                    ProbeAnswer::Done(_) => self.succeed(step),
                    ProbeAnswer::NotDone => self.unknown.set(step, false),
                    ProbeAnswer::Unknown => {}
                }
            }
            Event::Succeeded { of, .. } => self.succeed(of.step.at()),
            Event::AbortBegan { cause } => {
                self.aborted = true;
                self.gone |= *cause == Cause::SubjectGone;
            }
            Event::SubjectChecked { gone } => self.gone |= gone,
            Event::RollbackBegan => self.verdict = Some(self.judge(saga)),
            Event::UndoStarted { of, .. } => {
                let step = of.step.at();
                self.undo_attempts[step] += 1;
                self.undoing.set(step, true);
            }
            Event::UndoFailed { of, retry_at, .. } => {
                self.undoing.set(of.step.at(), false);
                self.undo_failed.set(of.step.at(), retry_at.is_none());
            }
            Event::Undone { of } => {
                self.undoing.set(of.step.at(), false);
                self.undone.set(of.step.at(), true);
            }
            Event::Rested { rest } => {
                self.told = false;
                self.rest = Some(match rest {
                    Rest::Completed => End::Completed,
                    Rest::RolledBack => End::RolledBack,
                    Rest::Halted { at, .. } => End::Halted(at.step.at()),
                    Rest::Stuck => End::Stuck,
                    Rest::Abandoned { .. } => End::Abandoned,
                });
            }
            Event::Finalized => self.told = true,
            Event::Operated { verb, .. } => self.operated(verb),
        }
    }

    fn attempt(&mut self, step: usize) {
        self.started.set(step, true);
        self.running.set(step, true);
        self.attempts[step] += 1;
    }

    /// The last attempt is over, and was no success.
    fn attempt_over(&mut self, saga: &Saga, step: usize) {
        self.running.set(step, false);
        self.probing.set(step, saga.probed(step) && self.unknown.has(step));
    }

    fn succeed(&mut self, step: usize) {
        self.running.set(step, false);
        self.probing.set(step, false);
        self.unknown.set(step, false);
        self.succeeded.set(step, true);
    }

    fn operated(&mut self, verb: &Verb) {
        let was_stuck = self.rest.take() == Some(End::Stuck);
        match verb {
            Verb::Retry if was_stuck => self.undo_failed = Steps::NONE,
            Verb::Retry => (self.aborted, self.gone) = (false, false),
            Verb::Skip { of, .. } if self.undo_failed.has(of.step.at()) => {
                self.undo_failed.set(of.step.at(), false);
                self.undone.set(of.step.at(), true);
            }
            Verb::Skip { of, .. } => {
                self.succeed(of.step.at());
                if !was_stuck {
                    (self.aborted, self.gone) = (false, false);
                }
            }
            Verb::RollBack => self.forced = true,
            _ => {}
        }
    }

    /// What may have had its effect, and is not known to have been undone.
    #[must_use]
    pub fn may_stand(&self) -> Steps {
        (self.succeeded | self.unknown) - self.undone
    }

    /// What is being worked upon or asked.
    #[must_use]
    pub fn in_flight(&self) -> Steps {
        self.running | self.probing
    }

    /// Non-compensable steps that took effect.
    #[must_use]
    pub fn effective(&self, saga: &Saga) -> Steps {
        saga.of(Class::NonCompensable) & self.succeeded
    }

    /// Non-compensable steps that did not succeed, and nobody knows what they did.
    #[must_use]
    pub fn halting(&self, saga: &Saga) -> Steps {
        (saga.of(Class::NonCompensable) & self.unknown) - self.in_flight()
    }

    fn judge(&self, saga: &Saga) -> Verdict {
        let effective = self.effective(saga);
        let mut committed = Steps::NONE;
        for step in saga.order().filter(|step| saga.is(*step, Class::Forward)) {
            let bound = saga.ancestors(step).meets(effective) && saga.deps(step).within(self.succeeded | committed);
            committed.set(step, self.started.has(step) || bound);
        }
        let protected = if self.gone { Steps::NONE } else { effective | saga.below(effective | committed) };
        let done = saga.of(Class::Compensable) & (self.succeeded | self.unknown);
        Verdict { committed, stands: protected | committed, to_undo: done - protected }
    }
}
