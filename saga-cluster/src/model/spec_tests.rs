use super::*;

const GOOD: &str = r#"
    name = "demo"
    plugin = "blocks"
    engine = "process"

    [[groups]]
    name = "workers"
    count = 3
    settings = { disk = 20, zones = ["a", "b"], since = 2024-01-01 }

    [[groups]]
    name = "spare"
    count = 0
"#;

fn problems(text: &str) -> Vec<String> {
    ClusterSpec::from_toml(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_spec_is_read_whole() {
    let spec = ClusterSpec::from_toml(GOOD).unwrap();
    assert_eq!(spec.name.as_str(), "demo");
    assert_eq!(spec.node_count(), 3);
    let workers = spec.group(&GroupName::new("workers").unwrap()).unwrap();
    assert_eq!(workers.settings["disk"], 20);
    assert_eq!(workers.settings["zones"][1], "b");
    assert_eq!(workers.settings["since"], "2024-01-01");
}

#[test]
fn it_survives_json() {
    let spec = ClusterSpec::from_toml(GOOD).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<ClusterSpec>(&json).unwrap(), spec);
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        r#"
        name = "My Cluster"
        plugin = 7
        colour = "red"

        [[groups]]
        name = "a"
        count = -1

        [[groups]]
        name = "b"
        count = 2
        cuont = 2
        settings = "none"

        [[groups]]
        count = 5000
        "#,
    );
    assert_eq!(
        found,
        [
            "`colour` is unknown; known here: name, plugin, engine, settings, groups",
            "`name`: `My Cluster` may only hold a-z, 0-9 and `-`, not 'M'",
            "`plugin` should be a text, and is integer",
            "`engine` is missing",
            "`groups[0].count` is -1; allowed: 0 to 1000",
            "`groups[1].cuont` is unknown; known here: name, count, settings",
            "`groups[1].settings` should be a table, and is string",
            "`groups[2].name` is missing",
            "`groups[2].count` is 5000; allowed: 0 to 1000",
        ]
    );
}

#[test]
fn problems_of_the_whole_are_reported_beside_problems_of_a_part() {
    let twice = GOOD.replace("spare", "workers").replace("name = \"demo\"", "name = \"demo\"\nx = 1");
    assert_eq!(
        problems(&twice),
        [
            "`x` is unknown; known here: name, plugin, engine, settings, groups",
            "there is more than one group `workers`"
        ]
    );
}

#[test]
fn a_cluster_needs_a_node_and_not_too_many() {
    let none = GOOD.replace("count = 3", "count = 0");
    assert_eq!(problems(&none), ["the cluster needs at least one group with at least one node"]);
    let many = GOOD.replace("count = 3", "count = 999").replace("count = 0", "count = 2");
    assert_eq!(problems(&many), ["there are 1001 nodes in all; the limit is 1000"]);
    let no_group = "name = \"a\"\nplugin = \"b\"\nengine = \"c\"\ngroups = []";
    assert_eq!(problems(no_group), ["the cluster needs at least one group with at least one node"]);
}

#[test]
fn what_is_not_toml_is_one_problem() {
    let error = ClusterSpec::from_toml("name = ").unwrap_err();
    assert!(matches!(error.problems[..], [SpecProblem::Syntax(_)]));
    assert!(error.to_string().starts_with("the spec has 1 problem(s):\n  - this is not TOML"));
}
