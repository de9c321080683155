//! The record vanishes in the middle: waits end promptly and never as a success, new nodes are killed, and nobody
//! writes a status.
//!
//! That it may vanish at every point is proven by the test kit (`src/saga/proven.rs`). What is here hangs while it does: how
//! soon that is noticed, and what the service and its operators make of it.

use std::time::Duration;

use saga_cluster::model::Cluster;
use saga_cluster::repository::ClusterRepository;
use saga_cluster::service::Verdict;
use saga_cluster::testing::{How, On, When};
use tokio::time::Instant;

use crate::world::*;

/// Less than any timeout of a step.
const PROMPTLY: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn while_a_create_waits() {
    for how in [How::HangBefore, How::HangAfter] {
        for on in [On::Create, On::Configure, On::Start] {
            let world = World::new();
            let service = world.service().await;
            always(&world, on, how);
            let create = service.create(spec(), ada()).await.unwrap();
            world.faults.until_something_hangs().await;
            world.records.remove(&demo()).await.unwrap();
            let since = Instant::now();
            let end = end(&create).await;
            assert!(since.elapsed() < PROMPTLY, "{on:?} {how:?}: {:?}", since.elapsed());
            assert_eq!((end.verdict, end.status), (Verdict::RolledBack, None), "{on:?} {how:?}");
            assert!(end.reason.contains("record is gone"), "{}", end.reason);
            world.assert_gone(&service).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_scale_waits() {
    for how in [How::HangBefore, How::HangAfter] {
        for on in [On::Decommission, On::Create, On::Configure, On::Start] {
            let world = World::new();
            let service = world.with_cluster().await;
            always(&world, on, how);
            let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
            world.faults.until_something_hangs().await;
            world.records.remove(&demo()).await.unwrap();
            let since = Instant::now();
            let end = end(&scale).await;
            assert!(since.elapsed() < PROMPTLY, "{on:?} {how:?}: {:?}", since.elapsed());
            assert_eq!((end.verdict, end.status), (Verdict::RolledBack, None), "{on:?} {how:?}");
            assert!(world.machines().iter().all(|name| name != "x-2" && name != "x-3"), "{:?}", world.machines());
            assert!(world.record().await.is_none(), "nobody writes a status");
            world.faults.clear();
            world.assert_deletable(&service).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn and_another_cluster_has_its_name() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Configure, How::HangBefore);
    let create = service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.records.remove(&demo()).await.unwrap();
    let successor = world.records.insert(Cluster::new(spec())).await.unwrap();
    let end = end(&create).await;
    assert_eq!(end.verdict, Verdict::RolledBack);
    assert!(world.machines().is_empty());
    assert_eq!(world.record().await, Some(successor), "nobody writes into the successor");
}

#[tokio::test(start_paused = true)]
async fn an_error_does_not_hide_that_it_is_gone() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Configure, How::HangBefore);
    let create = service.create(spec(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    // The repository cannot be asked while the wait ends by itself: that is no certain no.
    always(&world, On::GetRecord, How::FailBefore);
    world.records.remove(&demo()).await.unwrap();
    world.faults.release();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.machines().len(), 4, "as long as nobody knows, nothing is done");
    world.faults.clear();
    let end = end(&create).await;
    assert_eq!(end.verdict, Verdict::RolledBack);
    assert!(end.reason.contains("record is gone"), "{}", end.reason);
    world.assert_gone(&service).await;
}

/// What was decommissioned is destroyed all the same; the new nodes do not wait for that.
#[tokio::test(start_paused = true)]
async fn while_a_termination_waits() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.faults.inject(On::Destroy, When::NodeFirst("w-3".parse().unwrap(), 3), How::HangBefore);
    let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    world.records.remove(&demo()).await.unwrap();
    let since = Instant::now();
    in_time(async {
        while world.machines().iter().any(|name| name == "x-2" || name == "x-3") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    let end = end(&scale).await;
    assert_eq!((end.verdict, end.status), (Verdict::RolledBack, None));
    assert_eq!(world.machines(), ["w-1", "x-1"]);
    world.assert_deletable(&service).await;
}

/// A run that rests does not wait for anything; whoever moves it on, or deletes, finds out.
#[tokio::test(start_paused = true)]
async fn while_a_scale_rests() {
    for on in [On::Decommission, On::Start] {
        for retry in [false, true] {
            let world = World::new();
            let service = world.with_cluster().await;
            always(&world, on, How::FatalBefore);
            let halted = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
            assert_eq!(halted.verdict, Verdict::Halted);
            world.records.remove(&demo()).await.unwrap();
            world.faults.clear();
            if retry {
                let end = end(&service.retry(&demo(), ada()).await.unwrap()).await;
                assert_eq!((end.verdict, end.status), (Verdict::RolledBack, None), "{on:?}");
                assert!(world.machines().iter().all(|name| name != "x-2" && name != "x-3"), "{:?}", world.machines());
            }
            world.assert_deletable(&service).await;
        }
    }
}
