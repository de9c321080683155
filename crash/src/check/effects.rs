//! What stands in the world at the end.

use std::collections::{BTreeSet, HashSet};

use saga_core::{ItemRef, Left, Outcome, Place, Residue};

use super::Finding;
use super::trail::Trail;
use crate::evidence::Evidence;
use crate::ledger::{Act, Mark};
use crate::world::file_name;

/// What an outcome says of the world.
struct Claimed {
    /// These stand.
    stands: Vec<ItemRef>,
    /// These may.
    may: Vec<ItemRef>,
}

fn claimed(trail: &Trail<'_>) -> Option<Claimed> {
    let item =
        |place: &Place| Some(ItemRef::new(trail.run.plan.find(place.step.as_str())?, place.item.unwrap_or_default()));
    let outcome = trail.run.kept.as_ref()?.outcome.as_ref().ok()?;
    let (sure, unsure): (Vec<_>, Vec<_>) = match outcome {
        Outcome::Completed(_) => (trail.effective_items(), Vec::new()),
        Outcome::RolledBack(end) => (end.kept.iter().filter_map(item).collect(), Vec::new()),
        other => {
            let stands = |left: &&Residue| left.why == Left::Stands;
            let (sure, unsure): (Vec<_>, Vec<_>) = other.residue().iter().partition(stands);
            let items = |left: Vec<&Residue>| left.iter().filter_map(|left| item(&left.place)).collect();
            (items(sure), items(unsure))
        }
    };
    // Of what an operator has taken upon himself only he knows.
    let (by_hand, stands) = sure.into_iter().partition(|of| trail.by_hand.contains(of));
    Some(Claimed { stands, may: [unsure, by_hand].concat() })
}

/// Effects that were touched too late are nobody's fault: the worker was asleep.
fn touched_late(trail: &Trail<'_>) -> HashSet<String> {
    let late = trail.all.iter().filter(|noted| noted.late && noted.entry.mark != Mark::Begin);
    late.map(|noted| file_name(&noted.entry.key)).collect()
}

pub(super) fn what_should_stand_stands(evidence: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("everything stands that the outcome says stands");
    for trail in trails {
        let late = touched_late(trail);
        for of in claimed(trail).map(|claimed| claimed.stands).unwrap_or_default() {
            let file = trail.file(of);
            let holds = evidence.world.contains(&file) || late.contains(&file);
            finding.look(trail.id(), holds, || format!("{} is not there", trail.name(of)));
        }
    }
    finding
}

pub(super) fn nothing_is_leaked(evidence: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("nothing stands that the outcome does not name");
    let mut accounted: BTreeSet<String> = BTreeSet::new();
    for trail in trails {
        let late = touched_late(trail);
        let Some(Claimed { stands, may }) = claimed(trail) else { continue };
        let named: HashSet<_> = stands.iter().chain(&may).map(|of| trail.file(*of)).collect();
        let keys: BTreeSet<_> = trail.all.iter().map(|noted| file_name(&noted.entry.key)).collect();
        for file in keys {
            let leaked = evidence.world.contains(&file) && !named.contains(&file) && !late.contains(&file);
            finding.look(trail.id(), !leaked, || format!("{file} was left behind"));
            accounted.insert(file);
        }
    }
    for file in &evidence.world {
        let id = &file.split('~').next().unwrap_or_default();
        let known = accounted.contains(file);
        if !known && let Some(trail) = trails.iter().find(|trail| trail.id().as_str() == *id) {
            finding.look(trail.id(), false, || format!("{file} is there, and nobody has written that it was made"));
        }
    }
    finding
}

pub(super) fn what_stands_was_not_undone(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("nothing was undone that stands");
    for trail in trails {
        let stands = claimed(trail).map(|claimed| claimed.stands).unwrap_or_default();
        let undone: HashSet<_> = undos(trail);
        for of in stands {
            let what = || format!("{} stands, and was undone", trail.name(of));
            finding.look(trail.id(), !undone.contains(&of), what);
        }
    }
    finding
}

fn undos(trail: &Trail<'_>) -> HashSet<ItemRef> {
    let undos = trail.entries().filter(|noted| noted.entry.act == Act::Undo);
    undos.filter_map(|noted| trail.item(noted.entry)).collect()
}
