//! One cluster, where its coordinators keep what they know, and what has to be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use saga_cluster::model::{Cluster, ClusterName, ClusterSpec, ScaleRequest, Status};
use saga_cluster::repository::{RepositoryError, SledRepository};
use saga_cluster::service::{Actor, DeleteOptions, Operation, Service, ServiceError, Verdict};
use saga_core::store::{SledStore, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::World;

/// The groups of a new cluster.
pub(crate) const CREATED: &[(&str, usize)] = &[("edge", 1), ("workers", 2)];
/// Of one that was scaled, both ways at once.
pub(crate) const SCALED: &[(&str, usize)] = &[("edge", 2), ("workers", 1)];

/// How long a service may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// What a coordinator is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    Create,
    Scale,
    Delete,
}

/// A cluster that is one's own, and a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Site<W> {
    pub(crate) world: W,
    pub(crate) cluster: ClusterName,
    pub(crate) data: PathBuf,
}

impl<W: World> Site<W> {
    /// A site for a cluster whose name nobody else has.
    pub(crate) fn new(world: W, data: &Path) -> Self {
        static NAMED: AtomicU64 = AtomicU64::new(0);
        let name = format!("contract-{}-{}", std::process::id(), NAMED.fetch_add(1, Ordering::Relaxed));
        Self { world, cluster: name.parse().expect("a valid name"), data: data.to_owned() }
    }

    /// The spec of the cluster, in TOML.
    pub(crate) fn spec(&self) -> String {
        let groups = CREATED.iter().map(|(name, count)| format!("[[groups]]\nname = '{name}'\ncount = {count}\n"));
        format!("name = '{}'\n{}\n{}", self.cluster, self.world.ordered(), groups.collect::<String>())
    }

    pub(crate) fn store(&self) -> Result<SledStore, String> {
        let journal = self.data.join("journal");
        at_last(|| SledStore::open(&journal), |error| matches!(error, StoreError::Locked { .. }))
    }

    /// A service that dies of nothing.
    pub(crate) async fn open(&self) -> Result<Service, String> {
        self.open_with(self.store()?).await
    }

    pub(crate) async fn open_with(&self, store: impl Store) -> Result<Service, String> {
        let records = self.data.join("clusters");
        let in_use = |error: &RepositoryError| matches!(error, RepositoryError::InUse { .. });
        let repository = at_last(|| SledRepository::open(&records), in_use)?;
        let service = self.world.equip(Service::builder(store, repository), &self.data)?;
        service.start().await.map_err(|error| error.to_string())
    }

    /// Something that is done by a service of its own, which leaves before this returns.
    pub(crate) async fn with_service<T>(
        &self,
        act: impl AsyncFnOnce(&Service) -> Result<T, String>,
    ) -> Result<T, String> {
        let service = self.open().await?;
        let acted = act(&service).await;
        let left = service.shutdown(LEAVES_WITHIN).await.map_err(|error| error.to_string());
        let value = acted?;
        left.map(|()| value)
    }

    pub(crate) async fn ask(&self, service: &Service, asked: Asked) -> Result<Operation, ServiceError> {
        let by = Actor::new("test", "asked for it");
        match asked {
            Asked::Create => service.create(ClusterSpec::from_toml(&self.spec()).expect("a valid spec"), by).await,
            Asked::Scale => {
                let request = SCALED.iter().fold(ScaleRequest::default(), |request, (group, count)| {
                    request.group(group.parse().expect("a valid name"), u32::try_from(*count).expect("a few"))
                });
                service.scale(&self.cluster, request, by).await
            }
            Asked::Delete => service.delete(&self.cluster, DeleteOptions::default(), by).await,
        }
    }

    /// Asks, and waits until it is done.
    pub(crate) async fn have(&self, service: &Service, asked: Asked) -> Result<(), String> {
        done(&self.ask(service, asked).await.map_err(|error| error.to_string())?).await
    }

    /// Has the cluster deleted, if there is one.
    pub(crate) async fn delete(&self, service: &Service) -> Result<(), String> {
        match self.ask(service, Asked::Delete).await {
            Ok(operation) => done(&operation).await,
            Err(ServiceError::NoSuchCluster { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Has a cluster made, by a coordinator that lives, and something put on it.
    pub(crate) async fn prepare(&self) -> Result<(), String> {
        self.with_service(async |service| {
            self.have(service, Asked::Create).await?;
            self.world.load(&self.record(service).await?.ok_or("the cluster has no record")?).await
        })
        .await
    }

    pub(crate) async fn record(&self, service: &Service) -> Result<Option<Cluster>, String> {
        match service.show(&self.cluster).await {
            Ok(report) => Ok(report.record),
            Err(ServiceError::NoSuchCluster { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The cluster is active, has so many nodes in each group, and outside there are those and no others.
    pub(crate) async fn is_active(
        &self,
        service: &Service,
        groups: &[(&str, usize)],
        loaded: bool,
    ) -> Result<(), String> {
        let record = self.record(service).await?.ok_or("the record is gone")?;
        expect(record.status == Status::Active, || format!("{:?}: {}", record.status, record.status_description))?;
        // The names may differ: those of nodes that were never made are not used again.
        expect(has(&record, groups), || format!("the record has the nodes {:?}", record.nodes))?;
        self.holds(Some(&record), loaded).await
    }

    /// There is no cluster, and nothing of it outside.
    pub(crate) async fn is_gone(&self, service: &Service) -> Result<(), String> {
        let listing = service.list().await.map_err(|error| error.to_string())?;
        expect(listing.clusters.is_empty(), || format!("a record is left: {:?}", listing.clusters))?;
        self.holds(None, false).await
    }

    /// What the engine finds by its tags is what the record says; and so is what is there past the engine.
    pub(crate) async fn holds(&self, record: Option<&Cluster>, loaded: bool) -> Result<(), String> {
        let nodes = record.into_iter().flat_map(|record| &record.nodes);
        let named: BTreeSet<String> = nodes.map(|node| node.name.to_string()).collect();
        let machines = self.world.engine(&self.data)?.list(&self.cluster).await.map_err(|error| error.to_string())?;
        let running: BTreeSet<String> = machines.into_iter().map(|machine| machine.node.to_string()).collect();
        expect(running == named, || format!("the engine has the nodes {running:?}, the record {named:?}"))?;
        self.world.look(&self.cluster, record, loaded).await
    }
}

/// Opens what a process had open that was killed a moment ago. Should it just have been starting another one, that one has
/// its files too, until it has become another program.
fn at_last<T, E: fmt::Display>(
    mut open: impl FnMut() -> Result<T, E>,
    in_use: impl Fn(&E) -> bool,
) -> Result<T, String> {
    let give_up = Instant::now() + LEAVES_WITHIN;
    loop {
        match open() {
            Err(error) if in_use(&error) && Instant::now() < give_up => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened.map_err(|error| error.to_string()),
        }
    }
}

/// Waits until an operation is done.
pub(crate) async fn done(operation: &Operation) -> Result<(), String> {
    let end = operation.end().await.map_err(|error| error.to_string())?;
    expect(end.verdict == Verdict::Done, || format!("{operation:?} ended {end:?}"))
}

/// Whether a record has so many nodes in each group, and no others.
pub(crate) fn has(record: &Cluster, groups: &[(&str, usize)]) -> bool {
    let mut counts = BTreeMap::new();
    for node in &record.nodes {
        *counts.entry(node.name.group().as_str()).or_default() += 1;
    }
    counts == groups.iter().copied().collect()
}

pub(crate) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}
