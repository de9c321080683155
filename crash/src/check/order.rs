//! What comes after what.

use std::collections::{HashMap, HashSet};

use saga_core::ItemRef;
use saga_core::plan::Recovery;

use super::Finding;
use super::trail::{Noted, Trail, may_have_acted};
use crate::evidence::Evidence;
use crate::ledger::Act;

pub(super) fn nothing_begins_before_what_it_is_built_on(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("no action begins before all that it is built on is done");
    for trail in trails {
        let mut done: HashSet<ItemRef> = trail.by_hand.clone();
        for Noted { entry, .. } in trail.entries() {
            let (Some(of), Some(step)) = (trail.item(entry), trail.step(entry)) else { continue };
            if entry.is_done(Act::Do) || entry.is_done(Act::Ask) {
                done.insert(of);
            }
            if entry.begins(Act::Do) {
                let mut below = step.deps.iter().flat_map(|dep| trail.items(*dep, trail.run.plan.step(*dep)));
                let missing = below.find(|of| !done.contains(of));
                let what =
                    || format!("{} before {}", trail.name(of), missing.map_or(String::new(), |of| trail.name(of)));
                finding.look(trail.id(), missing.is_none(), what);
            }
        }
    }
    finding
}

pub(super) fn an_undo_waits_for_what_was_built_on_it(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("no undo begins before all that was built on it is undone");
    for trail in trails {
        let mut of_item: HashMap<ItemRef, Vec<Noted<'_>>> = HashMap::new();
        for noted in trail.entries() {
            if let Some(of) = trail.item(noted.entry) {
                of_item.entry(of).or_default().push(noted);
            }
        }
        let acted: Vec<_> =
            of_item.into_iter().filter(|(of, entries)| is_in_the_way(trail, *of, entries)).map(|(of, _)| of).collect();
        let mut undone = HashSet::new();
        for Noted { entry, .. } in trail.entries() {
            let Some(of) = trail.item(entry) else { continue };
            if entry.is_done(Act::Undo) {
                undone.insert(of);
            }
            if entry.begins(Act::Undo) {
                let above = trail.built_on(of.step);
                let early = acted.iter().find(|of| above.contains(&of.step) && !undone.contains(*of));
                let what =
                    || format!("{} before {}", trail.name(of), early.map_or(String::new(), |of| trail.name(*of)));
                finding.look(trail.id(), early.is_none(), what);
            }
        }
    }
    finding
}

/// Whether what an item was built on cannot be undone before the item is.
fn is_in_the_way(trail: &Trail<'_>, of: ItemRef, entries: &[Noted<'_>]) -> bool {
    match trail.run.plan.step(of.step).recovery {
        Recovery::ReadOnly => false,
        Recovery::Compensable { .. } => may_have_acted(entries),
        // Never undone, so nothing below it is either, unless a probe or an operator has settled that nothing happened.
        _ => !trail.by_hand.contains(&of) && entries.iter().any(|noted| noted.entry.is_done(Act::Do)),
    }
}

pub(super) fn nothing_begins_after_the_rollback_began(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding =
        Finding::of("once anything is undone only forward steps act, and every action has come to an end");
    for trail in trails {
        let mut undoing = None;
        for Noted { entry, .. } in trail.entries() {
            if entry.begins(Act::Undo) && undoing.is_none() {
                undoing = Some(entry);
            }
            if let (Some(undo), Act::Do, Some(step)) = (undoing, entry.act, trail.step(entry)) {
                let what = || format!("{:?} of {} after the undo of {}", entry.mark, entry.step, undo.step);
                finding.look(trail.id(), step.is_forward(), what);
            } else if entry.begins(Act::Undo) {
                finding.look(trail.id(), true, String::new);
            }
        }
    }
    finding
}

pub(super) fn the_finalizer_is_told_last(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("the finalizer is told when the run has come to rest, and nothing is done after it");
    for trail in trails.iter().filter(|trail| trail.run.plan.is_finalized() && trail.run.kept.is_some()) {
        let last = trail.entries().last();
        let told = last.is_some_and(|noted| noted.entry.is_done(Act::Tell));
        finding.look(trail.id(), told, || format!("the last entry is {:?}", last.map(|noted| noted.entry)));
    }
    finding
}
