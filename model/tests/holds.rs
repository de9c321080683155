//! The check in small: every property holds in every state, and every property was judged.

use saga_model::bounds::{Bounds, Policies};
use saga_model::explore::Tally;
use saga_model::property::Property;
use saga_model::report::tell;
use saga_model::shape::{Choice, Numbering, Probes, Sagas};
use saga_model::sweep::Sweep;
use saga_model::system::Real;

fn visit(sagas: &Sagas, bounds: Bounds) -> Tally {
    let sweep = Sweep { policies: Policies::USUAL, bounds, threads: 2 };
    match sweep.run(&sagas.all(), &Real, &|_, _| {}) {
        Ok(tally) => tally,
        Err(found) => panic!("{}", tell(&found, Policies::USUAL, bounds, &Real)),
    }
}

const SAGAS: Sagas = Sagas {
    steps: 1,
    least_steps: 1,
    probes: Probes::Both,
    guard: Choice::Both,
    finalizer: Choice::Both,
    numbering: Numbering::Ascending,
};

/// What may happen to one step: twice of everything, a deadline, several ends in a turn. This judges every property.
#[test]
fn every_state_of_one_step() {
    let twice = Bounds { failures: 2, undo_failures: 2, crashes: 2, deadlines: 1, batch: 2, ..Bounds::one_of_each(2) };
    let tally = visit(&SAGAS, twice);
    assert!(tally.rests.iter().all(|count| *count > 0), "{tally:?}");
    let unjudged = Property::ALL.iter().zip(tally.judged).find(|(_, count)| *count == 0);
    assert_eq!(unjudged, None, "nothing was held against it");
}

#[test]
fn every_state_of_two_steps() {
    let sagas = Sagas { steps: 2, least_steps: 2, guard: Choice::No, finalizer: Choice::No, ..SAGAS };
    let tally = visit(&sagas, Bounds::one_of_each(2));
    assert!(tally.rests[..4].iter().all(|count| *count > 0), "{tally:?}");
}

#[test]
fn every_state_of_three_steps_of_which_one_fails() {
    let sagas =
        Sagas { steps: 3, least_steps: 3, probes: Probes::None, guard: Choice::No, finalizer: Choice::No, ..SAGAS };
    let tally = visit(&sagas, Bounds::one_of_each(1));
    assert!(tally.rests[..3].iter().all(|count| *count > 0), "{tally:?}");
}

/// Whatever numbers the steps have, there are as many states: that there is no need to visit all numberings.
#[test]
fn the_numbers_of_steps_are_of_no_consequence() {
    let sagas =
        Sagas { steps: 3, least_steps: 3, probes: Probes::None, guard: Choice::No, finalizer: Choice::No, ..SAGAS };
    let bounds = Bounds { takeovers: 0, ..Bounds::one_of_each(1) };
    let once = visit(&sagas, bounds);
    let descending = visit(&Sagas { numbering: Numbering::Descending, ..sagas }, bounds);
    assert_eq!(
        (once.states, once.transitions, once.rests),
        (descending.states, descending.transitions, descending.rests)
    );
}

/// The properties are those of the design, in its words.
#[test]
fn every_property_stands_in_the_design() {
    let design = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../DESIGN.md")).unwrap();
    for property in Property::ALL {
        let sentence = property.sentence();
        assert!(design.contains(&format!("| `{property}` | {sentence} | ")), "{property}: {sentence}");
    }
}
