//! Scaling, as the service tells it: the rows of the failure table in which a mistake would lose data, in every way in which
//! a plugin can fail; what is left, what is allowed next, and what names are given then.
//!
//! The table itself is proven by the test kit (`src/saga/proven.rs`), which cannot see the service around the saga, nor how
//! an action understands the errors of an engine or a plugin: it lets the action fail as a whole.

use saga_cluster::model::Status;
use saga_cluster::service::{Operation, OperationEnd, Service, ServiceError, Verdict};
use saga_cluster::testing::{How, On, When};

use crate::world::*;

async fn scale(service: &Service) -> Operation {
    service.scale(&demo(), both_ways(), ada()).await.unwrap()
}

async fn retried(service: &Service) -> OperationEnd {
    end(&service.retry(&demo(), ada()).await.unwrap()).await
}

async fn assert_scaled(world: &World, end: &OperationEnd) {
    assert_eq!((end.verdict, end.status), (Verdict::Done, Some(Status::Active)), "{}", end.reason);
    world.assert_consistent(&AFTER).await;
    world.assert_no_data_lost();
    let record = world.record().await.unwrap();
    assert_eq!((record.status_description.as_str(), record.live_run), ("", None));
    assert_eq!(record.spec.groups.iter().map(|group| group.count).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn all_goes_well() {
    let world = World::new();
    let service = world.with_cluster().await;
    let end = end(&scale(&service).await).await;
    assert_scaled(&world, &end).await;
}

#[tokio::test(start_paused = true)]
async fn down_only_and_up_only_work_too() {
    for (request, expected) in
        [(counts(&[("w", 1)]), &["w-1", "x-1"][..]), (counts(&[("x", 2)]), &["w-1", "w-2", "w-3", "x-1", "x-2"][..])]
    {
        let world = World::new();
        let service = world.with_cluster().await;
        let end = end(&service.scale(&demo(), request, ada()).await.unwrap()).await;
        assert_eq!((end.verdict, end.status), (Verdict::Done, Some(Status::Active)), "{}", end.reason);
        world.assert_consistent(expected).await;
        world.assert_no_data_lost();
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_can_be_added_and_is_not_if_its_nodes_cannot_be_made() {
    let world = World::new();
    let service = world.with_cluster().await;
    let group =
        || saga_cluster::model::NodeGroup { name: "y".parse().unwrap(), count: 2, settings: Default::default() };
    about(&world, On::Create, "y-2", How::FatalAfter);
    let request = || counts(&[]).new_group(group());
    let failed = end(&service.scale(&demo(), request(), ada()).await.unwrap()).await;
    assert_eq!((failed.verdict, failed.status), (Verdict::RolledBack, Some(Status::Active)));
    world.assert_consistent(&BEFORE).await;
    assert!(world.record().await.unwrap().spec.group(&group().name).is_none());
    world.faults.clear();
    let done = end(&service.scale(&demo(), request(), ada()).await.unwrap()).await;
    assert_eq!(done.verdict, Verdict::Done);
    assert_eq!(world.machines(), ["w-1", "w-2", "w-3", "x-1", "y-3", "y-4"]);
}

/// Stage 1: cluster in error. No node is deleted.
#[tokio::test(start_paused = true)]
async fn decommissioning_fails() {
    for how in EVERY_WAY {
        let world = World::new();
        let service = world.with_cluster().await;
        always(&world, On::Decommission, how);
        let halted = end(&scale(&service).await).await;
        assert_eq!((halted.verdict, halted.status), (Verdict::Halted, Some(Status::Error)), "{how:?}");
        assert!(halted.reason.contains("decommission failed"), "{}", halted.reason);
        world.assert_consistent(&BEFORE).await;
        assert!(world.engine.destroyed().is_empty(), "{how:?}");
        assert_eq!(world.engine.created().len(), 4, "nothing new was begun");
        assert_eq!(world.record().await.unwrap().status_description, halted.reason);
        assert!(["retry", "delete"].iter().all(|verb| halted.allowed.iter().any(|allowed| allowed == verb)));
        let again = service.scale(&demo(), both_ways(), ada()).await;
        assert!(matches!(again, Err(ServiceError::NotAllowed { .. })), "{again:?}");

        // It fails once more, and rests as before; then it works.
        let halted = retried(&service).await;
        assert_eq!((halted.verdict, halted.status), (Verdict::Halted, Some(Status::Error)), "{how:?}");
        world.faults.clear();
        let done = retried(&service).await;
        assert_scaled(&world, &done).await;
    }
}

/// Stage 2a: it is finished, the new nodes are killed, and the cluster is active again, with the reason.
#[tokio::test(start_paused = true)]
async fn what_is_active_after_a_failure_can_be_scaled() {
    for how in [How::FailBefore, How::HangAfter] {
        let world = World::new();
        let service = world.with_cluster().await;
        // The ordinary policy is spent after five attempts; the patient one takes over.
        world.faults.inject(On::Destroy, When::NodeFirst("w-3".parse().unwrap(), 7), how);
        let end = end(&scale(&service).await).await;
        assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Active)), "{how:?}: {}", end.reason);
        assert!(end.reason.contains("terminate failed"), "{how:?}: {}", end.reason);
        world.assert_consistent(&["w-1", "x-1"]).await;
        world.assert_no_data_lost();
        let record = world.record().await.unwrap();
        assert_eq!((record.status_description, record.live_run), (end.reason, None));
        assert_eq!(record.spec.groups.iter().map(|group| group.count).collect::<Vec<_>>(), [1, 1]);
        // What is active can be scaled, and names are not given twice.
        world.faults.clear();
        let again = crate::world::end(&service.scale(&demo(), counts(&[("x", 2)]), ada()).await.unwrap()).await;
        assert_eq!(again.verdict, Verdict::Done);
        assert_eq!(world.machines(), ["w-1", "x-1", "x-4"]);
    }
}

/// What rests stuck puts the cluster in error too, and its reason names each node that is left. Whatever the engine says,
/// it is asked again.
#[tokio::test(start_paused = true)]
async fn terminating_fails_for_ever() {
    for how in [How::Reject, How::FatalAfter] {
        let world = World::new();
        let service = world.with_cluster().await;
        about(&world, On::Destroy, "w-3", how);
        let stuck = end(&scale(&service).await).await;
        assert_eq!((stuck.verdict, stuck.status), (Verdict::Stuck, Some(Status::Error)), "{how:?}: {}", stuck.reason);
        assert!(stuck.reason.contains("w-3 is left"), "{how:?}: {}", stuck.reason);
        assert_eq!(stuck.nodes_left, ["w-3".parse().unwrap()]);
        assert_eq!(world.recorded().await, ["w-1", "w-3", "x-1"], "the new nodes are killed, w-2 is gone");
        world.assert_no_data_lost();
        world.faults.clear();
        let done = retried(&service).await;
        assert_eq!((done.verdict, done.status), (Verdict::RolledBack, Some(Status::Active)));
        world.assert_consistent(&["w-1", "x-1"]).await;
    }
}

/// Stage 3: cluster in error. No node is deleted: that could lose data.
#[tokio::test(start_paused = true)]
async fn configuring_or_starting_fails() {
    for (on, phase) in [(On::Configure, "configure"), (On::Start, "start")] {
        for how in EVERY_WAY {
            let world = World::new();
            let service = world.with_cluster().await;
            always(&world, on, how);
            let halted = end(&scale(&service).await).await;
            assert_eq!((halted.verdict, halted.status), (Verdict::Halted, Some(Status::Error)), "{phase} {how:?}");
            assert!(halted.reason.contains(&format!("{phase} failed")), "{}", halted.reason);
            world.assert_consistent(&AFTER).await;
            world.assert_no_data_lost();
            assert_eq!(world.engine.destroyed().len(), 2, "only what was decommissioned");
            world.faults.clear();
            let done = retried(&service).await;
            assert_scaled(&world, &done).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_rests_can_be_deleted() {
    let decommission = |world: &World| always(world, On::Decommission, How::Reject);
    let start = |world: &World| always(world, On::Start, How::FatalAfter);
    let terminate = |world: &World| about(world, On::Destroy, "w-3", How::FailBefore);
    let inject: [&dyn Fn(&World); 3] = [&decommission, &start, &terminate];
    for inject in inject {
        for give_up in [false, true] {
            let world = World::new();
            let service = world.with_cluster().await;
            inject(&world);
            let rests = end(&scale(&service).await).await;
            assert!(rests.verdict.is_resting());
            world.faults.clear();
            if give_up {
                let given_up = end(&service.abandon(&demo(), ada()).await.unwrap()).await;
                assert_eq!((given_up.verdict, given_up.status), (Verdict::Abandoned, Some(Status::Error)));
                let machines = world.machines();
                assert_eq!(world.recorded().await, machines, "the record is right about what is left");
            }
            world.assert_deletable(&service).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_touches_nothing() {
    let world = World::new();
    let service = world.with_cluster().await;
    let before = (world.record().await, world.store.faults().appends());
    let none = service.scale(&demo(), counts(&[("w", 0), ("x", 0)]), ada()).await;
    assert!(matches!(none, Err(ServiceError::Scale(_))));
    always(&world, On::ValidateScale, How::Reject);
    assert!(matches!(service.scale(&demo(), both_ways(), ada()).await, Err(ServiceError::Refused(_))));
    let nobody = "nobody".parse().unwrap();
    assert!(matches!(service.scale(&nobody, both_ways(), ada()).await, Err(ServiceError::NoSuchCluster { .. })));
    assert!(matches!(service.retry(&demo(), ada()).await, Err(ServiceError::NotAllowed { .. })));
    assert!(matches!(service.abandon(&demo(), ada()).await, Err(ServiceError::NotAllowed { .. })));
    assert_eq!((world.record().await, world.store.faults().appends()), before);
}
