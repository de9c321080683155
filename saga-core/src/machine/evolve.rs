//! The fold: one event changes the state.

use crate::id::{ItemRef, StepIndex, Timestamp};
use crate::journal::{Cause, Event, Failure, FailureKind, ProbeAnswer, Record, Rest};
use crate::machine::item::{Effect, Item, ItemPhase, Items};
use crate::machine::state::{Agenda, Phase, State, count, places};
use crate::payload::Payload;
use crate::plan::{Plan, Shape};

/// An event that cannot have happened at this point: the journal is not of this saga, or is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} ({event}) cannot have happened: {why}")]
pub struct IllegalEvent {
    /// The place of the event.
    pub seq: u64,
    /// Which event it is.
    pub event: String,
    /// Why it cannot have happened.
    pub why: &'static str,
}

/// Folds one event into the state.
///
/// The cost is that of the step's degree, not of the saga's size, but for the few events that turn the whole run
/// (`resumed`, `abort_began`, `rollback_began`, `operated`).
///
/// # Errors
///
/// [`IllegalEvent`] if the event cannot have happened here. The state is then of no more use.
pub fn evolve(plan: &Plan, state: &mut State, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
    state.seq = state.seq.plus(1);
    Fold { plan, state, at }.event(event).map_err(|why| IllegalEvent { seq: state.seq.0, event: name_of(event), why })
}

/// Folds a whole journal, or the next part of one.
///
/// # Errors
///
/// [`IllegalEvent`] if an event cannot have happened where it stands.
pub fn replay<'a>(
    plan: &Plan,
    state: &mut State,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<(), IllegalEvent> {
    records.into_iter().try_for_each(|record| evolve(plan, state, record.at, &record.event))
}

fn name_of(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

pub(super) type Fallible = Result<(), &'static str>;

pub(super) fn ensure(condition: bool, why: &'static str) -> Fallible {
    if condition { Ok(()) } else { Err(why) }
}

/// One event being folded.
pub(super) struct Fold<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: &'a mut State,
    pub(super) at: Timestamp,
}

impl Fold<'_> {
    fn event(&mut self, event: &Event) -> Fallible {
        match event {
            Event::RunStarted { .. } => ensure(self.state.phase == Phase::Unstarted, "the run was started before")?,
            _ => ensure(self.state.phase != Phase::Unstarted, "the run has not started")?,
        }
        ensure(self.state.phase != Phase::Ended, "the run has ended")?;
        match event {
            Event::RunStarted { saga, version, fingerprint, input, key, deadline } => {
                ensure(*saga == *self.plan.saga(), "it is of another saga")?;
                ensure(*version == self.plan.version(), "it is of another version of the saga")?;
                ensure(*fingerprint == self.plan.fingerprint(), "the saga's structure has changed")?;
                self.state.phase = Phase::Forward;
                self.state.input = input.clone();
                self.state.key = key.clone();
                self.state.deadline = *deadline;
                self.state.started_at = self.at;
                self.schedule_starts();
                Ok(())
            }
            Event::Resumed { epoch, .. } => {
                self.state.epoch = *epoch;
                self.interrupt();
                self.rebuild_agenda();
                Ok(())
            }
            Event::StepStarted { step, items, .. } => self.step_started(*step, *items),
            Event::AttemptStarted { of, attempt } => self.attempt_started(*of, *attempt),
            Event::Checkpointed { of, value } => {
                let item = self.state.item_mut(*of).ok_or("there is no such item")?;
                ensure(item.phase == ItemPhase::Running, "no attempt is in flight")?;
                item.checkpoints.push(value.clone());
                Ok(())
            }
            Event::AttemptFailed { of, attempt, error, retry_at } => {
                self.attempt_failed(*of, *attempt, error, *retry_at)
            }
            Event::Probed { of, answer } => self.probed(*of, answer),
            Event::Succeeded { of, output } => {
                ensure(self.phase_of(*of)? == ItemPhase::Running, "no attempt is in flight")?;
                self.succeed(*of, output.clone());
                Ok(())
            }
            Event::AbortBegan { cause } => {
                ensure(self.state.phase == Phase::Forward, "the run does not go forward")?;
                self.abort(cause.clone());
                Ok(())
            }
            Event::SubjectChecked { gone } => {
                ensure(self.state.phase == Phase::Draining, "the run is not being aborted")?;
                self.state.guard_answered = true;
                self.state.agenda.guard_asked = false;
                if *gone {
                    self.state.cause = Some(Cause::SubjectGone);
                }
                Ok(())
            }
            Event::RollbackBegan => {
                ensure(self.state.phase == Phase::Draining, "the run is not being aborted")?;
                ensure(self.state.draining == 0, "actions are in flight")?;
                ensure(!self.state.is_halting(), "a failure of unknown effect halts the run")?;
                self.state.phase = Phase::RollingBack;
                self.begin_rollback();
                Ok(())
            }
            Event::UndoStarted { of, attempt } => {
                ensure(self.may_undo(*of)?, "its compensation is not due")?;
                let at = self.at;
                let item = self.state.item_mut(*of).ok_or("there is no such item")?;
                ensure(*attempt == item.undo_attempts + 1, "the attempt has the wrong number")?;
                item.undo_attempts = *attempt;
                if item.undo_failures == 0 {
                    item.undo_since = at;
                }
                self.set_phase(*of, ItemPhase::Undoing);
                Ok(())
            }
            Event::UndoFailed { of, attempt, error, retry_at } => {
                ensure(self.phase_of(*of)? == ItemPhase::Undoing, "its compensation is not in flight")?;
                let item = self.state.item_mut(*of).ok_or("there is no such item")?;
                ensure(*attempt == item.undo_attempts, "it is not the attempt in flight")?;
                item.undo_failures += 1;
                item.error = Some(Box::new(error.clone()));
                match retry_at {
                    Some(at) => self.set_phase(*of, ItemPhase::UndoScheduled(*at)),
                    None => {
                        self.set_phase(*of, ItemPhase::UndoFailed);
                        self.state.stuck.insert(*of);
                        self.schedule_undos(of.step);
                    }
                }
                Ok(())
            }
            Event::Undone { of } => {
                ensure(self.phase_of(*of)? == ItemPhase::Undoing, "its compensation is not in flight")?;
                self.undone(*of);
                Ok(())
            }
            Event::Rested { rest } => self.rested(rest),
            Event::FinalizerFailed { retry_at, .. } => {
                ensure(self.state.phase == Phase::Finalizing, "the run is not at rest")?;
                self.state.agenda.finalizing = false;
                self.state.finalize_at = *retry_at;
                self.state.finalizer_failures += 1;
                Ok(())
            }
            Event::Finalized => {
                ensure(self.state.phase == Phase::Finalizing, "the run is not at rest")?;
                self.settle();
                Ok(())
            }
            Event::Operated { verb, by } => {
                ensure(self.state.phase == Phase::Resting, "the run is not at rest")?;
                self.operated(verb, by)
            }
        }
    }

    fn step_started(&mut self, step: StepIndex, items: Option<u32>) -> Fallible {
        let shape = self.plan.steps().get(step.at()).ok_or("there is no such step")?.shape;
        ensure(!self.state.steps[step.at()].started, "the step was started before")?;
        ensure(self.state.steps[step.at()].waiting_on == 0, "a dependency has not succeeded")?;
        ensure(self.may_start(step), "no new step starts any more")?;
        let at = self.at;
        let elements = match shape {
            Shape::Single => Vec::new(),
            Shape::Each { .. } => self.state.elements_of(self.plan, step),
        };
        match (shape, items) {
            (Shape::Single, None) => {}
            (Shape::Single, Some(_)) => return Err("the step is no fan-out"),
            (Shape::Each { .. }, items) => {
                ensure(items == Some(count(elements.len())), "the fan-out's input has another number of elements")?;
            }
        }
        let this = &mut self.state.steps[step.at()];
        this.started = true;
        this.elements = elements;
        self.state.agenda.starts.remove(&step);
        match shape {
            Shape::Single => {
                let mut item = Item::new(ItemPhase::Waiting);
                item.attempts = 1;
                item.since = at;
                self.state.steps[step.at()].items = Items::One([item]);
                self.set_phase(ItemRef::new(step, 0), ItemPhase::Running);
            }
            Shape::Each { .. } => {
                let this = &mut self.state.steps[step.at()];
                this.items = Items::Many(this.elements.iter().map(|_| Item::new(ItemPhase::Waiting)).collect());
                if this.items.is_empty() {
                    self.complete(step);
                } else {
                    self.schedule_items(step);
                }
            }
        }
        Ok(())
    }

    fn attempt_started(&mut self, of: ItemRef, attempt: u32) -> Fallible {
        // It may have had no place yet: a release with another concurrency limit may have written this.
        ensure(matches!(self.phase_of(of)?, ItemPhase::Scheduled(_) | ItemPhase::Waiting), "no attempt is due")?;
        ensure(self.is_at_work() && self.state.may_try(self.plan, of.step), "nothing is tried any more")?;
        let at = self.at;
        let item = self.state.item_mut(of).ok_or("there is no such item")?;
        ensure(attempt == item.attempts + 1, "the attempt has the wrong number")?;
        item.attempts = attempt;
        if item.failures == 0 {
            item.since = at;
        }
        self.set_phase(of, ItemPhase::Running);
        Ok(())
    }

    fn attempt_failed(&mut self, of: ItemRef, attempt: u32, error: &Failure, retry_at: Option<Timestamp>) -> Fallible {
        ensure(self.phase_of(of)? == ItemPhase::Running, "no attempt is in flight")?;
        let item = self.state.item_mut(of).ok_or("there is no such item")?;
        ensure(attempt == item.attempts, "it is not the attempt in flight")?;
        item.failures += 1;
        item.error = Some(Box::new(error.clone()));
        if error.kind != FailureKind::Rejected {
            item.effect = Effect::Unknown;
        }
        self.question(of, retry_at);
        Ok(())
    }

    /// An attempt ended without success: ask the outside world, if that can be asked and has something to tell.
    pub(super) fn question(&mut self, of: ItemRef, retry_at: Option<Timestamp>) {
        if self.plan.step(of.step).probed && self.state.effect(of) == Effect::Unknown {
            self.set_phase(of, ItemPhase::Probing(retry_at));
            self.state.agenda.probes.push_back(of);
        } else {
            self.settle_failure(of, retry_at);
        }
    }

    fn probed(&mut self, of: ItemRef, answer: &ProbeAnswer) -> Fallible {
        let ItemPhase::Probing(retry_at) = self.phase_of(of)? else {
            return Err("nobody asked");
        };
        match answer {
            ProbeAnswer::Done(output) => self.succeed(of, output.clone()),
            ProbeAnswer::NotDone => {
                if let Some(item) = self.state.item_mut(of) {
                    item.effect = Effect::None;
                }
                self.settle_failure(of, retry_at);
            }
            ProbeAnswer::Unknown => self.settle_failure(of, retry_at),
        }
        Ok(())
    }

    /// An attempt failed, and all that can be known of it is known.
    fn settle_failure(&mut self, of: ItemRef, retry_at: Option<Timestamp>) {
        match retry_at {
            Some(at) if self.state.may_try(self.plan, of.step) => {
                let crowded = self.state.steps[of.step.at()].taken > places(self.plan.step(of.step).shape);
                if crowded && at <= self.at {
                    self.wait_for_place(of);
                } else {
                    self.set_phase(of, ItemPhase::Scheduled(at));
                }
            }
            _ => self.fail(of),
        }
    }

    /// An item is to be tried as soon as its fan-out has a place for it.
    pub(super) fn wait_for_place(&mut self, of: ItemRef) {
        self.set_phase(of, ItemPhase::Waiting);
        let next = &mut self.state.steps[of.step.at()].next_item;
        *next = of.item.min(*next);
    }

    /// An item failed for good, under the policy now in force.
    fn fail(&mut self, of: ItemRef) {
        self.state.surfaced.get_or_insert(of);
        let step = self.plan.step(of.step);
        let Some(item) = self.state.item_mut(of) else { return };
        if step.is_forward() && !item.patient {
            // The run turns back, but this step is finished: from now on by its patient policy.
            item.patient = true;
            item.failures = 0;
            self.set_phase(of, ItemPhase::Scheduled(Timestamp(0)));
            return;
        }
        let unknown = item.effect == Effect::Unknown;
        self.set_phase(of, ItemPhase::Failed);
        self.state.failed.insert(of);
        if step.is_non_compensable() && unknown {
            self.state.halting.insert(of);
        }
        if step.is_forward() {
            self.state.stuck.insert(of);
            self.schedule_items(of.step);
        }
    }

    pub(super) fn succeed(&mut self, of: ItemRef, output: Payload) {
        if let Some(item) = self.state.item_mut(of) {
            item.effect = Effect::Done;
            item.output = Some(output);
        }
        self.set_phase(of, ItemPhase::Succeeded);
        let step = &mut self.state.steps[of.step.at()];
        step.succeeded += 1;
        if step.is_complete() {
            self.complete(of.step);
        } else if self.state.may_try(self.plan, of.step) {
            self.schedule_items(of.step);
        }
    }

    /// All items of a step have succeeded: what waits for it may start.
    fn complete(&mut self, index: StepIndex) {
        self.state.remaining -= 1;
        let step = &mut self.state.steps[index.at()];
        if matches!(self.plan.step(index).shape, Shape::Each { .. }) {
            step.output = Some(Payload::list(step.items.iter().filter_map(|item| item.output.as_ref())));
        }
        for dependent in &self.plan.step(index).dependents {
            let waiting = &mut self.state.steps[dependent.at()];
            waiting.waiting_on -= 1;
            if waiting.waiting_on == 0 && self.may_start(*dependent) {
                self.state.agenda.starts.insert(*dependent);
            }
        }
        self.forward_finished(index);
    }

    /// Gives waiting items of a fan-out the places that are free.
    pub(super) fn schedule_items(&mut self, index: StepIndex) {
        let places = places(self.plan.step(index).shape);
        loop {
            let step = &mut self.state.steps[index.at()];
            let next = step.next_item;
            let Some(item) = step.items.get(next as usize) else { break };
            // `next_item` moves on past every item once, so that a fan-out costs what its items cost.
            if item.phase == ItemPhase::Waiting {
                if step.taken >= places {
                    break;
                }
                self.set_phase(ItemRef::new(index, next), ItemPhase::Scheduled(Timestamp(0)));
            }
            self.state.steps[index.at()].next_item += 1;
        }
    }

    /// No new step starts, no retry either, but for forward steps that have started.
    fn abort(&mut self, cause: Cause) {
        self.state.cause = Some(cause);
        self.state.phase = Phase::Draining;
        self.state.agenda.starts.clear();
        let given_up: Vec<ItemRef> =
            self.state.timers.iter().map(|(_, of)| *of).filter(|of| !self.plan.step(of.step).is_forward()).collect();
        for of in given_up {
            self.give_up(of);
        }
        // Items of a fan-out that an operator wanted to be tried again, and that had no place yet.
        let renewed: Vec<ItemRef> = self
            .all_items()
            .filter(|of| !self.plan.step(of.step).is_forward())
            .filter(|of| self.state.item(*of).is_some_and(|it| it.phase == ItemPhase::Waiting && it.attempts > 0))
            .collect();
        for of in renewed {
            self.fail(of);
        }
    }

    /// A scheduled attempt will not be made.
    fn give_up(&mut self, of: ItemRef) {
        if self.state.item(of).is_some_and(|item| item.attempts == 0) {
            self.wait_for_place(of);
        } else {
            self.fail(of);
        }
    }

    pub(super) fn schedule_starts(&mut self) {
        for index in self.plan.order() {
            let step = &self.state.steps[index.at()];
            if !step.started && step.waiting_on == 0 && self.may_start(*index) {
                self.state.agenda.starts.insert(*index);
            }
        }
    }

    fn rested(&mut self, rest: &Rest) -> Fallible {
        let state = &*self.state;
        let idle = state.in_flight == 0 && state.undoing == 0;
        let due = !state.timers.is_empty() || !state.agenda.starts.is_empty();
        let (phase, way) = match rest {
            Rest::Completed => (Phase::Forward, state.remaining == 0),
            Rest::RolledBack => (Phase::RollingBack, !due && state.stuck.is_empty()),
            Rest::Stuck => (Phase::RollingBack, !due && !state.stuck.is_empty()),
            Rest::Halted { at, .. } => (Phase::Draining, state.is_halting() && state.halting.contains(at)),
            Rest::Abandoned { .. } => (Phase::Abandoning, true),
        };
        ensure(idle, "something is in flight")?;
        ensure(state.phase == phase && way, "the run cannot come to rest like this")?;
        self.state.rest = Some(rest.clone());
        self.state.agenda = Agenda::default();
        if self.plan.is_finalized() {
            self.state.phase = Phase::Finalizing;
            self.state.finalize_at = Timestamp(0);
            self.state.finalizer_failures = 0;
        } else {
            self.settle();
        }
        Ok(())
    }

    fn settle(&mut self) {
        self.state.agenda = Agenda::default();
        self.state.phase = match self.state.rest {
            Some(Rest::Halted { .. } | Rest::Stuck) => Phase::Resting,
            _ => Phase::Ended,
        };
    }

    /// Whether actions may be tried at all.
    fn is_at_work(&self) -> bool {
        matches!(self.state.phase, Phase::Forward | Phase::Draining | Phase::RollingBack)
    }

    pub(super) fn phase_of(&self, of: ItemRef) -> Result<ItemPhase, &'static str> {
        self.state.item(of).map(|item| item.phase).ok_or("there is no such item")
    }

    /// The one place where an item changes its phase: the counters and timers follow.
    pub(super) fn set_phase(&mut self, of: ItemRef, phase: ItemPhase) {
        let forward = self.plan.step(of.step).is_forward();
        let Some(item) = self.state.item_mut(of) else { return };
        let before = std::mem::replace(&mut item.phase, phase);
        let change = |count: &mut u32, was: bool, is: bool| {
            *count = *count + u32::from(is) - u32::from(was);
        };
        let (was, is) = (before.in_flight(), phase.in_flight());
        change(&mut self.state.in_flight, was, is);
        if !forward {
            change(&mut self.state.draining, was, is);
        }
        let step = &mut self.state.steps[of.step.at()];
        change(&mut step.taken, before.takes_place(), phase.takes_place());
        change(&mut step.undo_taken, before.takes_undo_place(), phase.takes_undo_place());
        change(&mut self.state.undoing, before == ItemPhase::Undoing, phase == ItemPhase::Undoing);
        if let ItemPhase::Scheduled(at) | ItemPhase::UndoScheduled(at) = before {
            self.state.timers.remove(&(at, of));
        }
        if let ItemPhase::Scheduled(at) | ItemPhase::UndoScheduled(at) = phase {
            self.state.timers.insert((at, of));
        }
    }
}
