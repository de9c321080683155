//! What happens: one move leads from one state to the next.
//!
//! It goes as in the runtime's driver. What was seen is judged and folded, what follows is decided (a *turn*); all events of
//! a turn are one append; when that is durable, and not before, the commands are given and those who asked are told. A
//! crash, or another owner, may come at any point.

use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::{Actor, Event, ProbeAnswer, Verb as Journaled};
use saga_core::machine::{AttemptResult, Command, Decision, Observation, State};
use saga_core::plan::Plan;
use saga_core::{Epoch, Failure, FailureKind, FailureOrigin, Payload, Timestamp, WorkerId};

use crate::act::{Act, Answer, Attempt, Move, Undo, Verb};
use crate::bounds::{Bounds, Mishap, Policies};
use crate::journal::{Condition, Journal};
use crate::judge::{Checked, Judge, Turn};
use crate::ledger::Ledger;
use crate::node::{Node, Owner, Pending, Work, World, fingerprint};
use crate::possible::item;
use crate::property::{Property, Violation};
use crate::saga::{Class, Saga};
use crate::steps::Steps;
use crate::story::decided;
use crate::system::System;

/// The time at which everything happens but the firing of timers. After a timer the clock is set back: no rule looks at the
/// time but by comparing it with a timer, so that only the order of timers is of consequence.
pub const NOW: Timestamp = Timestamp(1 << 20);

/// One saga with all that can happen to it.
pub struct Model<'a> {
    /// The saga, by which the properties judge.
    pub saga: &'a Saga,
    /// The plan that the machine is given.
    pub plan: Plan,
    /// The machine and the store.
    pub system: &'a dyn System,
    /// How much may go wrong.
    pub bounds: Bounds,
    /// What has to hold.
    pub judge: Judge,
}

/// Something that a turn begins with.
enum Input {
    Seen(Observation),
    Given(Event),
}

/// The end of an action's attempt, as the owner sees it.
pub(crate) fn attempt_ended(
    ledger: &Ledger,
    step: usize,
    result: Result<(), FailureKind>,
    again: Duration,
) -> Observation {
    let result = with_failure(result, again).map(|()| Payload::null());
    Observation::Attempt { of: item(step), attempt: u32::from(ledger.attempts[step]), result }
}

/// The end of a compensation's attempt, as the owner sees it.
pub(crate) fn undo_ended(
    ledger: &Ledger,
    step: usize,
    result: Result<(), FailureKind>,
    again: Duration,
) -> Observation {
    let result = with_failure(result, again);
    Observation::Undo { of: item(step), attempt: u32::from(ledger.undo_attempts[step]), result }
}

fn with_failure(result: Result<(), FailureKind>, again: Duration) -> AttemptResult<()> {
    result.map_err(|kind| {
        let error = Failure { kind, origin: FailureOrigin::Returned, message: String::new() };
        (error, (again > Duration::ZERO).then_some(again))
    })
}

pub(crate) fn taken_up(epoch: Epoch) -> Observation {
    Observation::Resumed { epoch, worker: WorkerId::new("w").expect("a letter is a name") }
}

fn someone() -> Actor {
    Actor::new("someone", "")
}

impl<'a> Model<'a> {
    /// All that can happen to a saga.
    #[must_use]
    pub fn new(saga: &'a Saga, policies: Policies, bounds: Bounds, system: &'a dyn System) -> Self {
        Self { saga, plan: system.reads(saga).plan(policies), system, bounds, judge: Judge::default() }
    }

    /// When the run's deadline passes. Far away: it passes when it is said to.
    pub(crate) fn deadline(&self) -> Timestamp {
        Timestamp(u64::MAX)
    }

    /// The first state: the run's first events are on their way to the store.
    ///
    /// # Errors
    ///
    /// A property does not hold.
    ///
    /// # Panics
    ///
    /// Never: a start has events.
    pub fn start(&self) -> Result<Node, Violation> {
        let state = State::new(&self.plan);
        let nothing = Node {
            folded: fingerprint(&state),
            state: Arc::new(state),
            pending: None,
            owner: Owner::Driving,
            work: Work::default(),
            world: World::default(),
            ledger: Ledger::default(),
            journal: Journal::default(),
            epoch: Epoch::FIRST,
            late: None,
            left: self.bounds,
        };
        let started = Event::RunStarted {
            saga: self.plan.saga().clone(),
            version: self.plan.version(),
            fingerprint: self.plan.fingerprint(),
            input: Payload::null(),
            key: None,
            deadline: (self.bounds.deadlines > 0).then(|| self.deadline()),
        };
        Ok(self.turn(nothing, vec![Input::Given(started)], NOW)?.expect("a start has events"))
    }

    /// Where a move leads to; nowhere if it changes nothing.
    ///
    /// # Errors
    ///
    /// A property does not hold.
    pub fn next(&self, node: &Node, by: Move) -> Checked<Option<Node>> {
        let mut next = node.clone();
        let mut seen = Vec::new();
        for act in [Some(by.first), by.second].into_iter().flatten() {
            match act {
                Act::Written => return self.written(next).map(Some),
                Act::Late => return self.late(next).map(Some),
                Act::Crash { written, had_effect } => {
                    let Some(left) = next.left.after(Mishap::Crash) else { return Ok(None) };
                    next.left = left;
                    self.take_effect(&mut next, had_effect);
                    return self.change_hands(next, written).and_then(|next| self.take_up(next));
                }
                Act::TakeOver { written, had_effect } => return self.take_over(next, written, had_effect),
                Act::TakeUp => return self.take_up(next),
                Act::Operate(verb) => return self.operate(next, verb),
                Act::GoOn => {
                    next.owner = Owner::Driving;
                    next.state = Arc::new(self.reload(&next)?);
                    return self.turn(next, Vec::new(), NOW);
                }
                Act::Timer => {
                    let wake = node.state.next_wake().unwrap_or(NOW);
                    let woken = self.turn(next, Vec::new(), wake.max(NOW))?;
                    let goes_on = woken.is_some();
                    self.judge.ensure(Property::LiveRunWaits, goes_on, || "a timer fired for nothing".to_owned())?;
                    return Ok(woken);
                }
                Act::Deadline => {
                    let Some(left) = next.left.after(Mishap::Deadline) else { return Ok(None) };
                    next.left = left;
                    return self.turn(next, Vec::new(), self.deadline());
                }
                act => match self.see(&mut next, act) {
                    Some(observation) => seen.push(Input::Seen(observation)),
                    None => return Ok(None),
                },
            }
        }
        self.turn(next, seen, NOW)
    }

    /// Something comes to its end in the outside world; what the owner sees of it. Nothing if no more may go wrong.
    fn see(&self, node: &mut Node, act: Act) -> Option<Observation> {
        Some(match act {
            Act::Attempt(step, end) => {
                let (did, result, again) = match end {
                    Attempt::Succeeds => (true, Ok(()), Duration::ZERO),
                    Attempt::Fails { did, again } => (did, Err(FailureKind::Failed), again),
                    Attempt::Dies { did, again } => (did, Err(FailureKind::Fatal), again),
                    Attempt::Rejects { again } => (false, Err(FailureKind::Rejected), again),
                };
                if result.is_err() {
                    node.left = node.left.after(Mishap::Failure)?;
                }
                if did && !self.saga.is(step, Class::ReadOnly) {
                    node.world.exists.set(step, true);
                }
                node.work.run.set(step, false);
                attempt_ended(&node.ledger, step, result, again)
            }
            Act::Undo(step, end) => {
                let (did, result, again) = match end {
                    Undo::Succeeds => (true, Ok(()), Duration::ZERO),
                    Undo::Fails { did, again } => (did, Err(FailureKind::Failed), again),
                    Undo::Dies { did } => (did, Err(FailureKind::Fatal), Duration::ZERO),
                };
                if result.is_err() {
                    node.left = node.left.after(Mishap::UndoFailure)?;
                }
                if did {
                    node.world.exists.set(step, false);
                }
                node.work.undo.set(step, false);
                undo_ended(&node.ledger, step, result, again)
            }
            Act::Probe(step, answer) => {
                node.work.probe.set(step, false);
                let answer = match answer {
                    Answer::Done => ProbeAnswer::Done(Payload::null()),
                    Answer::NotDone => ProbeAnswer::NotDone,
                    Answer::Unknown => ProbeAnswer::Unknown,
                };
                Observation::Probe { of: item(step), answer }
            }
            Act::Guard { gone } => {
                node.work.guard = false;
                self.vanish(node, gone)?;
                Observation::Guard { gone }
            }
            Act::Vanished => {
                self.vanish(node, true)?;
                Observation::SubjectGone
            }
            Act::Finalizer { told } => {
                node.work.finalize = false;
                if !told {
                    node.left = node.left.after(Mishap::UndoFailure)?;
                }
                let result = if told { Ok(()) } else { Err(FailureKind::Failed) };
                Observation::Finalizer { result: with_failure(result, Duration::ZERO) }
            }
            Act::Cancel => {
                node.left = node.left.after(Mishap::Cancel)?;
                Observation::Cancel { by: someone() }
            }
            _ => return None,
        })
    }

    /// The subject is gone from now on, if it is.
    fn vanish(&self, node: &mut Node, gone: bool) -> Option<()> {
        if gone && !node.world.gone {
            node.left = node.left.after(Mishap::Vanishing)?;
            node.world.gone = true;
        }
        Some(())
    }

    /// What was seen is judged and folded, and what follows from it is decided.
    fn turn(&self, mut node: Node, inputs: Vec<Input>, now: Timestamp) -> Checked<Option<Node>> {
        let mut state = State::clone(&node.state);
        let mut events = Vec::new();
        for input in inputs {
            let event = match input {
                Input::Given(event) => Some(event),
                Input::Seen(seen) => self.system.observe(&self.plan, &state, seen, now),
            };
            if let Some(event) = event {
                self.fold(&mut state, now, &event)?;
                events.push(event);
            }
        }
        let Decision { append, then } = self.decide(&mut state, now)?;
        events.extend(append);
        if events.is_empty() && then.is_empty() {
            return Ok(None);
        }
        let turn = Turn { node: &node, now, events: &events, commands: &then, state: &state };
        let after = self.judge.turn(self, &turn);
        let after = after.map_err(|violation| Violation { decided: decided(&events, &then), ..violation })?;
        node.state = Arc::new(state);
        if events.is_empty() {
            then.iter().for_each(|command| self.give(&mut node, command));
            return Ok(Some(node));
        }
        let pending = Pending { at: now, events, commands: then, after, owner: Owner::Driving };
        node.pending = Some(Arc::new(pending));
        Ok(Some(node))
    }

    /// Folds an event. The machine refuses none that it made itself.
    pub(crate) fn fold(&self, state: &mut State, at: Timestamp, event: &Event) -> Checked<()> {
        let folded = self.system.evolve(&self.plan, state, at, event);
        self.judge.ensure(Property::DecidedCanBeFolded, folded.is_ok(), || format!("{folded:?}"))
    }

    /// Decides what follows. It folds what it decides upon.
    pub(crate) fn decide(&self, state: &mut State, now: Timestamp) -> Checked<Decision> {
        match self.system.decide(&self.plan, state, now) {
            Ok(decision) => Ok(decision),
            Err(illegal) => {
                let (property, what) = (Property::DecidedCanBeFolded, illegal.to_string());
                Err(Violation { property, what, decided: String::new() })
            }
        }
    }

    fn give(&self, node: &mut Node, command: &Command) {
        node.work.give(command);
        node.world.undo_begun |= node.work.undo;
    }

    /// The append on its way is durable; its owner learns of it, and acts.
    fn written(&self, mut node: Node) -> Checked<Node> {
        let Some(pending) = node.pending.take() else { return Ok(node) };
        let own = Condition { epoch: node.epoch, expected: node.journal.seq() };
        let taken = self.system.admits(node.head(), own);
        self.judge
            .ensure(Property::StaleEpochNeverAppends, taken, || "the owner's own append was refused".to_owned())?;
        self.append(&mut node, &pending);
        let twice = self.system.admits(node.head(), own);
        self.judge.ensure(Property::LateChangesNothing, !twice, || "one append was taken twice".to_owned())?;
        node.world.acknowledged = node.journal.seq();
        pending.commands.iter().for_each(|command| self.give(&mut node, command));
        self.judge.standing(self, &node)?;
        Ok(node)
    }

    fn append(&self, node: &mut Node, pending: &Pending) {
        node.journal = node.journal.with(pending.at, &pending.events);
        node.folded = fingerprint(&node.state);
        node.ledger = pending.after;
        node.owner = pending.owner;
    }

    /// What the journal folds to, as it is read after a crash.
    pub(crate) fn reload(&self, node: &Node) -> Checked<State> {
        let mut state = State::new(&self.plan);
        for record in self.system.reload(node.journal.records()) {
            self.fold(&mut state, record.at, &record.event)?;
        }
        let (has, acknowledged) = (state.seq(), node.world.acknowledged);
        self.judge.ensure(Property::NoAcknowledgedEventIsLost, has >= acknowledged, || {
            format!("event {acknowledged} was acknowledged, the journal ends with event {has}")
        })?;
        Ok(state)
    }

    fn take_effect(&self, node: &mut Node, had_effect: Steps) {
        let (made, taken_away) = (had_effect & node.work.run, had_effect & node.work.undo);
        node.world.exists = (node.world.exists | made) - taken_away;
    }

    /// Whatever the owner held in memory is no more; another one claims the run and reads it.
    fn change_hands(&self, mut node: Node, written: bool) -> Checked<Node> {
        if let Some(pending) = node.pending.take()
            && written
        {
            self.append(&mut node, &pending);
        }
        node.work = Work::default();
        node.state = Arc::new(self.reload(&node)?);
        node.folded = fingerprint(&node.state);
        node.owner = Owner::Driving;
        if !node.state.is_settled() {
            node.epoch = node.epoch.next();
            node.owner = Owner::Claimed;
        }
        Ok(node)
    }

    /// Who has claimed the run writes down that it takes it up. Nobody takes up what is at rest.
    fn take_up(&self, mut node: Node) -> Checked<Option<Node>> {
        if node.owner != Owner::Claimed {
            return Ok(Some(node));
        }
        node.owner = Owner::Driving;
        let epoch = node.epoch;
        let taken_up = self.turn(node, vec![Input::Seen(taken_up(epoch))], NOW)?;
        let goes_on = taken_up.is_some();
        self.judge.ensure(Property::LiveRunWaits, goes_on, || "a live run is not taken up".to_owned())?;
        Ok(taken_up)
    }

    /// Another owner claims the run, and the first one has yet to learn of it: it has an append on its way, or makes one of
    /// what it sees next.
    fn take_over(&self, mut node: Node, written: bool, had_effect: Steps) -> Checked<Option<Node>> {
        let Some(left) = node.left.after(Mishap::TakeOver) else { return Ok(None) };
        node.left = left;
        self.take_effect(&mut node, had_effect);
        let first = node.epoch;
        let node = self.change_hands(node, written)?;
        if node.owner != Owner::Claimed {
            // What has come to rest is not taken over.
            return Ok(None);
        }
        let late = Some(Condition { epoch: first, expected: node.journal.seq() });
        Ok(Some(Node { late, ..node }))
    }

    /// The first owner's append arrives. It is refused, and the first owner lets go of the run.
    fn late(&self, mut node: Node) -> Checked<Node> {
        if let Some(late) = node.late.take() {
            let taken = self.system.admits(node.head(), late);
            self.judge.ensure(Property::StaleEpochNeverAppends, !taken, || {
                let (head, expected) = (node.head(), late.expected);
                format!("epoch {} appended after event {expected}, the claim is of epoch {}", late.epoch, head.epoch)
            })?;
        }
        Ok(node)
    }

    /// An operator claims the resting run, and writes down that it takes it up and what it asks for.
    fn operate(&self, mut node: Node, verb: Verb) -> Checked<Option<Node>> {
        let Some(left) = node.left.after(Mishap::Operator) else { return Ok(None) };
        let journaled = match verb {
            Verb::Retry => Journaled::Retry,
            Verb::RollBack => Journaled::RollBack,
            Verb::Abandon => Journaled::Abandon,
            Verb::Skip(step) => {
                let undo = node.ledger.undo_failed.has(step);
                Journaled::Skip { of: item(step), output: (!undo).then(Payload::null) }
            }
        };
        let Ok(operated) = self.system.operate(&node.state, journaled, someone()) else { return Ok(None) };
        if let Verb::Skip(step) = verb
            && !self.saga.is(step, Class::ReadOnly)
        {
            // It was settled by hand.
            node.world.exists.set(step, !node.ledger.undo_failed.has(step));
        }
        node.left = left;
        node.epoch = node.epoch.next();
        let mut state = State::clone(&node.state);
        let resumed = self.system.observe(&self.plan, &state, taken_up(node.epoch), NOW);
        let events: Vec<Event> = resumed.into_iter().chain([operated]).collect();
        for event in &events {
            self.fold(&mut state, NOW, event)?;
        }
        let after =
            self.judge.turn(self, &Turn { node: &node, now: NOW, events: &events, commands: &[], state: &state })?;
        node.state = Arc::new(state);
        let pending = Pending { at: NOW, events, commands: Vec::new(), after, owner: Owner::MovedOn };
        node.pending = Some(Arc::new(pending));
        Ok(Some(node))
    }
}
