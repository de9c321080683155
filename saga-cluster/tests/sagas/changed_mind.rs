//! The user deletes in the middle of another operation, whatever that is doing.
//!
//! Two runs on one cluster: a matter of the service, which the test kit does not know.

use saga_cluster::service::{OperationKind, ServiceError, Verdict};
use saga_cluster::testing::{How, On};

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn while_a_create_hangs() {
    for how in [How::HangBefore, How::HangAfter] {
        for on in [On::Create, On::Configure, On::Start] {
            let world = World::new();
            let service = world.service().await;
            always(&world, on, how);
            let create = service.create(spec(), ada()).await.unwrap();
            world.faults.until_something_hangs().await;
            world.assert_deletable(&service).await;
            assert_eq!(end(&create).await.verdict, Verdict::RolledBack, "{on:?} {how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_scale_hangs() {
    for how in [How::HangBefore, How::HangAfter] {
        for (on, verdict) in [
            // What a decommission, or a configuration, did until it was stopped is not known: the run halts, and the
            // delete gives it up.
            (On::Decommission, Verdict::Abandoned),
            (On::Create, Verdict::RolledBack),
            (On::Configure, Verdict::Abandoned),
            (On::Start, Verdict::Abandoned),
        ] {
            let world = World::new();
            let service = world.with_cluster().await;
            always(&world, on, how);
            let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
            world.faults.until_something_hangs().await;
            world.assert_deletable(&service).await;
            assert_eq!(end(&scale).await.verdict, verdict, "{on:?} {how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_repository_hangs() {
    for how in [How::HangBefore, How::HangAfter] {
        // The first change begins a create, the second admits its nodes, the third is the finalizer's.
        for skip in [0, 1, 2] {
            let world = World::new();
            let service = world.service().await;
            writes(&world, On::UpdateRecord, skip, 1, how);
            let create = service.create(spec(), ada()).await.unwrap();
            world.faults.until_something_hangs().await;
            world.assert_deletable(&service).await;
            assert!(!end(&create).await.verdict.is_resting());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_termination_hangs_for_ever() {
    for how in [How::HangBefore, How::HangAfter] {
        let world = World::new();
        let service = world.with_cluster().await;
        about(&world, On::Destroy, "w-3", how);
        let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
        world.faults.until_something_hangs().await;
        let forced = saga_cluster::service::DeleteOptions { force: true };
        let delete = in_time(service.delete(&demo(), forced, ada())).await.unwrap();
        let gone = end(&delete).await;
        assert_eq!((gone.verdict, gone.status), (Verdict::Done, None));
        assert_eq!(gone.nodes_left, ["w-3".parse().unwrap()]);
        assert_eq!(end(&scale).await.verdict, Verdict::Abandoned);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_kill_of_another_failure_hangs() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Start, How::FatalBefore);
    about(&world, On::Destroy, "w-1", How::HangBefore);
    service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.faults.clear();
    world.assert_deletable(&service).await;
}

/// At every moment of an undisturbed operation, as finely as tasks take turns.
#[tokio::test(start_paused = true)]
async fn at_any_moment_of_a_create_or_a_scale() {
    for kind in [OperationKind::Create, OperationKind::Scale] {
        for turns in 0..120 {
            let world = World::new();
            let service = match kind {
                OperationKind::Create => world.service().await,
                _ => world.with_cluster().await,
            };
            let begun = tokio::spawn({
                let service = service.clone();
                async move {
                    match kind {
                        OperationKind::Create => service.create(spec(), ada()).await,
                        _ => service.scale(&demo(), both_ways(), ada()).await,
                    }
                }
            });
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            match service.delete(&demo(), Default::default(), ada()).await {
                Ok(delete) => {
                    let gone = end(&delete).await;
                    assert_eq!((gone.verdict, gone.status), (Verdict::Done, None), "{kind} {turns}: {}", gone.reason);
                    // A create that had not begun when the delete did comes after it, and stands.
                    if let Ok(Ok(operation)) = begun.await {
                        end(&operation).await;
                    }
                    if world.record().await.is_none() {
                        world.assert_gone(&service).await;
                    }
                }
                Err(ServiceError::NoSuchCluster { .. }) if kind == OperationKind::Create => {
                    let create = begun.await.unwrap().unwrap();
                    assert_eq!(end(&create).await.verdict, Verdict::Done, "it came after the delete");
                }
                Err(error) => panic!("{kind} {turns}: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_at_once_become_one() {
    let world = World::new();
    let service = world.with_cluster().await;
    always(&world, On::Decommission, How::HangBefore);
    service.scale(&demo(), both_ways(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    let (name, how) = (demo(), saga_cluster::service::DeleteOptions::default());
    let both = futures::future::join(service.delete(&name, how, ada()), service.delete(&name, how, ada()));
    let (first, second) = in_time(both).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.run, second.run);
    assert_eq!(end(&first).await.verdict, Verdict::Done);
    world.assert_gone(&service).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_need_not_wait() {
    let world = World::new();
    let service = world.with_cluster().await;
    about(&world, On::Destroy, "w-3", How::HangBefore);
    service.scale(&demo(), both_ways(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    // The caller goes away while the delete still waits for the scale.
    let asked = tokio::spawn({
        let service = service.clone();
        async move { service.delete(&demo(), Default::default(), ada()).await }
    });
    while world.record().await.unwrap().status != saga_cluster::model::Status::Deleting {
        tokio::task::yield_now().await;
    }
    asked.abort();
    world.faults.clear();
    world.faults.release();
    let joined = in_time(service.delete(&demo(), Default::default(), ada())).await;
    if let Ok(joined) = joined {
        assert_eq!(end(&joined).await.verdict, Verdict::Done);
    }
    world.assert_gone(&service).await;
}
