//! Creating, as the service tells it: what is refused, what is left, what is allowed next.
//!
//! That any failure, anywhere, kills all nodes and puts the cluster in error is proven by the test kit
//! (`src/saga/proven.rs`), which cannot see the service around the saga, nor how an action understands the errors of an
//! engine or a plugin.

use saga_cluster::model::Status;
use saga_cluster::service::{ServiceError, Verdict};
use saga_cluster::testing::{Call, How, On};

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn all_goes_well() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.assert_consistent(&BEFORE).await;
    let record = world.record().await.unwrap();
    assert_eq!((record.status, record.live_run, record.status_description.as_str()), (Status::Active, None, ""));
    let names: Vec<_> = BEFORE.iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(world.plugin.calls(), [Call::Configure(names.clone()), Call::Start(names)]);
    world.assert_deletable(&service).await;
}

/// What a failed create is to those who asked for it, and how a plugin's errors are understood.
#[tokio::test(start_paused = true)]
async fn configuring_fails() {
    for how in EVERY_WAY {
        let world = World::new();
        always(&world, On::Configure, how);
        let service = world.service().await;
        let end = end(&service.create(spec(), ada()).await.unwrap()).await;
        assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Error)), "{how:?}: {}", end.reason);
        assert!(end.reason.contains("configure failed"), "{how:?}: {}", end.reason);
        assert!(end.nodes_left.is_empty());
        world.assert_consistent(&[]).await;
        let record = world.record().await.unwrap();
        assert_eq!((record.status_description, record.live_run), (end.reason, None), "{how:?}");
        // Error is no grave: it can be deleted, and made again.
        assert!(end.allowed.contains(&"delete".to_owned()));
        let retry = service.retry(&demo(), ada()).await;
        assert!(matches!(retry, Err(ServiceError::NotAllowed { .. })), "{retry:?}");
        world.faults.clear();
        world.assert_deletable(&service).await;
        world.with_cluster().await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Retry,
    GiveUp,
    Delete,
}

#[tokio::test(start_paused = true)]
async fn what_is_stuck_can_be_tried_again_given_up_and_deleted() {
    for then in [Then::Retry, Then::GiveUp, Then::Delete] {
        let world = World::new();
        about(&world, On::Destroy, "w-1", How::FailBefore);
        always(&world, On::Start, How::FatalBefore);
        let service = world.service().await;
        let stuck = end(&service.create(spec(), ada()).await.unwrap()).await;
        assert_eq!((stuck.verdict, stuck.status), (Verdict::Stuck, Some(Status::Error)));
        assert!(stuck.reason.contains("start failed") && stuck.reason.contains("w-1 is left"), "{}", stuck.reason);
        assert_eq!(stuck.nodes_left, ["w-1".parse().unwrap()]);
        assert_eq!(world.recorded().await, ["w-1"], "the record has what may be left");
        assert!(stuck.allowed.contains(&"retry".to_owned()), "{:?}", stuck.allowed);
        world.faults.clear();
        match then {
            Then::Retry => {
                let again = end(&service.retry(&demo(), ada()).await.unwrap()).await;
                assert_eq!((again.verdict, again.status), (Verdict::RolledBack, Some(Status::Error)));
                world.assert_consistent(&[]).await;
            }
            Then::GiveUp => {
                let end = end(&service.abandon(&demo(), ada()).await.unwrap()).await;
                assert_eq!((end.verdict, end.status), (Verdict::Abandoned, Some(Status::Error)));
                assert!(end.reason.contains("given up by ada") && end.reason.contains("w-1"), "{}", end.reason);
                assert_eq!(end.nodes_left, ["w-1".parse().unwrap()]);
            }
            Then::Delete => {}
        }
        world.assert_deletable(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_touches_nothing() {
    let world = World::new();
    let service = world.service().await;
    let mut unknown = spec();
    unknown.engine = "other".parse().unwrap();
    assert!(matches!(service.create(unknown, ada()).await, Err(ServiceError::UnknownEngine { .. })));
    let mut unknown = spec();
    unknown.plugin = "other".parse().unwrap();
    assert!(matches!(service.create(unknown, ada()).await, Err(ServiceError::UnknownPlugin { .. })));
    let mut empty = spec();
    empty.groups.clear();
    assert!(matches!(service.create(empty, ada()).await, Err(ServiceError::Spec(_))));
    for how in [How::Reject, How::Panic] {
        world.faults.clear();
        always(&world, On::Validate, how);
        assert!(matches!(service.create(spec(), ada()).await, Err(ServiceError::Refused(_))));
    }
    world.assert_gone(&service).await;
    assert_eq!(world.store.faults().appends(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_given_once() {
    let world = World::new();
    let service = world.with_cluster().await;
    assert!(matches!(service.create(spec(), ada()).await, Err(ServiceError::AlreadyExists { .. })));
    world.assert_consistent(&BEFORE).await;
}
