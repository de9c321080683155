//! The coordinator that dies, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use saga_cluster::engine::openstack::{CloudConfig, NovaEngine, Session};
use saga_cluster::model::{ClusterName, ClusterSpec, ScaleRequest};
use saga_cluster::plugin::CommandsPlugin;
use saga_cluster::repository::SledRepository;
use saga_cluster::service::{Actor, DeleteOptions, Operation, Service, ServiceError};
use saga_core::store::{SledStore, Store};

use crate::case::{Asked, Moment};
use crate::dying::DyingStore;

const ASKED: &str = "KILL_ASKED";
const APPEND: &str = "KILL_APPEND";
const MOMENT: &str = "KILL_MOMENT";
const DATA: &str = "KILL_DATA";

/// The name of the cluster: told to the dying coordinator, which has another number.
const NAME: &str = "KILL_NAME";

fn spec() -> String {
    let variable = |name, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let (flavor, image) = (variable("OPENSTACK_FLAVOR", "small"), variable("OPENSTACK_IMAGE", "tiny"));
    let settings = serde_json::json!({ "flavor": flavor, "image": image });
    format!(
        "name = '{}'\nplugin = 'commands'\nengine = 'nova'\n\
         [settings]\nflavor = {}\nimage = {}\nnetworks = 'none'\n\
         [settings.commands]\ndecommission = 'nothing-to-drain'\n\
         [[groups]]\nname = 'workers'\ncount = 2\n[[groups]]\nname = 'edge'\ncount = 1\n",
        cluster(),
        settings["flavor"],
        settings["image"],
    )
}

/// What a dying coordinator is told by its environment.
pub(crate) struct Task {
    asked: Asked,
    moment: Moment,
    append: u64,
    data: PathBuf,
}

impl Task {
    pub(crate) fn of_this_process() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self {
            asked: Asked::parse(&variable(ASKED)?)?,
            moment: Moment::parse(&variable(MOMENT)?)?,
            append: variable(APPEND)?.parse().ok()?,
            data: variable(DATA)?.into(),
        })
    }

    /// Runs this very program as a coordinator that dies. Whether it came to its end instead.
    pub(crate) async fn spawn(asked: Asked, moment: Moment, append: u64, data: &Path) -> Result<bool, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = tokio::process::Command::new(this)
            .env(ASKED, asked.to_string())
            .env(MOMENT, moment.to_string())
            .env(APPEND, append.to_string())
            .env(DATA, data)
            .env(NAME, cluster().as_str())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the coordinator cannot be started: {error}"))?;
        let status = tokio::time::timeout(Duration::from_secs(120), child.wait())
            .await
            .map_err(|_| "the coordinator neither died nor ended".to_owned())?
            .map_err(|error| error.to_string())?;
        match (status.success(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (true, _) => Ok(true),
            (false, Some(9)) => Ok(false),
            (false, _) => Err(format!("the coordinator was not killed, it failed: {status}")),
        }
    }
}

/// The dying coordinator's work.
pub(crate) async fn work(task: Task) {
    let store = SledStore::open(task.data.join("journal")).expect("the store opens");
    let service = open_with(&task.data, DyingStore::new(store, task.append, task.moment)).await.expect("it starts");
    let operation = ask(&service, task.asked).await.expect("the operation starts");
    operation.end().await.expect("the operation ends");
    service.shutdown(Duration::from_secs(10)).await.expect("it ends");
}

/// A service on a directory's data, that dies of nothing.
pub(crate) async fn open(data: &Path) -> Result<Service, String> {
    let store = SledStore::open(data.join("journal")).map_err(|error| error.to_string())?;
    open_with(data, store).await
}

async fn open_with(data: &Path, store: impl Store) -> Result<Service, String> {
    let repository = SledRepository::open(data.join("clusters")).map_err(|error| error.to_string())?;
    let plugin = CommandsPlugin::new(data.join("commands"));
    let service = Service::builder(store, repository).engine(NovaEngine::KIND, engine()?);
    let service = service.plugin(CommandsPlugin::KIND, plugin);
    service.start().await.map_err(|error| error.to_string())
}

pub(crate) fn session() -> Result<Session, String> {
    let config = CloudConfig::find().map_err(|error| error.to_string())?;
    Session::new(config).map_err(|error| error.to_string())
}

pub(crate) fn engine() -> Result<NovaEngine, String> {
    Ok(NovaEngine::new(session()?))
}

pub(crate) fn cluster() -> ClusterName {
    let name = std::env::var(NAME).unwrap_or_else(|_| format!("contract-{}", std::process::id()));
    name.parse().expect("a valid name")
}

pub(crate) async fn ask(service: &Service, asked: Asked) -> Result<Operation, ServiceError> {
    let by = Actor::new("test", "asked for it");
    match asked {
        Asked::Create => service.create(ClusterSpec::from_toml(&spec()).expect("a valid spec"), by).await,
        Asked::Scale => {
            let request = ScaleRequest::default()
                .group("workers".parse().expect("a valid name"), 1)
                .group("edge".parse().expect("a valid name"), 2);
            service.scale(&cluster(), request, by).await
        }
        Asked::Delete => service.delete(&cluster(), DeleteOptions::default(), by).await,
    }
}
