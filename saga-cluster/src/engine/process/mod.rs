//! Machines that are processes of this computer (Linux only: it reads `/proc`).
//!
//! Each machine is a process with a directory of its own and a loopback port. It lives independently of whoever made
//! it: own process group, output into a file, never killed by a drop. Nothing about machines is kept in memory or in a
//! list; what exists is found by looking, so an engine that was just opened knows as much as the one that crashed.
//!
//! | question | who answers it |
//! |---|---|
//! | is there a process? | its standard input, in `/proc`: it is the lock in the machine's directory |
//! | was there one? | the directory, which is made before the process and removed after it |
//! | are there two? | no: whoever starts a process locks the directory, and the process keeps the lock |
//! | what is it? | the file `program` in the directory |
//! | does it answer, and is it the right one? | the [`Program`], which asks it |
//!
//! What runs on a machine is chosen by the plugin of its cluster ([`ProcessEngine::program`]); by default it is a node of
//! blocks. The settings of a group are handed to the program and mean nothing to the engine.

mod layout;
mod program;
mod scan;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use rustix::fs::{Access, access};
use tokio::process::Command;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::info;

use self::program::BlockNode;
use self::scan::Sighting;
use super::{Engine, EngineCheck, EngineError, Finding, Machine, NodeOrder};
use crate::model::{ClusterName, ClusterSpec, Doomed, Node, NodeToken};
use crate::node::{self, LOG};

pub use layout::Site;
pub use program::{Program, executable};

const POLL: Duration = Duration::from_millis(10);
/// How long a machine has to answer one question. Short, because what is asked may be a stale address that is someone
/// else's by now; whoever waits for a machine asks again.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// Makes machines that are processes, under one directory.
#[derive(Debug, Clone)]
pub struct ProcessEngine {
    root: PathBuf,
    usual: BlockNode,
    programs: BTreeMap<String, Arc<dyn Program>>,
    hidden: Vec<OsString>,
    ready_within: Duration,
    gone_within: Duration,
}

impl ProcessEngine {
    /// What a spec calls this kind of engine.
    pub const KIND: &'static str = "process";

    /// An engine that keeps its machines under `root`, and runs `program` with the arguments of
    /// [`NodeArgs`](crate::node::NodeArgs) for each, unless [told otherwise](Self::program). Engines with the same root
    /// see the same machines.
    ///
    /// # Errors
    /// [`EngineError`] (rejected), if the directory cannot be made, or its path is not Unicode, or there is no `/proc`.
    pub fn new(root: impl AsRef<Path>, program: impl Into<PathBuf>) -> Result<Self, EngineError> {
        let root = root.as_ref();
        let refused = |error| EngineError::rejected(format!("{} cannot be used", root.display())).because(error);
        std::fs::create_dir_all(root).map_err(refused)?;
        // Processes are told by their directory's path, so there must be one way to write it.
        let canonical = root.canonicalize().map_err(refused)?;
        if canonical.to_str().is_none() {
            return Err(EngineError::rejected(format!("the path {} is not Unicode", canonical.display())));
        }
        std::fs::read("/proc/self/cmdline")
            .map_err(|error| EngineError::rejected("processes cannot be listed here").because(error))?;
        Ok(Self {
            root: canonical,
            usual: BlockNode { file: program.into(), leading_args: Vec::new() },
            programs: BTreeMap::new(),
            hidden: Vec::new(),
            ready_within: Duration::from_secs(20),
            gone_within: Duration::from_secs(10),
        })
    }

    /// Arguments to put before those of the node, if the program needs some.
    #[must_use]
    pub fn leading_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.usual.leading_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// What machines are to run that are for clusters of that kind of plugin. A machine that was made remembers the kind:
    /// engines that are to find it again need the same.
    #[must_use]
    pub fn program(mut self, plugin: &str, program: impl Program) -> Self {
        self.programs.insert(plugin.to_owned(), Arc::new(program));
        self
    }

    /// A variable of this process's environment that machines are not to have, such as a password.
    #[must_use]
    pub fn hide_variable(mut self, name: impl Into<OsString>) -> Self {
        self.hidden.push(name.into());
        self
    }

    /// How long a new machine has until it must answer. 20 seconds, unless told otherwise.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// How long a killed machine has until it must be gone. 10 seconds, unless told otherwise.
    #[must_use]
    pub fn gone_within(mut self, limit: Duration) -> Self {
        self.gone_within = limit;
        self
    }

    /// The directory that holds the machines.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at the outside world on a thread that may block.
    async fn look<T: Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let root = self.root.clone();
        let looked = spawn_blocking(move || look(&root)).await;
        looked.map_err(io::Error::other).flatten().map_err(|error| EngineError::failed(what).because(error))
    }

    async fn sightings(&self, token: &NodeToken) -> Result<Vec<Sighting>, EngineError> {
        let mut sightings = self.look("listing processes", scan::scan).await?;
        sightings.retain(|sighting| sighting.site.token == *token);
        Ok(sightings)
    }

    /// The machine with that token, if it has a process or a directory.
    async fn locate(&self, token: &NodeToken) -> Result<Option<Site>, EngineError> {
        // The directory first: it is made before the process and removed after it, so in this order nothing slips
        // through in between.
        let known = self.look("listing directories", layout::all_sites).await?;
        if let Some(site) = known.into_iter().find(|site| site.token == *token) {
            return Ok(Some(site));
        }
        Ok(self.sightings(token).await?.pop().map(|sighting| sighting.site))
    }

    /// What a machine runs; none if this engine does not know that.
    fn program_of(&self, site: &Site) -> Option<&dyn Program> {
        match layout::recorded_program(site).ok()? {
            Some(kind) => self.programs.get(&kind).map(|program| &**program),
            None => Some(&self.usual),
        }
    }

    /// Decides what a machine is to run, and writes it down.
    fn choose(&self, site: &Site, order: &NodeOrder) -> Result<&dyn Program, EngineError> {
        let chosen = order.plugin.as_ref().and_then(|kind| Some((kind.as_str(), &**self.programs.get(kind.as_str())?)));
        let failed = |error| EngineError::failed(format!("{} cannot be started", site.name)).because(error);
        let recorded = layout::recorded_program(site).map_err(failed)?;
        match (&recorded, chosen) {
            (Some(before), _) if chosen.is_none_or(|(kind, _)| kind != before) => {
                let message = format!("{} was made to run `{before}`, which is not what was ordered", site.name);
                Err(EngineError::rejected(message))
            }
            (_, Some((kind, program))) => {
                if recorded.is_none() {
                    layout::record_program(site, kind).map_err(failed)?;
                }
                Ok(program)
            }
            (_, None) => Ok(&self.usual),
        }
    }

    /// Starts a machine's process, unless there is one: that one holds the lock.
    fn start(&self, site: &Site, order: &NodeOrder) -> Result<Option<Process>, EngineError> {
        let failed = |error| EngineError::failed(format!("{} cannot be started", site.name)).because(error);
        match node::try_lock(&site.dir) {
            Ok(lock) => {
                let command = self.choose(site, order)?.command(site, &order.settings)?;
                let program = command.get_program().to_string_lossy().into_owned();
                let spawned = self.spawn(site, command, lock);
                spawned.map(Some).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => failed(io::Error::other(format!("there is no program `{program}`"))),
                    _ => failed(error),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Starts a process, and a task that waits for its end, so that it does not stay behind as a zombie.
    fn spawn(&self, site: &Site, command: std::process::Command, lock: File) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(site.dir.join(LOG))?;
        let mut command = Command::from(command);
        for name in &self.hidden {
            command.env_remove(name);
        }
        let mut child = command
            // The lock stays locked for as long as the process has it, and the process is known by it.
            .stdin(lock)
            .stdout(log.try_clone()?)
            .stderr(log)
            // Out of the terminal's foreground group: Ctrl-C at the coordinator is not for the machines.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()?;
        info!(node = %site.name, pid = child.id(), "started a machine");
        Ok(tokio::spawn(async move { child.wait().await }))
    }

    async fn answers(&self, site: &Site) -> Option<std::net::SocketAddr> {
        self.program_of(site)?.answers(site, LOOK_PATIENCE).await
    }

    async fn machine(&self, site: Site) -> Machine {
        let address = self.answers(&site).await;
        Machine { cluster: site.cluster, node: site.name, token: site.token, address, ready: address.is_some() }
    }
}

/// Whether machines can be made in a directory.
fn may_be_used(dir: &Path) -> io::Result<()> {
    Ok(access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A process of ours, until it ends.
type Process = JoinHandle<io::Result<ExitStatus>>;

/// Why a process has ended, as far as it said.
fn last_words(site: &Site) -> String {
    let log = std::fs::read_to_string(site.dir.join(LOG)).unwrap_or_default();
    log.lines().last().unwrap_or("it printed nothing").to_owned()
}

#[async_trait]
impl Engine for ProcessEngine {
    async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        let program = self.programs.get(spec.plugin.as_str()).map_or(&self.usual as &dyn Program, |program| &**program);
        let mut findings = program.check().await;
        findings.push(match self.look("looking at the directory", may_be_used).await {
            Ok(()) => Finding::ok("directory", self.root.display().to_string()),
            Err(error) => {
                let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                Finding::problem("directory", format!("{} cannot be written to: {why}", self.root.display()))
            }
        });
        Ok(EngineCheck { findings })
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        let site = layout::site(&self.root, &order.cluster, &order.name, &order.token);
        if let Some(other) = self.locate(&order.token).await?.filter(|known| *known != site) {
            let message = format!("the token {} belongs to {} of {}", order.token, other.name, other.cluster);
            return Err(EngineError::rejected(message));
        }
        layout::make(&site.dir)
            .map_err(|error| EngineError::failed(format!("{} cannot be started", order.name)).because(error))?;
        let started = Instant::now();
        let mut ours: Option<Process> = None;
        loop {
            // It may be running, or be starting: by an attempt before this one, or by another process.
            if let Some(address) = self.answers(&site).await {
                return Ok(Node { name: site.name, token: site.token, address: Some(address) });
            }
            match &ours {
                None => ours = self.start(&site, order)?,
                Some(process) if process.is_finished() && self.sightings(&site.token).await?.is_empty() => {
                    let last = last_words(&site);
                    return Err(EngineError::failed(format!("the process of {} ended: {last}", site.name)));
                }
                Some(_) => {}
            }
            if started.elapsed() > self.ready_within {
                let limit = self.ready_within;
                return Err(EngineError::failed(format!("{} did not answer within {limit:?}", site.name)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        match self.locate(token).await? {
            Some(site) => Ok(Some(self.machine(site).await)),
            None => Ok(None),
        }
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        let site = layout::site(&self.root, doomed.cluster(), doomed.name(), doomed.token());
        let started = Instant::now();
        loop {
            let sightings = self.sightings(&site.token).await?;
            let to_kill = sightings.clone();
            self.look("killing a process", move |root| to_kill.iter().try_for_each(|one| scan::kill(root, one)))
                .await?;
            // The lock is released only when the last thread of the process is gone, so it is the better witness.
            if sightings.is_empty() {
                match node::try_lock(&site.dir) {
                    // Held until the directory is removed: whoever starts a process at this moment finds it locked.
                    Ok(_lock) => return self.remove(&site).await,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return self.remove(&site).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        let message = format!("the directory of {} cannot be removed", site.name);
                        return Err(EngineError::failed(message).because(error));
                    }
                }
            }
            if started.elapsed() > self.gone_within {
                let pids: Vec<i32> = sightings.iter().map(|sighting| sighting.pid).collect();
                let limit = self.gone_within;
                let message = format!("{} is not gone {limit:?} after it was killed (processes {pids:?})", site.name);
                return Err(EngineError::failed(message));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        let of = cluster.clone();
        let mut sites = self.look("listing directories", move |root| layout::sites(root, &of)).await?;
        for sighting in self.look("listing processes", scan::scan).await? {
            if sighting.site.cluster == *cluster && !sites.contains(&sighting.site) {
                sites.push(sighting.site);
            }
        }
        sites.sort_by(|a, b| (&a.name, &a.token).cmp(&(&b.name, &b.token)));
        Ok(join_all(sites.into_iter().map(|site| self.machine(site))).await)
    }
}

impl ProcessEngine {
    async fn remove(&self, site: &Site) -> Result<(), EngineError> {
        let (dir, name) = (site.dir.clone(), site.name.clone());
        let of_cluster = layout::cluster_dir(&self.root, &site.cluster);
        self.look("removing a directory", move |_| {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // The last one takes the cluster's directory along. If there are others it fails, as it should.
            let _ = std::fs::remove_dir(&of_cluster);
            info!(node = %name, "destroyed a machine");
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
