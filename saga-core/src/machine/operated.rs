//! An operator moves a resting run on.

use crate::id::{ItemRef, StepIndex, Timestamp};
use crate::journal::{Actor, Rest, Verb};
use crate::machine::evolve::{Fallible, Fold, ensure};
use crate::machine::item::{Effect, ItemPhase};
use crate::machine::state::Phase;
use crate::payload::Payload;

impl Fold<'_> {
    pub(super) fn operated(&mut self, verb: &Verb, by: &Actor) -> Fallible {
        let was_stuck = self.state.rest.take() == Some(Rest::Stuck);
        match verb {
            Verb::Retry if was_stuck => self.undo_again(),
            Verb::Retry => {
                self.go_forward();
                self.renew_failed();
                self.schedule_all();
            }
            Verb::Skip { of, output } => self.skip(*of, output.clone(), was_stuck)?,
            Verb::RollBack => {
                ensure(!was_stuck, "only a halted run can be rolled back")?;
                self.state.halting.clear();
                // The operator has looked: there is nothing left to ask.
                self.state.guard_answered = true;
                self.state.phase = Phase::Draining;
            }
            Verb::Abandon => {
                self.state.abandoned = Some(by.clone());
                self.state.phase = Phase::Abandoning;
            }
        }
        self.rebuild_agenda();
        Ok(())
    }

    /// Whatever the rollback is stuck at is tried again.
    fn undo_again(&mut self) {
        self.state.phase = Phase::RollingBack;
        let stuck = std::mem::take(&mut self.state.stuck);
        for of in &stuck {
            self.state.failed.remove(of);
            self.renew(*of);
        }
        // They take their turns: more items may have failed, one after the other, than may be at work together.
        for of in stuck {
            if self.plan.step(of.step).is_forward() {
                self.schedule_items(of.step);
            } else {
                self.schedule_undos(of.step);
            }
        }
    }

    fn go_forward(&mut self) {
        self.state.phase = Phase::Forward;
        self.state.cause = None;
        self.state.surfaced = None;
        self.state.guard_answered = false;
        // It has passed, or will pass before long; the operator knows, and wants the run to go on.
        self.state.deadline = None;
        self.state.halting.clear();
        self.state.stuck.clear();
    }

    fn renew_failed(&mut self) {
        for of in std::mem::take(&mut self.state.failed) {
            self.renew(of);
        }
    }

    fn schedule_all(&mut self) {
        let started = (0u32..).map(StepIndex).zip(&self.state.steps).filter(|(_, step)| step.started);
        let started: Vec<StepIndex> = started.map(|(index, _)| index).collect();
        for index in started {
            self.schedule_items(index);
        }
    }

    /// A fresh budget for whatever of an item failed, as soon as it gets a place.
    fn renew(&mut self, of: ItemRef) {
        let rolling_back = self.state.phase == Phase::RollingBack;
        let Some(item) = self.state.item_mut(of) else { return };
        match item.phase {
            ItemPhase::UndoFailed => {
                item.undo_failures = 0;
                let before = if item.effect == Effect::Done { ItemPhase::Succeeded } else { ItemPhase::Failed };
                self.set_phase(of, before);
                let next = &mut self.state.steps[of.step.at()].next_undo;
                *next = of.item.min(*next);
            }
            ItemPhase::Failed => {
                item.failures = 0;
                item.patient = item.patient && rolling_back;
                if item.effect == Effect::Unknown && self.plan.step(of.step).probed {
                    // The operator may have settled it by hand. Asking needs no place.
                    self.set_phase(of, ItemPhase::Probing(Some(Timestamp(0))));
                } else {
                    self.wait_for_place(of);
                }
            }
            _ => {}
        }
    }

    /// The operator has settled an item by hand. A halted run goes forward again, so the rest of what failed is tried
    /// again; a stuck one stays stuck at the rest.
    fn skip(&mut self, of: ItemRef, output: Option<Payload>, was_stuck: bool) -> Fallible {
        match self.phase_of(of)? {
            ItemPhase::UndoFailed => {
                self.state.phase = Phase::RollingBack;
                self.state.stuck.remove(&of);
                self.undone(of);
            }
            ItemPhase::Failed => {
                let output = output.ok_or("a step counts as succeeded only with an output")?;
                self.state.failed.remove(&of);
                if was_stuck {
                    ensure(self.state.stuck.remove(&of), "the item is not what the run is stuck at")?;
                    self.state.phase = Phase::RollingBack;
                    self.succeed(of, output);
                } else {
                    self.go_forward();
                    self.renew_failed();
                    self.succeed(of, output);
                    self.schedule_all();
                }
            }
            _ => return Err("the item did not fail"),
        }
        Ok(())
    }
}
