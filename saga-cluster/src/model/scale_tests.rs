use super::super::label::{ClusterName, KindName};
use super::super::node::{Node, NodeToken};
use super::super::spec::Settings;
use super::super::status::Status;
use super::*;

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

/// An active cluster with these groups, all of their nodes made.
pub(crate) fn cluster(groups: &[(&str, u32)]) -> Cluster {
    let spec = ClusterSpec {
        name: ClusterName::new("demo").unwrap(),
        plugin: KindName::new("blocks").unwrap(),
        engine: KindName::new("process").unwrap(),
        settings: Settings::new(),
        groups: groups
            .iter()
            .map(|(name, count)| NodeGroup { name: group(name), count: *count, settings: Settings::new() })
            .collect(),
    };
    let mut cluster = Cluster::new(spec);
    let nodes: Vec<_> = cluster
        .missing_nodes()
        .into_iter()
        .map(|new| Node {
            token: NodeToken::derive(&new.name, "test"),
            name: new.name,
            address: Some("127.0.0.1:1".parse().unwrap()),
        })
        .collect();
    cluster.admit(nodes);
    cluster.transition(Status::Active, "").unwrap();
    cluster
}

fn shown<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn problems(cluster: &Cluster, request: &ScaleRequest) -> Vec<ScaleProblem> {
    plan_scale(cluster, request).unwrap_err().problems
}

#[test]
fn both_directions_at_once_in_different_groups() {
    let cluster = cluster(&[("a", 11), ("b", 1), ("c", 2)]);
    let extra = NodeGroup { name: group("d"), count: 1, settings: Settings::from([("disk".into(), 7.into())]) };
    let request = ScaleRequest::default().group(group("a"), 8).group(group("b"), 3).new_group(extra);
    let plan = plan_scale(&cluster, &request).unwrap();
    assert_eq!(shown(plan.remove()), ["a-11", "a-10", "a-9"]);
    assert_eq!(shown(plan.add().iter().map(|new| &new.name)), ["b-2", "b-3", "d-1"]);
    assert_eq!(plan.add()[2].settings["disk"], 7);
    assert_eq!(plan_scale(&cluster, &request).unwrap(), plan, "pure");
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<ScalePlan>(&json).unwrap(), plan);
}

#[test]
fn the_record_counts_not_what_its_spec_once_asked_for() {
    let mut cluster = cluster(&[("a", 3)]);
    cluster.forget(&[name("a-2")]);
    let plan = plan_scale(&cluster, &ScaleRequest::default().group(group("a"), 3)).unwrap();
    assert_eq!(shown(plan.add().iter().map(|new| &new.name)), ["a-4"]);
    assert!(plan.remove().is_empty());
}

#[test]
fn names_of_an_undone_scale_are_not_given_again() {
    let mut cluster = cluster(&[("a", 1)]);
    let request = ScaleRequest::default().group(group("a"), 2);
    let first = plan_scale(&cluster, &request).unwrap();
    cluster.reserve(first.add().iter().map(|new| &new.name));
    let second = plan_scale(&cluster, &request).unwrap();
    assert_eq!(shown(first.add().iter().map(|new| &new.name)), ["a-2"]);
    assert_eq!(shown(second.add().iter().map(|new| &new.name)), ["a-3"]);
}

#[test]
fn a_scale_taken_over_is_what_the_spec_says() {
    let mut cluster = cluster(&[("a", 3)]);
    let extra = NodeGroup { name: group("b"), count: 2, settings: Settings::new() };
    let plan = plan_scale(&cluster, &ScaleRequest::default().group(group("a"), 1).new_group(extra)).unwrap();
    for _ in 0..2 {
        cluster.take_over(&plan);
    }
    let counts: Vec<_> = cluster.spec.groups.iter().map(|g| (g.name.as_str(), g.count)).collect();
    assert_eq!(counts, [("a", 1), ("b", 2)]);
}

#[test]
fn every_problem_is_reported_at_once() {
    let cluster = cluster(&[("a", 1)]);
    let again = NodeGroup { name: group("a"), count: 2000, settings: Settings::new() };
    let request = ScaleRequest::default().group(group("x"), 1).new_group(again);
    assert_eq!(
        problems(&cluster, &request),
        [
            ScaleProblem::UnknownGroup(group("x")),
            ScaleProblem::GroupExists(group("a")),
            ScaleProblem::TooManyNodes(2001)
        ]
    );
}

#[test]
fn nothing_to_do_and_nothing_left_are_refused() {
    let cluster = cluster(&[("a", 1)]);
    assert_eq!(problems(&cluster, &ScaleRequest::default()), [ScaleProblem::NothingToDo]);
    assert_eq!(problems(&cluster, &ScaleRequest::default().group(group("a"), 1)), [ScaleProblem::NothingToDo]);
    assert_eq!(problems(&cluster, &ScaleRequest::default().group(group("a"), 0)), [ScaleProblem::NoNodesLeft]);
}

#[test]
fn names_that_are_used_up_are_a_problem_not_an_overflow() {
    let mut cluster = cluster(&[("a", 1)]);
    cluster.next_ordinals.insert(group("a"), u32::MAX);
    let request = ScaleRequest::default().group(group("a"), 3);
    assert_eq!(problems(&cluster, &request), [ScaleProblem::OutOfNames(group("a"))]);
}

proptest::proptest! {
    /// Whatever is asked: no node goes twice, only nodes that there are go, none comes under a name ever used, and
    /// the numbers add up.
    #[test]
    fn a_plan_leads_to_what_was_asked(
        has in proptest::collection::vec(0u32..8, 1..4),
        wanted in proptest::collection::vec(0u32..8, 1..4),
        lost in 0u32..6,
    ) {
        let names = ["a", "b", "c"];
        let groups: Vec<_> = names.iter().copied().zip(has).collect();
        let mut cluster = cluster(&groups);
        cluster.forget(&[NodeName::new(group("a"), lost)]);
        let request = groups.iter().zip(&wanted)
            .fold(ScaleRequest::default(), |request, ((name, _), count)| request.group(group(name), *count));
        let Ok(plan) = plan_scale(&cluster, &request) else { return Ok(()) };
        let ever: Vec<_> = cluster.nodes.iter().map(|node| node.name.clone()).chain([NodeName::new(group("a"), lost)])
            .collect();
        for name in plan.remove() {
            proptest::prop_assert!(cluster.node(name).is_some());
            proptest::prop_assert_eq!(plan.remove().iter().filter(|other| *other == name).count(), 1);
        }
        for new in plan.add() {
            let known = ever.contains(&new.name) && new.name.ordinal() != 0;
            let was_real = cluster.next_ordinals.get(new.name.group()).is_some_and(|next| new.name.ordinal() < *next);
            proptest::prop_assert!(!(known && was_real));
        }
        cluster.forget(plan.remove());
        for (name, count) in &request.counts {
            let coming = plan.add().iter().filter(|new| new.name.group() == name).count();
            proptest::prop_assert_eq!(cluster.nodes_in(name).count() + coming, *count as usize);
        }
    }
}
