//! Breadth first through all states of one saga.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;

use crate::act::Move;
use crate::ledger::End;
use crate::model::Model;
use crate::node::{Node, Passed};
use crate::property::{Property, Violation};
use crate::saga::Saga;

/// What was visited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sagas.
    pub sagas: u64,
    /// Distinct states.
    pub states: u64,
    /// Distinct transitions.
    pub transitions: u64,
    /// The most transitions from the start to a state, by the shortest way.
    pub depth: u64,
    /// States in which a run rests: completed, rolled back, halted, stuck, abandoned.
    pub rests: [u64; 5],
    /// How often each property was judged.
    pub judged: [u64; Property::ALL.len()],
}

/// The names of the ways to rest, as they are tallied.
pub const RESTS: [&str; 5] = ["completed", "rolled back", "halted", "stuck", "abandoned"];

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.sagas += other.sagas;
        self.states += other.states;
        self.transitions += other.transitions;
        self.depth = self.depth.max(other.depth);
        self.rests.iter_mut().zip(other.rests).for_each(|(sum, count)| *sum += count);
        self.judged.iter_mut().zip(other.judged).for_each(|(sum, count)| *sum += count);
    }

    fn count(&mut self, node: &Node) {
        self.states += 1;
        if node.pending.is_none() && node.state.is_settled() {
            match node.ledger.rest {
                Some(End::Completed) => self.rests[0] += 1,
                Some(End::RolledBack) => self.rests[1] += 1,
                Some(End::Halted(_)) => self.rests[2] += 1,
                Some(End::Stuck) => self.rests[3] += 1,
                Some(End::Abandoned) => self.rests[4] += 1,
                None => {}
            }
        }
    }
}

/// A way to a violation, the shortest that there is.
#[derive(Debug, Clone)]
pub struct Found {
    /// The saga.
    pub saga: Saga,
    /// What does not hold.
    pub violation: Violation,
    /// What happened, from the start; the last move is the one that the violation was found in.
    pub trace: Vec<Move>,
}

/// How a state was first reached.
struct Step {
    from: usize,
    by: Option<Move>,
}

/// Visits every state of the model's saga, unless a property does not hold.
///
/// States are told apart by fingerprints of 128 bits. Of a state that was visited only its fingerprint is kept, and how it
/// was reached; the states themselves are kept while they wait for their turn.
///
/// # Errors
///
/// The first violation, by a way that no other one is shorter than.
pub fn explore(model: &Model<'_>) -> Result<Tally, Box<Found>> {
    let mut tally = Tally { sagas: 1, ..Tally::default() };
    let mut visited: HashSet<u128, BuildHasherDefault<Passed>> = HashSet::default();
    let mut steps: Vec<Step> = vec![Step { from: 0, by: None }];
    let mut waiting: VecDeque<(usize, u64, Node)> = VecDeque::new();
    let found = |violation, trace| Box::new(Found { saga: model.saga.clone(), violation, trace });

    let start = model.start().map_err(|violation| found(violation, Vec::new()))?;
    visited.insert(start.fingerprint());
    tally.count(&start);
    waiting.push_back((0, 0, start));
    while let Some((at, depth, node)) = waiting.pop_front() {
        tally.depth = tally.depth.max(depth);
        for by in model.moves(&node) {
            let next = model.next(&node, by).map_err(|violation| {
                let mut trace = way_to(&steps, at);
                trace.push(by);
                found(violation, trace)
            })?;
            let Some(next) = next else { continue };
            tally.transitions += 1;
            if visited.insert(next.fingerprint()) {
                tally.count(&next);
                waiting.push_back((steps.len(), depth + 1, next));
                steps.push(Step { from: at, by: Some(by) });
            }
        }
    }
    tally.judged = model.judge.counts();
    Ok(tally)
}

fn way_to(steps: &[Step], mut at: usize) -> Vec<Move> {
    let mut trace = Vec::new();
    while let Some(by) = steps[at].by {
        trace.push(by);
        at = steps[at].from;
    }
    trace.reverse();
    trace
}
