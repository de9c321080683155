//! The machine: pure functions that fold a run's journal and decide what comes next.
//!
//! There is no I/O, clock, randomness or hash order in here. What the machine owns and what its caller owns:
//!
//! | | machine | caller |
//! |---|---|---|
//! | events | says which | gives them a time, makes them durable |
//! | commands | says which | executes them, after the events that came with them are durable |
//! | time, jitter | takes them as arguments | has the clock and the dice |
//! | results of actions | judges them ([`observe`]) | brings them |
//!
//! The loop of a caller is always the same, live and in recovery: [`observe`] turns what was seen into an event, [`evolve`]
//! folds it into the [`State`], [`decide`] derives what follows from the state: more events (already folded) and commands.
//! All events of one turn are one append; the commands are executed when it is durable. Recovery is [`evolve`] over the
//! journal, the event [`Resumed`](crate::journal::Event::Resumed), and one [`decide`].

mod decide;
mod evolve;
mod invariant;
mod item;
mod observe;
mod operated;
mod report;
mod resumed;
mod state;
mod unwind;

pub(crate) use decide::decide_by;
pub use decide::{Command, Decision, decide};
pub use evolve::{IllegalEvent, evolve, replay};
pub use invariant::{Violation, check_invariants};
pub use item::{Effect, ItemPhase};
pub use observe::{AttemptResult, NotAllowed, Observation, RetryHint, observe, operate};
pub use report::outcome;
pub use state::{Phase, State};
