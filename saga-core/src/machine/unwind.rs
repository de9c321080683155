//! The rollback: what stands, what is finished, what is undone, and in which order.

use crate::id::{ItemRef, StepIndex, Timestamp};
use crate::journal::Cause;
use crate::machine::evolve::Fold;
use crate::machine::item::ItemPhase;
use crate::machine::state::{Fate, Phase, places};

impl Fold<'_> {
    /// Fixes the fate of every step, and schedules the first compensations.
    ///
    /// A non-compensable step that took effect stands, and so does all that it and the committed forward steps were
    /// built on. Without a subject there is nothing to protect: then only committed forward steps are spared.
    pub(super) fn begin_rollback(&mut self) {
        let count = self.plan.steps().len();
        let mut behind_effect = vec![false; count];
        let mut committed = vec![false; count];
        for index in self.plan.order() {
            let step = self.plan.step(*index);
            let at = index.at();
            behind_effect[at] = step.deps.iter().any(|dep| behind_effect[dep.at()] || self.is_effective(*dep));
            let built = |dep: &StepIndex| self.state.steps[dep.at()].is_complete() || committed[dep.at()];
            committed[at] = step.is_forward()
                && (self.state.steps[at].started || (behind_effect[at] && step.deps.iter().all(built)));
        }

        let protected = self.state.cause != Some(Cause::SubjectGone);
        let mut pinned = vec![false; count];
        for index in self.plan.order().iter().rev() {
            let at = index.at();
            let dependents = &self.plan.step(*index).dependents;
            pinned[at] =
                protected && dependents.iter().any(|d| pinned[d.at()] || committed[d.at()] || self.is_effective(*d));
            let stands = pinned[at] || (protected && self.is_effective(*index));
            self.state.steps[at].fate = match (committed[at], stands) {
                (true, _) => Fate::Finished,
                (false, true) => Fate::Stands,
                (false, false) => Fate::Unwinds,
            };
            self.state.steps[at].undo_left = self.undos_of(*index);
            let waits = |d: &&StepIndex| !self.state.steps[d.at()].unwound;
            self.state.steps[at].unwinding = u32::try_from(dependents.iter().filter(waits).count()).unwrap_or(u32::MAX);
            if self.state.steps[at].unwinding == 0 {
                self.unwind_or_undo(*index);
            }
        }
        self.state.agenda.starts.clear();
        self.schedule_starts();
    }

    /// Whether it is a non-compensable step that took effect, at least in part.
    fn is_effective(&self, index: StepIndex) -> bool {
        self.plan.step(index).is_non_compensable()
            && self.state.steps[index.at()].items.iter().any(|item| item.phase == ItemPhase::Succeeded)
    }

    fn undos_of(&self, index: StepIndex) -> u32 {
        if !self.plan.step(index).is_compensable() {
            return 0;
        }
        let undos = self.state.steps[index.at()].items.iter().filter(|item| item.needs_undo()).count();
        u32::try_from(undos).unwrap_or(u32::MAX)
    }

    /// Whether the run's way lets a step start whose dependencies have succeeded.
    pub(super) fn may_start(&self, index: StepIndex) -> bool {
        match self.state.phase {
            Phase::Forward => true,
            Phase::RollingBack => self.state.steps[index.at()].fate == Fate::Finished,
            _ => false,
        }
    }

    /// All that depends on a step is unwound: now it is undone, or passed over if there is nothing to undo.
    ///
    /// `unwinding` of its dependencies is only touched for steps that come later in the reverse order than this one, so
    /// that `begin_rollback` may call this in the middle of its pass.
    fn unwind_or_undo(&mut self, index: StepIndex) {
        let step = &self.state.steps[index.at()];
        match step.fate {
            Fate::Unwinds if step.undo_left > 0 => self.schedule_undos(index),
            Fate::Unwinds => self.state.steps[index.at()].unwound = true,
            Fate::Finished => self.state.steps[index.at()].unwound = self.is_finished(index),
            Fate::Stands | Fate::Open => {}
        }
    }

    /// A step became unwound after the rollback had begun: its dependencies wait for one less.
    fn pass_on(&mut self, unwound: StepIndex) {
        let mut passing = vec![unwound];
        while let Some(index) = passing.pop() {
            for dep in &self.plan.step(index).deps {
                self.state.steps[dep.at()].unwinding -= 1;
                if self.state.steps[dep.at()].unwinding == 0 {
                    self.unwind_or_undo(*dep);
                    if self.state.steps[dep.at()].unwound {
                        passing.push(*dep);
                    }
                }
            }
        }
    }

    /// Whether a committed forward step has done all that it will do. One that never started has not.
    fn is_finished(&self, index: StepIndex) -> bool {
        self.state.steps[index.at()].is_complete()
    }

    /// A forward step is complete: in a rollback, what it depends on may be waiting for that.
    pub(super) fn forward_finished(&mut self, index: StepIndex) {
        let step = &mut self.state.steps[index.at()];
        if step.fate == Fate::Finished && step.unwinding == 0 && !step.unwound {
            step.unwound = true;
            self.pass_on(index);
        }
    }

    /// Gives compensations of a step's items the places that are free.
    pub(super) fn schedule_undos(&mut self, index: StepIndex) {
        let places = places(self.plan.step(index).shape);
        loop {
            let step = &mut self.state.steps[index.at()];
            let next = step.next_undo;
            let Some(item) = step.items.get(next as usize) else { break };
            if item.needs_undo() {
                if step.undo_taken >= places {
                    break;
                }
                self.set_phase(ItemRef::new(index, next), ItemPhase::UndoScheduled(Timestamp(0)));
            }
            self.state.steps[index.at()].next_undo += 1;
        }
    }

    /// Whether an item's compensation may start. It may have had no place yet: a release with another concurrency limit may
    /// have written that it did.
    pub(super) fn may_undo(&self, of: ItemRef) -> Result<bool, &'static str> {
        let item = self.state.item(of).ok_or("there is no such item")?;
        let step = &self.state.steps[of.step.at()];
        let due = step.fate == Fate::Unwinds && step.unwinding == 0 && self.plan.step(of.step).is_compensable();
        let scheduled = matches!(item.phase, ItemPhase::UndoScheduled(_));
        Ok(self.state.phase == Phase::RollingBack && (scheduled || (due && item.needs_undo())))
    }

    /// An item's compensation is done, or was done by hand.
    pub(super) fn undone(&mut self, of: ItemRef) {
        self.set_phase(of, ItemPhase::Undone);
        let step = &mut self.state.steps[of.step.at()];
        step.undo_left -= 1;
        if step.undo_left == 0 {
            step.unwound = true;
            self.pass_on(of.step);
        } else {
            self.schedule_undos(of.step);
        }
    }
}
