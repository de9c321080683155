//! The process dies, or the repository fails, around the service's own writes to the repository.
//!
//! Before a run starts and after it rests; the test kit sees what is between.

use saga_cluster::model::{Cluster, Status};
use saga_cluster::repository::ClusterRepository;
use saga_cluster::service::{Service, ServiceError, Verdict};
use saga_cluster::testing::{How, On};

use saga_core::store::Fault;

use crate::world::*;

/// Asks for something, and lets the process die while the repository is being written to for the `nth` time.
async fn dies_in_the_write<F>(world: &mut World, service: Service, on: On, nth: u64, how: How, ask: F) -> Service
where
    F: AsyncFnOnce(&Service),
{
    writes(world, on, nth - 1, 1, how);
    let faults = world.faults.clone();
    tokio::select! {
        biased;
        () = faults.until_something_hangs() => {}
        () = ask(&service) => {}
    }
    drop(service);
    tokio::task::yield_now().await;
    world.faults.clear();
    world.reopen();
    world.service().await
}

/// Waits until no operation works, and the record is in no status that stands for one.
async fn settled(world: &World, service: &Service) -> Option<Status> {
    in_time(async {
        loop {
            for operation in service.operations().await.unwrap() {
                operation.end().await.unwrap();
            }
            let status = world.record().await.map(|cluster| cluster.status);
            if !matches!(status, Some(Status::Creating | Status::Scaling | Status::Deleting)) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn create(service: &Service) {
    let _ = service.create(spec(), ada()).await;
}

async fn scale(service: &Service) {
    let _ = service.scale(&demo(), both_ways(), ada()).await;
}

async fn delete(service: &Service) {
    let _ = service.delete(&demo(), Default::default(), ada()).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_dies_before_or_after_the_record_is_there() {
    for (how, expected) in [(How::HangBefore, None), (How::HangAfter, Some(Status::Active))] {
        let mut world = World::new();
        let service = world.service().await;
        let service = dies_in_the_write(&mut world, service, On::InsertRecord, 1, how, create).await;
        assert_eq!(settled(&world, &service).await, expected, "{how:?}");
        match expected {
            None => world.assert_gone(&service).await,
            Some(_) => {
                world.assert_consistent(&BEFORE).await;
                world.assert_deletable(&service).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_dies_before_or_after_the_record_is_marked() {
    for how in [How::HangBefore, How::HangAfter] {
        let mut world = World::new();
        let service = world.with_cluster().await;
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 1, how, scale).await;
        assert_eq!(settled(&world, &service).await, Some(Status::Active), "{how:?}");
        let record = world.record().await.unwrap();
        assert_eq!((record.live_run, record.intent), (None, None));
        if how == How::HangBefore {
            world.assert_consistent(&BEFORE).await;
            let end = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
            assert_eq!(end.verdict, Verdict::Done);
        }
        // What is promised is kept, with the nodes that were chosen.
        world.assert_consistent(&AFTER).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_dies_before_or_after_the_record_is_marked() {
    for (how, expected) in [(How::HangBefore, Some(Status::Active)), (How::HangAfter, None)] {
        let mut world = World::new();
        let service = world.with_cluster().await;
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 1, how, delete).await;
        assert_eq!(settled(&world, &service).await, expected, "{how:?}");
        match expected {
            Some(_) => world.assert_deletable(&service).await,
            None => world.assert_gone(&service).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_dies_around_the_removal_of_the_record() {
    for how in [How::HangBefore, How::HangAfter] {
        let mut world = World::new();
        let service = world.with_cluster().await;
        let ask = async |service: &Service| {
            let delete = service.delete(&demo(), Default::default(), ada()).await.unwrap();
            let _ = delete.end().await;
        };
        let service = dies_in_the_write(&mut world, service, On::RemoveRecord, 1, how, ask).await;
        assert_eq!(settled(&world, &service).await, None, "{how:?}");
        world.assert_gone(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_dies_before_or_after_the_record_is_marked() {
    for how in [How::HangBefore, How::HangAfter] {
        let mut world = World::new();
        let service = world.with_cluster().await;
        always(&world, On::Decommission, How::FailBefore);
        let halted = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
        assert_eq!(halted.verdict, Verdict::Halted);
        world.faults.clear();
        let ask = async |service: &Service| {
            let _ = service.retry(&demo(), ada()).await;
        };
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 1, how, ask).await;
        assert_eq!(settled(&world, &service).await, Some(Status::Error), "{how:?}");
        let record = world.record().await.unwrap();
        assert_eq!(record.status_description, halted.reason, "the reason is told again");
        let done = end(&service.retry(&demo(), ada()).await.unwrap()).await;
        assert_eq!(done.verdict, Verdict::Done);
        world.assert_consistent(&AFTER).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_dies_before_or_after_it_begins() {
    for how in [How::HangBefore, How::HangAfter] {
        let mut world = World::new();
        let service = world.service().await;
        let ask = async |service: &Service| {
            let create = service.create(spec(), ada()).await.unwrap();
            let _ = create.end().await;
        };
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 1, how, ask).await;
        assert_eq!(settled(&world, &service).await, Some(Status::Active), "{how:?}");
        // The first change promises the scale, the second begins it.
        let ask = async |service: &Service| {
            let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
            let _ = scale.end().await;
        };
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 2, how, ask).await;
        assert_eq!(settled(&world, &service).await, Some(Status::Active), "{how:?}");
        world.assert_consistent(&AFTER).await;
        let ask = async |service: &Service| {
            let delete = service.delete(&demo(), Default::default(), ada()).await.unwrap();
            let _ = delete.end().await;
        };
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 2, how, ask).await;
        assert_eq!(settled(&world, &service).await, None, "{how:?}");
        world.assert_gone(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_dies_before_or_after_its_write() {
    for how in [How::HangBefore, How::HangAfter] {
        let mut world = World::new();
        let service = world.service().await;
        let ask = async |service: &Service| {
            let create = service.create(spec(), ada()).await.unwrap();
            let _ = create.end().await;
        };
        // The first change begins the run, the second admits the nodes, the third is the finalizer's.
        let service = dies_in_the_write(&mut world, service, On::UpdateRecord, 3, how, ask).await;
        assert_eq!(settled(&world, &service).await, Some(Status::Active), "{how:?}");
        world.assert_consistent(&BEFORE).await;
        assert!(service.operations().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_answers_wrongly_does_no_harm() {
    let world = World::new();
    let service = world.service().await;
    writes(&world, On::InsertRecord, 0, 1, How::FailAfter);
    let made = end(&service.create(spec(), ada()).await.unwrap()).await;
    assert_eq!(made.verdict, Verdict::Done);
    writes(&world, On::UpdateRecord, 0, 1, How::FailAfter);
    let scaled = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
    assert_eq!(scaled.verdict, Verdict::Done, "{}", scaled.reason);
    world.assert_consistent(&AFTER).await;
    writes(&world, On::UpdateRecord, 0, 1, How::FailAfter);
    world.assert_deletable(&service).await;
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_fails_for_a_while_leaves_nothing_behind() {
    for how in [How::FailBefore, How::FailAfter] {
        let world = World::new();
        let service = world.service().await;
        always(&world, On::InsertRecord, how);
        always(&world, On::GetRecord, how);
        let refused = service.create(spec(), ada()).await;
        assert!(matches!(refused, Err(ServiceError::Repository(_))), "{refused:?}");
        world.faults.clear();
        // Whatever became of the record, it is looked after without anybody asking.
        let status = settled(&world, &service).await;
        match status {
            None => world.assert_gone(&service).await,
            status => {
                assert_eq!(status, Some(Status::Active));
                world.assert_consistent(&BEFORE).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_names_no_run_is_settled_too() {
    for (status, expected) in [(Status::Creating, Some(Status::Active)), (Status::Deleting, None)] {
        let world = World::new();
        let mut cluster = saga_cluster::model::Cluster::new(spec());
        cluster.status = status;
        world.records.insert(cluster).await.unwrap();
        let service = world.service().await;
        assert_eq!(settled(&world, &service).await, expected);
    }
}

/// A repository that does not answer is one that failed, for the finalizer and for whoever asks.
#[tokio::test(start_paused = true)]
async fn a_repository_that_hangs_or_panics_is_got_over() {
    for how in [How::HangBefore, How::HangAfter, How::Panic] {
        let world = World::new();
        let service = world.service().await;
        writes(&world, On::InsertRecord, 0, 1, how);
        writes(&world, On::UpdateRecord, 0, 3, how);
        let made = end(&service.create(spec(), ada()).await.unwrap()).await;
        assert_eq!((made.verdict, made.status), (Verdict::Done, Some(Status::Active)), "{how:?}: {}", made.reason);
        // The finalizer's.
        writes(&world, On::UpdateRecord, 3, 3, how);
        let scaled = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
        assert_eq!((scaled.verdict, scaled.status), (Verdict::Done, Some(Status::Active)), "{how:?}");
        writes(&world, On::UpdateRecord, 0, 2, how);
        writes(&world, On::RemoveRecord, 0, 2, how);
        world.assert_deletable(&service).await;
    }
}

/// There is no room for a run's journal: the record waits for that, and the service answers all the same.
#[tokio::test(start_paused = true)]
async fn a_store_without_room_does_not_keep_the_service_from_answering() {
    let world = World::new();
    let mut cluster = Cluster::new(spec());
    cluster.live_run = Some("never-started".to_owned());
    world.records.insert(cluster).await.unwrap();
    world.store.faults().fail_appends(usize::MAX, Fault::Full);
    let service = in_time(world.service()).await;
    let shown = in_time(service.show(&demo())).await.unwrap();
    assert_eq!(shown.record.unwrap().status, Status::Creating);

    world.store.faults().fail_appends(0, Fault::Full);
    in_time(async {
        while world.record().await.unwrap().status != Status::Active {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
}
