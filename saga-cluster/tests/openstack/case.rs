//! One case: what is asked for, when the coordinator dies, and what happens then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use saga_cluster::engine::Engine;
use saga_cluster::model::{Cluster, Status};
use saga_cluster::service::{Service, ServiceError, Verdict};

use crate::cloud;
use crate::coordinator::{Task, ask, cluster, engine, open};

/// What the dying coordinator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Create,
    Scale,
    Delete,
}

/// When it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// What the next coordinator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Resume,
    Delete,
}

macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        impl $type {
            #[allow(dead_code, reason = "not all of them travel to the other process")]
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
words!(Asked { Create = "create", Scale = "scale", Delete = "delete" });
words!(Moment { Before = "before", After = "after" });
words!(Then { Resume = "resumed", Delete = "deleted" });

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) asked: Asked,
    pub(crate) then: Then,
    pub(crate) moment: Moment,
    pub(crate) append: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: killed {} append {}, then {}", self.asked, self.moment, self.append, self.then)
    }
}

impl Case {
    /// Whether the coordinator was killed; an error if the end is not what it has to be.
    pub(crate) async fn run(self) -> Result<bool, String> {
        let data = tempfile::tempdir().map_err(|error| error.to_string())?;
        if self.asked != Asked::Create {
            prepare(data.path()).await?;
        }
        let survived = Task::spawn(self.asked, self.moment, self.append, data.path()).await?;
        let service = open(data.path()).await?;
        let checked = tokio::time::timeout(Duration::from_secs(240), self.check(&service, survived)).await;
        let cleaned = clean(&service).await;
        let closed = service.shutdown(Duration::from_secs(10)).await;
        checked.map_err(|_| "it came to no end".to_owned())??;
        cleaned?;
        closed.map_err(|error| error.to_string())?;
        Ok(!survived)
    }

    async fn check(self, service: &Service, survived: bool) -> Result<(), String> {
        let say = |error: ServiceError| error.to_string();
        if self.then == Then::Delete && !survived {
            // The user changes their mind, while the new coordinator is taking up what the dead one left.
            match ask(service, Asked::Delete).await {
                Ok(operation) => {
                    let end = operation.end().await.map_err(say)?;
                    expect(end.verdict == Verdict::Done, || format!("the deletion ended {end:?}"))?;
                }
                // It died before there was anything to delete, or when all was deleted.
                Err(ServiceError::NoSuchCluster { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
            return is_gone(service).await;
        }
        for operation in service.operations().await.map_err(say)? {
            let end = operation.end().await.map_err(say)?;
            expect(end.verdict == Verdict::Done, || format!("{operation:?} ended {end:?}"))?;
        }
        if !self.is_done(service).await? {
            // It died before it was durable that anything was asked for: then nothing was done, and it can be asked again.
            let end = ask(service, self.asked).await.map_err(say)?.end().await.map_err(say)?;
            expect(end.verdict == Verdict::Done, || format!("asked again, it ended {end:?}"))?;
        }
        match self.asked {
            Asked::Create => is_active(service, &[("edge", 1), ("workers", 2)]).await,
            Asked::Scale => is_active(service, &[("edge", 2), ("workers", 1)]).await,
            Asked::Delete => is_gone(service).await,
        }
    }

    /// Whether what was asked for had become durable before the coordinator died.
    async fn is_done(self, service: &Service) -> Result<bool, String> {
        let record = match service.show(&cluster()).await {
            Ok(report) => report.record,
            Err(ServiceError::NoSuchCluster { .. }) => None,
            Err(error) => return Err(error.to_string()),
        };
        Ok(match self.asked {
            Asked::Create => record.is_some(),
            Asked::Scale => record.is_some_and(|cluster| counts(&cluster) == counted(&[("edge", 2), ("workers", 1)])),
            Asked::Delete => record.is_none(),
        })
    }
}

/// A cluster, made by a coordinator that lives.
pub(crate) async fn prepare(data: &Path) -> Result<(), String> {
    let service = open(data).await?;
    let operation = ask(&service, Asked::Create).await.map_err(|error| error.to_string())?;
    let end = operation.end().await.map_err(|error| error.to_string())?;
    expect(end.verdict == Verdict::Done, || format!("the cluster was not made: {end:?}"))?;
    service.shutdown(Duration::from_secs(10)).await.map_err(|error| error.to_string())
}

pub(crate) async fn is_active(service: &Service, groups: &[(&str, usize)]) -> Result<(), String> {
    let report = service.show(&cluster()).await.map_err(|error| error.to_string())?;
    let record = report.record.ok_or("the record is gone")?;
    expect(record.status == Status::Active, || format!("{:?}: {}", record.status, record.status_description))?;
    // The names may differ: those of nodes that were never made are not used again.
    expect(counts(&record) == counted(groups), || format!("the record has the nodes {:?}", record.nodes))?;
    let named: BTreeSet<String> = record.nodes.iter().map(|node| node.name.to_string()).collect();
    let running = running().await?;
    expect(running == named, || format!("the engine has the nodes {running:?}, the record {named:?}"))?;
    cloud::holds_exactly(Some(&record)).await
}

fn counts(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in &cluster.nodes {
        *counts.entry(node.name.group().to_string()).or_default() += 1;
    }
    counts
}

fn counted(groups: &[(&str, usize)]) -> BTreeMap<String, usize> {
    groups.iter().map(|(group, count)| ((*group).to_owned(), *count)).collect()
}

pub(crate) async fn is_gone(service: &Service) -> Result<(), String> {
    let listing = service.list().await.map_err(|error| error.to_string())?;
    expect(listing.clusters.is_empty(), || format!("a record is left: {:?}", listing.clusters))?;
    let running = running().await?;
    expect(running.is_empty(), || format!("servers are left: {running:?}"))?;
    cloud::holds_exactly(None).await
}

/// The nodes that the engine finds by their tags, whatever the records say.
async fn running() -> Result<BTreeSet<String>, String> {
    let machines = engine()?.list(&cluster()).await.map_err(|error| error.to_string())?;
    Ok(machines.into_iter().map(|machine| machine.node.to_string()).collect())
}

pub(crate) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Deletes the cluster, if it is there, and sees that nothing is left of it.
pub(crate) async fn clean(service: &Service) -> Result<(), String> {
    match ask(service, Asked::Delete).await {
        Ok(operation) => {
            let end = operation.end().await.map_err(|error| error.to_string())?;
            expect(end.verdict == Verdict::Done, || format!("the deletion ended {end:?}"))?;
        }
        Err(ServiceError::NoSuchCluster { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    is_gone(service).await
}

/// Create, scale both ways at once, delete, as it should be.
pub(crate) async fn life() -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    prepare(data.path()).await?;
    let service = open(data.path()).await?;
    is_active(&service, &[("edge", 1), ("workers", 2)]).await?;
    let scaled = ask(&service, Asked::Scale).await.map_err(|error| error.to_string())?;
    let end = scaled.end().await.map_err(|error| error.to_string())?;
    expect(end.verdict == Verdict::Done, || format!("it was not scaled: {end:?}"))?;
    is_active(&service, &[("edge", 2), ("workers", 1)]).await?;
    clean(&service).await?;
    service.shutdown(Duration::from_secs(10)).await.map_err(|error| error.to_string())
}
