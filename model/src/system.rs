//! What is under check: the machine of `saga-core`, and the condition of a store's append.
//!
//! Every method does the real thing. A test that shows that the checker finds a fault overrides one of them with the fault.

use saga_core::journal::{Actor, Event, Record, Verb};
use saga_core::machine::{self, Decision, IllegalEvent, NotAllowed, Observation, State};
use saga_core::plan::Plan;
use saga_core::{Outcome, Payload, Timestamp};

use crate::journal::{Condition, Head};
use crate::saga::Saga;

/// The machine and the store, with what an explorer needs of them.
pub trait System: Sync {
    /// The saga as it is understood by the machine.
    fn reads(&self, saga: &Saga) -> Saga {
        saga.clone()
    }

    /// [`machine::observe`].
    fn observe(&self, plan: &Plan, state: &State, seen: Observation, now: Timestamp) -> Option<Event> {
        machine::observe(plan, state, seen, now, 0.0)
    }

    /// [`machine::evolve`].
    ///
    /// # Errors
    ///
    /// The event cannot have happened.
    fn evolve(&self, plan: &Plan, state: &mut State, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        machine::evolve(plan, state, at, event)
    }

    /// [`machine::decide`].
    ///
    /// # Errors
    ///
    /// It decided upon what cannot happen.
    fn decide(&self, plan: &Plan, state: &mut State, now: Timestamp) -> Result<Decision, IllegalEvent> {
        machine::decide(plan, state, now)
    }

    /// [`machine::operate`].
    ///
    /// # Errors
    ///
    /// The operator may not do that now.
    fn operate(&self, state: &State, verb: Verb, by: Actor) -> Result<Event, NotAllowed> {
        machine::operate(state, verb, by)
    }

    /// [`machine::outcome`].
    fn outcome(&self, plan: &Plan, state: &State) -> Option<Outcome<Payload>> {
        machine::outcome(plan, state)
    }

    /// Whether a store takes an append.
    fn admits(&self, head: Head, append: Condition) -> bool {
        append.epoch == head.epoch && append.expected == head.seq
    }

    /// What a store still has of a journal after a crash.
    fn reload<'a>(&self, records: Vec<&'a Record>) -> Vec<&'a Record> {
        records
    }
}

/// The machine as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl System for Real {}
