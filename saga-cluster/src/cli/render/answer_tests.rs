//! What people read, to the letter.

use super::*;
use crate::model::{ClusterSpec, GroupName};
use crate::service::OperationKind;

fn plain() -> Paint {
    Paint::none()
}

fn scale_end(verdict: Verdict, status: Option<Status>, reason: &str) -> OperationEnd {
    OperationEnd {
        cluster: "store".parse().unwrap(),
        kind: OperationKind::Scale,
        verdict,
        status,
        reason: reason.to_owned(),
        nodes_left: Vec::new(),
        allowed: ["retry", "abandon", "delete"].map(str::to_owned).to_vec(),
    }
}

#[test]
fn an_end_says_how_why_and_what_is_allowed_where_that_is_asked() {
    let done = scale_end(Verdict::Done, Some(Status::Active), "");
    assert_eq!(end(&done, plain()), "done: scale `store`; the cluster is active");
    let undone = scale_end(Verdict::RolledBack, Some(Status::Active), "no more machines");
    let expected = "rolled back: scale `store`; the cluster is active\n  why:     no more machines";
    assert_eq!(end(&undone, plain()), expected);
    let mut stuck = scale_end(Verdict::Stuck, Some(Status::Error), "it will not die");
    stuck.nodes_left.push("east-3".parse().unwrap());
    let told = end(&stuck, plain());
    assert!(told.starts_with("stuck: scale `store`; the cluster is in error\n  why:     it will not die\n"), "{told}");
    assert!(told.contains("\n  left:    east-3\n  allowed: `saga-cluster retry store`"), "{told}");
}

#[test]
fn an_error_says_what_happened_what_was_touched_and_what_to_do() {
    let error = Trouble::usage("that cannot be").next("do this").next("or that");
    assert_eq!(trouble(&error, plain()), "error: that cannot be\n  nothing was touched\n  → do this\n  → or that");
    let parked = Trouble::unfinished("it was told to stop");
    assert_eq!(trouble(&parked, plain()), "not finished: it was told to stop");
}

#[test]
fn a_list_tells_of_groups_that_are_not_yet_as_they_should_be() {
    let spec = "name='store'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='east'\ncount=2";
    let mut cluster = Cluster::new(ClusterSpec::from_toml(spec).unwrap());
    assert_eq!(groups(&cluster), "east=0/2");
    cluster.spec.groups[0].count = 0;
    for name in ["b", "c", "d"] {
        let mut group = cluster.spec.groups[0].clone();
        group.name = GroupName::new(name).unwrap();
        cluster.spec.groups.push(group);
    }
    assert_eq!(groups(&cluster), "east=0 b=0 and 2 more");
    let listing = Listing { clusters: vec![cluster], unreadable: vec!["`x` is damaged".to_owned()] };
    let told = list(&listing, plain());
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines[1].starts_with("store ") && lines[1].contains("creating"), "{told}");
    assert_eq!(lines[2], "unreadable: `x` is damaged");
    assert!(list(&Listing::default(), plain()).contains("create SPEC.toml"));
}
