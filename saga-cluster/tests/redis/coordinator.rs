//! The coordinator that dies, in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use saga_cluster::engine::ProcessEngine;
use saga_cluster::model::{ClusterName, ClusterSpec, ScaleRequest};
use saga_cluster::plugin::{RedisPlugin, RedisProgram};
use saga_cluster::repository::SledRepository;
use saga_cluster::service::{Actor, DeleteOptions, Operation, OperationKind, Service, Verdict};
use saga_cluster::testing::{Faults, FaultyPlugin, How, On, When};
use saga_core::store::{SledStore, Store};

use crate::death::{Deadly, Death};
use crate::dying::{DyingStore, Moment};

const DEATH: &str = "REDIS_TEST_DEATH";
const DATA: &str = "REDIS_TEST_DATA";
/// A coordinator that takes longer hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

const SPEC: &str = r#"
name = "c"
plugin = "redis"
engine = "process"

[[groups]]
name = "east"
count = 2
settings = { config = { appendonly = false, cluster-node-timeout = 5000 } }

[[groups]]
name = "west"
count = 2
settings = { config = { appendonly = false, cluster-node-timeout = 5000 } }
"#;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Create,
    /// East shrinks and west grows.
    Scale,
    Delete,
}

/// How a coordinator's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Killed,
    Done,
    Resting,
    Otherwise(i32),
}

const DONE: i32 = 0;
const RESTING: i32 = 4;

/// What a coordinator is to do.
pub(crate) struct Task {
    pub(crate) asked: Asked,
    pub(crate) death: Death,
    pub(crate) data: PathBuf,
}

impl Task {
    pub(crate) fn of_this_process() -> Option<Self> {
        let death = Death::parse(&std::env::var(DEATH).ok()?)?;
        Some(Self { asked: Asked::Scale, death, data: std::env::var_os(DATA)?.into() })
    }

    /// Lets a coordinator live until it dies.
    pub(crate) async fn spawn(&self) -> Result<Ended, String> {
        assert_eq!(self.asked, Asked::Scale, "the only thing that a process is asked for");
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = tokio::process::Command::new(program)
            .env(DEATH, self.death.to_string())
            .env(DATA, &self.data)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let by_the_clock = if let Death::Timer(time) = self.death { Some(time) } else { None };
        let ended = match tokio::time::timeout(by_the_clock.unwrap_or(ENDS_WITHIN), child.wait()).await {
            Ok(ended) => ended,
            Err(_) if by_the_clock.is_none() => return Err(format!("a coordinator hangs ({:?})", self.death)),
            Err(_) => {
                child.start_kill().map_err(|error| error.to_string())?;
                child.wait().await
            }
        };
        let ended = ended.map_err(|error| error.to_string())?;
        Ok(match (ended.code(), ended.signal()) {
            (_, Some(_)) => Ended::Killed,
            (Some(DONE), _) => Ended::Done,
            (Some(RESTING), _) => Ended::Resting,
            (code, _) => Ended::Otherwise(code.unwrap_or(-1)),
        })
    }
}

/// The life of a coordinator: it goes on with what it finds, moves on what rests, and asks if there is nothing.
pub(crate) async fn work(task: Task) {
    let service = open(&task.data, task.death).await.expect("it starts");
    let operation = service.operations().await.expect("the store can be read").pop();
    let operation = match operation {
        Some(operation) if operation.status().await.is_ok_and(|status| status.is_resting()) => {
            service.retry(&cluster(), by()).await.expect("it can be retried")
        }
        Some(operation) => operation,
        // It may have ended just before its coordinator died.
        None if is_scaled(&service).await => std::process::exit(DONE),
        None => ask(&service, task.asked).await.expect("the operation starts"),
    };
    assert_eq!(operation.kind, OperationKind::Scale);
    let end = operation.end().await.expect("it comes to rest");
    service.shutdown(Duration::from_secs(10)).await.expect("it ends");
    match end.verdict {
        Verdict::Done => std::process::exit(DONE),
        verdict if verdict.is_resting() => std::process::exit(RESTING),
        verdict => {
            eprintln!("{verdict}: {}", end.reason);
            std::process::exit(1)
        }
    }
}

async fn is_scaled(service: &Service) -> bool {
    let clusters = service.list().await.expect("the records can be read").clusters;
    let cluster = clusters.first().expect("there is a record");
    cluster.nodes_in(&"west".parse().expect("a name")).count() == 4
}

/// A service on a directory's data, that dies like that. Each stage fails once, too, in every process.
pub(crate) async fn open(data: &Path, death: Death) -> Result<Service, String> {
    let journal = SledStore::open(data.join("journal")).map_err(|error| error.to_string())?;
    match death {
        Death::Append(append, moment) => open_with(data, DyingStore::new(journal, append, moment), death).await,
        // An append that never comes.
        _ => open_with(data, DyingStore::new(journal, 0, Moment::Before), death).await,
    }
}

async fn open_with(data: &Path, store: impl Store, death: Death) -> Result<Service, String> {
    let repository = SledRepository::open(data.join("clusters")).map_err(|error| error.to_string())?;
    let faults = Faults::new();
    if death == Death::Never {
        // The last one: whatever is still to be done fails once before it is done, or after.
        faults.inject(On::Start, When::Nth(1), How::FailAfter);
    }
    if let Death::Slot("decommission", 1300) = death {
        faults.inject(On::Decommission, When::Nth(1), How::FailBefore);
    }
    if let Death::Leave("configure") = death {
        faults.inject(On::Configure, When::Nth(1), How::FailAfter);
    }
    let plugin = FaultyPlugin::new(RedisPlugin::new(), faults);
    Service::builder(store, repository)
        .engine("process", Deadly { inner: engine(data)?, death })
        .plugin(RedisPlugin::KIND, Deadly { inner: plugin, death })
        .start()
        .await
        .map_err(|error| error.to_string())
}

pub(crate) fn engine(data: &Path) -> Result<ProcessEngine, String> {
    let engine = ProcessEngine::new(data.join("nodes"), env!("CARGO_BIN_EXE_saga-cluster"));
    Ok(engine.map_err(|error| error.to_string())?.program(RedisPlugin::KIND, RedisProgram::new()))
}

pub(crate) fn cluster() -> ClusterName {
    "c".parse().expect("a valid name")
}

fn by() -> Actor {
    Actor::new("test", "asked for it")
}

pub(crate) async fn ask(service: &Service, asked: Asked) -> Result<Operation, String> {
    let begun = match asked {
        Asked::Create => service.create(ClusterSpec::from_toml(SPEC).expect("a valid spec"), by()).await,
        Asked::Scale => {
            let request = ScaleRequest::default()
                .group("east".parse().expect("a valid name"), 1)
                .group("west".parse().expect("a valid name"), 4);
            service.scale(&cluster(), request, by()).await
        }
        Asked::Delete => service.delete(&cluster(), DeleteOptions::default(), by()).await,
    };
    begun.map_err(|error| error.to_string())
}
