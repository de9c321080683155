//! Deleting: at the end nothing is left, or exactly what is left is told.
//!
//! What the saga does when a step fails, or its process dies, is proven by the test kit (`src/saga/proven.rs`). What is here
//! happens inside of its steps (an engine that refuses is an answer, not a failure), or around the saga.

use saga_cluster::engine::Machine;
use saga_cluster::model::Status;
use saga_cluster::repository::ClusterRepository;
use saga_cluster::service::{DeleteOptions, OperationKind, ServiceError, Verdict};
use saga_cluster::testing::{How, On};

use crate::world::*;

const FORCE: DeleteOptions = DeleteOptions { force: true };
const GENTLY: DeleteOptions = DeleteOptions { force: false };

fn orphan(name: &str) -> Machine {
    let token = format!("orphan-{name}").parse().unwrap();
    Machine { cluster: demo(), node: name.parse().unwrap(), token, address: None, ready: false }
}

#[tokio::test(start_paused = true)]
async fn machines_that_no_record_knows_go_too() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.engine.plant(orphan("w-9"));
    world.assert_deletable(&service).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_record_is_cleaned_up() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.records.remove(&demo()).await.unwrap();
    let shown = service.show(&demo()).await.unwrap();
    assert!(shown.record.is_none());
    assert_eq!(shown.machines.unwrap().len(), 4);
    world.assert_deletable(&service).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_cannot_be_deleted() {
    let world = World::new();
    let service = world.service().await;
    let refused = service.delete(&demo(), FORCE, ada()).await;
    assert!(matches!(refused, Err(ServiceError::NoSuchCluster { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stays_is_told_and_delete_can_be_asked_again() {
    for how in EVERY_WAY {
        let world = World::new();
        let service = world.with_cluster().await;
        about(&world, On::Destroy, "w-2", how);
        for _ in 0..2 {
            let failed = end(&service.delete(&demo(), GENTLY, ada()).await.unwrap()).await;
            assert_eq!((failed.verdict, failed.status), (Verdict::RolledBack, Some(Status::Error)), "{how:?}");
            assert!(failed.reason.contains("w-2 could not be destroyed"), "{how:?}: {}", failed.reason);
            assert_eq!(failed.nodes_left, ["w-2".parse().unwrap()], "{how:?}");
            assert!(failed.allowed.contains(&"delete".to_owned()));
            assert_eq!(world.recorded().await, ["w-2"], "{how:?}: one bad machine does not save the others");
            let record = world.record().await.unwrap();
            assert_eq!((record.status_description, record.live_run), (failed.reason, None));
        }
        world.faults.clear();
        world.assert_deletable(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn force_gives_up_on_it_and_says_exactly_what_is_left() {
    for how in EVERY_WAY {
        let world = World::new();
        let service = world.with_cluster().await;
        about(&world, On::Destroy, "w-2", how);
        let forced = end(&service.delete(&demo(), FORCE, ada()).await.unwrap()).await;
        assert_eq!((forced.verdict, forced.status), (Verdict::Done, None), "{how:?}");
        assert_eq!(forced.nodes_left, ["w-2".parse().unwrap()]);
        assert!(forced.reason.contains("w-2"), "{}", forced.reason);
        assert!(world.record().await.is_none());
        let left = world.machines();
        assert!(left.is_empty() || left == ["w-2"], "{left:?}");
        // The name is free, and what is left can still be deleted by it.
        world.faults.clear();
        if !left.is_empty() {
            world.assert_deletable(&service).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_tell_what_it_has_is_no_engine_without_machines() {
    for how in EVERY_WAY {
        let world = World::new();
        let service = world.with_cluster().await;
        world.engine.plant(orphan("w-9"));
        always(&world, On::List, how);
        let failed = end(&service.delete(&demo(), GENTLY, ada()).await.unwrap()).await;
        assert_eq!((failed.verdict, failed.status), (Verdict::RolledBack, Some(Status::Error)), "{how:?}");
        assert!(failed.reason.contains("there may be more"), "{how:?}: {}", failed.reason);
        assert_eq!(world.machines(), ["w-9"], "what the record knows is gone");
        let forced = end(&service.delete(&demo(), FORCE, ada()).await.unwrap()).await;
        assert_eq!((forced.verdict, forced.status), (Verdict::Done, None), "{how:?}");
        assert!(forced.reason.contains("there may be more"), "{how:?}: {}", forced.reason);
        world.faults.clear();
        world.assert_deletable(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_removed_is_in_error_and_can_be_deleted_later() {
    let world = World::new();
    let service = world.with_cluster().await;
    always(&world, On::RemoveRecord, How::FailBefore);
    let failed = end(&service.delete(&demo(), GENTLY, ada()).await.unwrap()).await;
    assert_eq!((failed.verdict, failed.status), (Verdict::RolledBack, Some(Status::Error)));
    assert!(failed.reason.contains("remove failed"), "{}", failed.reason);
    world.assert_consistent(&[]).await;
    world.faults.clear();
    world.assert_deletable(&service).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_delete_joins_the_first() {
    let world = World::new();
    let service = world.with_cluster().await;
    about(&world, On::Destroy, "w-1", How::HangBefore);
    let first = service.delete(&demo(), GENTLY, ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    let second = service.delete(&demo(), FORCE, ada()).await.unwrap();
    assert_eq!((&first.run, first.kind), (&second.run, OperationKind::Delete));
    world.faults.clear();
    world.faults.release();
    assert_eq!(end(&second).await, end(&first).await);
    world.assert_gone(&service).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_appears_late_is_swept_up() {
    let world = World::new();
    let service = world.with_cluster().await;
    about(&world, On::Destroy, "w-1", How::HangBefore);
    let delete = service.delete(&demo(), GENTLY, ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.engine.plant(orphan("w-9"));
    world.faults.clear();
    world.faults.release();
    assert_eq!(end(&delete).await.verdict, Verdict::Done);
    world.assert_gone(&service).await;
}

#[tokio::test(start_paused = true)]
async fn the_name_can_be_used_again() {
    let world = World::new();
    let service = world.with_cluster().await;
    let first = world.record().await.unwrap().id;
    world.assert_deletable(&service).await;
    drop(service);
    let _service = world.with_cluster().await;
    assert_ne!(world.record().await.unwrap().id, first);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_goes_by_force_only() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.records.damage();
    let refused = service.delete(&demo(), GENTLY, ada()).await;
    assert!(matches!(refused, Err(ServiceError::Repository(_))), "{refused:?}");
    assert_eq!(world.machines(), BEFORE);
    let forced = end(&service.delete(&demo(), FORCE, ada()).await.unwrap()).await;
    assert_eq!((forced.verdict, forced.status), (Verdict::Done, None));
    world.assert_gone(&service).await;
}
