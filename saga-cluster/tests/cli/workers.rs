//! Workers that share a database, and commands that ask them.

use std::collections::BTreeSet;

use rustix::process::Signal;
use saga_cluster::model::Node;
use saga_cluster::plugin::BlocksClient;
use saga_cluster::plugin::blocks::BlockKey;

use crate::support::{Place, Running, SPEC, until};

/// So that a dead worker is replaced soon.
const WORKER: [&str; 3] = ["worker", "--lease", "1s"];

/// A worker that nobody replaces in the time of a test, however long it stands still, unless it hands over.
const LASTING: [&str; 3] = ["worker", "--lease", "60m"];

/// The nodes in the record of the cluster.
fn nodes(place: &Place) -> Vec<Node> {
    let report = place.run(&["show", "store", "--json"]).expect(0).json();
    serde_json::from_value(report[0]["record"]["nodes"].clone()).unwrap()
}

fn names(place: &Place) -> Vec<String> {
    nodes(place).iter().map(|node| node.name.to_string()).collect()
}

/// One process for each machine of the record: none that nobody knows, and none twice.
fn assert_nothing_leaked(place: &Place) {
    let recorded: BTreeSet<String> = nodes(place).iter().map(|node| format!("{}@{}", node.name, node.token)).collect();
    let machines = place.data().join("machines/store").read_dir().unwrap().flatten();
    let machines: BTreeSet<String> = machines.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(machines, recorded);
    // Those that a second worker started in vain end by themselves.
    until("one process of each machine is left", || place.processes() == recorded.len());
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn block(n: usize) -> (BlockKey, Vec<u8>) {
    (format!("block-{n}").parse().unwrap(), format!("the bytes of block {n}").into_bytes())
}

fn write_blocks(place: &Place) {
    let client = BlocksClient::new(nodes(place));
    block_on(async {
        for (key, bytes) in (0..40).map(block) {
            client.put(&key, &bytes).await.unwrap();
        }
    });
}

fn assert_no_block_lost(place: &Place) {
    let client = BlocksClient::new(nodes(place));
    block_on(async {
        for (key, bytes) in (0..40).map(block) {
            assert_eq!(client.get(&key).await.unwrap(), Some(bytes), "{key}");
        }
    });
}

fn end_in_order(worker: Running) -> String {
    worker.signal(Signal::TERM);
    let ended = worker.wait().expect(0);
    assert!(ended.stderr.contains("handing over"), "{ended:?}");
    format!("{}{}", ended.stdout, ended.stderr)
}

#[test]
fn commands_ask_and_workers_do_it() {
    let place = Place::on_database();
    let workers = [place.start(&LASTING), place.start(&LASTING)];
    let made = place.create().expect(0);
    assert!(made.stdout.contains("done: create `store`; the cluster is active"), "{made:?}");
    assert!(made.stderr.contains("create `store`: start (3 nodes): done"), "{made:?}");
    let scaled = place.run(&["scale", "store", "east=-1", "west=+2"]).expect(0);
    assert!(scaled.stdout.contains("done: scale `store`"), "{scaled:?}");
    assert_eq!(names(&place), ["east-1", "west-1", "west-2", "west-3"]);
    assert_nothing_leaked(&place);
    let list = place.run(&["list"]).expect(0).stdout;
    assert!(list.contains("active"), "{list}");
    let history = place.run(&["history", "store"]).expect(0).stdout;
    assert!(history.contains("create run") && history.contains("scale run"), "{history}");
    let gone = place.run(&["delete", "store"]).expect(0);
    assert!(gone.stdout.contains("there is no such cluster any more"), "{gone:?}");
    assert_eq!(place.processes(), 0);
    let told = workers.map(end_in_order).concat();
    for operation in ["create", "scale", "delete"] {
        assert_eq!(told.matches(&format!(" {operation} `store` (run")).count(), 1, "{operation}: {told}");
        assert_eq!(told.matches(&format!("done: {operation} `store`")).count(), 1, "{operation}: {told}");
    }
}

#[test]
fn a_worker_tells_what_it_does_in_json_too() {
    let place = Place::on_database();
    let worker = place.start(&["worker", "--json", "--name", "ada-1", "--max-in-flight", "1"]);
    place.create().expect(0);
    worker.signal(Signal::INT);
    let told = worker.wait().expect(0);
    assert_eq!(told.stderr, "");
    let types: Vec<_> = told.json().iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["note", "began", "end", "note"]);
    assert!(told.stdout.contains("worker ada-1 is ready"), "{told:?}");
}

#[test]
fn a_create_goes_on_when_its_worker_is_killed() {
    let place = Place::on_database();
    let worker = place.start_slow(&WORKER);
    let spec = place.spec();
    let creating = place.start(&["create", spec.to_str().unwrap()]);
    until("all machines have a process", || place.processes() >= 3);
    worker.signal(Signal::KILL);
    worker.wait();
    let other = place.start_slow(&WORKER);
    until("another worker has taken it up", || place.run(&["history", "store"]).stdout.contains("taken up again"));
    place.open_gate();
    let made = creating.wait().expect(0);
    assert!(made.stdout.contains("done: create `store`; the cluster is active"), "{made:?}");
    assert_eq!(names(&place), ["east-1", "east-2", "west-1"]);
    assert_nothing_leaked(&place);
    end_in_order(other);
    place_is_cleared(&place);
}

#[test]
fn a_scale_goes_on_when_its_worker_is_killed_and_no_data_is_lost() {
    let place = Place::on_database();
    let first = place.start(&WORKER);
    place.create().expect(0);
    end_in_order(first);
    write_blocks(&place);
    let worker = place.start_slow(&WORKER);
    let scaling = place.start(&["scale", "store", "east=-1", "west=+2"]);
    // East-2 is emptied by then, and perhaps gone.
    let machines = || place.data().join("machines/store").read_dir().unwrap().flatten();
    until("new machines have a process", || {
        machines().filter(|entry| entry.file_name().to_string_lossy().starts_with("west-")).count() == 3
    });
    worker.signal(Signal::KILL);
    worker.wait();
    let other = place.start_slow(&WORKER);
    until("another worker has taken it up", || place.run(&["history", "store"]).stdout.contains("taken up again"));
    place.open_gate();
    let scaled = scaling.wait().expect(0);
    assert!(scaled.stdout.contains("done: scale `store`; the cluster is active"), "{scaled:?}");
    assert_eq!(names(&place), ["east-1", "west-1", "west-2", "west-3"]);
    assert_nothing_leaked(&place);
    assert_no_block_lost(&place);
    end_in_order(other);
    place_is_cleared(&place);
}

#[test]
fn a_worker_that_is_told_to_end_hands_over_at_once() {
    let place = Place::on_database();
    let worker = place.start_slow(&LASTING);
    let spec = place.spec();
    let creating = place.start(&["create", spec.to_str().unwrap()]);
    until("all machines have a process", || place.processes() >= 3);
    end_in_order(worker);
    place.open_gate();
    let other = place.start(&LASTING);
    creating.wait().expect(0);
    assert_nothing_leaked(&place);
    end_in_order(other);
    place_is_cleared(&place);
}

#[test]
fn a_cluster_is_deleted_while_a_worker_makes_it() {
    let place = Place::on_database();
    let worker = place.start_slow(&WORKER);
    let spec = place.spec();
    let creating = place.start(&["create", spec.to_str().unwrap()]);
    until("all machines have a process", || place.processes() >= 3);
    let deleted = place.run(&["delete", "store"]).expect(0);
    assert!(deleted.stdout.contains("there is no such cluster any more"), "{deleted:?}");
    let created = creating.wait().expect(3);
    assert!(created.stdout.contains("rolled back: create `store`"), "{created:?}");
    assert_eq!(place.processes(), 0);
    end_in_order(worker);
}

/// Damages the last record of every append.
const LAST_BYTES_FLIPPED: &str = "UPDATE saga.journal
    SET records = set_byte(records, length(records) - 1, 255 - get_byte(records, length(records) - 1))";

#[track_caller]
fn assert_deletable_by_force(place: &Place) {
    let worker = place.start(&WORKER);
    let deleted = place.run(&["delete", "store", "--force"]).expect(0);
    assert!(deleted.stdout.contains("there is no such cluster any more"), "{deleted:?}");
    assert_eq!(place.processes(), 0);
    end_in_order(worker);
}

/// A client parks nothing, so it has to look for itself what can be passed by.
#[test]
fn a_client_deletes_by_force_what_nobody_can_read() {
    for damage in [
        LAST_BYTES_FLIPPED,
        // A row that cannot be taken apart, and one that is missing.
        "UPDATE saga.journal SET records = set_byte(records, 0, 255)",
        "DELETE FROM saga.journal WHERE seq > 1",
    ] {
        let place = Place::on_database();
        let worker = place.start_slow(&WORKER);
        let spec = place.spec();
        let creating = place.start(&["create", spec.to_str().unwrap()]);
        until("all machines have a process", || place.processes() >= 3);
        for running in [worker, creating] {
            running.signal(Signal::KILL);
            running.wait();
        }
        place.sql(damage);
        assert_deletable_by_force(&place);
    }
}

/// A delete that nobody can go on with is none to wait for.
#[test]
fn a_client_deletes_by_force_what_a_broken_delete_has_begun_with() {
    let place = Place::on_database();
    let worker = place.start(&WORKER);
    place.create().expect(0);
    // The delete begins, and cannot end.
    place.sql(
        "CREATE FUNCTION saga.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END';
         CREATE TRIGGER refuse BEFORE DELETE ON saga.clusters EXECUTE FUNCTION saga.refuse()",
    );
    let deleting = place.start(&["delete", "store"]);
    until("the delete has begun", || {
        let report = place.run(&["show", "store", "--json"]).expect(0).json();
        let record = &report[0]["record"];
        record["status"] == "deleting" && record["intent"].is_null()
    });
    for running in [worker, deleting] {
        running.signal(Signal::KILL);
        running.wait();
    }
    place.sql("DROP TRIGGER refuse ON saga.clusters");
    place.sql(LAST_BYTES_FLIPPED);
    assert_deletable_by_force(&place);
}

#[test]
fn without_a_worker_it_says_so_and_waits() {
    let place = Place::on_database();
    let spec = place.spec();
    let creating = place.start(&["create", spec.to_str().unwrap()]);
    creating.says("no worker has taken it up yet: start one with `saga-cluster worker --store");
    let listed = place.run(&["list"]).expect(0);
    assert!(listed.stdout.contains("creating"), "{listed:?}");
    creating.signal(Signal::INT);
    let left = creating.wait().expect(5);
    assert!(left.stderr.contains("goes on: it is the workers' now"), "{left:?}");
    let deleting = place.start(&["delete", "store"]);
    let worker = place.start(&WORKER);
    deleting.wait().expect(0);
    assert_eq!(place.processes(), 0);
    end_in_order(worker);
}

#[test]
fn clusters_of_one_database_are_made_side_by_side() {
    let place = Place::on_database();
    let workers = [place.start(&LASTING), place.start(&LASTING)];
    let names: Vec<String> = (0..4).map(|n| format!("store-{n}")).collect();
    let creating: Vec<_> = names
        .iter()
        .map(|name| place.start(&["create", &place.file(name, &SPEC.replace("'store'", &format!("'{name}'")))]))
        .collect();
    for create in creating {
        create.wait().expect(0);
    }
    until("one process of each machine is left", || place.processes() == 12);
    let deleting: Vec<_> = names.iter().map(|name| place.start(&["delete", name])).collect();
    for delete in deleting {
        delete.wait().expect(0);
    }
    assert_eq!(place.processes(), 0);
    workers.into_iter().for_each(|worker| drop(end_in_order(worker)));
}

#[test]
fn a_worker_with_a_data_directory_does_what_other_commands_ask_for() {
    let place = Place::new();
    let worker = place.start(&["worker"]);
    worker.says("is ready to work on");
    let made = place.create().expect(0);
    assert!(made.stderr.contains(&format!("process {}", worker.pid())), "{made:?}");
    let second = place.run(&["worker"]).expect(1);
    assert!(second.stderr.contains("is held by process"), "{second:?}");
    worker.signal(Signal::TERM);
    let ended = worker.wait().expect(0);
    assert!(ended.stdout.contains("done: create `store`"), "{ended:?}");
    place.run(&["delete", "store"]).expect(0);
}

#[test]
fn a_password_is_never_told() {
    let place = Place::new();
    for store in
        ["postgresql://ada:hush@127.0.0.1:1/db", "postgres://ada:hush@127.0.0.1:1/x?password=hush", "mysql://a:hush@h"]
    {
        for args in [&["list", "--store", store][..], &["worker", "--store", store], &["store", "copy", store, "there"]]
        {
            let refused = place.run(args);
            assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
            assert!(!format!("{refused:?}").contains("hush"), "{refused:?}");
        }
    }
    let wrong = place.run(&["list", "--store", "somewhere"]).expect(2);
    assert!(wrong.stderr.contains("postgresql://"), "{wrong:?}");
}

fn place_is_cleared(place: &Place) {
    let worker = place.start(&WORKER);
    place.run(&["delete", "store"]).expect(0);
    assert_eq!(place.processes(), 0);
    end_in_order(worker);
}
