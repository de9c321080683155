//! What the ledger and the journal tell of one run, indexed.

use std::collections::{HashMap, HashSet};

use saga_core::journal::{Event, Record, Verb};
use saga_core::plan::{Recovery, Shape, StepPlan};
use saga_core::{Epoch, ItemRef, RunId, StepIndex};

use crate::evidence::{Evidence, Kept, RunEvidence};
use crate::ledger::{Act, Entry, Mark};
use crate::world::file_name;

/// An entry of the ledger, and its place there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted<'a> {
    pub(super) at: usize,
    pub(super) entry: &'a Entry,
    /// Somebody had acted under a later claim already.
    pub(super) late: bool,
}

/// A run.
#[derive(Debug)]
pub(super) struct Trail<'a> {
    pub(super) run: &'a RunEvidence,
    /// All that is in the ledger of it.
    pub(super) all: Vec<Noted<'a>>,
    /// The items that an operator took upon himself: skipped, or taken for ineffective.
    pub(super) by_hand: HashSet<ItemRef>,
}

/// The trails of all runs that were ordered.
pub(super) fn trails<'a>(evidence: &'a Evidence) -> Vec<Trail<'a>> {
    let mut entries: HashMap<&RunId, Vec<Noted<'a>>> = HashMap::new();
    let mut newest: HashMap<&RunId, Epoch> = HashMap::new();
    for (at, entry) in evidence.ledger.iter().enumerate() {
        let newest = newest.entry(&entry.run).or_default();
        let late = entry.epoch < *newest;
        *newest = entry.epoch.max(*newest);
        entries.entry(&entry.run).or_default().push(Noted { at, entry, late });
    }
    let trail = |run: &'a RunEvidence| Trail {
        run,
        all: entries.remove(&run.job.run).unwrap_or_default(),
        by_hand: run.kept.as_ref().map(by_hand).unwrap_or_default(),
    };
    evidence.runs.iter().map(trail).collect()
}

impl<'a> Trail<'a> {
    pub(super) fn id(&self) -> &'a RunId {
        &self.run.job.run
    }

    /// What is in the ledger, but for what came too late, which is judged apart.
    pub(super) fn entries(&self) -> impl Iterator<Item = Noted<'a>> {
        self.all.iter().copied().filter(|noted| !noted.late)
    }

    pub(super) fn journal(&self) -> &'a [Record] {
        self.run.kept.as_ref().map(|kept| &*kept.journal).unwrap_or_default()
    }

    pub(super) fn step(&self, entry: &Entry) -> Option<&'a StepPlan> {
        self.index(entry).map(|index| self.run.plan.step(index))
    }

    /// The step of an entry; none, if it is of the finalizer.
    pub(super) fn index(&self, entry: &Entry) -> Option<StepIndex> {
        if entry.act == Act::Tell { None } else { self.run.plan.find(entry.step.as_str()) }
    }

    pub(super) fn item(&self, entry: &Entry) -> Option<ItemRef> {
        Some(ItemRef::new(self.index(entry)?, entry.item))
    }

    /// Every item that changes something outside, if all of them come to act.
    pub(super) fn effective_items(&self) -> Vec<ItemRef> {
        let steps = (0u32..).map(StepIndex).zip(self.run.plan.steps());
        let effective = steps.filter(|(_, step)| !matches!(step.recovery, Recovery::ReadOnly));
        effective.flat_map(|(index, step)| self.items(index, step)).collect()
    }

    pub(super) fn items(&self, index: StepIndex, step: &StepPlan) -> Vec<ItemRef> {
        let count = if step.shape == Shape::Single { 1 } else { self.run.job.order.width };
        (0..count).map(|item| ItemRef::new(index, item)).collect()
    }

    /// The name of the file that is the effect of an item.
    pub(super) fn file(&self, of: ItemRef) -> String {
        let step = &self.run.plan.step(of.step).name;
        file_name(&format!("{}/{step}/{}", self.id(), of.item))
    }

    /// All steps that come after this one, and those after them.
    pub(super) fn built_on(&self, step: StepIndex) -> HashSet<StepIndex> {
        let (mut all, mut next) = (HashSet::new(), vec![step]);
        while let Some(step) = next.pop() {
            for dependent in &self.run.plan.step(step).dependents {
                if all.insert(*dependent) {
                    next.push(*dependent);
                }
            }
        }
        all
    }

    pub(super) fn name(&self, of: ItemRef) -> String {
        format!("{}[{}]", self.run.plan.step(of.step).name, of.item)
    }
}

/// The items that an operator took upon himself.
fn by_hand(kept: &Kept) -> HashSet<ItemRef> {
    let mut items = HashSet::new();
    let mut halted_at = None;
    for record in &kept.journal {
        match &record.event {
            Event::Rested { rest: saga_core::journal::Rest::Halted { at, .. } } => halted_at = Some(*at),
            Event::Operated { verb: Verb::Skip { of, .. }, .. } => drop(items.insert(*of)),
            Event::Operated { verb: Verb::RollBack, .. } => items.extend(halted_at),
            _ => {}
        }
    }
    items
}

/// Whether an attempt that began may have changed something, for all that the ledger tells: it did not end with an error
/// that says otherwise.
pub(super) fn may_have_acted(entries: &[Noted<'_>]) -> bool {
    let (mut begun, mut rejected) = (0, 0);
    for Noted { entry, .. } in entries.iter().filter(|noted| noted.entry.act == Act::Do) {
        match entry.mark {
            Mark::Begin => begun += 1,
            Mark::Rejected => rejected += 1,
            _ => {}
        }
    }
    begun > rejected
}
