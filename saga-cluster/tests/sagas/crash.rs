//! The process dies at every append of every operation, the service's own writes included; and then the cluster is deleted.
//!
//! Crashes of operations that fail are proven by the test kit (`src/saga/proven.rs`), which cannot see what the service does
//! before a run starts, nor two runs that have to do with each other. So those are here only to be deleted.

use std::time::Duration;

use saga_cluster::model::Status;
use saga_cluster::service::{Service, Verdict};
use saga_cluster::testing::{How, On, When};

use crate::world::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scenario {
    Create,
    FailedCreate,
    Scale,
    FailedScale,
    HaltedScale,
    RetriedScale,
    Delete,
    DeleteOfHanging,
    DeleteOfScaling,
}

use Scenario::*;

impl Scenario {
    /// What there is before it begins.
    async fn prepare(self, world: &World) -> Service {
        let service = match self {
            Create | FailedCreate | DeleteOfHanging => world.service().await,
            _ => world.with_cluster().await,
        };
        self.inject(world);
        match self {
            RetriedScale => {
                always(world, On::Decommission, How::FailBefore);
                let halted = end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
                assert_eq!(halted.verdict, Verdict::Halted);
                world.faults.clear();
            }
            DeleteOfHanging => {
                always(world, On::Configure, How::HangBefore);
                service.create(spec(), ada()).await.unwrap();
                world.faults.until_something_hangs().await;
            }
            DeleteOfScaling => {
                always(world, On::Decommission, How::HangBefore);
                service.scale(&demo(), both_ways(), ada()).await.unwrap();
                world.faults.until_something_hangs().await;
            }
            _ => {}
        }
        service
    }

    fn inject(self, world: &World) {
        match self {
            FailedCreate => about(world, On::Create, "w-3", How::FatalAfter),
            FailedScale => {
                about(world, On::Create, "x-3", How::FatalAfter);
                world.faults.inject(On::Destroy, When::NodeFirst("w-2".parse().unwrap(), 2), How::FailBefore);
            }
            HaltedScale => always(world, On::Start, How::FatalAfter),
            _ => {}
        }
    }

    /// Asks for it, and waits for its end.
    async fn perform(self, service: &Service) {
        let begun = match self {
            Create | FailedCreate => service.create(spec(), ada()).await,
            Scale | FailedScale | HaltedScale => service.scale(&demo(), both_ways(), ada()).await,
            RetriedScale => service.retry(&demo(), ada()).await,
            Delete | DeleteOfHanging | DeleteOfScaling => service.delete(&demo(), Default::default(), ada()).await,
        };
        if let Ok(operation) = begun {
            let _ = operation.end().await;
        }
    }

    /// How the cluster is afterwards, whatever happened in between: status, nodes.
    fn expected(self) -> Option<(Status, &'static [&'static str])> {
        match self {
            Create => Some((Status::Active, &BEFORE)),
            FailedCreate => Some((Status::Error, &[])),
            Scale | RetriedScale => Some((Status::Active, &AFTER)),
            FailedScale => Some((Status::Active, &["w-1", "x-1"])),
            HaltedScale => Some((Status::Error, &AFTER)),
            Delete | DeleteOfHanging | DeleteOfScaling => None,
        }
    }
}

/// Until nothing works any more, by itself.
async fn settled(world: &World, service: &Service) {
    let settled = async {
        loop {
            let working = service.operations().await.unwrap();
            for operation in &working {
                let _ = operation.end().await;
            }
            let status = world.record().await.map(|cluster| cluster.status);
            if !matches!(status, Some(Status::Creating | Status::Scaling | Status::Deleting)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(settled).await;
}

/// A world in which the scenario was cut short by the crash, and a service that comes after it. `None` if the scenario
/// was over by then.
async fn crashed(scenario: Scenario, k: u64, before: bool) -> Option<(World, Service)> {
    let mut world = World::new();
    let service = scenario.prepare(&world).await;
    let at = world.store.faults().appends() + k;
    match before {
        true => world.store.faults().crash_before_append(at),
        false => world.store.faults().crash_after_append(at),
    }
    let faults = world.store.faults();
    tokio::select! {
        biased;
        () = faults.crashed() => {}
        () = in_time(scenario.perform(&service)) => {}
    }
    let died = faults.has_crashed();
    drop(service);
    // What was to hang for ever did so in the process that died.
    if matches!(scenario, DeleteOfHanging | DeleteOfScaling) {
        world.faults.clear();
    }
    world.reopen();
    let service = world.service().await;
    died.then_some((world, service))
}

async fn everywhere(scenario: Scenario) {
    for before in [true, false] {
        let mut crashes = 0;
        for k in 1.. {
            let Some((world, service)) = crashed(scenario, k, before).await else { break };
            crashes += 1;
            let at = format!("{scenario:?}, {} append {k}", if before { "before" } else { "after" });
            settled(&world, &service).await;
            let record = world.record().await;
            let status = record.as_ref().map(|cluster| cluster.status);
            // The record is in error as before, and the run rests as before.
            if scenario == RetriedScale && status == Some(Status::Error) {
                world.assert_consistent(&BEFORE).await;
                scenario.perform(&service).await;
            }
            let Some((expected, nodes)) = scenario.expected() else {
                world.assert_gone(&service).await;
                continue;
            };
            let record = world.record().await.unwrap();
            assert_eq!(record.status, expected, "{at}: {}", record.status_description);
            world.assert_consistent(nodes).await;
            world.assert_no_data_lost();
            assert_eq!(record.live_run, None, "{at}");
        }
        assert!(crashes > 5, "{scenario:?} has so many appends");
    }
}

/// The user deletes the moment the service is back, whatever it was doing.
async fn deleted_everywhere(scenario: Scenario) {
    for before in [true, false] {
        for k in 1.. {
            let Some((world, service)) = crashed(scenario, k, before).await else { break };
            match in_time(service.delete(&demo(), Default::default(), ada())).await {
                Ok(delete) => assert_eq!(end(&delete).await.verdict, Verdict::Done, "{scenario:?} {k}"),
                Err(error) => assert_eq!(scenario.expected(), None, "{scenario:?} {k}: {error}"),
            }
            settled(&world, &service).await;
            world.assert_gone(&service).await;
        }
    }
}

macro_rules! scenarios {
    ($module:ident, $what:ident: $($name:ident: $scenario:expr),* $(,)?) => {
        mod $module {
            use super::*;
            $(#[tokio::test(start_paused = true)] async fn $name() { $what($scenario).await; })*
        }
    };
}

scenarios! {
    alone, everywhere:
    create: Create,
    scale: Scale,
    retried_scale: RetriedScale,
    delete: Delete,
    delete_of_hanging: DeleteOfHanging,
    delete_of_scaling: DeleteOfScaling,
}

scenarios! {
    and_deleted, deleted_everywhere:
    create: Create,
    failed_create: FailedCreate,
    scale: Scale,
    failed_scale: FailedScale,
    halted_scale: HaltedScale,
    retried_scale: RetriedScale,
    delete: Delete,
    delete_of_hanging: DeleteOfHanging,
    delete_of_scaling: DeleteOfScaling,
}

/// A crash in a recovery is a crash like any other.
#[tokio::test(start_paused = true)]
async fn again_and_again() {
    let mut world = World::new();
    let service = world.service().await;
    world.store.faults().crash_after_append(1);
    let faults = world.store.faults();
    tokio::select! {
        biased;
        () = faults.crashed() => {}
        _ = service.create(spec(), ada()) => {}
    }
    drop(service);
    for _ in 0..60 {
        world.reopen();
        let faults = world.store.faults();
        faults.crash_after_append(faults.appends() + 2);
        let service = world.service().await;
        tokio::select! {
            biased;
            () = faults.crashed() => {}
            () = settled(&world, &service) => {
                let record = world.record().await.unwrap();
                assert_eq!(record.status, Status::Active, "{}", record.status_description);
                world.assert_consistent(&BEFORE).await;
                assert_eq!(service.operations().await.unwrap().len(), 0);
                return;
            }
        }
    }
    panic!("it does not get on");
}
