//! What a journal says by the letter of the design, told without the machine.
//!
//! It knows only events and the plan, and is as naive as can be: that is what the machine is held against.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::journal::{Event, ProbeAnswer, Rest, Verb};
use saga_core::machine::Effect;
use saga_core::plan::{Plan, Shape};
use saga_core::{Cause, FailureKind, ItemRef, StepIndex};

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub attempts: u32,
    pub running: bool,
    pub probing: bool,
    pub succeeded: bool,
    pub effect: Effect,
    pub undo_attempts: u32,
    pub undoing: bool,
    pub undo_failed: bool,
    pub undone: bool,
}

impl Entry {
    fn new() -> Self {
        Self {
            attempts: 0,
            running: false,
            probing: false,
            succeeded: false,
            effect: Effect::None,
            undo_attempts: 0,
            undoing: false,
            undo_failed: false,
            undone: false,
        }
    }

    pub fn in_flight(&self) -> bool {
        self.running || self.probing
    }
}

/// What section 3 of the design says of a rollback, at the moment when it begins.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub committed: BTreeSet<StepIndex>,
    pub pinned: BTreeSet<StepIndex>,
    pub to_undo: BTreeSet<ItemRef>,
}

/// What is known of a run after some of its events.
#[derive(Debug, Clone)]
pub struct Ledger<'p> {
    pub plan: &'p Plan,
    pub started: BTreeMap<StepIndex, u32>,
    pub items: BTreeMap<ItemRef, Entry>,
    pub aborted: bool,
    pub gone: bool,
    /// An operator asked for a rollback of the halted run.
    pub forced: bool,
    pub verdict: Option<Verdict>,
    pub rest: Option<Rest>,
}

impl<'p> Ledger<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            started: BTreeMap::new(),
            items: BTreeMap::new(),
            aborted: false,
            gone: false,
            forced: false,
            verdict: None,
            rest: None,
        }
    }

    fn at(&mut self, of: ItemRef) -> &mut Entry {
        self.items.get_mut(&of).expect("an item of a started step")
    }

    pub fn entry(&self, of: ItemRef) -> &Entry {
        &self.items[&of]
    }

    pub fn items_of(&self, step: StepIndex) -> impl Iterator<Item = (ItemRef, &Entry)> {
        self.items.iter().filter(move |(of, _)| of.step == step).map(|(of, entry)| (*of, entry))
    }

    /// The last attempt is over, and was no success.
    fn attempt_over(&mut self, of: ItemRef) {
        let probed = self.plan.step(of.step).probed;
        let entry = self.at(of);
        entry.running = false;
        entry.probing = probed && entry.effect == Effect::Unknown;
    }

    fn succeed(&mut self, of: ItemRef) {
        let entry = self.at(of);
        (entry.running, entry.probing) = (false, false);
        entry.succeeded = true;
        entry.effect = Effect::Done;
    }

    pub fn add(&mut self, event: &Event) {
        match event {
            Event::RunStarted { .. } | Event::Checkpointed { .. } => {}
            Event::FinalizerFailed { .. } | Event::Finalized => {}
            Event::Resumed { .. } => {
                let over: Vec<ItemRef> = self.items.iter().filter(|(_, e)| e.running).map(|(of, _)| *of).collect();
                for of in over {
                    self.at(of).effect = Effect::Unknown;
                    self.attempt_over(of);
                }
                self.items.values_mut().for_each(|entry| entry.undoing = false);
            }
            Event::StepStarted { step, items, .. } => {
                let count = items.unwrap_or(1);
                self.started.insert(*step, count);
                self.items.extend((0..count).map(|item| (ItemRef::new(*step, item), Entry::new())));
                if self.plan.step(*step).shape == Shape::Single {
                    let entry = self.at(ItemRef::new(*step, 0));
                    (entry.attempts, entry.running) = (1, true);
                }
            }
            Event::AttemptStarted { of, .. } => {
                let entry = self.at(*of);
                entry.attempts += 1;
                entry.running = true;
            }
            Event::AttemptFailed { of, error, .. } => {
                if error.kind != FailureKind::Rejected {
                    self.at(*of).effect = Effect::Unknown;
                }
                self.attempt_over(*of);
            }
            Event::Probed { of, answer } => match answer {
                ProbeAnswer::Done(_) => self.succeed(*of),
                ProbeAnswer::NotDone => {
                    self.at(*of).effect = Effect::None;
                    self.at(*of).probing = false;
                }
                ProbeAnswer::Unknown => self.at(*of).probing = false,
            },
            Event::Succeeded { of, .. } => self.succeed(*of),
            Event::AbortBegan { cause } => {
                self.aborted = true;
                self.gone |= *cause == Cause::SubjectGone;
            }
            Event::SubjectChecked { gone } => self.gone |= gone,
            Event::RollbackBegan => self.verdict = Some(self.judge()),
            Event::UndoStarted { of, .. } => {
                let entry = self.at(*of);
                entry.undo_attempts += 1;
                entry.undoing = true;
            }
            Event::UndoFailed { of, retry_at, .. } => {
                let entry = self.at(*of);
                entry.undoing = false;
                entry.undo_failed = retry_at.is_none();
            }
            Event::Undone { of } => {
                let entry = self.at(*of);
                entry.undoing = false;
                entry.undone = true;
            }
            Event::Rested { rest } => self.rest = Some(rest.clone()),
            Event::Operated { verb, .. } => self.operated(verb),
        }
    }

    fn operated(&mut self, verb: &Verb) {
        let stuck = self.rest.take() == Some(Rest::Stuck);
        match verb {
            Verb::Retry if stuck => self.items.values_mut().for_each(|entry| entry.undo_failed = false),
            Verb::Skip { of, .. } if self.entry(*of).undo_failed => {
                let entry = self.at(*of);
                (entry.undo_failed, entry.undone) = (false, true);
            }
            Verb::Skip { of, .. } if stuck => self.succeed(*of),
            Verb::Retry => (self.aborted, self.gone) = (false, false),
            Verb::Skip { of, .. } => {
                self.succeed(*of);
                (self.aborted, self.gone) = (false, false);
            }
            Verb::RollBack => self.forced = true,
            _ => {}
        }
    }

    pub fn is_complete(&self, step: StepIndex) -> bool {
        self.started.contains_key(&step) && self.items_of(step).all(|(_, entry)| entry.succeeded)
    }

    /// A non-compensable step that took effect, at least in part.
    pub fn is_effective(&self, step: StepIndex) -> bool {
        self.plan.step(step).is_non_compensable() && self.items_of(step).any(|(_, entry)| entry.succeeded)
    }

    /// An item that was tried and did not succeed, of a non-compensable step, and nobody knows what it did.
    pub fn halts(&self, of: ItemRef) -> bool {
        let entry = self.entry(of);
        let unknown = entry.attempts > 0 && !entry.succeeded && entry.effect == Effect::Unknown;
        unknown && self.plan.step(of.step).is_non_compensable()
    }

    pub fn ancestors(&self, step: StepIndex) -> BTreeSet<StepIndex> {
        reach(step, |at| &self.plan.step(at).deps)
    }

    pub fn descendants(&self, step: StepIndex) -> BTreeSet<StepIndex> {
        reach(step, |at| &self.plan.step(at).dependents)
    }

    fn is_committed(&self, step: StepIndex) -> bool {
        let plan = self.plan.step(step);
        let built = |dep: &StepIndex| self.is_complete(*dep) || self.is_committed(*dep);
        let bound = || self.ancestors(step).into_iter().any(|at| self.is_effective(at)) && plan.deps.iter().all(built);
        plan.is_forward() && (self.started.contains_key(&step) || bound())
    }

    pub fn all_steps(&self) -> impl Iterator<Item = StepIndex> + use<> {
        (0..u32::try_from(self.plan.steps().len()).unwrap()).map(StepIndex)
    }

    fn judge(&self) -> Verdict {
        let effective: BTreeSet<StepIndex> = self.all_steps().filter(|step| self.is_effective(*step)).collect();
        let committed: BTreeSet<StepIndex> = self.all_steps().filter(|step| self.is_committed(*step)).collect();
        let mut pinned = BTreeSet::new();
        if !self.gone {
            pinned.extend(effective.iter().chain(&committed).flat_map(|step| self.ancestors(*step)));
        }
        let to_undo = self.items.iter().filter(|(of, entry)| {
            let done = entry.attempts > 0 && entry.effect != Effect::None;
            done && self.plan.step(of.step).is_compensable() && !pinned.contains(&of.step)
        });
        let to_undo = to_undo.map(|(of, _)| *of).collect();
        Verdict { committed, pinned, to_undo }
    }
}

fn reach<'a>(from: StepIndex, next: impl Fn(StepIndex) -> &'a Vec<StepIndex>) -> BTreeSet<StepIndex> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<StepIndex> = next(from).clone();
    while let Some(step) = todo.pop() {
        if found.insert(step) {
            todo.extend(next(step));
        }
    }
    found
}
