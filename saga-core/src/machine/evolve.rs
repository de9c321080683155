//! The fold: one event changes the state.

use crate::id::{ItemRef, StepIndex, Timestamp};
use crate::journal::{Cause, Event, Failure, FailureKind, FailureOrigin, ProbeAnswer, Record, Rest, Verb};
use crate::machine::state::{Agenda, Effect, Item, ItemPhase, Phase, State, places};
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
/// (`resumed`, `rollback_began`, `operated`).
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

type Fallible = Result<(), &'static str>;

fn ensure(condition: bool, why: &'static str) -> Fallible {
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
                ensure(self.state.is_aborting(), "the run is not being aborted")?;
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
                ensure(matches!(self.phase_of(*of)?, ItemPhase::UndoScheduled(_)), "its compensation is not due")?;
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
            Event::UndoFailed { of, error, retry_at, .. } => {
                ensure(self.phase_of(*of)? == ItemPhase::Undoing, "its compensation is not in flight")?;
                if let Some(item) = self.state.item_mut(*of) {
                    item.undo_failures += 1;
                    item.error = Some(Box::new(error.clone()));
                }
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
                let was_stuck = self.state.rest.take() == Some(Rest::Stuck);
                match verb {
                    Verb::Retry => self.try_again(was_stuck),
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
        }
    }

    fn step_started(&mut self, step: StepIndex, items: Option<u32>) -> Fallible {
        let shape = self.plan.steps().get(step.at()).ok_or("there is no such step")?.shape;
        ensure(!self.state.steps[step.at()].started, "the step was started before")?;
        ensure(self.state.steps[step.at()].waiting_on == 0, "a dependency has not succeeded")?;
        let at = self.at;
        let elements = match shape {
            Shape::Single => Vec::new(),
            Shape::Each { .. } => {
                self.state.resolve(&self.plan.step(step).input).and_then(|list| list.elements()).unwrap_or_default()
            }
        };
        let this = &mut self.state.steps[step.at()];
        this.started = true;
        this.elements = elements;
        if self.state.agenda.starts.front() == Some(&step) {
            self.state.agenda.starts.pop_front();
        } else {
            self.state.agenda.starts.retain(|start| *start != step);
        }
        match shape {
            Shape::Single => {
                ensure(items.is_none(), "the step is no fan-out")?;
                let mut item = Item::new(ItemPhase::Waiting);
                item.attempts = 1;
                item.since = at;
                self.state.steps[step.at()].items = vec![item];
                self.set_phase(ItemRef::new(step, 0), ItemPhase::Running);
            }
            Shape::Each { .. } => {
                let items = items.ok_or("the step is a fan-out")?;
                self.state.steps[step.at()].items = (0..items).map(|_| Item::new(ItemPhase::Waiting)).collect();
                if items == 0 {
                    self.complete(step);
                } else {
                    self.schedule_items(step);
                }
            }
        }
        Ok(())
    }

    fn attempt_started(&mut self, of: ItemRef, attempt: u32) -> Fallible {
        ensure(matches!(self.phase_of(of)?, ItemPhase::Scheduled(_)), "no attempt is due")?;
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
    fn question(&mut self, of: ItemRef, retry_at: Option<Timestamp>) {
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
            Some(at) if self.state.may_try(self.plan, of.step) => self.set_phase(of, ItemPhase::Scheduled(at)),
            _ => self.fail(of),
        }
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
                self.state.agenda.starts.push_back(*dependent);
            }
        }
        self.forward_finished(index);
    }

    /// Gives waiting items of a fan-out the places that are free.
    fn schedule_items(&mut self, index: StepIndex) {
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
    }

    /// A scheduled attempt will not be made.
    fn give_up(&mut self, of: ItemRef) {
        if self.state.item(of).is_some_and(|item| item.attempts == 0) {
            self.set_phase(of, ItemPhase::Waiting);
            let next = &mut self.state.steps[of.step.at()].next_item;
            *next = of.item.min(*next);
        } else {
            self.fail(of);
        }
    }

    /// The worker that drove the run is gone: attempts in flight are over, and what they did is unknown.
    fn interrupt(&mut self) {
        let interrupted = Failure {
            kind: FailureKind::Failed,
            origin: FailureOrigin::Interrupted,
            message: "the worker stopped while the attempt ran".to_owned(),
        };
        let all: Vec<ItemRef> = self.all_items().collect();
        for of in all {
            match self.state.item(of).map(|item| item.phase) {
                Some(ItemPhase::Running) => {
                    if let Some(item) = self.state.item_mut(of) {
                        item.effect = Effect::Unknown;
                        item.error = Some(Box::new(interrupted.clone()));
                    }
                    let again = self.state.may_try(self.plan, of.step).then_some(Timestamp(0));
                    self.question(of, again);
                }
                Some(ItemPhase::Undoing) => self.set_phase(of, ItemPhase::UndoScheduled(Timestamp(0))),
                _ => {}
            }
        }
    }

    /// Derives from the state alone what there is to do besides the timers. What was asked before is asked again.
    fn rebuild_agenda(&mut self) {
        self.state.agenda = Agenda::default();
        self.schedule_starts();
        let all: Vec<ItemRef> = self.all_items().collect();
        let probing = all
            .into_iter()
            .filter(|of| matches!(self.state.item(*of), Some(Item { phase: ItemPhase::Probing(_), .. })));
        self.state.agenda.probes = probing.collect();
    }

    fn all_items(&self) -> impl Iterator<Item = ItemRef> + use<> {
        let counts: Vec<usize> = self.state.steps.iter().map(|step| step.items.len()).collect();
        (0u32..)
            .zip(counts)
            .flat_map(|(step, items)| (0u32..).take(items).map(move |item| ItemRef::new(StepIndex(step), item)))
    }

    pub(super) fn schedule_starts(&mut self) {
        for index in self.plan.order() {
            let step = &self.state.steps[index.at()];
            if !step.started && step.waiting_on == 0 && self.may_start(*index) {
                self.state.agenda.starts.push_back(*index);
            }
        }
    }

    /// The operator wants what failed to be tried again.
    fn try_again(&mut self, was_stuck: bool) {
        if was_stuck {
            self.state.phase = Phase::RollingBack;
            for of in std::mem::take(&mut self.state.stuck) {
                self.state.failed.remove(&of);
                self.renew_attempts(of);
            }
            return;
        }
        self.go_forward();
        for of in std::mem::take(&mut self.state.failed) {
            self.renew_attempts(of);
        }
        for step in self.plan.order() {
            self.schedule_items(*step);
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

    /// A fresh budget for whatever of an item failed.
    fn renew_attempts(&mut self, of: ItemRef) {
        let probed = self.plan.step(of.step).probed;
        let rolling_back = self.state.phase == Phase::RollingBack;
        let Some(item) = self.state.item_mut(of) else { return };
        match item.phase {
            ItemPhase::UndoFailed => {
                item.undo_failures = 0;
                self.set_phase(of, ItemPhase::UndoScheduled(Timestamp(0)));
            }
            ItemPhase::Failed => {
                item.failures = 0;
                item.patient = item.patient && rolling_back;
                if probed && item.effect == Effect::Unknown {
                    // The operator may have settled it by hand.
                    self.set_phase(of, ItemPhase::Probing(Some(Timestamp(0))));
                } else {
                    self.set_phase(of, ItemPhase::Scheduled(Timestamp(0)));
                }
            }
            _ => {}
        }
    }

    /// The operator has settled an item by hand; the rest of what failed is tried again.
    fn skip(&mut self, of: ItemRef, output: Option<Payload>, was_stuck: bool) -> Fallible {
        match self.phase_of(of)? {
            ItemPhase::UndoFailed => {
                self.state.phase = Phase::RollingBack;
                self.state.stuck.remove(&of);
                self.undone(of);
            }
            ItemPhase::Failed => {
                ensure(self.state.failed.remove(&of), "the item did not fail")?;
                let output = output.ok_or("a step counts as succeeded only with an output")?;
                if was_stuck {
                    ensure(self.state.stuck.remove(&of), "the item is not what the run is stuck at")?;
                    self.state.phase = Phase::RollingBack;
                    self.succeed(of, output);
                } else {
                    self.go_forward();
                    self.succeed(of, output);
                    self.try_again(false);
                }
            }
            _ => return Err("the item did not fail"),
        }
        Ok(())
    }

    fn rested(&mut self, rest: &Rest) -> Fallible {
        ensure(!matches!(self.state.phase, Phase::Resting | Phase::Finalizing), "the run was at rest already")?;
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
