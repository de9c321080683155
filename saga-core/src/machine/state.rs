//! What is known of a run at one point of its journal.

use std::collections::{BTreeSet, VecDeque};

use crate::id::{Epoch, ExclusiveKey, ItemRef, Seq, StepIndex, Timestamp};
use crate::journal::{Actor, Cause, Failure, Rest};
use crate::machine::item::{Effect, Item, ItemPhase, Items};
use crate::payload::Payload;
use crate::plan::{Plan, Shape, Wire};
use crate::store::RunStatus;

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing is journaled yet.
    Unstarted,
    /// Steps start as soon as all that they depend on has succeeded.
    Forward,
    /// The run was aborted; what is in flight is awaited, and the guard is asked.
    Draining,
    /// What has to be undone is undone, what has to be finished is finished.
    RollingBack,
    /// An operator gave the run up; that is yet to be written down.
    Abandoning,
    /// The run came to rest; the finalizer has yet to be told.
    Finalizing,
    /// The run waits for an operator.
    Resting,
    /// Nothing will ever happen again.
    Ended,
}

/// What becomes of a step in a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// No rollback has begun.
    Open,
    /// It stands, by its own nature or because something that stands was built on it.
    Stands,
    /// It is finished.
    Finished,
    /// It is unwound: undone, if there is anything to undo, after all that depends on it.
    Unwinds,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Step {
    /// Its items, once it has started.
    pub(super) items: Items,
    /// The inputs of a fan-out's items.
    pub(super) elements: Vec<Payload>,
    pub(super) started: bool,
    /// Dependencies that have not succeeded.
    pub(super) waiting_on: u32,
    pub(super) succeeded: u32,
    /// Items that are scheduled or in flight.
    pub(super) taken: u32,
    /// The first item that may still be waiting.
    pub(super) next_item: u32,
    /// A fan-out's output, once all its items have succeeded.
    pub(super) output: Option<Payload>,
    pub(super) fate: Fate,
    /// Dependents that have not been unwound.
    pub(super) unwinding: u32,
    pub(super) unwound: bool,
    /// Items that a compensation could undo, and that none has undone. Counts where the fate is to be unwound.
    pub(super) undo_left: u32,
    /// Compensations that are scheduled or in flight.
    pub(super) undo_taken: u32,
    /// The first item whose compensation may still be waiting for a place.
    pub(super) next_undo: u32,
}

impl Step {
    pub(super) fn is_complete(&self) -> bool {
        self.started && self.succeeded as usize == self.items.len()
    }
}

/// What the next [`decide`](super::decide) has to look at, besides the timers.
#[derive(Debug, Clone, Default, PartialEq, Hash)]
pub(super) struct Agenda {
    /// Steps that may start.
    pub(super) starts: BTreeSet<StepIndex>,
    /// Items whose probe is to be asked.
    pub(super) probes: VecDeque<ItemRef>,
    /// The guard was asked, and has not answered.
    pub(super) guard_asked: bool,
    /// The finalizer was started, and has not ended.
    pub(super) finalizing: bool,
}

/// What is known of a run at one point of its journal: the fold of its events.
///
/// Two states that are equal have the same future: it depends on nothing else. The hash covers all of it, so that whoever
/// explores what can become of a run may tell by it where they have been.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct State {
    pub(super) phase: Phase,
    pub(super) seq: Seq,
    pub(super) epoch: Epoch,
    pub(super) input: Payload,
    pub(super) key: Option<ExclusiveKey>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) started_at: Timestamp,
    pub(super) cause: Option<Cause>,
    pub(super) rest: Option<Rest>,
    pub(super) abandoned: Option<Actor>,
    pub(super) steps: Vec<Step>,
    /// Steps that have not succeeded.
    pub(super) remaining: u32,
    /// Items in flight.
    pub(super) in_flight: u32,
    /// Those of them that an abort waits for: all but the forward ones.
    pub(super) draining: u32,
    /// Compensations in flight.
    pub(super) undoing: u32,
    /// When scheduled items are due.
    pub(super) timers: BTreeSet<(Timestamp, ItemRef)>,
    /// Items that failed for good.
    pub(super) failed: BTreeSet<ItemRef>,
    /// Those of them that halt the run: non-compensable, effect unknown.
    pub(super) halting: BTreeSet<ItemRef>,
    /// Items that could not be undone or finished.
    pub(super) stuck: BTreeSet<ItemRef>,
    /// The first error that reached the top since the run last went forward.
    pub(super) surfaced: Option<ItemRef>,
    /// The guard's answer to that.
    pub(super) guard_answered: bool,
    pub(super) finalize_at: Timestamp,
    pub(super) finalizer_failures: u32,
    pub(super) agenda: Agenda,
}

impl State {
    /// The state before the first event.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let steps: Vec<Step> = plan
            .steps()
            .iter()
            .map(|step| Step {
                items: Items::NONE,
                elements: Vec::new(),
                started: false,
                waiting_on: count(step.deps.len()),
                succeeded: 0,
                taken: 0,
                next_item: 0,
                output: None,
                fate: Fate::Open,
                unwinding: 0,
                unwound: false,
                undo_left: 0,
                undo_taken: 0,
                next_undo: 0,
            })
            .collect();
        Self {
            phase: Phase::Unstarted,
            seq: Seq::ZERO,
            epoch: Epoch::FIRST,
            input: Payload::null(),
            key: None,
            deadline: None,
            started_at: Timestamp(0),
            cause: None,
            rest: None,
            abandoned: None,
            remaining: count(steps.len()),
            steps,
            in_flight: 0,
            draining: 0,
            undoing: 0,
            timers: BTreeSet::new(),
            failed: BTreeSet::new(),
            halting: BTreeSet::new(),
            stuck: BTreeSet::new(),
            surfaced: None,
            guard_answered: false,
            finalize_at: Timestamp(0),
            finalizer_failures: 0,
            agenda: Agenda::default(),
        }
    }

    /// Which way the run goes.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The place of the newest event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The claim under which the run was last taken up.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The run's input.
    #[must_use]
    pub fn input(&self) -> &Payload {
        &self.input
    }

    /// The exclusive key that the run holds.
    #[must_use]
    pub fn key(&self) -> Option<&ExclusiveKey> {
        self.key.as_ref()
    }

    /// When the run was started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Why the run stopped going forward, if it did.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// How the run last came to rest, if it did.
    #[must_use]
    pub fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// Whether actions in flight should come to an end.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::RollingBack | Phase::Abandoning)
    }

    /// Whether the run is at rest, for now or for ever, and its finalizer knows.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Resting | Phase::Ended)
    }

    /// Where the run stands, as a store needs to know it.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        if !self.is_settled() {
            return RunStatus::Running;
        }
        match &self.rest {
            None => RunStatus::Running,
            Some(Rest::Completed) => RunStatus::Completed,
            Some(Rest::RolledBack) => RunStatus::RolledBack,
            Some(Rest::Halted { .. }) => RunStatus::Halted,
            Some(Rest::Stuck) => RunStatus::Stuck,
            Some(Rest::Abandoned { .. }) => RunStatus::Abandoned,
        }
    }

    /// When [`decide`](super::decide) should be asked again if nothing else happens; never, if `None`.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(at, _)| *at);
        match self.phase {
            Phase::Forward => timer.into_iter().chain(self.deadline).min(),
            Phase::Draining if self.is_halting() => None,
            Phase::Draining | Phase::RollingBack => timer,
            Phase::Finalizing if !self.agenda.finalizing => Some(self.finalize_at),
            _ => None,
        }
    }

    /// How many items a step has; 0 until it has started.
    #[must_use]
    pub fn items(&self, step: StepIndex) -> u32 {
        u32::try_from(self.steps[step.at()].items.len()).unwrap_or(u32::MAX)
    }

    /// Whether a step has started.
    #[must_use]
    pub fn has_started(&self, step: StepIndex) -> bool {
        self.steps[step.at()].started
    }

    /// Where an item stands, if its step has started and has so many items.
    #[must_use]
    pub fn item_phase(&self, of: ItemRef) -> Option<ItemPhase> {
        self.item(of).map(|item| item.phase)
    }

    /// What an item did, as far as is known.
    #[must_use]
    pub fn effect(&self, of: ItemRef) -> Effect {
        self.item(of).map_or(Effect::None, |item| item.effect)
    }

    /// What an item's action recorded, oldest first.
    #[must_use]
    pub fn checkpoints(&self, of: ItemRef) -> &[Payload] {
        self.item(of).map_or(&[], |item| &item.checkpoints)
    }

    /// The output of an item's action, if it succeeded.
    #[must_use]
    pub fn item_output(&self, of: ItemRef) -> Option<&Payload> {
        self.item(of).and_then(|item| item.output.as_ref())
    }

    /// The newest failure of an item.
    #[must_use]
    pub fn item_error(&self, of: ItemRef) -> Option<&Failure> {
        self.item(of).and_then(|item| item.error.as_deref())
    }

    /// The input of an item's action, or `None` if something that it is made from is not there.
    #[must_use]
    pub fn item_input(&self, plan: &Plan, of: ItemRef) -> Option<Payload> {
        match plan.step(of.step).shape {
            Shape::Single => self.resolve(&plan.step(of.step).input),
            Shape::Each { .. } => self.steps[of.step.at()].elements.get(of.item as usize).cloned(),
        }
    }

    /// The run's output, once every step that it is made from has succeeded.
    #[must_use]
    pub fn output(&self, plan: &Plan) -> Option<Payload> {
        self.resolve(plan.output())
    }

    /// The value that a wire carries, or `None` if a step that it comes from has not succeeded.
    pub(super) fn resolve(&self, wire: &Wire) -> Option<Payload> {
        Some(match wire {
            Wire::Unit => Payload::null(),
            Wire::Input => self.input.clone(),
            Wire::Step(step) => self.step_output(*step)?.clone(),
            Wire::List(parts) => {
                let parts: Option<Vec<Payload>> = parts.iter().map(|part| self.resolve(part)).collect();
                Payload::list(&parts?)
            }
        })
    }

    /// The inputs of a fan-out's items. An input that is no list is one item, whose action cannot decode it and says so.
    pub(super) fn elements_of(&self, plan: &Plan, step: StepIndex) -> Vec<Payload> {
        let input = self.resolve(&plan.step(step).input).unwrap_or_else(Payload::null);
        input.elements().unwrap_or_else(|| vec![input])
    }

    fn step_output(&self, step: StepIndex) -> Option<&Payload> {
        let step = &self.steps[step.at()];
        if !step.is_complete() {
            return None;
        }
        step.output.as_ref().or_else(|| step.items.first().and_then(|item| item.output.as_ref()))
    }

    /// Whether a failure stands that would be made worse by undoing anything. Without a subject there is nothing left
    /// to protect.
    pub(super) fn is_halting(&self) -> bool {
        !self.halting.is_empty() && self.cause != Some(Cause::SubjectGone)
    }

    /// Whether an abort leaves an item's action at work: forward steps that started are finished.
    pub(super) fn may_try(&self, plan: &Plan, step: StepIndex) -> bool {
        self.phase == Phase::Forward || plan.step(step).is_forward()
    }

    pub(super) fn item(&self, of: ItemRef) -> Option<&Item> {
        self.steps.get(of.step.at())?.items.get(of.item as usize)
    }

    pub(super) fn item_mut(&mut self, of: ItemRef) -> Option<&mut Item> {
        self.steps.get_mut(of.step.at())?.items.get_mut(of.item as usize)
    }
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How many items of a step may be in flight at the same time.
pub(super) fn places(shape: Shape) -> u32 {
    match shape {
        Shape::Single => 1,
        Shape::Each { concurrency } => concurrency.max(1),
    }
}
