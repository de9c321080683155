//! Several services on one store and one repository, as several processes have them.
//!
//! The test kit has one process at a time.

use futures::TryStreamExt;
use saga_cluster::model::{Cluster, Status};
use saga_cluster::repository::ClusterRepository;
use saga_cluster::service::{DeleteOptions, Operation, OperationKind, Service, ServiceError, Verdict};
use saga_cluster::testing::{How, On};

use saga_core::RunId;

use crate::sleepy::{Sleepy, When};
use crate::world::*;

const FORCE: DeleteOptions = DeleteOptions { force: true };
const GENTLY: DeleteOptions = DeleteOptions { force: false };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Create,
    Scale,
    Delete,
}

impl Ask {
    const ALL: [Self; 3] = [Self::Create, Self::Scale, Self::Delete];

    async fn ask(self, service: &Service) -> Result<Operation, ServiceError> {
        match self {
            Self::Create => service.create(spec(), ada()).await,
            Self::Scale => service.scale(&demo(), both_ways(), ada()).await,
            Self::Delete => service.delete(&demo(), GENTLY, ada()).await,
        }
    }

    /// What there has to be first.
    async fn prepare(self, world: &World) {
        if self != Self::Create {
            drop(world.with_cluster().await);
            tokio::task::yield_now().await;
        }
    }

    async fn assert_done(self, world: &World, service: &Service) {
        match self {
            Self::Create => world.assert_consistent(&BEFORE).await,
            Self::Scale => world.assert_consistent(&AFTER).await,
            Self::Delete => return world.assert_gone(service).await,
        }
        let record = world.record().await.unwrap();
        assert_eq!((record.status, record.live_run, record.intent), (Status::Active, None, None), "{self:?}");
        world.assert_no_data_lost();
    }

    /// The write that promises it.
    fn promise(self) -> On {
        if self == Self::Create { On::InsertRecord } else { On::UpdateRecord }
    }
}

/// Another service, of a process that may fall asleep.
async fn sleepy(world: &World) -> (Service, Sleepy) {
    let store = Sleepy::new(world.store.clone());
    (world.service_on(store.clone()).await, store)
}

/// Asks for something, and falls asleep when the record promises it and the run is about to be started.
async fn asleep_before_the_start(
    world: &World,
    ask: Ask,
) -> (tokio::task::JoinHandle<Result<Operation, ServiceError>>, Sleepy) {
    let (service, store) = sleepy(world).await;
    store.sleep_at(1, When::Before);
    let asking = tokio::spawn(async move { ask.ask(&service).await });
    in_time(store.fell_asleep()).await;
    assert!(world.record().await.unwrap().intent.is_some());
    (asking, store)
}

/// What one service is about to start, another one starts; it is the same run, whoever is faster, and it runs once.
#[tokio::test(start_paused = true)]
async fn what_one_promised_another_begins() {
    for ask in Ask::ALL {
        let world = World::new();
        ask.prepare(&world).await;
        let (asking, store) = asleep_before_the_start(&world, ask).await;
        let promised = RunId::new(world.record().await.unwrap().live_run.unwrap()).unwrap();
        let other = world.service().await;
        let begun = other.operation(&promised).await.unwrap();
        assert_eq!(end(&begun).await.verdict, Verdict::Done, "{ask:?}");
        store.wake();
        let slow = in_time(asking).await.unwrap().unwrap();
        assert_eq!(slow.run, begun.run, "{ask:?}");
        assert_eq!(end(&slow).await.verdict, Verdict::Done, "{ask:?}");
        ask.assert_done(&world, &other).await;
    }
}

/// A service that was there before finds it too, without being started anew.
#[tokio::test(start_paused = true)]
async fn a_worker_keeps_the_promises_of_a_client_that_is_gone() {
    for ask in Ask::ALL {
        let world = World::new();
        ask.prepare(&world).await;
        let worker = world.service().await;
        let client = world.client();
        writes(&world, ask.promise(), 0, 1, How::HangAfter);
        let faults = world.faults.clone();
        tokio::select! {
            biased;
            () = faults.until_something_hangs() => {}
            _ = ask.ask(&client) => panic!("it hangs"),
        }
        drop(client);
        assert!(worker.operations().await.unwrap().is_empty());
        in_time(async {
            while world.record().await.is_some_and(|record| record.intent.is_some() || record.live_run.is_some()) {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        })
        .await;
        ask.assert_done(&world, &worker).await;
    }
}

/// Somebody deletes the cluster, and creates another one of that name, while the first one is asleep. When it wakes up, its
/// run is not meant any more, and touches nothing.
#[tokio::test(start_paused = true)]
async fn what_is_started_too_late_touches_nothing() {
    for ask in Ask::ALL {
        let world = World::new();
        ask.prepare(&world).await;
        let (asking, store) = asleep_before_the_start(&world, ask).await;
        let other = world.client();
        // By force, so that it is not the same delete.
        let gone = in_time(other.delete(&demo(), FORCE, ada())).await.unwrap();
        let worker = world.plain_service().await;
        assert_eq!(end(&gone).await.verdict, Verdict::Done, "{ask:?}");
        let made = end(&other.create(spec(), ada()).await.unwrap()).await;
        assert_eq!(made.verdict, Verdict::Done);
        let before = (world.record().await, world.engine.created(), world.engine.destroyed(), world.plugin.calls());
        store.wake();
        let late = in_time(asking).await.unwrap().unwrap();
        let late = end(&late).await;
        assert_eq!(late.verdict, Verdict::RolledBack, "{ask:?}");
        let after = (world.record().await, world.engine.created(), world.engine.destroyed(), world.plugin.calls());
        assert_eq!(before, after, "{ask:?}");
        drop(worker);
    }
}

/// A scale was called off, and another one done since, while the first one was asleep. The record is the same one still.
#[tokio::test(start_paused = true)]
async fn a_scale_that_was_called_off_touches_nothing() {
    let world = World::new();
    Ask::Scale.prepare(&world).await;
    let (asking, store) = asleep_before_the_start(&world, Ask::Scale).await;
    let mut record = world.record().await.unwrap();
    record.transition(Status::Active, "called off").unwrap();
    (record.live_run, record.intent) = (None, None);
    world.records.update(record.version, record).await.unwrap();
    let other = world.service().await;
    let scaled = end(&other.scale(&demo(), counts(&[("w", 1), ("x", 2)]), ada()).await.unwrap()).await;
    assert_eq!(scaled.verdict, Verdict::Done, "{}", scaled.reason);
    let before = (world.record().await, world.machines(), world.plugin.calls());
    store.wake();
    let late = end(&in_time(asking).await.unwrap().unwrap()).await;
    assert_eq!(late.verdict, Verdict::RolledBack);
    assert!(late.reason.contains("it did not begin, and nothing was touched"), "{}", late.reason);
    let mut after = (world.record().await, world.machines(), world.plugin.calls());
    if let (Some(before), Some(after)) = (&before.0, &mut after.0) {
        // Its finalizer has looked, and found nothing to tell.
        (after.version, after.updated) = (before.version, before.updated);
    }
    assert_eq!(before, after);
    world.assert_no_data_lost();
}

/// A delete of what had no record, about to be started by a process that is asleep, finds another cluster when it wakes up.
#[tokio::test(start_paused = true)]
async fn a_late_delete_of_nothing_spares_a_later_cluster() {
    let world = World::new();
    drop(world.with_cluster().await);
    world.records.remove(&demo()).await.unwrap();
    let (service, store) = sleepy(&world).await;
    store.sleep_at(1, When::Before);
    let asking = tokio::spawn(async move { service.delete(&demo(), GENTLY, ada()).await });
    in_time(store.fell_asleep()).await;
    let other = world.service().await;
    assert_eq!(end(&other.delete(&demo(), GENTLY, ada()).await.unwrap()).await.verdict, Verdict::Done);
    assert_eq!(end(&other.create(spec(), ada()).await.unwrap()).await.verdict, Verdict::Done);
    store.wake();
    let late = end(&in_time(asking).await.unwrap().unwrap()).await;
    assert_eq!((late.verdict, late.status), (Verdict::RolledBack, Some(Status::Active)), "{}", late.reason);
    assert_eq!(world.machines(), BEFORE);
    assert_eq!(world.recorded().await, BEFORE);
}

/// A create that cannot be started is called off; then nobody starts it any more.
#[tokio::test(start_paused = true)]
async fn what_was_called_off_never_begins() {
    let world = World::new();
    drop(world.with_cluster().await);
    world.records.remove(&demo()).await.unwrap();
    let one = world.service().await;
    let two = world.service().await;
    // One has looked whether somebody holds the cluster, and is about to write its record.
    writes(&world, On::InsertRecord, 0, 1, How::HangBefore);
    let creating = tokio::spawn({
        let one = one.clone();
        async move { one.create(spec(), ada()).await }
    });
    world.faults.until_something_hangs().await;
    // Two begins to delete what is left of the cluster before.
    about(&world, On::Destroy, "w-1", How::HangBefore);
    let delete = two.delete(&demo(), GENTLY, ada()).await.unwrap();
    world.faults.until_something_hangs().await;
    let refused = in_time(creating).await.unwrap();
    assert!(matches!(refused, Err(ServiceError::Busy { kind: OperationKind::Delete, .. })), "{refused:?}");
    assert!(world.record().await.is_none(), "its record is taken back");
    world.faults.clear();
    world.faults.release();
    assert_eq!(end(&delete).await.verdict, Verdict::Done);
    world.assert_gone(&one).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_operations_of_many_services_one_runs() {
    for ask in Ask::ALL {
        let world = World::new();
        ask.prepare(&world).await;
        let mut services = Vec::new();
        for _ in 0..3 {
            services.extend([world.service().await, world.client()]);
        }
        let asked = services.iter().flat_map(|service| [ask.ask(service), ask.ask(service)]);
        let asked = in_time(futures::future::join_all(asked)).await;
        let begun: Vec<_> = asked.into_iter().filter_map(Result::ok).collect();
        assert!(!begun.is_empty(), "{ask:?}");
        if ask == Ask::Delete {
            // Those who come too late attach to it, or find that it is done.
            for delete in &begun {
                assert_eq!(end(delete).await.verdict, Verdict::Done);
            }
        } else {
            assert_eq!(begun.len(), 1, "{ask:?}: {begun:?}");
            assert_eq!(end(&begun[0]).await.verdict, Verdict::Done);
        }
        ask.assert_done(&world, &services[0]).await;
    }
}

/// A client asks, a worker does it, and the client tells it from the journal.
#[tokio::test(start_paused = true)]
async fn a_client_asks_and_a_worker_does_it() {
    let world = World::new();
    let client = world.client();
    let create = client.create(spec(), ada()).await.unwrap();
    assert_eq!(client.unclaimed(&demo()).await.unwrap().unwrap().run, create.run);
    let worker = world.service().await;
    assert!(client.worker().is_none() && worker.worker().is_some());
    assert_eq!(end(&create).await.verdict, Verdict::Done);
    let told: Vec<_> = in_time(create.progress().try_collect()).await.unwrap();
    let told: Vec<String> = told.into_iter().map(|progress| progress.what.to_string()).collect();
    assert!(told.iter().any(|text| text == "start (4 nodes): done"), "{told:?}");
    assert!(client.unclaimed(&demo()).await.unwrap().is_none());
    let history = client.history(&demo()).await.unwrap();
    assert!(history.iter().all(|entry| entry.kind == OperationKind::Create) && history.len() > 4);
    Ask::Create.assert_done(&world, &worker).await;

    // What rests is moved on by the client too.
    always(&world, On::Decommission, How::FailBefore);
    let halted = client.scale(&demo(), both_ways(), ada()).await.unwrap();
    assert_eq!(end(&halted).await.verdict, Verdict::Halted);
    world.faults.clear();
    assert_eq!(end(&client.retry(&demo(), ada()).await.unwrap()).await.verdict, Verdict::Done);
    Ask::Scale.assert_done(&world, &worker).await;
    world.assert_deletable(&client).await;
}

/// A delete reaches what another service drives, wherever that is.
#[tokio::test(start_paused = true)]
async fn a_delete_reaches_what_another_service_drives() {
    for on in [On::Create, On::Configure, On::Start] {
        let world = World::new();
        let one = world.service().await;
        always(&world, on, How::HangAfter);
        let create = one.create(spec(), ada()).await.unwrap();
        world.faults.until_something_hangs().await;
        let two = world.client();
        world.assert_deletable(&two).await;
        assert_eq!(end(&create).await.verdict, Verdict::RolledBack, "{on:?}");
    }
}

/// One process finds a record that another is just about to make true, and puts it right; the last word is true all the same.
#[tokio::test(start_paused = true)]
async fn a_retry_is_told_although_another_service_has_told_the_rest() {
    let world = World::new();
    drop(world.with_cluster().await);
    always(&world, On::Decommission, How::FailBefore);
    let (one, store) = sleepy(&world).await;
    assert_eq!(end(&one.scale(&demo(), both_ways(), ada()).await.unwrap()).await.verdict, Verdict::Halted);
    world.faults.clear();
    always(&world, On::Decommission, How::HangBefore);
    store.sleep_at(1, When::Before);
    let retrying = tokio::spawn({
        let one = one.clone();
        async move { one.retry(&demo(), ada()).await }
    });
    in_time(store.fell_asleep()).await;
    assert_eq!(world.record().await.unwrap().status, Status::Scaling);
    let two = world.plain_service().await;
    assert_eq!(world.record().await.unwrap().status, Status::Error, "it rests, as far as anybody can see");
    store.wake();
    let retried = in_time(retrying).await.unwrap().unwrap();
    assert_eq!(world.record().await.unwrap().status, Status::Scaling);
    world.faults.clear();
    world.faults.release();
    let _ = end(&retried).await;
    drop(two);
}

/// A process falls asleep at every append of an operation, for good or until others have finished it.
mod asleep {
    use super::*;

    async fn everywhere(ask: Ask) {
        for when in [When::Before, When::After] {
            for wakes in [false, true] {
                let mut places = 0;
                for nth in 1.. {
                    let world = World::new();
                    ask.prepare(&world).await;
                    let (one, store) = sleepy(&world).await;
                    store.sleep_at(nth, when);
                    let asking = tokio::spawn({
                        let one = one.clone();
                        async move {
                            let asked = ask.ask(&one).await;
                            if let Ok(operation) = &asked {
                                let _ = operation.end().await;
                            }
                        }
                    });
                    tokio::select! {
                        () = store.fell_asleep() => {}
                        _ = in_time(async { while !asking.is_finished() { tokio::task::yield_now().await } }) => {}
                    }
                    if !store.is_asleep() {
                        break;
                    }
                    places += 1;
                    if !wakes {
                        drop(one);
                        asking.abort();
                    }
                    let two = world.plain_service().await;
                    in_time(settled(&world, &two)).await;
                    ask.assert_done(&world, &two).await;
                    if wakes {
                        store.wake();
                        in_time(asking).await.unwrap();
                        ask.assert_done(&world, &two).await;
                    }
                }
                assert!(places > 4, "{ask:?} has so many appends, not {places}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn create() {
        everywhere(Ask::Create).await;
    }

    #[tokio::test(start_paused = true)]
    async fn scale() {
        everywhere(Ask::Scale).await;
    }

    #[tokio::test(start_paused = true)]
    async fn delete() {
        everywhere(Ask::Delete).await;
    }

    async fn settled(world: &World, service: &Service) {
        loop {
            for operation in service.operations().await.unwrap() {
                let _ = operation.end().await;
            }
            let working = |record: Cluster| {
                record.live_run.is_some()
                    || matches!(record.status, Status::Creating | Status::Scaling | Status::Deleting)
            };
            if !world.record().await.is_some_and(working) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
