//! A cluster in error, and the ways out of it. The failure is a real one: among the blocks of the node that is to be
//! emptied lies something that is no block, so nobody can say that the node is empty.

use std::path::PathBuf;

use crate::support::Place;

/// A cluster whose `east-2` could not be emptied, and what is in the way.
fn halted(place: &Place) -> PathBuf {
    place.create().expect(0);
    let machines = place.data().join("machines/store").read_dir().unwrap().flatten();
    let mut east_2 = machines.filter(|entry| entry.file_name().to_str().unwrap().starts_with("east-2@"));
    let stray = east_2.next().unwrap().path().join("blocks/what is this");
    std::fs::write(&stray, "precious").unwrap();
    let scaled = place.run(&["scale", "store", "east=-1", "west=+1"]).expect(4);
    assert!(scaled.stdout.starts_with("halted: scale `store`; the cluster is in error\n"), "{scaled:?}");
    assert!(scaled.stdout.contains("east-2") && scaled.stdout.contains("saga-cluster retry store"), "{scaled:?}");
    assert_eq!(place.processes(), 3, "nothing was killed and nothing was made");
    assert!(stray.exists());
    stray
}

#[test]
fn what_halted_is_shown_with_its_reason_and_tried_again() {
    let place = Place::new();
    let stray = halted(&place);
    let list = place.run(&["list"]).expect(0);
    assert!(list.stdout.contains("error") && !list.stderr.contains("resuming"), "what rests is not resumed: {list:?}");
    let show = place.run(&["show", "store"]).expect(0).stdout;
    for expected in ["store is in error", "why ", "halted", "saga-cluster retry store"] {
        assert!(show.contains(expected), "{expected}: {show}");
    }
    let busy = place.run(&["scale", "store", "west=2"]).expect(1).stderr;
    assert!(busy.contains("nothing was touched") && busy.contains("retry"), "{busy}");

    std::fs::remove_file(stray).unwrap();
    let retried = place.run(&["retry", "store", "--reason", "mended"]).expect(0);
    assert!(retried.stdout.contains("done: scale `store`; the cluster is active"), "{retried:?}");
    assert_eq!(place.processes(), 3);
    assert!(place.run(&["history", "store"]).expect(0).stdout.contains("mended"));
}

#[test]
fn what_halted_is_given_up_and_the_cluster_deleted() {
    let place = Place::new();
    halted(&place);
    let abandoned = place.run(&["abandon", "store", "--reason", "not worth it"]).expect(0);
    assert!(abandoned.stdout.starts_with("abandoned: scale `store`"), "{abandoned:?}");
    assert_eq!(place.status().as_deref(), Some("error"));
    assert_eq!(place.processes(), 3, "nothing was killed");
    place.run(&["delete", "store"]).expect(0);
    assert_eq!(place.processes(), 0);
}
