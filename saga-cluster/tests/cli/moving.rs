//! `store copy`: from a data directory to a database and back.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Done, Place, SPEC, new_database, until};

/// The name and status of each cluster.
fn clusters(done: &Done) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> =
        done.of_type("cluster").iter().map(|one| (text(&one["spec"]["name"]), text(&one["status"]))).collect();
    all.sort();
    all
}

fn spec(place: &Place, name: &str) -> String {
    place.file(&format!("{name}.toml"), &SPEC.replace("'store'", &format!("'{name}'")))
}

/// One cluster that serves, one whose scale halted, one whose create is not finished; and one that is gone.
fn lived_in() -> Place {
    let place = Place::new();
    for name in ["active", "gone", "halted"] {
        place.run(&["create", &spec(&place, name)]).expect(0);
    }
    place.run(&["delete", "gone"]).expect(0);
    let machines = place.data().join("machines/halted").read_dir().unwrap().flatten();
    let mut east_2 = machines.filter(|entry| entry.file_name().to_str().unwrap().starts_with("east-2@"));
    std::fs::write(east_2.next().unwrap().path().join("blocks/what is this"), "precious").unwrap();
    place.run(&["scale", "halted", "east=-1"]).expect(4);
    let creating = place.start_slow(&["create", &spec(&place, "slow")]);
    until("all machines have a process", || place.processes() >= 9);
    creating.signal(Signal::KILL);
    creating.wait();
    place
}

#[test]
fn everything_goes_to_a_database_and_back() {
    let place = lived_in();
    let (data, back) = (place.data().display().to_string(), place.path().join("back").display().to_string());
    let store = new_database();
    let copied = place.run(&["store", "copy", &data, &store, "--json"]).expect(0).of_type("copied");
    let copied = &copied[0];
    assert_eq!((&copied["runs"], &copied["clusters"]), (&6.into(), &3.into()), "{copied}");
    assert_eq!(copied["unfinished"].as_array().unwrap().len(), 2, "the halted one and the one at work: {copied}");

    // The directory is marked, and refused by whoever would go on with it.
    for args in [&["list"][..], &["worker"], &["store", "copy", &data, &new_database()]] {
        let refused = place.run(args).expect(1);
        assert!(refused.stderr.contains("was moved to postgres") && refused.stderr.contains("`moved`"), "{refused:?}");
    }
    std::fs::remove_file(place.data().join("moved")).unwrap();
    let again = place.run(&["store", "copy", &data, &store]).expect(0);
    assert!(again.stdout.contains("there already: 3 clusters, 6 operations"), "{again:?}");
    assert!(again.stdout.contains("2 operations have not ended, and both stores have them now"), "{again:?}");

    // Back before anybody went on with it: nothing was lost on the way.
    let returned = place.run(&["store", "copy", &store, &back, "--json"]).expect(0).of_type("copied");
    for part in ["runs", "records", "clusters", "unfinished"] {
        assert_eq!(returned[0][part], copied[part], "{part}");
    }
    assert_eq!(returned[0]["marked"], Value::Null);
    let expected = [("active", "active"), ("halted", "error"), ("slow", "creating")];
    let expected = expected.map(|(name, status)| (name.to_owned(), status.to_owned()));
    let on_store = ["--store", store.as_str()];
    let ask = |args: &[&str]| place.run(&[args, &on_store].concat());
    assert_eq!(clusters(&ask(&["list", "--json"]).expect(0)), expected);
    let histories = ["active", "halted", "slow"].map(|name| ask(&["history", name]).expect(0).stdout);

    // A worker goes on there with what is not finished.
    place.open_gate();
    let worker = place.start(&["worker", "--lease", "1s", "--store", &store]);
    until("the create is finished", || {
        clusters(&ask(&["list", "--json"]).expect(0)).contains(&("slow".to_owned(), "active".to_owned()))
    });
    let after = ask(&["history", "slow"]).expect(0).stdout;
    assert!(after.starts_with(histories[2].trim_end()), "{after}\n---\n{}", histories[2]);
    let busy = place.run(&["store", "copy", &store, &new_database()]).expect(1);
    assert!(busy.stderr.contains("workers are at work on"), "{busy:?}");
    for name in ["active", "halted", "slow"] {
        ask(&["delete", name]).expect(0);
    }
    assert_eq!(place.processes(), 0);
    worker.signal(Signal::TERM);
    worker.wait().expect(0);

    // From directory to directory too; the mark tells how to go on.
    let third = place.path().join("third").display().to_string();
    place.run(&["store", "copy", &back, &third]).expect(0);
    let moved = place.run(&["--data", &back, "list"]).expect(1);
    assert!(moved.stderr.contains(&format!("use that: --data {third}")), "{moved:?}");
    std::fs::remove_file(place.path().join("back/moved")).unwrap();

    // What went on in one of the two is not written over.
    let differs = place.run(&["store", "copy", &back, &store]).expect(1);
    assert!(differs.stderr.contains("nothing was copied") && differs.stderr.contains("at event"), "{differs:?}");
    assert!(ask(&["list"]).expect(0).stdout.contains("no clusters"));
}

#[test]
fn a_directory_that_is_held_or_is_none_is_refused() {
    let place = Place::new();
    let creating = place.start_slow_create();
    let data = place.data().display().to_string();
    let held = place.run(&["store", "copy", &data, &new_database()]).expect(1);
    assert!(held.stderr.contains("is held by process"), "{held:?}");
    place.open_gate();
    creating.wait().expect(0);
    let none = place.path().join("none").display().to_string();
    let refused = place.run(&["store", "copy", &none, &data]).expect(2);
    assert!(refused.stderr.contains("is no data directory") && !std::path::Path::new(&none).exists(), "{refused:?}");
    place.run(&["store", "copy", &data, &data]).expect(2);
    place.run(&["delete", "store"]).expect(0);
}
