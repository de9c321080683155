//! Commands that end in the middle of an operation, and those that come after.

use rustix::process::Signal;

use crate::support::{Place, until};

#[test]
fn what_a_killed_command_began_is_finished_by_the_next() {
    let place = Place::new();
    let creating = place.start_slow_create();
    creating.signal(Signal::KILL);
    assert_eq!(creating.wait().code, None);
    assert_eq!(place.processes(), 3, "machines outlive the command");

    let looked = place.run(&["list", "--no-wait"]).expect(0);
    assert!(looked.stderr.contains("resuming: create of `store`") && looked.stdout.contains("creating"), "{looked:?}");
    place.open_gate();
    let listed = place.run(&["list"]).expect(0);
    assert!(listed.stderr.contains("resuming: create of `store`"), "{listed:?}");
    assert!(listed.stdout.contains("done: create `store`"), "{listed:?}");
    assert!(listed.stdout.lines().last().unwrap().contains("active"), "it answers after it has finished: {listed:?}");
    // The engine may have started some twice; those that are too many end by themselves.
    until("one process of each machine is left", || place.processes() == 3);
    assert!(!place.run(&["list"]).expect(0).stderr.contains("resuming"));
}

#[test]
fn a_delete_is_the_next_command_after_a_crash() {
    let place = Place::new();
    let creating = place.start_slow_create();
    creating.signal(Signal::KILL);
    creating.wait();
    let deleted = place.run(&["delete", "store"]).expect(0);
    assert!(deleted.stdout.contains("there is no such cluster any more"), "{deleted:?}");
    assert_eq!(place.processes(), 0);
}

#[test]
fn the_first_ctrl_c_parks_and_says_how_it_goes_on() {
    let place = Place::new();
    let creating = place.start_slow_create();
    creating.signal(Signal::INT);
    creating.says("parking");
    // What is in flight may end.
    place.open_gate();
    let parked = creating.wait();
    assert!(parked.stderr.contains("parking"), "{parked:?}");
    assert!(parked.stderr.contains("goes on when any saga-cluster command is run next"), "{parked:?}");
    assert_eq!(parked.code, Some(5), "{parked:?}");
    place.run(&["list"]).expect(0);
    assert_eq!(place.status().as_deref(), Some("active"));
}

#[test]
fn the_second_ctrl_c_leaves_at_once() {
    let place = Place::new();
    let mut creating = place.start_slow_create();
    until("it has left", || {
        if creating.is_running() {
            creating.signal(Signal::INT);
        }
        !creating.is_running()
    });
    assert_eq!(creating.wait().code, Some(130));
    place.open_gate();
    assert!(place.run(&["list"]).expect(0).stderr.contains("resuming"));
    assert_eq!(place.status().as_deref(), Some("active"));
}
