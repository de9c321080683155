//! Asking an engine, before anything is made.

use crate::support::{Place, SPEC};

#[test]
fn a_check_tells_all_at_once_and_makes_nothing() {
    let place = Place::new();
    let spec = place.spec();
    let spec = spec.to_str().unwrap();
    let fine = place.run(&["engine", "check", spec]).expect(0).stdout;
    assert!(fine.contains("fine: engine `process` could make `store` now"), "{fine}");
    assert!(fine.contains("program") && fine.contains("directory"), "{fine}");

    let mut command = place.command(&["engine", "check", spec, "--json"]);
    let output = command.env("SAGA_CLUSTER_NODE_PROGRAM", "/nowhere/node").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a problem is a spec that will not do: {output:?}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&line["type"], &line["cluster"], &line["engine"]),
        (&"checked".into(), &"store".into(), &"process".into())
    );
    assert_eq!(line["findings"][0]["severity"], "problem");
    assert!(line["findings"][0]["text"].as_str().unwrap().contains("/nowhere/node"), "{line}");
    assert_eq!(line["findings"][1]["severity"], "ok", "what is fine is told too: {line}");

    assert_eq!(place.processes(), 0);
    assert!(!place.data().join("journal").exists(), "no store is opened");
}

#[test]
fn a_check_refuses_what_a_create_would_refuse() {
    let place = Place::new();
    let typo = place.file("typo.toml", &SPEC.replace("count = 1", "count = 1\nsettings = { flavour = 'small' }"));
    for command in [&["engine", "check", &typo][..], &["create", &typo]] {
        let refused = place.run(command).expect(2).stderr;
        assert!(refused.contains("`groups[1].settings.flavour` is unknown"), "{refused}");
    }
    let missing = place.run(&["engine", "check", "/nowhere/x.toml"]).expect(2).stderr;
    assert!(missing.contains("/nowhere/x.toml"), "{missing}");
}
