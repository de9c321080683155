//! One state of all that there is: the owner of the run with what it holds in memory, the store, and the outside world.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use saga_core::journal::Event;
use saga_core::machine::{Command, State};
use saga_core::{Epoch, Seq, Timestamp};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::bounds::Bounds;
use crate::journal::{Condition, Head, Journal};
use crate::ledger::Ledger;
use crate::steps::Steps;

/// Commands that were given and have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Work {
    /// Actions.
    pub run: Steps,
    /// Probes.
    pub probe: Steps,
    /// Compensations.
    pub undo: Steps,
    /// The guard is asked.
    pub guard: bool,
    /// The finalizer is told.
    pub finalize: bool,
}

impl Work {
    /// Adds a command.
    pub fn give(&mut self, command: &Command) {
        match command {
            Command::Run { of, .. } => self.run.set(of.step.at(), true),
            Command::Probe { of } => self.probe.set(of.step.at(), true),
            Command::Undo { of, .. } => self.undo.set(of.step.at(), true),
            Command::AskGuard => self.guard = true,
            Command::Finalize => self.finalize = true,
        }
    }

    /// The commands of a turn, and no other.
    #[must_use]
    pub fn of(commands: &[Command]) -> Self {
        let mut work = Self::default();
        commands.iter().for_each(|command| work.give(command));
        work
    }

    /// The steps that something is done to.
    #[must_use]
    pub fn steps(self) -> Steps {
        self.run | self.probe | self.undo
    }

    /// Whether anything is under way.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The outside world, and what it remembers. Nobody but the world knows all of this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct World {
    /// What actions made and compensations did not take away.
    pub exists: Steps,
    /// Steps of which a compensation was ever begun.
    pub undo_begun: Steps,
    /// Whether the subject of the run has vanished.
    pub gone: bool,
    /// How far the journal was acknowledged as durable.
    pub acknowledged: Seq,
}

/// Who has the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// It drives the run; or the run rests, and nobody has it.
    Driving,
    /// It has claimed and read it, and has yet to write down that it takes it up.
    Claimed,
    /// An operator's verb was written down, and it has yet to be decided what follows.
    MovedOn,
}

/// Events that were decided and are not durable, and what is to be done when they are.
#[derive(Debug, Clone)]
pub struct Pending {
    /// When they were decided.
    pub at: Timestamp,
    /// The events of one append.
    pub events: Vec<Event>,
    /// The commands that wait for it.
    pub commands: Vec<Command>,
    /// What the journal will say.
    pub after: Ledger,
    /// Who has the run then.
    pub owner: Owner,
}

/// One state of all that there is.
#[derive(Debug, Clone)]
pub struct Node {
    /// What the owner holds in memory; what it has decided is in it, durable or not.
    pub state: Arc<State>,
    /// What the owner has sent to the store.
    pub pending: Option<Arc<Pending>>,
    /// Who the owner is.
    pub owner: Owner,
    /// What the owner's actions are at.
    pub work: Work,
    /// The outside world.
    pub world: World,
    /// What the journal says.
    pub ledger: Ledger,
    /// What is durable.
    pub journal: Journal,
    /// The state that the journal folds to, in short.
    pub folded: u128,
    /// The newest claim.
    pub epoch: Epoch,
    /// An append of an owner before this one, that has yet to arrive.
    pub late: Option<Condition>,
    /// What may still go wrong.
    pub left: Bounds,
}

impl Node {
    /// What the store compares an append with.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.journal.seq() }
    }

    /// All of it in 128 bits.
    ///
    /// The journal is in here as the state that it folds to: recovery is a function of that and of nothing else, and the
    /// properties judge by the ledger, which is in here too. Of the events under way what counts is what they change: the
    /// state with them is in here, and so are the state and the ledger without them, and the ledger with them.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let Self { state, pending, owner, work, world, ledger, journal, folded, epoch, late, left } = self;
        let mut hasher = SipHasher13::new();
        (state, owner, work, world, ledger, journal.seq(), folded, epoch, late, left).hash(&mut hasher);
        if let Some(pending) = pending {
            let Pending { at, events, commands, after, owner } = &**pending;
            (at, events.len(), Work::of(commands), after, owner).hash(&mut hasher);
        }
        hasher.finish128().as_u128()
    }
}

/// A machine's state in 128 bits.
#[must_use]
pub fn fingerprint(state: &State) -> u128 {
    let mut hasher = SipHasher13::new();
    state.hash(&mut hasher);
    hasher.finish128().as_u128()
}

/// Takes a fingerprint for its own hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            self.0 ^= u64::from(*byte) << (8 * (at % 8));
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}
