//! Why a run ended as it did, in words, and which nodes it leaves.

use saga_core::{Cause, Left, Outcome, Residue};

use super::order::{NodeTask, TerminateTask};
use super::phase;
use crate::model::NodeName;

/// Why a run did not complete; empty if it did.
pub(crate) fn reason<T>(outcome: &Outcome<T>) -> String {
    match outcome {
        Outcome::Completed(_) => String::new(),
        Outcome::RolledBack(end) => because(&end.cause),
        Outcome::Halted(end) => format!("{} failed: {}; no node was deleted because of it", end.at.step, end.error),
        Outcome::Stuck(end) => format!("{}; {}", because(&end.cause), leftovers(&end.residue)),
        Outcome::Abandoned(end) => {
            let left = leftovers(&end.residue);
            format!("given up by {}{}{left}", end.by, if left.is_empty() { "" } else { "; " })
        }
    }
}

fn because(cause: &Cause) -> String {
    match cause {
        Cause::StepFailed { step, error, .. } => format!("{step} failed: {error}"),
        Cause::SubjectGone => "the cluster's record is gone".to_owned(),
        other => other.to_string(),
    }
}

/// What should be gone and may not be, node by node.
fn leftovers(residue: &[Residue]) -> String {
    let left = residue.iter().filter(|residue| residue.why != Left::Stands).map(|residue| match node(residue) {
        Some(node) => format!("{node} is left: {}", residue.why),
        None => format!("{}: {}", residue.place, residue.why),
    });
    left.collect::<Vec<_>>().join("; ")
}

/// The nodes that should be gone and may not be.
pub(crate) fn nodes_left<T>(outcome: &Outcome<T>) -> Vec<NodeName> {
    // A run that halted did not try to be rid of anything.
    let residue = if matches!(outcome, Outcome::Halted(_)) { &[] } else { outcome.residue() };
    let mut names: Vec<_> = residue.iter().filter(|residue| residue.why != Left::Stands).filter_map(node).collect();
    names.sort();
    names.dedup();
    names
}

/// The node that a residue is about.
fn node(residue: &Residue) -> Option<NodeName> {
    let input = residue.input.as_ref()?;
    match residue.place.step.as_str() {
        phase::CREATE => Some(input.decode::<NodeTask>().ok()?.node.name),
        phase::TERMINATE => Some(input.decode::<TerminateTask>().ok()?.proof.node().name.clone()),
        _ => None,
    }
}
