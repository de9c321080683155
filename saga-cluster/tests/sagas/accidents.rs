//! Accidents that happened elsewhere, each of which must be impossible here. Named after what went wrong there.

use std::collections::BTreeSet;

use saga_cluster::engine::Engine;
use saga_cluster::model::Status;
use saga_cluster::service::{DeleteOptions, OperationKind, ServiceError, Verdict};
use saga_cluster::testing::{Call, How, On, When};

use crate::world::*;

/// Sahara: the decommission timed out, the error was built but not raised, and undecommissioned nodes were deleted.
#[tokio::test(start_paused = true)]
async fn a_decommission_that_times_out_deletes_nothing() {
    let world = World::new();
    let service = world.with_cluster().await;
    always(&world, On::Decommission, How::HangBefore);
    let halted = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
    assert_eq!((halted.verdict, halted.status), (Verdict::Halted, Some(Status::Error)));
    assert!(world.engine.destroyed().is_empty());
    assert!(world.plugin.drained().is_empty());
    world.assert_consistent(&BEFORE).await;
}

/// Sahara: the node decommissioned was not the node deleted: one was chosen by row order, the other by index.
#[tokio::test(start_paused = true)]
async fn the_node_that_is_decommissioned_is_the_node_that_is_deleted() {
    let world = World::new();
    let service = world.with_cluster().await;
    end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
    let destroyed: BTreeSet<_> = world.engine.destroyed().into_iter().collect();
    assert_eq!(destroyed, world.plugin.drained());
    assert_eq!(destroyed, ["w-2", "w-3"].map(|name| name.parse().unwrap()).into());
}

/// Sahara: the rollback plan was cleared before the rollback ran; a crash in between lost it.
#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_of_a_rollback_does_not_lose_it() {
    let mut world = World::new();
    let service = world.service().await;
    always(&world, On::Start, How::FatalBefore);
    about(&world, On::Destroy, "w-2", How::HangBefore);
    service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.store.faults().crash();
    drop(service);
    world.faults.clear();
    world.reopen();
    let service = world.service().await;
    let resumed = service.operations().await.unwrap();
    assert_eq!(resumed.len(), 1);
    let end = end(&resumed[0]).await;
    assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Error)));
    assert!(end.reason.contains("start failed"), "{}", end.reason);
    world.assert_consistent(&[]).await;
}

/// Sahara: an inner `except` made every failed scale "Active" with no rollback. The tests injected their error outside
/// of it; these inject it where a real engine or plugin fails.
#[tokio::test(start_paused = true)]
async fn a_failed_scale_is_active_only_after_a_rollback() {
    for on in [On::Create, On::Decommission, On::Configure, On::Start] {
        let world = World::new();
        let service = world.with_cluster().await;
        always(&world, on, How::FailBefore);
        let end = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
        let record = world.record().await.unwrap();
        assert!(!end.reason.is_empty());
        match record.status {
            Status::Active => assert_eq!((on, world.machines()), (On::Create, vec!["w-1".into(), "x-1".into()])),
            status => assert_eq!(status, Status::Error),
        }
    }
}

/// Sahara: new machines were made, then the record write failed: orphans.
#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_record_leaves_no_orphans() {
    let world = World::new();
    let service = world.service().await;
    // The first write begins the run.
    writes(&world, On::UpdateRecord, 1, 6, How::FailBefore);
    let end = end(&service.create(spec(), ada()).await.unwrap()).await;
    assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Error)));
    assert_eq!(world.engine.created().len(), 4);
    world.assert_consistent(&[]).await;
}

/// Sahara: in a scale-down only, nothing to roll back was taken for "rollback failed".
#[tokio::test(start_paused = true)]
async fn nothing_to_roll_back_is_a_rollback_that_went_well() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.faults.inject(On::Destroy, When::NodeFirst("w-3".parse().unwrap(), 7), How::FailBefore);
    let end = end(&service.scale(&demo(), counts(&[("w", 2)]), ada()).await.unwrap()).await;
    assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Active)), "{}", end.reason);
    world.assert_consistent(&["w-1", "w-2", "x-1"]).await;
}

/// Sahara: an error during delete was taken for "someone deletes it already": stuck in Deleting for ever.
#[tokio::test(start_paused = true)]
async fn an_error_during_delete_is_not_taken_for_a_delete() {
    let world = World::new();
    let service = world.with_cluster().await;
    always(&world, On::Destroy, How::FatalBefore);
    let first = service.delete(&demo(), Default::default(), ada()).await.unwrap();
    assert_eq!(end(&first).await.status, Some(Status::Error));
    world.faults.clear();
    let second = service.delete(&demo(), Default::default(), ada()).await.unwrap();
    assert_ne!(first.run, second.run);
    assert_eq!(end(&second).await.verdict, Verdict::Done);
    world.assert_gone(&service).await;
}

/// The same, if the record says Deleting and nobody does.
#[tokio::test(start_paused = true)]
async fn a_status_of_deleting_is_no_delete() {
    let world = World::new();
    let service = world.with_cluster().await;
    let name = demo();
    saga_cluster::repository::modify(&world.records, &name, |cluster| {
        cluster.live_run = Some("nobody".into());
        Ok::<_, saga_cluster::repository::RepositoryError>(cluster.transition(Status::Deleting, "stale")?)
    })
    .await
    .unwrap();
    world.assert_deletable(&service).await;
}

/// Sahara: two operations ran on one cluster at once: it was checked, then written.
#[tokio::test(start_paused = true)]
async fn of_many_operations_at_once_one_runs() {
    let world = World::new();
    let service = world.with_cluster().await;
    let name = demo();
    let all = (0..8).map(|_| service.scale(&name, both_ways(), ada()));
    let all = futures::future::join_all(all).await;
    let (begun, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(begun.len(), 1);
    for error in refused {
        let error = error.unwrap_err();
        assert!(
            matches!(error, ServiceError::Busy { kind: OperationKind::Scale, .. } | ServiceError::Scale(_)),
            "{error}"
        );
    }
    assert_eq!(end(begun[0].as_ref().unwrap()).await.verdict, Verdict::Done);
    world.assert_consistent(&AFTER).await;
    let decommissions = world.plugin.calls().into_iter().filter(|call| matches!(call, Call::Decommission(_))).count();
    assert_eq!(decommissions, 1);
}

/// The same, for one name that is given to many at once.
#[tokio::test(start_paused = true)]
async fn of_many_creates_at_once_one_runs() {
    let world = World::new();
    let service = world.service().await;
    let all = futures::future::join_all((0..8).map(|_| service.create(spec(), ada()))).await;
    let begun: Vec<_> = all.into_iter().filter_map(Result::ok).collect();
    assert_eq!(begun.len(), 1);
    assert_eq!(end(&begun[0]).await.verdict, Verdict::Done);
    world.assert_consistent(&BEFORE).await;
}

/// Sahara: after a restart of the engine in the middle of provisioning, nothing was resumed.
#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_resumes() {
    let mut world = World::new();
    let service = world.service().await;
    always(&world, On::Configure, How::HangAfter);
    service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    service.shutdown(std::time::Duration::from_secs(1)).await.unwrap();
    drop(service);
    world.faults.clear();
    world.reopen();
    let service = world.service().await;
    let resumed = service.operations().await.unwrap();
    assert_eq!(resumed.len(), 1);
    assert_eq!(end(&resumed[0]).await.verdict, Verdict::Done);
    world.assert_consistent(&BEFORE).await;
}

/// TaskFlow, steno: the first failing undo stops all remaining undos.
#[tokio::test(start_paused = true)]
async fn a_failing_kill_does_not_save_the_other_nodes() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Start, How::FatalBefore);
    about(&world, On::Destroy, "w-1", How::FailBefore);
    about(&world, On::Destroy, "w-3", How::Panic);
    let stuck = end(&service.create(spec(), ada()).await.unwrap()).await;
    assert_eq!(stuck.verdict, Verdict::Stuck);
    world.assert_consistent(&["w-1", "w-3"]).await;
    assert!(stuck.reason.contains("w-1 is left") && stuck.reason.contains("w-3 is left"), "{}", stuck.reason);
}

/// steno: two steps that fail at the same moment panic the executor. Here: every node fails at once, in every way.
#[tokio::test(start_paused = true)]
async fn many_failures_at_once_are_one_failed_create() {
    for how in EVERY_WAY {
        let world = World::new();
        let service = world.service().await;
        always(&world, On::Create, how);
        let end = end(&service.create(spec(), ada()).await.unwrap()).await;
        assert_eq!((end.verdict, end.status), (Verdict::RolledBack, Some(Status::Error)), "{how:?}");
        world.assert_consistent(&[]).await;
        world.faults.clear();
        world.assert_deletable(&service).await;
    }
}

/// steno: a panicking action hangs its saga for ever.
#[tokio::test(start_paused = true)]
async fn a_plugin_that_panics_does_not_hang_the_cluster() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Configure, How::Panic);
    let end = end(&service.create(spec(), ada()).await.unwrap()).await;
    assert_eq!(end.verdict, Verdict::RolledBack);
    assert!(end.reason.contains("panicked"), "{}", end.reason);
}

/// Octavia: the revert returned early when the step itself had failed: the half-made resource leaked.
#[tokio::test(start_paused = true)]
async fn a_half_made_machine_does_not_leak() {
    for how in [How::FailAfter, How::FatalAfter, How::HangAfter] {
        let world = World::new();
        let service = world.service().await;
        about(&world, On::Create, "w-2", how);
        end(&service.create(spec(), ada()).await.unwrap()).await;
        assert!(world.engine.created().contains(&"w-2".parse().unwrap()), "it was made");
        world.assert_consistent(&[]).await;
    }
}

/// Octavia: the status was released early in the revert: the object could be changed in mid-compensation.
#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_released_while_it_is_rolled_back() {
    let world = World::new();
    let service = world.with_cluster().await;
    about(&world, On::Create, "x-3", How::FatalAfter);
    about(&world, On::Destroy, "x-2", How::HangBefore);
    let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    assert_eq!(world.record().await.unwrap().status, Status::Scaling);
    let second = service.scale(&demo(), counts(&[("x", 2)]), ada()).await;
    assert!(matches!(second, Err(ServiceError::Busy { .. })), "{second:?}");
    world.faults.clear();
    assert_eq!(end(&scale).await.verdict, Verdict::RolledBack);
    assert_eq!(world.record().await.unwrap().status, Status::Active);
}

/// Temporal SDKs: cancellation also cancels the compensation.
#[tokio::test(start_paused = true)]
async fn a_delete_does_not_cut_a_rollback_short() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Start, How::FatalBefore);
    world.faults.inject(On::Destroy, When::NodeFirst("w-1".parse().unwrap(), 2), How::HangBefore);
    let create = service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.assert_deletable(&service).await;
    let end = end(&create).await;
    assert_eq!(end.verdict, Verdict::RolledBack, "it was awaited, not given up");
}

/// Omicron: one unrecoverable saga stopped the recovery of all others.
#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_resumed_does_not_stop_the_service() {
    let mut world = World::new();
    let service = world.service().await;
    always(&world, On::Configure, How::HangBefore);
    let broken = service.create(spec(), ada()).await.unwrap();
    let mut other = spec();
    other.name = "other".parse().unwrap();
    service.create(other, ada()).await.unwrap();
    // Both of them.
    in_time(async {
        while world.faults.calls(On::Configure) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.store.faults().crash();
    drop(service);
    world.faults.clear();
    world.reopen();
    assert!(world.store.faults().corrupt(&broken.run, saga_core::Seq(2)));
    drop(broken);
    let service = world.service().await;
    let resumed = service.operations().await.unwrap();
    for operation in resumed.iter().filter(|operation| operation.cluster != demo()) {
        assert_eq!(end(operation).await.verdict, Verdict::Done);
    }
    let shown = service.show(&demo()).await.unwrap();
    assert!(!shown.run.unwrap().reason.is_empty(), "why it cannot go on is told");
    let before = world.record().await.unwrap();
    let delete = service.delete(&demo(), Default::default(), ada()).await;
    assert!(matches!(delete, Err(ServiceError::Parked { .. })), "{delete:?}");
    assert_eq!(world.record().await.unwrap(), before, "nothing was touched");
    assert_eq!(service.show(&demo()).await.unwrap().allowed, ["delete --force"]);

    let forced = service.delete(&demo(), DeleteOptions { force: true }, ada()).await.unwrap();
    assert_eq!(end(&forced).await.verdict, Verdict::Done, "force passes by the run that nobody can take up");
    assert!(world.record().await.is_none());
    assert!(world.engine.list(&demo()).await.unwrap().is_empty());
    let again = service.create(spec(), ada()).await;
    assert!(matches!(again, Err(ServiceError::Parked { .. })), "the name is kept, and it is told why: {again:?}");
}
