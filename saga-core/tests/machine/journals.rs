//! Journals that the machine did not write just so: damaged ones, and those of a release with other policies.

use saga_core::machine::{State, evolve};
use saga_core::{Seq, Timestamp};

use crate::support::{Draft, for_all_runs, for_all_tapes, output, run_started, trials};

#[test]
fn any_events_are_folded_or_refused() {
    for_all_tapes(trials::any_events);
}

#[test]
fn a_damaged_journal_is_folded_or_refused() {
    for_all_tapes(trials::damaged_journal);
}

#[test]
fn policies_may_change_while_a_run_is_alive() {
    for_all_tapes(trials::other_policies);
}

#[test]
fn every_prefix_of_a_journal_can_be_taken_up() {
    for_all_runs(trials::every_prefix);
}

/// A journal of another saga, another version or another structure is refused at its first event.
#[test]
fn another_sagas_journal_is_refused() {
    let plan = Draft::new().compensable("a", &[]).plan();
    let other = Draft::new().non_compensable("a", &[]).plan();
    let mut state = State::new(&plan);
    let refused = evolve(&plan, &mut state, Timestamp(0), &run_started(&other, output(0), None)).unwrap_err();
    assert_eq!(refused.seq, Seq(1).0);
    assert_eq!(refused.to_string(), "event 1 (RunStarted) cannot have happened: the saga's structure has changed");
}
