//! What people get wrong, and what they are told.

use crate::support::Place;

#[test]
fn a_bad_spec_is_refused_with_every_mistake_and_its_line() {
    let place = Place::new();
    let bad = place.file(
        "bad.toml",
        "name = 'Store'\nplugin = 'blocks'\nengine = 'process'\n[[groups]]\nname = 'a'\ncount = 'x'\n",
    );
    let refused = place.run(&["create", &bad]).expect(2).stderr;
    for expected in ["2 mistakes", "line 1: `name`", "line 6: `groups[0].count`", "nothing was touched"] {
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    let missing = place.run(&["create", "/nowhere/x.toml"]).expect(2).stderr;
    assert!(missing.contains("/nowhere/x.toml") && missing.contains("No such file"), "{missing}");
    let other = place.file("other.toml", &crate::support::SPEC.replace("process", "cloud"));
    let refused = place.run(&["create", &other]).expect(2).stderr;
    assert!(refused.contains("no engine of the kind `cloud`") && refused.contains("process"), "{refused}");
}

#[test]
fn an_unknown_cluster_is_told_with_similar_names() {
    let place = Place::new();
    let none = place.run(&["show", "store"]).expect(1).stderr;
    assert!(none.contains("no cluster `store`") && none.contains("create"), "{none}");
    place.create().expect(0);
    let typo = place.run(&["show", "stroe"]).expect(1).stderr;
    assert!(typo.contains("did you mean `store`?"), "{typo}");
    let typo = place.run(&["scale", "stroe", "east=-1"]).expect(1).stderr;
    assert!(typo.contains("did you mean `store`?"), "{typo}");
    let other = place.run(&["delete", "elephant"]).expect(1).stderr;
    assert!(other.contains("saga-cluster list"), "{other}");
    let twice = place.create().expect(1).stderr;
    assert!(twice.contains("there is a cluster `store` already") && twice.contains("delete store"), "{twice}");
    assert_eq!(place.processes(), 3);
}

#[test]
fn a_scale_that_cannot_be_is_refused_before_anything_is_touched() {
    let place = Place::new();
    place.create().expect(0);
    for (args, code, expected) in [
        (&["nort=1"][..], 2, "its groups are `east`, `west`"),
        (&["east=2"], 2, "like that already"),
        (&["east=-5"], 2, "has only 2 nodes"),
        (&["east=+1", "east=3"], 2, "named twice"),
        (&["east=0", "west=0"], 2, "no node would be left"),
        (&["east"], 2, "GROUP=COUNT"),
        (&[], 2, "required"),
        // A setting of a new group arrives where it is judged.
        (&["--new-group", "north=1", "--set", "north.size=2"], 2, "`groups[2].settings.size` is unknown"),
        (&["--new-group", "north=1", "--set", "east.size=2"], 2, "no group `east` is added"),
        (&["--new-group", "north=1", "--set", "north.a=1", "--set", "north.a=2"], 2, "`north.a` is set twice"),
        (&["--new-group", "north=1", "--set", "size=2"], 2, "GROUP.NAME=VALUE"),
        (&["east=1", "--set", "east.size=2"], 2, "--new-group"),
    ] {
        let refused = place.run(&[&["scale", "store"], args].concat()).expect(code).stderr;
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    let nothing_rests = place.run(&["retry", "store"]).expect(1).stderr;
    assert!(nothing_rests.contains("is active") && nothing_rests.contains("nothing was touched"), "{nothing_rests}");
    assert_eq!(place.run(&["abandon", "store"]).code, Some(2), "a reason is required");
    assert_eq!(place.processes(), 3);
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let place = Place::new();
    let file = place.file("file", "");
    let refused = place.run(&["list", "--data", &file]).expect(1).stderr;
    assert!(refused.contains(&file) && refused.contains("--data"), "{refused}");
}
