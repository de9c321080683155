//! The outside world: what really happened, whatever the run was told.

use std::collections::BTreeMap;

use saga_core::ItemRef;

/// What became of one item's effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fact {
    /// Whether the thing that the action makes is there now.
    pub exists: bool,
    /// How often the action had its effect.
    pub does: u32,
    /// How often the compensation had its effect.
    pub undos: u32,
}

/// The outside world.
#[derive(Debug, Clone, Default)]
pub struct World {
    facts: BTreeMap<ItemRef, Fact>,
    /// Whether the run's subject has vanished.
    pub gone: bool,
    /// How often the finalizer was told.
    pub told: u32,
}

impl World {
    pub fn fact(&self, of: ItemRef) -> Fact {
        self.facts.get(&of).copied().unwrap_or_default()
    }

    pub fn existing(&self) -> impl Iterator<Item = ItemRef> + '_ {
        self.facts.iter().filter(|(_, fact)| fact.exists).map(|(of, _)| *of)
    }

    pub fn make(&mut self, of: ItemRef) {
        let fact = self.facts.entry(of).or_default();
        fact.exists = true;
        fact.does += 1;
    }

    pub fn unmake(&mut self, of: ItemRef) {
        let fact = self.facts.entry(of).or_default();
        fact.exists = false;
        fact.undos += 1;
    }
}
