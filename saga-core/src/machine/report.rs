//! What a run that came to rest leaves behind.

use std::collections::BTreeSet;

use crate::id::ItemRef;
use crate::journal::{Actor, Cause, Rest};
use crate::machine::item::{Effect, ItemPhase};
use crate::machine::state::{Fate, State};
use crate::outcome::{Abandoned, Halted, Left, Outcome, Place, Residue, RolledBack, Stuck};
use crate::payload::Payload;
use crate::plan::{Plan, Recovery, Shape};

/// How the run came to rest, or `None` if it is not at rest.
#[must_use]
pub fn outcome(plan: &Plan, state: &State) -> Option<Outcome<Payload>> {
    // A rest always has a cause, but for those of completed and abandoned runs.
    let cause = || state.cause.clone().unwrap_or(Cause::Cancelled { by: Actor::new("unknown", "unknown") });
    Some(match state.rest.as_ref()? {
        Rest::Completed => Outcome::Completed(state.output(plan)?),
        Rest::RolledBack => Outcome::RolledBack(RolledBack { cause: cause(), kept: kept(plan, state) }),
        Rest::Halted { at, error } => Outcome::Halted(Halted {
            at: place(plan, *at),
            error: error.clone(),
            cause: cause(),
            residue: residue(plan, state, true),
        }),
        Rest::Stuck => {
            let residue = residue(plan, state, false);
            let left: BTreeSet<&Place> = residue.iter().map(|left| &left.place).collect();
            let kept = kept(plan, state).into_iter().filter(|place| !left.contains(place)).collect();
            Outcome::Stuck(Stuck { cause: cause(), kept, residue })
        }
        Rest::Abandoned { by } => Outcome::Abandoned(Abandoned { by: by.clone(), residue: residue(plan, state, true) }),
    })
}

/// Every item whose effect stands after a rollback. One whose effect is unknown, and that nothing can undo, may stand: it
/// is named too, for an empty list means that nothing is left.
fn kept(plan: &Plan, state: &State) -> Vec<Place> {
    let may_stand = |of: &ItemRef| match state.item_phase(*of) {
        Some(ItemPhase::Succeeded) => true,
        Some(ItemPhase::Failed) => state.effect(*of) == Effect::Unknown,
        _ => false,
    };
    started(plan, state)
        .filter(|of| plan.step(of.step).recovery != Recovery::ReadOnly)
        .filter(may_stand)
        .map(|of| place(plan, of))
        .collect()
}

/// Everything that is left behind: all of it, or only that which should not be.
fn residue(plan: &Plan, state: &State, all: bool) -> Vec<Residue> {
    let items = started(plan, state).filter_map(|of| {
        let why = left(plan, state, of)?;
        Some(Residue {
            place: place(plan, of),
            why,
            input: state.item_input(plan, of),
            checkpoints: state.checkpoints(of).to_vec(),
            output: state.item_output(of).cloned(),
        })
    });
    let unstarted = plan.order().iter().filter(|step| {
        // Committed, but something that it depends on could not be finished.
        !state.has_started(**step) && state.steps[step.at()].fate == Fate::Finished
    });
    let unstarted = unstarted.map(|step| Residue {
        // A fan-out that has not started has no items yet.
        place: Place { step: plan.step(*step).name.clone(), item: None },
        why: Left::Unfinished { error: None },
        input: state.resolve(&plan.step(*step).input),
        checkpoints: Vec::new(),
        output: None,
    });
    items.chain(unstarted).filter(|left| all || left.why != Left::Stands).collect()
}

/// Why an item is left behind, or `None` if nothing is left of it.
///
/// What failed half way is never blocked: nothing was built on it, so its compensation waits for nobody.
fn left(plan: &Plan, state: &State, of: ItemRef) -> Option<Left> {
    let step = plan.step(of.step);
    let error = || state.item_error(of).cloned();
    let blocked = state.steps[of.step.at()].fate == Fate::Unwinds;
    let unknown = state.effect(of) == Effect::Unknown;
    match (&step.recovery, state.item_phase(of)?) {
        (Recovery::ReadOnly, _) => None,
        (_, ItemPhase::UndoFailed) => error().map(|error| Left::UndoFailed { error }),
        (Recovery::Compensable { .. }, ItemPhase::Succeeded) if blocked => Some(Left::Blocked),
        (_, ItemPhase::Succeeded) => Some(Left::Stands),
        (Recovery::Forward { .. }, _) => Some(Left::Unfinished { error: error() }),
        (_, ItemPhase::Failed) if unknown => error().map(|error| Left::EffectUnknown { error }),
        _ => None,
    }
}

fn started(plan: &Plan, state: &State) -> impl Iterator<Item = ItemRef> {
    plan.order().iter().flat_map(|step| (0..state.items(*step)).map(|item| ItemRef::new(*step, item)))
}

fn place(plan: &Plan, of: ItemRef) -> Place {
    let step = plan.step(of.step);
    Place { step: step.name.clone(), item: (step.shape != Shape::Single).then_some(of.item) }
}
