//! What is known of one item of a step.

use std::ops::{Deref, DerefMut};

use crate::id::Timestamp;
use crate::journal::Failure;
use crate::payload::Payload;

/// What an item did to the outside world, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// Who knows.
    Unknown,
    /// What it was meant to do.
    Done,
}

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemPhase {
    /// It has not started: other items of its fan-out go first.
    Waiting,
    /// An attempt is to start at this time.
    Scheduled(Timestamp),
    /// An attempt is in flight.
    Running,
    /// The outside world is asked what the last attempt did; then it is tried again at this time, or not.
    Probing(Option<Timestamp>),
    /// Its action succeeded.
    Succeeded,
    /// Its action failed for good.
    Failed,
    /// An attempt of its compensation is to start at this time.
    UndoScheduled(Timestamp),
    /// Its compensation is in flight.
    Undoing,
    /// Its compensation failed for good.
    UndoFailed,
    /// It was compensated.
    Undone,
}

impl ItemPhase {
    /// Whether the outside world is being worked upon or asked by the item's action.
    pub(super) fn in_flight(self) -> bool {
        matches!(self, Self::Running | Self::Probing(_))
    }

    /// Whether the item takes one of its fan-out's places.
    pub(super) fn takes_place(self) -> bool {
        matches!(self, Self::Scheduled(_) | Self::Running | Self::Probing(_))
    }

    /// Whether the item's compensation takes one of its fan-out's places.
    pub(super) fn takes_undo_place(self) -> bool {
        matches!(self, Self::UndoScheduled(_) | Self::Undoing)
    }
}

/// One item of a step.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Item {
    pub(super) phase: ItemPhase,
    pub(super) effect: Effect,
    /// Attempts that started, over all policies and crashes.
    pub(super) attempts: u32,
    /// Attempts that failed under the policy now in force.
    pub(super) failures: u32,
    /// When the first attempt under the policy now in force started.
    pub(super) since: Timestamp,
    /// A forward item that is being finished by its patient policy.
    pub(super) patient: bool,
    pub(super) undo_attempts: u32,
    pub(super) undo_failures: u32,
    pub(super) undo_since: Timestamp,
    pub(super) checkpoints: Vec<Payload>,
    pub(super) output: Option<Payload>,
    /// The newest failure of the action, then of the compensation.
    pub(super) error: Option<Box<Failure>>,
}

impl Item {
    pub(super) fn new(phase: ItemPhase) -> Self {
        Self {
            phase,
            effect: Effect::None,
            attempts: 0,
            failures: 0,
            since: Timestamp(0),
            patient: false,
            undo_attempts: 0,
            undo_failures: 0,
            undo_since: Timestamp(0),
            checkpoints: Vec::new(),
            output: None,
            error: None,
        }
    }

    /// Whether its compensation has something to do. Only asked of compensable steps.
    pub(super) fn needs_undo(&self) -> bool {
        match self.phase {
            ItemPhase::Succeeded => true,
            ItemPhase::Failed => self.effect != Effect::None,
            _ => false,
        }
    }
}

/// The items of a step: of most there is one, which needs no memory of its own.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) enum Items {
    One([Item; 1]),
    Many(Vec<Item>),
}

impl Items {
    /// Those of a step that has not started.
    pub(super) const NONE: Self = Self::Many(Vec::new());
}

impl Deref for Items {
    type Target = [Item];

    fn deref(&self) -> &[Item] {
        match self {
            Self::One(item) => item,
            Self::Many(items) => items,
        }
    }
}

impl DerefMut for Items {
    fn deref_mut(&mut self) -> &mut [Item] {
        match self {
            Self::One(item) => item,
            Self::Many(items) => items,
        }
    }
}
