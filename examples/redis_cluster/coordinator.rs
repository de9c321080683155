//! What a coordinator does in its process, and what can be seen of a cluster from outside.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use saga_cluster::engine::{Engine, ProcessEngine};
use saga_cluster::model::{ClusterName, ClusterSpec, Node, ScaleRequest};
use saga_cluster::plugin::{RedisPlugin, RedisProgram};
use saga_cluster::repository::SledRepository;
use saga_cluster::service::{
    Actor, DeleteOptions, NodeState, Operation, PhaseState, ProgressKind, Service, ServiceError, Verdict,
};
use saga_core::store::SledStore;

use crate::Error;

const SPEC: &str = r#"
name = "cache"
plugin = "redis"
engine = "process"

[[groups]]
name = "east"
count = 3
settings = { replicas = 1, config = { cluster-node-timeout = 2000 } }

[[groups]]
name = "west"
count = 3
settings = { config = { cluster-node-timeout = 2000 } }
"#;

/// What a coordinator can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Grow,
    Shrink,
    Delete,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
            Self::Delete => "delete",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Create, Self::Grow, Self::Shrink, Self::Delete].into_iter().find(|verb| verb.word() == word)
    }

    async fn ask(self, service: &Service) -> Result<Operation, ServiceError> {
        let by = Actor::new("example", "to show it");
        let to = |east: u32, west: u32| {
            let group = |name: &str| name.parse().expect("a valid name");
            ScaleRequest::default().group(group("east"), east).group(group("west"), west)
        };
        match self {
            Self::Create => service.create(ClusterSpec::from_toml(SPEC)?, by).await,
            Self::Grow => service.scale(&cluster(), to(5, 3), by).await,
            Self::Shrink => service.scale(&cluster(), to(2, 4), by).await,
            Self::Delete => service.delete(&cluster(), DeleteOptions::default(), by).await,
        }
    }
}

fn cluster() -> ClusterName {
    "cache".parse().expect("a valid name")
}

/// Machines are processes. What runs on those that are for Redis is a `redis-server`; other kinds there are none of here.
fn engine(data: &Path) -> Result<ProcessEngine, Error> {
    Ok(ProcessEngine::new(data.join("machines"), "/bin/false")?.program(RedisPlugin::KIND, RedisProgram::new()))
}

async fn open(data: &Path) -> Result<Service, Error> {
    let (journal, records) = (SledStore::open(data.join("journal"))?, SledRepository::open(data.join("records"))?);
    let service = Service::builder(journal, records)
        .engine("process", engine(data)?)
        .plugin(RedisPlugin::KIND, RedisPlugin::new())
        .start()
        .await?;
    Ok(service)
}

/// The life of a coordinator: it goes on with what another one left, or does what it is asked for.
pub(crate) async fn work(verb: Verb, data: &Path) -> Result<(), Error> {
    let service = open(data).await?;
    let operation = match service.operations().await?.pop() {
        Some(unfinished) => {
            println!("the next coordinator finds an unfinished {}, and goes on", unfinished.kind);
            unfinished
        }
        None => verb.ask(&service).await?,
    };
    let progress = operation.progress();
    pin_mut!(progress);
    while let Some(told) = progress.next().await {
        match told?.what {
            ProgressKind::Phase { phase, nodes, state: PhaseState::Done } => println!("{phase}: done ({nodes} nodes)"),
            ProgressKind::Node { node, state: NodeState::Progress { done, total }, .. } => {
                println!("slot {done} of {total} for {node}");
            }
            ProgressKind::Node { phase, node, state: NodeState::Failed { why, .. } } => {
                println!("{phase} of {node} failed: {why}");
            }
            _ => {}
        }
    }
    let end = operation.end().await?;
    service.shutdown(Duration::from_secs(10)).await?;
    match end.verdict {
        Verdict::Done => Ok(()),
        verdict => Err(format!("the {} ended {verdict}: {}", end.kind, end.reason).into()),
    }
}

/// The nodes of the cluster's record.
pub(crate) async fn nodes(data: &Path) -> Result<Vec<Node>, Error> {
    let service = open(data).await?;
    let report = service.show(&cluster()).await?;
    service.shutdown(Duration::ZERO).await?;
    Ok(report.record.ok_or("the cluster has no record")?.nodes)
}

/// How the cluster is, in a line.
pub(crate) async fn look(data: &Path) -> Result<String, Error> {
    let service = open(data).await?;
    let report = service.show(&cluster()).await?;
    service.shutdown(Duration::ZERO).await?;
    let record = report.record.ok_or("the cluster has no record")?;
    let names: Vec<String> = record.nodes.iter().map(|node| node.name.to_string()).collect();
    let light = match report.light {
        Some((light, why)) if why.is_empty() => light.to_string(),
        Some((light, why)) => format!("{light} ({why})"),
        None => "of unknown health".to_owned(),
    };
    Ok(format!("{} and {light}: {}", record.status, names.join(", ")))
}

/// How many machines the engine finds, whatever the records say.
pub(crate) async fn machines(data: &Path) -> Result<usize, Error> {
    Ok(engine(data)?.list(&cluster()).await?.len())
}
