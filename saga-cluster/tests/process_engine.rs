//! The process engine with the real command as its nodes' program, seen from outside of the crate.

use std::path::Path;
use std::time::{Duration, Instant};

use saga_cluster::engine::{Engine, NodeOrder, ProcessEngine};
use saga_cluster::model::{ClusterSpec, NewNode, Node};
use saga_cluster::plugin::blocks::BlockKey;
use saga_cluster::plugin::{BlocksClient, BlocksPlugin, ClusterView, Plugin, Quiet};

/// A root whose processes end with it even if the test fails: a node whose directory is removed ends by itself, and
/// what does not end in time is a failure.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn engine(&self) -> ProcessEngine {
        ProcessEngine::new(self.0.path(), env!("CARGO_BIN_EXE_saga-cluster")).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let path = self.0.path().canonicalize().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let started = Instant::now();
        while processes_in(&path) > 0 {
            assert!(started.elapsed() < Duration::from_secs(300), "a process outlived its directory");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How many processes name the directory on their command line.
fn processes_in(root: &Path) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path().join("cmdline")));
    pids.filter_map(|path| std::fs::read_to_string(path).ok())
        .filter(|line| line.split('\0').any(|arg| Path::new(arg).starts_with(root)))
        .count()
}

fn order(name: &str) -> NodeOrder {
    let node = NewNode { name: name.parse().unwrap(), settings: Default::default() };
    NodeOrder::new("demo".parse().unwrap(), node, "run/create")
}

async fn create(engine: &ProcessEngine, names: &[&str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(engine.create(&order(name)).await.unwrap());
    }
    nodes
}

#[tokio::test]
async fn a_block_store_is_made_of_processes() {
    let root = Root::new();
    let nodes = create(&root.engine(), &["w-1", "w-2", "w-3"]).await;
    assert_eq!(processes_in(root.engine().root()), 3);
    let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=3";
    let view = ClusterView::new(ClusterSpec::from_toml(text).unwrap(), nodes.clone());
    let plugin = BlocksPlugin::new();
    plugin.configure(&view, &nodes, &Quiet).await.unwrap();
    assert!(!plugin.health(&view).await.unwrap().is_good());
    plugin.start(&view, &nodes, &Quiet).await.unwrap();
    assert!(plugin.health(&view).await.unwrap().is_good());

    let client = BlocksClient::new(nodes);
    let key = BlockKey::new("greeting").unwrap();
    let at = client.put(&key, b"hello").await.unwrap();
    assert_eq!(client.get(&key).await.unwrap().unwrap(), b"hello");
    assert_eq!(client.list().await.unwrap().into_iter().collect::<Vec<_>>(), [(key, at)]);
    assert_eq!(client.get(&BlockKey::new("missing").unwrap()).await.unwrap(), None);
}

/// The engine's runtime ends, with all of its tasks, as it does when a coordinator stops. Its machines do not.
#[test]
fn machines_outlive_the_coordinator_and_are_adopted_by_the_next() {
    let root = Root::new();
    let live = |names: &[&str]| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(create(&root.engine(), names))
    };
    let first = live(&["w-1", "w-2"]);
    assert_eq!(live(&["w-1", "w-2"]), first);
    assert_eq!(processes_in(root.engine().root()), 2);
}

#[test]
fn the_subcommand_of_nodes_is_hidden() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_saga-cluster")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut commands = help.lines().filter_map(|line| line.split_whitespace().next());
    assert!(help.contains("clusters of machines") && commands.all(|command| command != "node"), "{help}");
}
