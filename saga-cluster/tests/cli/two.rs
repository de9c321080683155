//! Two processes and one data directory.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::{Place, until};

#[test]
fn a_cluster_is_deleted_from_a_second_process_while_the_first_one_makes_it() {
    let place = Place::new();
    let mut creating = place.start_slow_create();
    assert_eq!(place.status().as_deref(), Some("creating"), "the second process is answered by the first");
    let mode = place.data().join("control.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let deleted = place.run(&["delete", "store"]).expect(0);
    assert!(deleted.stdout.contains("there is no such cluster any more"), "{deleted:?}");
    assert!(deleted.stderr.contains(&format!("process {}", creating.pid())), "{deleted:?}");
    until("the create has ended", || !creating.is_running());
    let created = creating.wait().expect(3);
    assert!(created.stdout.contains("rolled back: create `store`"), "{created:?}");
    assert!(created.stderr.contains("asked for by tester in another process: delete `store`"), "{created:?}");
    assert_eq!(place.processes(), 0);
}

#[test]
fn the_holder_stays_for_what_others_asked_for() {
    let place = Place::new();
    let creating = place.start_slow_create();
    let other = place.file("other.toml", &crate::support::SPEC.replace("'store'", "'other'"));
    let others = place.start(&["create", &other]);
    until("machines of both are made", || place.processes() >= 6);
    place.open_gate();
    let (made, others) = (creating.wait().expect(0), others.wait().expect(0));
    assert!(made.stdout.contains("create `store`") && others.stdout.contains("create `other`"), "{made:?} {others:?}");
    assert_eq!(place.processes(), 6);
    place.run(&["delete", "store"]).expect(0);
    place.run(&["delete", "other"]).expect(0);
}

#[test]
fn who_leaves_while_another_process_works_is_told_that_it_goes_on() {
    let place = Place::new();
    let creating = place.start_slow_create();
    let other = place.file("other.toml", &crate::support::SPEC.replace("'store'", "'other'"));
    let others = place.start(&["create", &other]);
    until("machines of both are made", || place.processes() >= 6);
    others.signal(Signal::INT);
    let left = others.wait().expect(5);
    assert!(left.stderr.contains(&format!("create `other` goes on in process {}", creating.pid())), "{left:?}");
    place.open_gate();
    let stayed = creating.wait().expect(0);
    assert!(stayed.stderr.contains("in another process: create `other`"), "{stayed:?}");
    let list = place.run(&["list", "--json"]).expect(0).of_type("cluster");
    assert!(list.len() == 2 && list.iter().all(|cluster| cluster["status"] == "active"), "{list:?}");
}

#[test]
fn a_holder_that_dies_leaves_its_clients_with_the_truth() {
    let place = Place::new();
    let creating = place.start_slow_create();
    let mut deleting = place.start(&["delete", "store"]);
    // Killed as soon as the delete was asked for, or before it has: either way nothing may be lost.
    until("the delete is known", || !deleting.is_running() || place.status().as_deref() != Some("creating"));
    creating.signal(Signal::KILL);
    creating.wait();
    let told = deleting.wait();
    match told.code {
        Some(0) => {}
        Some(5) => assert!(told.stderr.contains("goes on when any saga-cluster command is run next"), "{told:?}"),
        _ => panic!("{told:?}"),
    }
    place.open_gate();
    place.run(&["list"]).expect(0);
    place.run(&["delete", "store"]);
    assert!(place.run(&["list"]).expect(0).stdout.contains("no clusters"));
    assert_eq!(place.processes(), 0);
}

#[test]
fn a_stale_socket_is_in_nobodys_way() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    // The address of a socket has room for some hundred bytes only, and the path may be longer.
    let directory = std::fs::File::open(place.data()).unwrap();
    let address = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
    drop(std::os::unix::net::UnixListener::bind(address).unwrap());
    assert!(place.run(&["list"]).expect(0).stdout.contains("no clusters"));
    assert!(!place.data().join("control.sock").exists());
}

#[test]
fn who_holds_the_data_and_does_not_listen_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    let lock = std::fs::File::create(place.data().join("lock")).unwrap();
    lock.lock().unwrap();
    let refused = place.run(&["list"]).expect(1).stderr;
    // In a container the kernel may not tell the number.
    let named = refused.contains(&format!("process {}", std::process::id())) || refused.contains("another process");
    assert!(named && refused.contains("does not listen") && refused.contains("nothing was touched"), "{refused}");
    drop(lock);
    place.run(&["list"]).expect(0);
}
