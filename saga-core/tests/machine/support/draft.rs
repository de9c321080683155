//! Plans, written in a line or drawn at random.

use std::time::Duration;

use saga_core::plan::{Plan, PlanParts, Recovery, Shape, StepParts, Wire};
use saga_core::{Retry, SagaName, StepIndex, StepName};

use super::tape::Tape;

/// A plan in the making. The modifiers change the step that was added last.
#[derive(Debug, Clone)]
pub struct Draft {
    steps: Vec<StepParts>,
    output: Wire,
    guarded: bool,
    finalized: bool,
}

pub fn fixed(attempts: u32) -> Retry {
    Retry::fixed(attempts, Duration::from_millis(10))
}

impl Draft {
    pub fn new() -> Self {
        Self { steps: Vec::new(), output: Wire::Unit, guarded: false, finalized: false }
    }

    fn index(&self, name: &str) -> StepIndex {
        let at = self.steps.iter().position(|step| step.name.as_str() == name).expect("a step of that name");
        StepIndex(u32::try_from(at).unwrap())
    }

    pub fn step(mut self, name: &str, recovery: Recovery, after: &[&str]) -> Self {
        let after: Vec<StepIndex> = after.iter().map(|name| self.index(name)).collect();
        let input = Wire::List(after.iter().map(|step| Wire::Step(*step)).collect());
        self.steps.push(StepParts {
            name: StepName::new(name).unwrap(),
            recovery,
            shape: Shape::Single,
            input,
            after,
            retry: Retry::never(),
            timeout: None,
            undo_timeout: None,
            probed: false,
        });
        self
    }

    pub fn compensable(self, name: &str, after: &[&str]) -> Self {
        self.step(name, Recovery::Compensable { undo_retry: Retry::never() }, after)
    }

    pub fn read_only(self, name: &str, after: &[&str]) -> Self {
        self.step(name, Recovery::ReadOnly, after)
    }

    pub fn non_compensable(self, name: &str, after: &[&str]) -> Self {
        self.step(name, Recovery::NonCompensable, after)
    }

    pub fn forward(self, name: &str, after: &[&str]) -> Self {
        self.step(name, Recovery::Forward { patience: fixed(3) }, after)
    }

    fn last(&mut self) -> &mut StepParts {
        self.steps.last_mut().expect("a step")
    }

    /// A fan-out over the run's input.
    pub fn each(mut self, concurrency: u32) -> Self {
        self.last().shape = Shape::Each { concurrency };
        self.last().input = Wire::Input;
        self
    }

    /// A fan-out over a step's output.
    pub fn each_of(mut self, name: &str, concurrency: u32) -> Self {
        let from = self.index(name);
        self.last().shape = Shape::Each { concurrency };
        self.last().input = Wire::Step(from);
        self
    }

    pub fn probed(mut self) -> Self {
        self.last().probed = true;
        self
    }

    pub fn attempts(mut self, attempts: u32) -> Self {
        self.last().retry = fixed(attempts);
        self
    }

    pub fn retry(mut self, policy: Retry) -> Self {
        self.last().retry = policy;
        self
    }

    pub fn undo_attempts(mut self, attempts: u32) -> Self {
        self.last().recovery = Recovery::Compensable { undo_retry: fixed(attempts) };
        self
    }

    pub fn patience(mut self, attempts: u32) -> Self {
        self.last().recovery = Recovery::Forward { patience: fixed(attempts) };
        self
    }

    /// The run's output: that of these steps.
    pub fn gives(mut self, names: &[&str]) -> Self {
        self.output = Wire::List(names.iter().map(|name| Wire::Step(self.index(name))).collect());
        self
    }

    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    pub fn finalized(mut self) -> Self {
        self.finalized = true;
        self
    }

    pub fn plan(self) -> Plan {
        let parts = PlanParts {
            saga: SagaName::new("test").unwrap(),
            version: 1,
            steps: self.steps,
            output: self.output,
            guarded: self.guarded,
            finalized: self.finalized,
        };
        Plan::new(parts).expect("no cycle")
    }

    /// Compensable steps one after the other.
    pub fn chain(steps: u32) -> Plan {
        Self::stages(steps, 1)
    }

    /// Stages of compensable steps, each step after all those of the stage before.
    pub fn stages(stages: u32, width: u32) -> Plan {
        let mut draft = Self::new();
        for stage in 0..stages {
            let before: Vec<StepIndex> =
                (0..if stage == 0 { 0 } else { width }).map(|at| StepIndex((stage - 1) * width + at)).collect();
            for at in 0..width {
                draft = draft.compensable(&format!("s{stage}-{at}"), &[]);
                draft.last().input = Wire::List(before.iter().map(|step| Wire::Step(*step)).collect());
            }
        }
        draft.plan()
    }

    /// A saga of 1 to 8 steps with anything in it.
    pub fn random(tape: &mut Tape) -> Self {
        let mut draft = Self::new();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for at in 0..=tape.below(names.len()) {
            let after: Vec<&str> = names[..at].iter().copied().filter(|_| tape.chance(40)).collect();
            draft = match tape.below(6) {
                0 | 4 => draft.compensable(names[at], &after).undo_attempts(1 + tape.below(3) as u32),
                1 => draft.read_only(names[at], &after),
                2 => draft.non_compensable(names[at], &after),
                _ => draft.forward(names[at], &after).patience(1 + tape.below(3) as u32),
            };
            draft = draft.attempts(1 + tape.below(3) as u32);
            if tape.chance(30) {
                let concurrency = 1 + tape.below(3) as u32;
                draft = match after.is_empty() {
                    true => draft.each(concurrency),
                    false => draft.each_of(tape.pick(&after), concurrency),
                };
            }
            if tape.chance(30) {
                draft = draft.probed();
            }
        }
        draft.guarded = tape.chance(50);
        draft.finalized = tape.chance(40);
        draft
    }

    /// The same structure with other policies: what a later release may have.
    pub fn with_other_policies(mut self, tape: &mut Tape) -> Self {
        for step in &mut self.steps {
            step.retry = fixed(1 + tape.below(3) as u32);
            if let Shape::Each { concurrency } = &mut step.shape {
                *concurrency = 1 + tape.below(3) as u32;
            }
            match &mut step.recovery {
                Recovery::Compensable { undo_retry: policy } | Recovery::Forward { patience: policy } => {
                    *policy = fixed(1 + tape.below(3) as u32);
                }
                Recovery::ReadOnly | Recovery::NonCompensable => {}
            }
        }
        self
    }
}
