//! What the demonstration is played on: a data directory, nodes, and somebody who holds the data.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{self, Receiver};

use super::story::Story;
use crate::cli::args::{Keep, Options, STORE_VARIABLE};
use crate::cli::control::Call;
use crate::cli::hold::Hold;
use crate::cli::holder::{self, Holder};
use crate::cli::kit::{self, Kit};
use crate::cli::paths::DataDir;
use crate::cli::render;
use crate::cli::reply::Reply;
use crate::cli::request::Request;
use crate::cli::trouble::{Exit, Trouble, chain};
use crate::engine::{Engine, Machine, ProcessEngine};
use crate::model::{ClusterName, Doomed, Node, Timestamp};
use crate::plugin::BlocksPlugin;
use crate::service::{ClusterReport, OperationEnd};
use crate::testing::{Faults, FaultyEngine, FaultyPlugin};

/// The cluster that it is about.
pub(super) const CLUSTER: &str = "store";

/// The stage.
pub(super) struct Stage {
    pub(super) data: DataDir,
    /// What goes wrong while the demonstration holds the data itself.
    pub(super) faults: Faults,
    pub(super) cluster: ClusterName,
    options: Options,
    program: PathBuf,
    engine: ProcessEngine,
    holding: Option<Holding>,
    /// Whether nodes of the cluster are of our making: others are not touched.
    pub(super) ours: bool,
}

/// The data is held by the demonstration itself.
struct Holding {
    holder: Holder,
    _lock: Hold,
}

impl Stage {
    pub(super) fn new(data: DataDir, options: &Options) -> Result<Self, Trouble> {
        let program = std::env::current_exe()
            .map_err(|error| Trouble::new(format!("this program cannot find its own file: {error}")))?;
        let engine = kit::process_engine(&data, options.node_program.clone())?;
        let cluster = CLUSTER.parse().map_err(|error| Trouble::new(format!("{error}")))?;
        let options = options.clone();
        Ok(Self { data, faults: Faults::new(), cluster, options, program, engine, holding: None, ours: false })
    }

    /// The file of this program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    fn child(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data").arg(self.data.path()).args(["--by", "demo"]).args(args);
        command.env_remove(STORE_VARIABLE).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn spawn(command: &mut Command) -> Result<Child, Trouble> {
        command.spawn().map_err(|error| Trouble::new(format!("a command cannot be run: {error}")))
    }

    /// Runs a command in a process of its own, on the same screen, and returns its exit code.
    pub(super) async fn run(&self, story: &Story, args: &[&str]) -> Result<i32, Trouble> {
        story.command(&args.join(" "));
        let mut command = self.child(args);
        if self.options.json {
            command.arg("--json");
        }
        let ended = Self::spawn(&mut command)?.wait().await;
        // One that was killed has no code.
        Ok(ended.map_err(|error| Trouble::new(error.to_string()))?.code().unwrap_or(-1))
    }

    /// Runs a command that is killed as soon as it tells what is waited for. Says what it told last, and whether it was
    /// in the middle of it then.
    pub(super) async fn run_and_kill(
        &self,
        story: &Story,
        args: &[&str],
        mut until: impl FnMut(&Reply) -> bool,
    ) -> Result<Option<u32>, Trouble> {
        story.command(&args.join(" "));
        let failed = |error: io::Error| Trouble::new(format!("a command cannot be watched: {error}"));
        let mut child = Self::spawn(self.child(args).arg("--json").stdout(Stdio::piped()))?;
        let pid = child.id();
        let stdout = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut lines = BufReader::new(stdout).lines();
        let mut screen = render::screen(&self.options);
        while let Some(line) = lines.next_line().await.map_err(failed)? {
            let Ok(reply) = serde_json::from_str::<Reply>(&line) else { continue };
            let ended = matches!(reply, Reply::End { .. });
            screen.show(&reply);
            if !ended && until(&reply) {
                child.kill().await.map_err(failed)?;
                screen.close();
                // It may have ended by itself just before; then nothing was killed in the middle.
                let status = child.wait().await.map_err(failed)?;
                let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
                return Ok(pid.filter(|_| killed));
            }
        }
        child.wait().await.map_err(failed)?;
        Ok(None)
    }

    /// Takes the data in hand, so that the engine and the plugin can be made to fail.
    pub(super) async fn hold(&mut self) -> Result<(), Trouble> {
        let lock = Hold::take(&self.data.lock()).map_err(|error| Trouble::new(error.to_string()))?;
        let lock = lock.ok_or_else(|| Trouble::new("another process holds the data"))?;
        let engine = FaultyEngine::new(self.engine.clone(), self.faults.clone());
        let plugin = FaultyPlugin::new(BlocksPlugin::new(), self.faults.clone());
        let since = Timestamp::now();
        let kit = Kit::new(&self.data, &self.options)?;
        let kit = kit.engine(ProcessEngine::KIND, engine).plugin(BlocksPlugin::KIND, plugin);
        let service = holder::open(&self.data, &kit, Keep::Forever).await?;
        // What others ask for is shown by them.
        let (screen, mut nobody) = mpsc::channel(16);
        tokio::spawn(async move { while nobody.recv().await.is_some() {} });
        let holder = Holder::new(&self.data, service, since, screen).await;
        self.holding = Some(Holding { holder, _lock: lock });
        Ok(())
    }

    fn holder(&self) -> Result<&Holder, Trouble> {
        let holding = self.holding.as_ref().ok_or_else(|| Trouble::new("the demonstration does not hold the data"))?;
        Ok(&holding.holder)
    }

    /// Does what is asked for here, and shows it.
    pub(super) async fn act(
        &self,
        story: &Story,
        command: &str,
        request: Request,
    ) -> Result<Option<OperationEnd>, Trouble> {
        story.command(command);
        let (_, replies) = self.begin(request)?;
        let mut screen = render::screen(&self.options);
        let mut replies = replies;
        let mut ended = None;
        while let Some(reply) = replies.recv().await {
            screen.show(&reply);
            if let Reply::End { end, .. } = reply {
                ended = Some(end);
            }
        }
        screen.close();
        Ok(ended)
    }

    /// Begins what is asked for.
    pub(super) fn begin(&self, request: Request) -> Result<(tokio::task::JoinHandle<Exit>, Receiver<Reply>), Trouble> {
        let desk = self.holder()?.desk();
        let (replies, told) = mpsc::channel(64);
        let call = Call::new("demo", request);
        Ok((tokio::spawn(async move { desk.act(call, &replies).await }), told))
    }

    /// What is known about the cluster; `None` if there is none.
    pub(super) async fn look(&self) -> Result<Option<ClusterReport>, Trouble> {
        if let Some(holding) = &self.holding {
            return Ok(holding.holder.service().show(&self.cluster).await.ok());
        }
        let output = self.child(&["--json", "--no-wait", "show", CLUSTER]).output().await;
        let output = output.map_err(|error| Trouble::new(format!("a command cannot be run: {error}")))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match serde_json::from_str(line) {
                Ok(Reply::Report(report)) => return Ok(Some(*report)),
                Ok(Reply::Error(trouble)) if !trouble.what.contains("there is no cluster") => return Err(trouble),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The nodes of the cluster's record.
    pub(super) async fn nodes(&self) -> Result<Vec<Node>, Trouble> {
        Ok(self.look().await?.and_then(|report| report.record).map(|record| record.nodes).unwrap_or_default())
    }

    /// What the engine has, whatever any record says.
    pub(super) async fn machines(&self) -> Result<Vec<Machine>, Trouble> {
        self.engine.list(&self.cluster).await.map_err(|error| Trouble::new(chain(&error)))
    }

    /// How many processes run in the directory of machines, as `/proc` tells.
    pub(super) fn processes(&self) -> usize {
        let root = self.engine.root();
        let Ok(entries) = std::fs::read_dir("/proc") else { return usize::MAX };
        let lines = entries.flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let in_root =
            |line: &Vec<u8>| String::from_utf8_lossy(line).split('\0').any(|arg| Path::new(arg).starts_with(root));
        lines.filter(in_root).count()
    }

    /// Kills all nodes of our making.
    pub(super) async fn kill_nodes(&mut self) -> Result<(), Trouble> {
        if !self.ours {
            return Ok(());
        }
        if let Some(holding) = &self.holding {
            // Whatever goes on must not make new ones.
            let _ = holding.holder.park(Duration::ZERO).await;
        }
        for machine in self.machines().await? {
            let killed = self.engine.destroy(&Doomed::with_its_cluster(&machine)).await;
            killed.map_err(|error| Trouble::new(format!("a node is left: {}", chain(&error))))?;
        }
        Ok(())
    }

    /// Lets go of the data.
    pub(super) async fn leave(&mut self) {
        if let Some(holding) = self.holding.take() {
            let _ = holding.holder.park(Duration::ZERO).await;
            holding.holder.close().await;
        }
    }
}
