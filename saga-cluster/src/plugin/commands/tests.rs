//! Real programs: shell scripts, and this very test executable, told to run the one test that is a program.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::failure::FailureKind;
use crate::model::{NewNode, ScaleRequest, plan_scale};
use crate::plugin::Quiet;
use crate::plugin::conformance::{self, Bench, CancelledAfter};

const ITEMS: usize = 20;

/// Not a test: a program that looks after nodes which are directories, if its command line says so. Its answer goes to the
/// third descriptor, for the standard output has what the test harness says.
#[test]
fn this_is_a_program() {
    let line: Vec<String> = std::env::args().collect();
    let Some(start) = line.iter().position(|arg| arg == "--world") else { return };
    let world = Path::new(&line[start + 1]);
    let asked: Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let nodes = asked["nodes"].as_array().unwrap();
    let is_about = |node: &&Value| asked["about"].as_array().unwrap().contains(&node["name"]);
    let home = |node: &Value| world.join(node["token"].as_str().unwrap());
    let about: Vec<&Value> = nodes.iter().filter(is_about).collect();
    let answer = match asked["call"].as_str().unwrap() {
        "validate" => json!(null),
        "configure" | "start" => {
            about.iter().for_each(|node| fs::write(home(node).join(asked["call"].as_str().unwrap()), "").unwrap());
            json!(null)
        }
        "decommission" => {
            let to = home(nodes.iter().find(|node| !is_about(node)).unwrap());
            for item in about.iter().flat_map(|node| items(&home(node))) {
                fs::rename(&item, to.join(item.file_name().unwrap())).unwrap();
            }
            json!({ "drained": about.iter().map(|node| &node["token"]).collect::<Vec<_>>() })
        }
        "health" => {
            let look = |node: &Value| match home(node).join("start").exists() {
                true => json!("serving"),
                false => json!({ "unreachable": "it is not there" }),
            };
            let looks = nodes.iter().map(|node| (node["name"].as_str().unwrap().to_owned(), look(node)));
            json!({ "nodes": looks.collect::<serde_json::Map<_, _>>() })
        }
        other => panic!("what is {other}?"),
    };
    fs::write("/proc/self/fd/3", answer.to_string()).unwrap();
}

fn items(home: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("item-")).collect()
}

/// A directory with programs, and one with nodes.
struct Place {
    root: tempfile::TempDir,
    plugin: CommandsPlugin,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("commands")).unwrap();
        let place = Self { plugin: CommandsPlugin::new(root.path().join("commands")), root };
        let this = std::env::current_exe().unwrap();
        place.script(
            "tool",
            &format!(
                "exec 3>&1 >/dev/null\nexec '{}' --exact --nocapture plugin::commands::tests::this_is_a_program -- --world '{}'",
                this.display(),
                root_of(&place).display()
            ),
        );
        place
    }

    /// Not written by this process: nobody may run a program that somebody else has open to write, and what other tests start at
    /// this moment has all that is open here.
    fn script(&self, name: &str, text: &str) {
        let file = self.root.path().join("commands").join(name);
        let write = ["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""];
        let text = format!("#!/bin/sh\n{text}\n");
        let written = std::process::Command::new("/bin/sh").args(write).arg(file).arg(text).status().unwrap();
        assert!(written.success(), "{written}");
    }

    /// A cluster of `w-1` and `w-2` with these commands.
    fn cluster(&self, commands: &str) -> Cluster {
        let mut cluster = Cluster::new(spec(commands));
        let node = |new: NewNode| Node { token: NodeToken::derive(&new.name, "key"), name: new.name, address: None };
        let nodes: Vec<Node> = cluster.missing_nodes().into_iter().map(node).collect();
        cluster.admit(nodes);
        cluster
    }

    async fn configure(&self, commands: &str, context: &dyn OpContext) -> Result<(), PluginError> {
        let cluster = self.cluster(commands);
        self.plugin.configure(&ClusterView::of(&cluster), &cluster.nodes, context).await
    }

    /// Empties `w-2` by a script.
    async fn decommission(&self, script: &str) -> Result<Vec<Decommissioned>, PluginError> {
        self.script("drain", script);
        let cluster = self.cluster("decommission='drain'");
        let last = cluster.nodes[1].clone();
        let view = ClusterView::of(&cluster).without([&last.name]);
        self.plugin.decommission(&view, vec![Leaving::new(cluster.name().clone(), last)], &Quiet).await
    }
}

fn root_of(place: &Place) -> &Path {
    place.root.path()
}

fn spec(commands: &str) -> ClusterSpec {
    let text = format!(
        "name='demo'\nplugin='commands'\nengine='fake'\n[settings.commands]\n{commands}\n[[groups]]\nname='w'\ncount=2"
    );
    ClusterSpec::from_toml(&text).unwrap()
}

const TOOL: &str = "configure='tool'\nstart='tool'\ndecommission='tool'\nhealth='tool'\nvalidate='tool'";

#[async_trait]
impl Bench for Place {
    fn plugin(&self) -> &dyn Plugin {
        &self.plugin
    }

    fn spec(&self) -> ClusterSpec {
        spec(TOOL)
    }

    async fn make(&self, node: NewNode) -> Node {
        let token = NodeToken::derive(&node.name, "bench");
        fs::create_dir(root_of(self).join(token.as_str())).unwrap();
        Node { name: node.name, token, address: None }
    }

    async fn kill(&self, node: &Node) {
        fs::remove_dir_all(root_of(self).join(node.token.as_str())).unwrap();
    }

    async fn write(&self, nodes: &[Node]) {
        for item in 0..ITEMS {
            let file = format!("item-{item}");
            if nodes.iter().all(|node| !root_of(self).join(node.token.as_str()).join(&file).exists()) {
                let home = root_of(self).join(nodes[item % nodes.len()].token.as_str());
                fs::write(home.join(file), item.to_string()).unwrap();
            }
        }
    }

    async fn missing(&self, nodes: &[Node]) -> usize {
        let read = |node: &Node, item: usize| {
            fs::read_to_string(root_of(self).join(node.token.as_str()).join(format!("item-{item}"))).ok()
        };
        let is_there = |item: usize| nodes.iter().any(|node| read(node, item) == Some(item.to_string()));
        (0..ITEMS).filter(|item| !is_there(*item)).count()
    }
}

#[tokio::test]
async fn programs_keep_the_contract_of_plugins() {
    conformance::all(async || Place::new()).await;
}

#[tokio::test]
async fn an_exit_code_says_what_came_of_it() {
    let place = Place::new();
    for (script, kind, told) in [
        ("exit 75", FailureKind::Failed, "ended with 75"),
        ("exit 1", FailureKind::Failed, "ended with 1"),
        ("exit 65", FailureKind::Rejected, "ended with 65"),
        ("echo one >&2; echo why it is so >&2; exit 70", FailureKind::Fatal, "why it is so"),
        ("kill -9 $$", FailureKind::Failed, "killed by signal 9"),
    ] {
        place.script("setup", script);
        let failed = place.configure("configure='setup'\ndecommission='drain'", &Quiet).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{failed}");
        assert!(failed.message().contains(told), "{failed}");
    }
    place.script("setup", "exit 0");
    place.configure("configure='setup'\ndecommission='drain'", &Quiet).await.unwrap();
    place.configure("decommission='drain'", &Quiet).await.expect("there is nothing to do");
}

/// The text that a program is given: part of what users build upon.
#[tokio::test]
async fn a_program_is_told_of_the_cluster_and_its_nodes() {
    let place = Place::new();
    let file = root_of(&place).join("told");
    place.script("setup", &format!("[ \"$1\" = now ] && cat > '{}'", file.display()));
    place.configure("configure=['setup', 'now']\ndecommission='nothing-to-drain'", &Quiet).await.unwrap();
    let told: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let token = NodeToken::derive(&"w-1".parse().unwrap(), "key").to_string();
    assert_eq!(told["nodes"][0], json!({ "name": "w-1", "token": token, "group": "w" }));
    assert_eq!((&told["call"], &told["about"]), (&json!("configure"), &json!(["w-1", "w-2"])));
    assert_eq!(told["cluster"]["groups"], json!([{ "name": "w", "count": 2 }]));
    assert_eq!(told["cluster"]["name"], "demo");
}

#[tokio::test]
async fn only_an_answer_that_names_each_leaving_node_and_no_other_is_a_proof() {
    let place = Place::new();
    let [one, two] = ["w-1", "w-2"].map(|name| NodeToken::derive(&name.parse().unwrap(), "key"));
    let answer = |tokens: &str, exit: &str| format!("echo '{{\"drained\":[{tokens}]}}'; {exit}");
    let right = format!("\"{two}\"");
    assert_eq!(place.decommission(&answer(&right, "exit 0")).await.unwrap().len(), 1);
    for wrong in [
        answer("", "exit 0"),
        answer(&format!("\"{one}\""), "exit 0"),
        answer(&format!("\"{one}\", {right}"), "exit 0"),
        answer("\"w-2\"", "exit 0"),
        answer(&right, "exit 75"),
        answer(&right, "kill -9 $$"),
        answer(&right, "echo and more"),
        "exit 0".to_owned(),
    ] {
        place.decommission(&wrong).await.map(|_| ()).expect_err(&wrong);
    }
}

#[tokio::test]
async fn nothing_is_taken_for_drained_unless_the_spec_says_so() {
    let place = Place::new();
    let refused = place.plugin.validate(&spec("configure='tool'")).unwrap_err();
    assert!(refused.kind() == FailureKind::Rejected && refused.message().contains("nothing-to-drain"), "{refused}");
    let cluster = place.cluster("decommission='nothing-to-drain'");
    place.plugin.validate(&cluster.spec).unwrap();
    let leaving = vec![Leaving::new(cluster.name().clone(), cluster.nodes[1].clone())];
    let proofs = place.plugin.decommission(&ClusterView::of(&cluster), leaving, &Quiet).await.unwrap();
    assert_eq!(proofs.len(), 1);
    assert_eq!(place.plugin.health(&ClusterView::of(&cluster)).await.unwrap(), Health::default(), "nobody knows");
}

#[tokio::test]
async fn what_is_stopped_ends_with_all_that_it_started() {
    let place = Place::new();
    let file = root_of(&place).join("pid");
    // One that does not hear that it is to end, and neither does its child.
    let deaf =
        format!("trap '' TERM\nsleep 1000 &\necho $! > '{0}.new'; mv '{0}.new' '{0}'\nwait; wait", file.display());
    place.script("setup", &deaf);
    // Until it has had the time to begin.
    let mut seconds = 1;
    while !file.exists() {
        let commands = format!("configure='setup'\ndecommission='drain'\nseconds={{configure={seconds}}}");
        let failed = place.configure(&commands, &Quiet).await.unwrap_err();
        let told = format!("not done within {seconds}s");
        assert!(failed.kind() == FailureKind::Failed && failed.message().contains(&told), "{failed}");
        seconds *= 2;
    }
    assert!(!lives(&file), "its child lives on");

    fs::remove_file(&file).unwrap();
    let stop = Stop::default();
    let cluster = place.cluster("configure='setup'\ndecommission='drain'");
    let (view, nodes) = (ClusterView::of(&cluster), &cluster.nodes);
    let stopping = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.0.cancel();
    };
    let (stopped, ()) = tokio::join!(place.plugin.configure(&view, nodes, &stop), stopping);
    assert!(stopped.unwrap_err().message().contains("cancelled"));
    assert!(!lives(&file), "its child lives on");
    assert!(place.configure("decommission='drain'", &CancelledAfter::reports(0)).await.is_err());
}

/// Whether the process lives whose number is in that file.
fn lives(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie has ended; its new parent has not asked for it yet.
    !status.is_empty() && !status.contains(") Z ")
}

#[derive(Default)]
struct Stop(CancellationToken);

#[async_trait]
impl OpContext for Stop {
    fn report(&self, _: &NodeName, _: u64, _: u64) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

#[tokio::test]
async fn a_program_may_refuse_a_cluster_or_a_scale() {
    let place = Place::new();
    place.script("judge", "grep -q '\"coming\":\\[\"w-3\"\\]' || exit 0; echo three are too many >&2; exit 1");
    let cluster = place.cluster("validate='judge'\ndecommission='nothing-to-drain'");
    place.plugin.validate(&cluster.spec).unwrap();
    let plan = plan_scale(&cluster, &ScaleRequest::default().group("w".parse().unwrap(), 3)).unwrap();
    let refused = place.plugin.validate_scale(&cluster, &plan).unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Rejected, "nothing was touched, whatever the code");
    assert!(refused.message().contains("three are too many"), "{refused}");
}

#[test]
fn every_mistake_is_told_and_no_spec_says_what_runs_outside_of_the_directory() {
    let place = Place::new();
    let wrong = spec("configure='/bin/sh'\nstart=['../tool']\nhealth=[]\nseconds={start=0}");
    let refused = place.plugin.validate(&wrong).unwrap_err();
    for part in ["commands.configure", "commands.start", "commands.health", "commands.decommission", "seconds.start"] {
        assert!(refused.message().contains(part), "{part}: {refused}");
    }
    let unknown = place.plugin.validate(&spec("decomission='tool'")).unwrap_err();
    assert!(unknown.message().contains("decomission"), "{unknown}");
    let missing = place.plugin.validate(&spec("decommission='nothing-to-drain'\nstart='no-such'\nhealth='none'"));
    let missing = missing.unwrap_err();
    assert!(missing.message().contains("no-such") && missing.message().contains("none"), "{missing}");
    let mut misplaced = spec("decommission='nothing-to-drain'");
    misplaced.groups[0].settings.insert(COMMANDS.to_owned(), json!({}));
    assert!(place.plugin.validate(&misplaced).unwrap_err().message().contains("whole cluster"));
}
