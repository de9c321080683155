//! The passes of `--deep`: of few steps more at a time, of more steps less.

use crate::bounds::Bounds;
use crate::shape::{Choice, Numbering, Probes, Sagas};

/// Some sagas, and what may go wrong in them.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// What is special about it.
    pub what: &'static str,
    /// The sagas.
    pub sagas: Sagas,
    /// The bounds.
    pub bounds: Bounds,
}

const PLAIN: Sagas = Sagas {
    steps: 1,
    least_steps: 1,
    probes: Probes::None,
    guard: Choice::No,
    finalizer: Choice::No,
    numbering: Numbering::Ascending,
};

const fn of_any_kind(mishaps: u8) -> Bounds {
    Bounds { failures: 2, undo_failures: 2, ..Bounds::one_of_each(mishaps) }
}

/// The passes. What `docs/robustness.md` tells of them, it tells in this order.
#[must_use]
pub fn deep() -> Vec<Pass> {
    let failures_only = Bounds { crashes: 0, takeovers: 0, cancels: 0, vanishings: 0, operators: 0, ..of_any_kind(2) };
    vec![
        Pass {
            what: "one step, four mishaps, two ends in a turn, a deadline, two crashes, a finalizer",
            sagas: Sagas { probes: Probes::Both, guard: Choice::Both, finalizer: Choice::Both, ..PLAIN },
            bounds: Bounds { crashes: 2, deadlines: 1, batch: 2, operators: 2, ..of_any_kind(4) },
        },
        Pass {
            what: "three steps in every numbering, one mishap, two ends in a turn",
            sagas: Sagas { steps: 3, least_steps: 3, numbering: Numbering::Every, ..PLAIN },
            bounds: Bounds { batch: 2, ..of_any_kind(1) },
        },
        Pass {
            what: "two steps, three mishaps",
            sagas: Sagas { steps: 2, least_steps: 2, probes: Probes::Both, guard: Choice::Both, ..PLAIN },
            bounds: of_any_kind(3),
        },
        Pass {
            what: "three steps, two mishaps",
            sagas: Sagas { steps: 3, least_steps: 3, probes: Probes::Both, guard: Choice::Both, ..PLAIN },
            bounds: of_any_kind(2),
        },
        Pass {
            what: "four steps, two failures of actions or compensations",
            sagas: Sagas { steps: 4, least_steps: 4, ..PLAIN },
            bounds: failures_only,
        },
        Pass {
            what: "four steps, one mishap",
            sagas: Sagas { steps: 4, least_steps: 4, ..PLAIN },
            bounds: of_any_kind(1),
        },
    ]
}
