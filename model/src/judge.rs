//! Holds the properties against what happens: of each turn, and of each state that is durable.
//!
//! They are judged by the [ledger](crate::ledger), by the graph and by the outside world. The machine's state is looked into
//! for the few that are about it: its invariants, its replay, what it waits for.

use std::cell::Cell;
use std::time::Duration;

use saga_core::journal::{Event, Rest};
use saga_core::machine::{Command, Phase, State, check_invariants};
use saga_core::{FailureKind, Timestamp};

use crate::ledger::Ledger;
use crate::model::{Model, NOW, attempt_ended, taken_up, undo_ended};
use crate::node::{Node, Owner, Work};
use crate::property::{Property, Violation};
use crate::saga::Class;
use crate::steps::{Steps, name};

/// What a check comes to.
pub type Checked<T> = Result<T, Violation>;

/// One turn: what was decided in a state, and what came of it.
pub struct Turn<'a> {
    /// The state in which it was decided. What ended in this turn is not under way any more.
    pub node: &'a Node,
    /// When.
    pub now: Timestamp,
    /// The events.
    pub events: &'a [Event],
    /// The commands.
    pub commands: &'a [Command],
    /// The state with the events.
    pub state: &'a State,
}

/// Judges, and counts how often each property was judged.
#[derive(Debug, Default)]
pub struct Judge {
    counts: [Cell<u64>; Property::ALL.len()],
}

impl Judge {
    /// How often each property was judged, in the order of [`Property::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; Property::ALL.len()] {
        std::array::from_fn(|at| self.counts[at].get())
    }

    /// Holds one property.
    ///
    /// # Errors
    ///
    /// It does not hold.
    pub fn ensure(&self, property: Property, holds: bool, what: impl FnOnce() -> String) -> Checked<()> {
        let count = &self.counts[property as usize];
        count.set(count.get() + 1);
        if holds { Ok(()) } else { Err(Violation { property, what: what(), decided: String::new() }) }
    }

    /// Judges a turn. Gives what the journal will say when its events are durable.
    ///
    /// # Errors
    ///
    /// The first property that does not hold.
    pub fn turn(&self, model: &Model<'_>, turn: &Turn<'_>) -> Checked<Ledger> {
        let mut ledger = turn.node.ledger;
        for event in turn.events {
            self.event(model, turn, &ledger, event)?;
            ledger.add(model.saga, event);
        }
        let mut work = turn.node.work;
        if turn.events.iter().any(|event| matches!(event, Event::Resumed { .. })) {
            work = Work::default();
        }
        for command in turn.commands {
            self.command(model, &ledger, work, turn.node.ledger, command)?;
            work.give(command);
        }
        self.starts(turn, &ledger)?;
        let sound = check_invariants(&model.plan, turn.state);
        self.ensure(Property::InvariantsHold, sound.is_ok(), || format!("{sound:?}"))?;
        if turn.events.iter().any(|event| matches!(event, Event::Rested { .. })) {
            self.rest(model, turn, &ledger)?;
        }
        self.prefixes(model, turn)?;
        Ok(ledger)
    }

    fn event(&self, model: &Model<'_>, turn: &Turn<'_>, before: &Ledger, event: &Event) -> Checked<()> {
        let saga = model.saga;
        let by_finalizer = matches!(event, Event::Finalized | Event::FinalizerFailed { .. });
        let telling = before.rest.is_some() && saga.finalized && !before.told;
        let in_turn = matches!(event, Event::Resumed { .. }) || telling == by_finalizer;
        self.ensure(Property::FinalizerIsTold, in_turn, || format!("{event:?} came at the wrong time"))?;
        match event {
            Event::RollbackBegan => {
                let halting = before.halting(saga);
                let goes_back = halting.is_empty() || before.gone || before.forced;
                self.ensure(Property::HaltsForUnknownEffect, goes_back, || format!("{halting} should halt it"))?;
                let busy = (before.in_flight() | turn.node.work.steps()) - saga.of(Class::Forward);
                self.ensure(Property::UndoWaitsForDrain, busy.is_empty(), || format!("{busy} is in flight"))?;
                let asked = turn.node.work.guard && !before.gone;
                self.ensure(Property::UndoWaitsForDrain, !asked, || "the guard has not answered".to_owned())
            }
            Event::Rested { rest: Rest::Halted { at, .. } } => {
                let halts = before.halting(saga).has(at.step.at()) && !before.gone;
                self.ensure(Property::HaltsForUnknownEffect, halts, || format!("{at:?} does not halt it"))
            }
            _ => Ok(()),
        }
    }

    /// A command, as the outside world will see it.
    fn command(
        &self,
        model: &Model<'_>,
        ledger: &Ledger,
        work: Work,
        before: Ledger,
        command: &Command,
    ) -> Checked<()> {
        let saga = model.saga;
        match command {
            Command::Run { of, attempt } => {
                let step = of.step.at();
                let is_first = *attempt == 1 && before.attempts[step] == 0;
                let committed = ledger.verdict.is_some_and(|verdict| verdict.committed.has(step));
                let goes_on = saga.is(step, Class::Forward) && (committed || !is_first);
                let may = !ledger.aborted || goes_on;
                self.ensure(Property::NoNewStepAfterAbort, may, || format!("`{}` is tried", name(step)))?;
                let missing = saga.deps(step) - (ledger.succeeded - ledger.undone);
                self.ensure(Property::StartsAfterDependencies, missing.is_empty(), || {
                    format!("`{}` is tried without {missing}", name(step))
                })?;
                self.alone(work, step)
            }
            Command::Probe { of } => self.alone(work, of.step.at()),
            Command::Undo { of, .. } => {
                self.undo(model, ledger, of.step.at())?;
                self.alone(work, of.step.at())
            }
            Command::AskGuard => self.ensure(Property::UndoWaitsForDrain, saga.guarded, || "there is no guard".into()),
            Command::Finalize => {
                // The guard may be asked still, by nobody who waits for its answer.
                let is_last = saga.finalized && ledger.rest.is_some() && work.steps().is_empty();
                let at_rest = is_last && !ledger.told;
                self.ensure(Property::FinalizerIsTold, at_rest, || "it is told before the rest".to_owned())
            }
        }
    }

    fn alone(&self, work: Work, step: usize) -> Checked<()> {
        let alone = !work.steps().has(step);
        self.ensure(Property::OneThingAtATime, alone, || format!("`{}` is worked upon by something else", name(step)))
    }

    /// A compensation is to begin.
    fn undo(&self, model: &Model<'_>, ledger: &Ledger, step: usize) -> Checked<()> {
        let (saga, this) = (model.saga, name(step));
        let halts = !(ledger.halting(saga).is_empty() || ledger.gone || ledger.forced || ledger.verdict.is_some());
        self.ensure(Property::HaltedUndidNothing, !halts, || format!("`{this}` is undone in a run that halts"))?;
        let stands = ledger.verdict.map_or(Steps::NONE, |verdict| verdict.stands);
        self.ensure(Property::PinnedStands, !stands.has(step), || format!("`{this}` is undone, {stands} stands"))?;
        let did = saga.is(step, Class::Compensable) && ledger.may_stand().has(step) && !ledger.in_flight().has(step);
        self.ensure(Property::NothingUndoneThatDidNotHappen, did, || format!("`{this}` did nothing to undo"))?;
        let began = ledger.verdict.is_some();
        self.ensure(Property::UndoWaitsForDrain, began, || format!("`{this}` is undone before the rollback"))?;
        let Some(verdict) = ledger.verdict else { return Ok(()) };
        let unfinished = verdict.committed - ledger.succeeded;
        let left = (verdict.to_undo - ledger.undone) | unfinished | ledger.in_flight() | ledger.undoing;
        let above = saga.descendants(step) & left;
        self.ensure(Property::UndoWaits, above.is_empty(), || format!("`{this}` is undone, {above} is built on it"))
    }

    /// One command for each event that starts something, and no other.
    fn starts(&self, turn: &Turn<'_>, after: &Ledger) -> Checked<()> {
        let (mut run, mut undo) = (Steps::NONE, Steps::NONE);
        for event in turn.events {
            match event {
                Event::StepStarted { step, .. } => run.set(step.at(), true),
                Event::AttemptStarted { of, .. } => run.set(of.step.at(), true),
                Event::UndoStarted { of, .. } => undo.set(of.step.at(), true),
                _ => {}
            }
        }
        let given = Work::of(turn.commands);
        let numbered = turn.commands.iter().all(|command| match command {
            Command::Run { of, attempt } => u32::from(after.attempts[of.step.at()]) == *attempt,
            Command::Undo { of, attempt } => u32::from(after.undo_attempts[of.step.at()]) == *attempt,
            _ => true,
        });
        let matches = given.run == run && given.undo == undo && numbered;
        self.ensure(Property::StartIsOneCommand, matches, || {
            format!("run {run}, undo {undo} by the events; the commands are {:?}", turn.commands)
        })
    }

    /// A crash in the middle of an append, in a store that would let that happen.
    fn prefixes(&self, model: &Model<'_>, turn: &Turn<'_>) -> Checked<()> {
        let Some((_, but_last)) = turn.events.split_last() else { return Ok(()) };
        let mut state = State::clone(&turn.node.state);
        for (at, event) in but_last.iter().enumerate() {
            model.fold(&mut state, turn.now, event)?;
            let mut taken = state.clone();
            let went = take_up(model, &mut taken, turn.node).map(|_| ());
            self.ensure(Property::PrefixCanBeTakenUp, went.is_ok(), || {
                format!("not after event {} of {}: {went:?}", at + 1, turn.events.len())
            })?;
        }
        Ok(())
    }

    /// Judges a state in which nothing is on its way to the store.
    ///
    /// # Errors
    ///
    /// The first property that does not hold.
    pub fn standing(&self, model: &Model<'_>, node: &Node) -> Checked<()> {
        let mut replayed = model.reload(node)?;
        if node.owner == Owner::MovedOn {
            let same = replayed == *node.state;
            return self.ensure(Property::ReplayIsSame, same, || format!("{replayed:?}\nlive: {:?}", node.state));
        }
        let fresh = replayed.clone();
        let decided = model.decide(&mut replayed, NOW)?;
        if node.state.phase() == Phase::Ended {
            self.end(model, node, &decided.then)?;
        }
        let same = decided.append.is_empty() && replayed == *node.state;
        self.ensure(Property::ReplayIsSame, same, || format!("{replayed:?}\nlive: {:?}", node.state))?;
        self.late(model, node)?;
        if node.state.is_settled() {
            let told = !model.saga.finalized || node.ledger.told;
            self.ensure(Property::FinalizerIsTold, told, || "it was not told of the rest".to_owned())?;
            let idle = node.work.steps().is_empty();
            return self.ensure(Property::RestIsRest, idle, || format!("at work: {:?}", node.work));
        }
        let timer = node.state.next_wake().is_some_and(|wake| wake < model.deadline());
        let waits = timer || !node.work.is_empty();
        self.ensure(Property::LiveRunWaits, waits, || "it waits for nothing".to_owned())?;
        let begun = node.ledger.running == node.work.run && node.ledger.undoing == node.work.undo;
        // What an operator wants to be tried again is asked once more before.
        let asked = node.ledger.probing.within(node.work.probe) && node.work.probe.within(node.ledger.unknown);
        self.ensure(Property::LiveRunWaits, begun && asked, || {
            format!("it waits for what was never begun; begun is {:?}", node.work)
        })?;
        self.recovery(model, node, fresh)
    }

    /// Whoever takes the run up has the same work before them as the one who has it.
    fn recovery(&self, model: &Model<'_>, node: &Node, mut taken: State) -> Checked<()> {
        let given = take_up(model, &mut taken, node)?;
        let mut live = State::clone(&node.state);
        let mut expected = Work { run: Steps::NONE, ..node.work };
        let mut halts = !node.ledger.halting(model.saga).is_empty();
        for step in node.work.run.iter() {
            let is_cut_short = live.phase() == Phase::Draining && !model.saga.is(step, Class::Forward);
            if is_cut_short {
                // In an abort it counts as failed, its effect unknown; the one who lives on is told as much.
                let ended = attempt_ended(&node.ledger, step, Err(FailureKind::Failed), Duration::ZERO);
                let event = model.system.observe(&model.plan, &live, ended, NOW);
                let seen = event.is_some();
                self.ensure(Property::RecoveryTakesUp, seen, || format!("the end of `{}` is lost", name(step)))?;
                event.iter().try_for_each(|event| model.fold(&mut live, NOW, event))?;
                halts |= model.saga.is(step, Class::NonCompensable) && !model.saga.probed(step);
            } else if model.saga.probed(step) {
                expected.probe.set(step, true);
            } else {
                expected.run.set(step, true);
            }
        }
        model.decide(&mut live, NOW)?.then.iter().for_each(|command| expected.give(command));
        let mut has = Work::of(&given);
        let mut same_phase = taken.phase() == live.phase();
        if live.phase() == Phase::Draining
            && halts
            && !node.ledger.gone
            && !node.ledger.forced
            && !expected.run.is_empty()
        {
            // A halting run awaits forward steps that are in flight, but does not begin them again: it may be at rest now.
            expected.run = Steps::NONE;
            has.finalize = false;
            same_phase = true;
        }
        // Nobody waits any more for a guard whose answer came another way.
        if !has.guard && (node.ledger.gone || node.ledger.verdict.is_some()) {
            expected.guard = false;
        }
        self.ensure(Property::RecoveryTakesUp, has == expected && same_phase, || {
            format!("who takes over has {has:?} in {:?}, live {expected:?} in {:?}", taken.phase(), live.phase())
        })
    }

    /// Every end that was seen before comes once more, and every one of an attempt that a crash has ended comes at last. It
    /// makes no event, so it leads nowhere: it may come as often as it likes, in every state.
    fn late(&self, model: &Model<'_>, node: &Node) -> Checked<()> {
        let mut past = node.ledger;
        for step in node.ledger.started.iter() {
            for result in [Ok(()), Err(FailureKind::Failed), Err(FailureKind::Fatal), Err(FailureKind::Rejected)] {
                let attempts = node.ledger.attempts[step] + u8::from(!node.work.run.has(step));
                for attempt in 1..attempts {
                    past.attempts[step] = attempt;
                    let ended = attempt_ended(&past, step, result, Duration::ZERO);
                    let event = model.system.observe(&model.plan, &node.state, ended, NOW);
                    self.ensure(Property::LateChangesNothing, event.is_none(), || {
                        format!("attempt {attempt} of `{}` ended long ago, and makes {event:?}", name(step))
                    })?;
                }
                let undos = node.ledger.undo_attempts[step] + u8::from(!node.work.undo.has(step));
                for attempt in 1..undos {
                    past.undo_attempts[step] = attempt;
                    let ended = undo_ended(&past, step, result, Duration::ZERO);
                    let event = model.system.observe(&model.plan, &node.state, ended, NOW);
                    self.ensure(Property::LateChangesNothing, event.is_none(), || {
                        format!("undo {attempt} of `{}` ended long ago, and makes {event:?}", name(step))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A worker takes the run up; what it is given to do.
fn take_up(model: &Model<'_>, state: &mut State, node: &Node) -> Checked<Vec<Command>> {
    let seen = taken_up(node.epoch.next());
    if let Some(resumed) = model.system.observe(&model.plan, state, seen, NOW) {
        model.fold(state, NOW, &resumed)?;
    }
    Ok(model.decide(state, NOW)?.then)
}
