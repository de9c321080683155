//! The demonstration keeps its word.

use rustix::process::Signal;

use crate::support::{Place, until};

#[test]
fn the_demonstration_proves_what_it_says_and_leaves_nothing() {
    let place = Place::new();
    let played = place.run(&["demo", "--fast", "--json"]).expect(0);
    let proofs = played.of_type("proof");
    assert!(proofs.len() > 15 && proofs.iter().all(|proof| proof["holds"] == true), "{proofs:?}");
    assert_eq!(played.json().pop().unwrap()["type"], "verdict");
    assert_eq!(place.processes(), 0);
}

#[test]
fn an_interrupted_demonstration_kills_its_nodes() {
    let place = Place::new();
    let demo = place.start(&["demo"]);
    until("there are nodes", || place.processes() >= 5);
    demo.signal(Signal::INT);
    demo.wait().expect(130);
    assert_eq!(place.processes(), 0);
}

#[test]
fn a_cluster_of_somebody_else_is_not_touched() {
    let place = Place::new();
    place.create().expect(0);
    let refused = place.run(&["demo", "--fast"]).expect(1);
    assert!(refused.stderr.contains("there is a cluster `store`"), "{refused:?}");
    assert_eq!(place.processes(), 3);
}
