//! What can happen in a state.

use std::time::Duration;

use saga_core::journal::Event;
use saga_core::machine::{ItemPhase, Observation, Phase};
use saga_core::{FailureKind, ItemRef, StepIndex};

use crate::act::{Act, Answer, Attempt, Move, Undo, Verb};
use crate::bounds::Mishap;
use crate::model::{Model, NOW, attempt_ended, undo_ended};
use crate::node::{Node, Owner};
use crate::saga::Class;

/// The delay of a retry that is alone.
const DELAY: u64 = 1 << 16;

pub(crate) fn item(step: usize) -> ItemRef {
    ItemRef::new(StepIndex(step as u32), 0)
}

impl Model<'_> {
    /// All that can happen next.
    #[must_use]
    pub fn moves(&self, node: &Node) -> Vec<Move> {
        let mut acts = Vec::new();
        if node.late.is_some() {
            acts.push(Act::Late);
        }
        match (&node.pending, node.owner) {
            (Some(_), _) => {
                acts.push(Act::Written);
                // Before the run is durable at all there is nothing to recover.
                let durable = node.journal.seq().0 > 0;
                let written: &[bool] = if durable { &[false, true] } else { &[true] };
                self.changes_of_hands(node, written, &mut acts);
            }
            (None, Owner::Claimed) => {
                acts.push(Act::TakeUp);
                self.changes_of_hands(node, &[false], &mut acts);
            }
            (None, Owner::MovedOn) => {
                acts.push(Act::GoOn);
                self.changes_of_hands(node, &[false], &mut acts);
            }
            (None, Owner::Driving) if node.state.is_settled() => self.verbs(node, &mut acts),
            (None, Owner::Driving) => {
                self.changes_of_hands(node, &[false], &mut acts);
                return self.turns(node, acts);
            }
        }
        acts.into_iter().map(Move::from).collect()
    }

    fn turns(&self, node: &Node, others: Vec<Act>) -> Vec<Move> {
        let ends = self.ends(node);
        let mut meddling = Vec::new();
        if node.state.phase() == Phase::Forward && node.left.allows(Mishap::Cancel) {
            meddling.push(Act::Cancel);
        }
        if !node.work.run.is_empty() && self.saga.guarded && (node.world.gone || node.left.allows(Mishap::Vanishing)) {
            meddling.push(Act::Vanished);
        }
        let mut moves: Vec<Move> = ends.iter().chain(&meddling).map(|act| Move::from(*act)).collect();
        if self.bounds.batch > 1 {
            for first in &ends {
                // What comes from the side is judged last.
                let seconds = ends.iter().filter(|second| !is_of_one(first, second)).chain(&meddling);
                moves.extend(seconds.map(|second| Move { first: *first, second: Some(*second) }));
            }
        }
        if node.state.next_wake().is_some_and(|wake| wake < self.deadline()) {
            moves.push(Act::Timer.into());
        }
        if node.state.phase() == Phase::Forward && node.left.allows(Mishap::Deadline) {
            moves.push(Act::Deadline.into());
        }
        moves.extend(others.into_iter().map(Move::from));
        moves
    }

    /// How what is under way may end.
    fn ends(&self, node: &Node) -> Vec<Act> {
        let mut ends = Vec::new();
        let fails = node.left.allows(Mishap::Failure);
        let undo_fails = node.left.allows(Mishap::UndoFailure);
        for step in node.work.run.iter() {
            ends.push(Act::Attempt(step, Attempt::Succeeds));
            if fails {
                let no_trace = self.saga.is(step, Class::ReadOnly) || node.world.exists.has(step);
                let dids: &[bool] = if no_trace { &[false] } else { &[false, true] };
                let again = |kind| self.delays(node, attempt_ended(&node.ledger, step, Err(kind), Duration::ZERO));
                for again in again(FailureKind::Failed) {
                    ends.extend(dids.iter().map(|did| Act::Attempt(step, Attempt::Fails { did: *did, again })));
                }
                for again in again(FailureKind::Fatal) {
                    ends.extend(dids.iter().map(|did| Act::Attempt(step, Attempt::Dies { did: *did, again })));
                }
                let rejects = again(FailureKind::Rejected).into_iter();
                ends.extend(rejects.map(|again| Act::Attempt(step, Attempt::Rejects { again })));
            }
        }
        for step in node.work.probe.iter() {
            let exists = node.world.exists.has(step);
            let nobody_knows = self.saga.is(step, Class::ReadOnly);
            if exists || nobody_knows {
                ends.push(Act::Probe(step, Answer::Done));
            }
            if !exists {
                ends.push(Act::Probe(step, Answer::NotDone));
            }
            ends.push(Act::Probe(step, Answer::Unknown));
        }
        for step in node.work.undo.iter() {
            ends.push(Act::Undo(step, Undo::Succeeds));
            if undo_fails {
                let dids: &[bool] = if node.world.exists.has(step) { &[false, true] } else { &[false] };
                let failed = undo_ended(&node.ledger, step, Err(FailureKind::Failed), Duration::ZERO);
                for again in self.delays(node, failed) {
                    ends.extend(dids.iter().map(|did| Act::Undo(step, Undo::Fails { did: *did, again })));
                }
                ends.extend(dids.iter().map(|did| Act::Undo(step, Undo::Dies { did: *did })));
            }
        }
        if node.work.guard {
            if !node.world.gone {
                ends.push(Act::Guard { gone: false });
            }
            if node.world.gone || node.left.allows(Mishap::Vanishing) {
                ends.push(Act::Guard { gone: true });
            }
        }
        if node.work.finalize {
            ends.push(Act::Finalizer { told: true });
            if undo_fails {
                ends.push(Act::Finalizer { told: false });
            }
        }
        ends
    }

    /// When the next attempt after a failure may start: before, together with, between and after all other timers. Only this
    /// order is of consequence, so one point in time stands for all that lie between the same two timers.
    fn delays(&self, node: &Node, ended: Observation) -> Vec<Duration> {
        let is_tried_again = matches!(
            self.system.observe(&self.plan, &node.state, ended, NOW),
            Some(Event::AttemptFailed { retry_at: Some(_), .. } | Event::UndoFailed { retry_at: Some(_), .. })
        );
        if !is_tried_again {
            return vec![Duration::ZERO];
        }
        let timer = |step| match node.state.item_phase(item(step))? {
            ItemPhase::Scheduled(at) | ItemPhase::UndoScheduled(at) if at > NOW => Some(at.0 - NOW.0),
            _ => None,
        };
        let mut timers: Vec<u64> = (0..self.saga.len()).filter_map(timer).collect();
        timers.sort_unstable();
        timers.dedup();
        // Each failure halves the distance, so that there is always room between two.
        let failed = self.bounds.failures + self.bounds.undo_failures - node.left.failures - node.left.undo_failures;
        let gap = DELAY >> (2 + failed);
        let after = |(at, timer): (usize, &u64)| {
            let before_next = timers.get(at + 1).is_none_or(|next| timer + gap < *next);
            [Some(*timer), before_next.then_some(timer + gap)]
        };
        let around = timers.iter().enumerate().flat_map(after).flatten();
        let first = timers.first().map_or(DELAY, |first| first - gap);
        [first].into_iter().chain(around).map(Duration::from_millis).collect()
    }

    /// The owner dies, or loses the run to another one.
    fn changes_of_hands(&self, node: &Node, written: &[bool], acts: &mut Vec<Act>) {
        let (crash, take_over) = (node.left.allows(Mishap::Crash), node.left.allows(Mishap::TakeOver));
        if !crash && !take_over {
            return;
        }
        let makes = (node.work.run - node.world.exists) - self.saga.of(Class::ReadOnly);
        let takes_away = node.work.undo & node.world.exists;
        for written in written.iter().copied() {
            for had_effect in (makes | takes_away).subsets() {
                if crash {
                    acts.push(Act::Crash { written, had_effect });
                }
                if take_over {
                    acts.push(Act::TakeOver { written, had_effect });
                }
            }
        }
    }

    fn verbs(&self, node: &Node, acts: &mut Vec<Act>) {
        if node.state.phase() != Phase::Resting || !node.left.allows(Mishap::Operator) {
            return;
        }
        let skips = (0..self.saga.len()).map(Verb::Skip);
        acts.extend([Verb::Retry, Verb::RollBack, Verb::Abandon].into_iter().chain(skips).map(Act::Operate));
    }
}

/// Whether both are ends of one thing.
fn is_of_one(one: &Act, other: &Act) -> bool {
    match (one, other) {
        (Act::Attempt(one, _), Act::Attempt(other, _))
        | (Act::Undo(one, _), Act::Undo(other, _))
        | (Act::Probe(one, _), Act::Probe(other, _)) => one == other,
        (Act::Guard { .. }, Act::Guard { .. }) | (Act::Finalizer { .. }, Act::Finalizer { .. }) => true,
        _ => false,
    }
}
