//! Machines that are processes of this computer (Linux only: it reads `/proc`).
//!
//! Each machine is a process with a directory of its own and a loopback port. It lives independently of whoever made
//! it: own process group, output into a file, never killed by a drop. Nothing about machines is kept in memory or in a
//! list; what exists is found by looking, so an engine that was just opened knows as much as the one that crashed.
//!
//! | question | who answers it |
//! |---|---|
//! | is there a process? | the command lines in `/proc`, which hold token and directory |
//! | was there one? | the directory, which is made before the process and removed after it |
//! | are there two? | no: a node's process holds a lock in its directory, and a second one ends |
//! | does it answer, and is it the right one? | the node itself, asked for its token |
//!
//! The settings of a group mean nothing to it.

mod layout;
mod scan;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::process::Command;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{debug, info};

use self::scan::Sighting;
use super::{Engine, EngineError, Machine, NodeOrder};
use crate::model::{ClusterName, Doomed, Node, NodeToken};
use crate::node::{self, Connection, LOG, NodeArgs};

const POLL: Duration = Duration::from_millis(10);
/// How long a machine has to answer one question. Short, because what is asked may be a stale address that is someone
/// else's by now; whoever waits for a machine asks again.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// Makes machines that are processes, under one directory.
#[derive(Debug, Clone)]
pub struct ProcessEngine {
    root: PathBuf,
    program: PathBuf,
    leading_args: Vec<OsString>,
    hidden: Vec<OsString>,
    ready_within: Duration,
    gone_within: Duration,
}

impl ProcessEngine {
    /// An engine that keeps its machines under `root`, and runs `program` with the arguments of
    /// [`NodeArgs`] for each. Engines with the same root see the same machines.
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
            program: program.into(),
            leading_args: Vec::new(),
            hidden: Vec::new(),
            ready_within: Duration::from_secs(20),
            gone_within: Duration::from_secs(10),
        })
    }

    /// Arguments to put before those of the node, if the program needs some.
    #[must_use]
    pub fn leading_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.leading_args = args.into_iter().map(Into::into).collect();
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
        sightings.retain(|sighting| sighting.node.token == *token);
        Ok(sightings)
    }

    /// The node with that token, if it has a process or a directory.
    async fn locate(&self, token: &NodeToken) -> Result<Option<NodeArgs>, EngineError> {
        // The directory first: it is made before the process and removed after it, so in this order nothing slips
        // through in between.
        let known = self.look("listing directories", layout::all_nodes).await?;
        if let Some(node) = known.into_iter().find(|node| node.token == *token) {
            return Ok(Some(node));
        }
        Ok(self.sightings(token).await?.pop().map(|sighting| sighting.node))
    }

    /// Starts a process, and a task that waits for its end, so that it does not stay behind as a zombie.
    fn spawn(&self, node: &NodeArgs) -> io::Result<JoinHandle<io::Result<ExitStatus>>> {
        let log = OpenOptions::new().create(true).append(true).open(node.dir.join(LOG))?;
        let mut command = Command::new(&self.program);
        for name in &self.hidden {
            command.env_remove(name);
        }
        let mut child = command
            .args(&self.leading_args)
            .args(node.to_command_line())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Out of the terminal's foreground group: Ctrl-C at the coordinator is not for the machines.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()?;
        info!(node = %node.name, pid = child.id(), "started a node");
        Ok(tokio::spawn(async move { child.wait().await }))
    }

    /// Waits until the node answers at the address that it wrote.
    async fn ready(&self, node: &NodeArgs, process: JoinHandle<io::Result<ExitStatus>>) -> Result<Node, EngineError> {
        let started = Instant::now();
        loop {
            if let Some(address) = answers(node, LOOK_PATIENCE).await {
                return Ok(Node { name: node.name.clone(), token: node.token.clone(), address });
            }
            // Our process may have found another one on the directory, which then is the machine.
            if process.is_finished() && self.sightings(&node.token).await?.is_empty() {
                let log = std::fs::read_to_string(node.dir.join(LOG)).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it printed nothing");
                return Err(EngineError::failed(format!("the process of {} ended: {last}", node.name)));
            }
            if started.elapsed() > self.ready_within {
                let limit = self.ready_within;
                return Err(EngineError::failed(format!("{} did not answer within {limit:?}", node.name)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn machine(node: NodeArgs) -> Machine {
        let address = answers(&node, LOOK_PATIENCE).await;
        Machine { cluster: node.cluster, node: node.name, token: node.token, address }
    }
}

/// Where the node answers, if it does and is the one that is meant.
async fn answers(node: &NodeArgs, patience: Duration) -> Option<std::net::SocketAddr> {
    let address = node::written_address(&node.dir)?;
    match Connection::open(address, &node.token, patience).await {
        Ok(_) => Some(address),
        Err(error) => {
            debug!(node = %node.name, %address, %error, "a node does not answer");
            None
        }
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        let wanted = layout::node(&self.root, &order.cluster, &order.name, &order.token);
        match self.locate(&order.token).await? {
            Some(other) if other != wanted => {
                let message = format!("the token {} belongs to {} of {}", order.token, other.name, other.cluster);
                return Err(EngineError::rejected(message));
            }
            Some(_) => {
                // It may be running. If it is still starting, the process that is started below ends by itself.
                if let Some(node) = Self::machine(wanted.clone()).await.into_node() {
                    return Ok(node);
                }
            }
            None => {}
        }
        let failed = |error| EngineError::failed(format!("{} cannot be started", order.name)).because(error);
        layout::make(&wanted.dir).map_err(failed)?;
        let process = self.spawn(&wanted).map_err(failed)?;
        self.ready(&wanted, process).await
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        match self.locate(token).await? {
            Some(node) => Ok(Some(Self::machine(node).await)),
            None => Ok(None),
        }
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        let node = layout::node(&self.root, doomed.cluster(), doomed.name(), doomed.token());
        let started = Instant::now();
        loop {
            let sightings = self.sightings(&node.token).await?;
            let to_kill = sightings.clone();
            self.look("killing a process", move |root| to_kill.iter().try_for_each(|one| scan::kill(root, one)))
                .await?;
            // The lock is released only when the last thread of the process is gone, so it is the better witness.
            if sightings.is_empty() {
                match node::try_lock(&node.dir) {
                    // Held until the directory is removed: a process that starts at this moment finds it locked.
                    Ok(_lock) => return self.remove(&node).await,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return self.remove(&node).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        let message = format!("the directory of {} cannot be removed", node.name);
                        return Err(EngineError::failed(message).because(error));
                    }
                }
            }
            if started.elapsed() > self.gone_within {
                let pids: Vec<i32> = sightings.iter().map(|sighting| sighting.pid).collect();
                let limit = self.gone_within;
                let message = format!("{} is not gone {limit:?} after it was killed (processes {pids:?})", node.name);
                return Err(EngineError::failed(message));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        let of = cluster.clone();
        let mut nodes = self.look("listing directories", move |root| layout::nodes(root, &of)).await?;
        for sighting in self.look("listing processes", scan::scan).await? {
            if sighting.node.cluster == *cluster && !nodes.contains(&sighting.node) {
                nodes.push(sighting.node);
            }
        }
        nodes.sort_by(|a, b| (&a.name, &a.token).cmp(&(&b.name, &b.token)));
        Ok(join_all(nodes.into_iter().map(Self::machine)).await)
    }
}

impl ProcessEngine {
    async fn remove(&self, node: &NodeArgs) -> Result<(), EngineError> {
        let (dir, name) = (node.dir.clone(), node.name.clone());
        let of_cluster = layout::cluster_dir(&self.root, &node.cluster);
        self.look("removing a directory", move |_| {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // The last one takes the cluster's directory along. If there are others it fails, as it should.
            let _ = std::fs::remove_dir(&of_cluster);
            info!(node = %name, "destroyed a node");
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
