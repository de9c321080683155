//! Real processes. The program of each node is this very test executable, told to run the one test that is a node, so
//! what runs is never older than what is tested.

use std::process::Stdio;
use std::sync::Arc;

use clap::{Args, FromArgMatches};

use super::*;
use crate::engine::{Severity, conformance};
use crate::failure::FailureKind;
use crate::model::{NewNode, Settings};
use crate::node::NodeArgs;

/// How long processes may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Not a test: the body of a node's process, if its command line says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_is_a_node() {
    let line: Vec<String> = std::env::args().collect();
    let Some(start) = line.iter().rposition(|arg| arg == NodeArgs::SUBCOMMAND) else { return };
    let matches = NodeArgs::augment_args(clap::Command::new("node")).get_matches_from(&line[start..]);
    let Err(error) = node::run(NodeArgs::from_arg_matches(&matches).unwrap()).await;
    eprintln!("{error}");
    std::process::exit(1);
}

/// An engine under a temporary root, whose processes end with it even if the test fails.
pub(crate) struct Playground {
    pub(crate) engine: ProcessEngine,
    _root: tempfile::TempDir,
}

impl Playground {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { engine: engine(root.path()), _root: root }
    }

    /// An engine that knows nothing of the first one but its root.
    pub(crate) fn another_engine(&self) -> ProcessEngine {
        engine(self.engine.root())
    }

    pub(crate) fn processes(&self) -> usize {
        scan::scan(self.engine.root()).unwrap().len()
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        for sighting in scan::scan(self.engine.root()).unwrap_or_default() {
            let _ = scan::kill(self.engine.root(), &sighting);
        }
    }
}

fn engine(root: &Path) -> ProcessEngine {
    let leading = ["--exact", "--nocapture", "engine::process::tests::this_is_a_node", "--"];
    let engine = ProcessEngine::new(root, std::env::current_exe().unwrap()).unwrap().leading_args(leading);
    engine.ready_within(PATIENCE).gone_within(PATIENCE)
}

pub(crate) fn order(name: &str) -> NodeOrder {
    let node = NewNode { name: name.parse().unwrap(), settings: Default::default() };
    NodeOrder::new("demo".parse().unwrap(), node, "run/create")
}

fn doomed(order: &NodeOrder) -> Doomed {
    Doomed::of_own_making(order)
}

#[tokio::test]
async fn a_machine_is_made_found_listed_and_destroyed() {
    let playground = Playground::new();
    let engine = &playground.engine;
    let order = order("w-1");
    assert_eq!(engine.find(&order.token).await.unwrap(), None);
    let node = engine.create(&order).await.unwrap();
    assert_eq!((&node.name, &node.token), (&order.name, &order.token));
    let machine = engine.find(&order.token).await.unwrap().unwrap();
    assert_eq!(machine.clone().into_node(), Some(node));
    assert_eq!(engine.list(&order.cluster).await.unwrap(), [machine]);
    assert!(engine.list(&"other".parse().unwrap()).await.unwrap().is_empty());

    engine.destroy(&doomed(&order)).await.unwrap();
    assert_eq!(playground.processes(), 0);
    assert_eq!(engine.find(&order.token).await.unwrap(), None);
    assert!(engine.list(&order.cluster).await.unwrap().is_empty());
    assert_eq!(engine.root().read_dir().unwrap().count(), 0, "nothing is left on disk");
    engine.destroy(&doomed(&order)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creates_at_once_make_one_process() {
    let playground = Playground::new();
    let order = Arc::new(order("w-1"));
    let creates: Vec<_> = (0..4)
        .map(|_| {
            let (engine, order) = (playground.another_engine(), Arc::clone(&order));
            tokio::spawn(async move { engine.create(&order).await.unwrap() })
        })
        .collect();
    let mut nodes = Vec::new();
    for create in creates {
        nodes.push(create.await.unwrap());
    }
    assert!(nodes.windows(2).all(|pair| pair[0] == pair[1]), "{nodes:?}");
    // The superfluous ones give up once they have waited for the lock.
    let started = Instant::now();
    while playground.processes() > 1 {
        assert!(started.elapsed() < PATIENCE, "{:?}", scan::scan(playground.engine.root()));
        tokio::time::sleep(POLL).await;
    }
    assert_eq!(playground.engine.create(&order).await.unwrap(), nodes[0]);
}

#[tokio::test]
async fn another_engine_finds_adopts_and_destroys_what_the_first_made() {
    let playground = Playground::new();
    let orders = ["w-1", "w-2"].map(order);
    let mut made = Vec::new();
    for order in &orders {
        made.push(playground.engine.create(order).await.unwrap());
    }
    let engine = playground.another_engine();
    assert_eq!(engine.create(&orders[0]).await.unwrap(), made[0]);
    assert_eq!(playground.processes(), 2);
    for machine in engine.list(&orders[0].cluster).await.unwrap() {
        engine.destroy(&Doomed::with_its_cluster(&machine)).await.unwrap();
    }
    assert_eq!(playground.processes(), 0);
}

#[tokio::test]
async fn a_process_that_died_is_still_a_machine_and_comes_back_as_itself() {
    let playground = Playground::new();
    let engine = &playground.engine;
    let order = order("w-1");
    let first = engine.create(&order).await.unwrap();
    scan::kill(engine.root(), &engine.sightings(&order.token).await.unwrap()[0]).unwrap();
    let started = Instant::now();
    while playground.processes() > 0 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(POLL).await;
    }
    let dead = engine.find(&order.token).await.unwrap().unwrap();
    assert_eq!(dead.address, None);
    assert_eq!(engine.list(&order.cluster).await.unwrap(), [dead]);
    let second = engine.create(&order).await.unwrap();
    assert_eq!(second.token, first.token);
    engine.destroy(&doomed(&order)).await.unwrap();
    assert!(engine.list(&order.cluster).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_belongs_to_one_node() {
    let playground = Playground::new();
    let order = order("w-1");
    playground.engine.create(&order).await.unwrap();
    let other = NodeOrder { name: "w-2".parse().unwrap(), ..order };
    let refused = playground.engine.create(&other).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Rejected);
    assert_eq!(playground.processes(), 1);
}

#[tokio::test]
async fn a_process_that_does_not_start_is_an_error_and_leaves_what_can_be_destroyed() {
    let playground = Playground::new();
    let engine = ProcessEngine::new(playground.engine.root(), "/bin/false").unwrap();
    let order = order("w-1");
    let failed = engine.create(&order).await.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Failed);
    assert!(failed.to_string().contains("w-1"), "{failed}");
    assert_eq!(engine.list(&order.cluster).await.unwrap().len(), 1);
    engine.destroy(&doomed(&order)).await.unwrap();
    assert!(engine.list(&order.cluster).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_that_never_answers_is_an_error_in_time() {
    let playground = Playground::new();
    // It runs, and is found, but is no node.
    let script = ["-c", "exec sleep 600", "stuck"];
    let engine = ProcessEngine::new(playground.engine.root(), "/bin/bash").unwrap().leading_args(script);
    let engine = engine.ready_within(Duration::from_millis(200));
    let order = order("w-1");
    let failed = engine.create(&order).await.unwrap_err();
    assert!(failed.to_string().contains("did not answer within 200ms"), "{failed}");
    assert_eq!(playground.processes(), 1);
    engine.destroy(&doomed(&order)).await.unwrap();
    assert_eq!(playground.processes(), 0);
}

/// A program that is no node of ours: it knows nothing of tokens, and locks nothing.
#[derive(Debug)]
struct Sleeper;

#[async_trait]
impl Program for Sleeper {
    fn command(&self, site: &Site, settings: &Settings) -> Result<std::process::Command, EngineError> {
        if settings.contains_key("awake") {
            return Err(EngineError::rejected("a sleeper sleeps"));
        }
        std::fs::write(site.dir.join("bed"), site.token.as_str())
            .map_err(|error| EngineError::failed("no bed").because(error))?;
        let mut command = std::process::Command::new("sleep");
        command.arg("600");
        Ok(command)
    }

    async fn answers(&self, site: &Site, _: Duration) -> Option<std::net::SocketAddr> {
        let token = std::fs::read_to_string(site.dir.join("bed")).ok()?;
        (token == site.token.as_str()).then(|| "127.0.0.1:9".parse().unwrap())
    }
}

fn sleeping(name: &str) -> NodeOrder {
    order(name).for_plugin(Some("sleep".parse().unwrap()))
}

#[tokio::test]
async fn any_program_can_be_a_machine() {
    let playground = Playground::new();
    let engine = playground.another_engine().program("sleep", Sleeper);
    let (order, plain) = (sleeping("w-1"), order("w-1"));
    let node = engine.create(&order).await.unwrap();
    assert_eq!(engine.create(&order).await.unwrap(), node, "adopted");
    assert_eq!(playground.processes(), 1);
    assert_eq!(engine.find(&order.token).await.unwrap().unwrap().into_node(), Some(node.clone()));

    // One that was just opened finds what it is written down to be, whatever it was asked for.
    let other = playground.another_engine().program("sleep", Sleeper);
    assert_eq!(other.list(&order.cluster).await.unwrap()[0].address, node.address);
    let adopted = other.create(&plain).await.unwrap();
    assert_eq!(adopted, node, "a machine that answers is adopted, not made");

    // One that does not know the program finds the machine, cannot talk to it, and can destroy it.
    let ignorant = playground.another_engine();
    assert_eq!(ignorant.find(&order.token).await.unwrap().unwrap().address, None);
    ignorant.destroy(&doomed(&order)).await.unwrap();
    assert_eq!(playground.processes(), 0);
    assert!(engine.list(&order.cluster).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_remains_what_it_was_made_to_be() {
    let playground = Playground::new();
    let engine = playground.another_engine().program("sleep", Sleeper);
    let (order, plain) = (sleeping("w-1"), order("w-1"));
    engine.create(&order).await.unwrap();
    let sighting = engine.sightings(&order.token).await.unwrap().pop().unwrap();
    scan::kill(engine.root(), &sighting).unwrap();
    std::fs::remove_file(sighting.site.dir.join("bed")).unwrap();
    // Started anew, by an order that says nothing of it.
    let refused = engine.create(&plain).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Rejected, "{refused}");
    assert!(engine.create(&order).await.is_ok());
    engine.destroy(&doomed(&order)).await.unwrap();
    assert_eq!(playground.processes(), 0);
}

#[tokio::test]
async fn what_a_program_refuses_is_not_started() {
    let playground = Playground::new();
    let engine = playground.another_engine().program("sleep", Sleeper);
    let mut order = sleeping("w-1");
    order.settings.insert("awake".into(), true.into());
    let refused = engine.create(&order).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Rejected, "{refused}");
    assert_eq!(playground.processes(), 0);
    engine.destroy(&doomed(&order)).await.unwrap();
    assert!(engine.list(&order.cluster).await.unwrap().is_empty());
}

#[tokio::test]
async fn machines_of_another_root_are_not_seen() {
    let (one, two) = (Playground::new(), Playground::new());
    let order = order("w-1");
    one.engine.create(&order).await.unwrap();
    assert_eq!(two.engine.find(&order.token).await.unwrap(), None);
    assert!(two.engine.list(&order.cluster).await.unwrap().is_empty());
    two.engine.destroy(&doomed(&order)).await.unwrap();
    assert_eq!(one.processes(), 1);
}

#[tokio::test]
async fn a_node_whose_directory_was_removed_ends() {
    let playground = Playground::new();
    let order = order("w-1");
    playground.engine.create(&order).await.unwrap();
    let pid = playground.engine.sightings(&order.token).await.unwrap()[0].pid;
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    // It looks whether it is still wanted at moments of its own.
    signal(rustix::process::Signal::STOP);
    std::fs::remove_dir_all(playground.engine.root().join("demo")).unwrap();
    assert_eq!(playground.engine.list(&order.cluster).await.unwrap().len(), 1, "found without its directory");
    signal(rustix::process::Signal::CONT);
    let started = Instant::now();
    while playground.processes() > 0 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(POLL).await;
    }
}

const COORDINATOR_ROOT: &str = "SAGA_CLUSTER_TEST_COORDINATOR_ROOT";

/// Not a test: a coordinator that makes machines until it is killed, if its environment says so.
#[tokio::test]
async fn this_is_a_coordinator() {
    let Some(root) = std::env::var_os(COORDINATOR_ROOT) else { return };
    let engine = engine(Path::new(&root));
    for i in 1.. {
        engine.create(&order(&format!("w-{i}"))).await.unwrap();
    }
}

#[tokio::test]
async fn machines_of_a_killed_coordinator_are_found_and_destroyed() {
    let playground = Playground::new();
    let mut coordinator = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::process::tests::this_is_a_coordinator"])
        .env(COORDINATOR_ROOT, playground.engine.root())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while playground.processes() < 3 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(POLL).await;
    }
    // At an arbitrary moment of making a machine: some answer, the last one may not.
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let engine = playground.another_engine();
    let cluster = order("w-1").cluster;
    let machines = engine.list(&cluster).await.unwrap();
    assert!(machines.len() >= 3);
    assert_eq!(engine.create(&order("w-1")).await.unwrap().token, machines[0].token, "adopted");
    for machine in &machines {
        engine.destroy(&Doomed::with_its_cluster(machine)).await.unwrap();
    }
    // A process that the coordinator had begun to start may show up late, find no directory, and end.
    let started = Instant::now();
    while !engine.list(&cluster).await.unwrap().is_empty() {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(POLL).await;
    }
    assert_eq!(playground.processes(), 0);
}

#[tokio::test]
async fn a_check_finds_what_is_missing_and_makes_nothing() {
    let playground = Playground::new();
    let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=1";
    let spec = ClusterSpec::from_toml(text).unwrap();
    let fine = playground.engine.check(&spec).await.unwrap();
    assert!(fine.is_fine() && fine.findings.len() == 2, "{fine:?}");

    let gone = tempfile::tempdir().unwrap();
    let broken = ProcessEngine::new(gone.path(), "/nowhere/program").unwrap();
    gone.close().unwrap();
    let check = broken.check(&spec).await.unwrap();
    let problems: Vec<_> = check.findings.iter().filter(|one| one.severity == Severity::Problem).collect();
    assert_eq!(problems.len(), 2, "all at once: {check:?}");
    assert!(problems[0].text.contains("/nowhere/program") && problems[1].about == "directory", "{check:?}");
    assert_eq!(playground.engine.root().read_dir().unwrap().count(), 0);
}

#[test]
fn a_program_is_looked_up_as_the_system_does_it() {
    assert!(executable(Path::new("sh")).unwrap().ends_with("sh"));
    assert!(executable(Path::new("/bin/sh")).is_ok());
    for (wrong, why) in [("no-such-program-anywhere", "in the PATH"), ("/", "is no file"), ("/proc/version", "may not")]
    {
        assert!(executable(Path::new(wrong)).unwrap_err().contains(why), "{wrong}");
    }
}

impl conformance::Bench for Playground {
    type Engine = ProcessEngine;

    fn engine(&self) -> ProcessEngine {
        self.another_engine()
    }

    fn spec(&self) -> ClusterSpec {
        ClusterSpec::from_toml("name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=3").unwrap()
    }

    fn aftermath(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_of_engines() {
    conformance::all(async || Playground::new()).await;
}
