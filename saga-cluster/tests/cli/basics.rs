//! A cluster's life, as it should be.

use crate::support::Place;

#[test]
fn a_cluster_is_made_shown_scaled_and_deleted() {
    let place = Place::new();
    let made = place.create().expect(0);
    assert!(made.stdout.contains("done: create `store`; the cluster is active"), "{made:?}");
    assert!(made.stderr.contains("create `store`: "), "plain progress goes to standard error: {made:?}");
    assert_eq!(place.processes(), 3);

    let list = place.run(&["list"]).expect(0).stdout;
    assert!(list.lines().any(|line| line.split_whitespace().take(3).eq(["store", "active", "3"])), "{list}");
    let show = place.run(&["show", "store"]).expect(0).stdout;
    assert!(show.starts_with("store is active\n"), "{show}");
    assert!(["east-1", "east-2", "west-1", "serving", "allowed"].iter().all(|word| show.contains(word)), "{show}");

    place.run(&["scale", "store", "east=-1", "west=+2", "--new-group", "north=1"]).expect(0);
    let show = place.run(&["show", "store"]).expect(0).stdout;
    assert!(["east-1", "west-1", "west-2", "west-3", "north-1"].iter().all(|name| show.contains(name)), "{show}");
    assert!(!show.contains("east-2"), "{show}");
    assert_eq!(place.processes(), 5);

    let history = place.run(&["history", "store"]).expect(0).stdout;
    assert!(history.contains("create run") && history.contains("scale run") && history.contains("tester"), "{history}");
    let gone = place.run(&["delete", "store"]).expect(0);
    assert!(gone.stdout.contains("there is no such cluster any more"), "{gone:?}");
    assert_eq!(place.processes(), 0);
    assert!(place.run(&["list"]).expect(0).stdout.contains("no clusters"));
}

#[test]
fn everything_is_one_json_object_per_line() {
    let place = Place::new();
    let spec = place.spec();
    let made = place.run(&["--json", "create", spec.to_str().unwrap()]).expect(0);
    assert_eq!(made.stderr, "");
    assert_eq!(made.json().first().unwrap()["type"], "began");
    let end = made.json().pop().unwrap();
    assert_eq!((&end["type"], &end["verdict"], &end["status"]), (&"end".into(), &"done".into(), &"active".into()));
    assert!(made.of_type("progress").iter().all(|line| line["cluster"] == "store" && line["what"]["kind"].is_string()));

    let clusters = place.run(&["list", "--json"]).expect(0).json();
    assert_eq!(
        (clusters.len(), &clusters[0]["type"], &clusters[0]["status"]),
        (1, &"cluster".into(), &"active".into())
    );
    let report = place.run(&["show", "store", "--json"]).expect(0).json();
    assert_eq!((report.len(), &report[0]["type"], &report[0]["name"]), (1, &"report".into(), &"store".into()));
    assert!(!place.run(&["history", "store", "--json"]).expect(0).of_type("event").is_empty());
    let error = place.run(&["show", "nothing", "--json"]).expect(1);
    assert_eq!((error.json().len(), error.stderr.as_str()), (1, ""));
    assert_eq!((&error.json()[0]["type"], &error.json()[0]["exit"]), (&"error".into(), &"error".into()));
    place.run(&["delete", "store", "--json"]).expect(0);
}

#[test]
fn a_spec_may_come_from_standard_input() {
    let place = Place::new();
    let file = std::fs::File::open(place.spec()).unwrap();
    let output = place.command(&["create", "-"]).stdin(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    place.run(&["delete", "store"]).expect(0);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0).stdout;
    assert!(
        ["Exit codes", "Examples", "Ctrl-C", "--no-wait", "--store", "Many workers"]
            .iter()
            .all(|word| help.contains(word)),
        "{help}"
    );
    for command in
        ["create", "scale", "delete", "show", "list", "history", "retry", "abandon", "worker", "store", "demo"]
    {
        place.run(&["help", command]).expect(0);
        assert!(help.contains(&format!("\n  {command}")), "{command}");
    }
    assert_eq!(place.run(&[]).code, Some(2));
}
