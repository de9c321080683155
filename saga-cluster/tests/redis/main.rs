//! Ten thousand keys in a Redis Cluster that is scaled up and down at once, while somebody writes and somebody reads, and
//! while the coordinator fails, halts and is killed (SIGKILL) at every stage, at slots in the middle of a move, and at
//! moments that nobody chose. In the end every acknowledged key is there, no slot is left in the middle, and no process.
//!
//! The coordinators are processes that die, so this target has a `main` of its own: without the task of a dying
//! coordinator it is an ordinary test program.

mod coordinator;
mod death;
#[path = "../deaths/dying.rs"]
mod dying;
mod users;

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use saga_cluster::engine::Engine;
use saga_cluster::model::Status;
use saga_cluster::service::Verdict;

use coordinator::{Asked, Task, ask, cluster, engine, open};
use death::Death;
use users::Users;

const KEYS: usize = 10_000;

fn main() {
    if let Some(task) = Task::of_this_process() {
        runtime().block_on(coordinator::work(task));
        return;
    }
    let test = Trial::test("every_acknowledged_key_is_there_whatever_is_killed", || {
        need_redis()?;
        runtime().block_on(accident()).map_err(Failed::from)
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn need_redis() -> Result<(), Failed> {
    match std::process::Command::new("redis-server").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err("\n*** MISSING: redis-server. Install it: apt-get install redis-server ***\n".into()),
    }
}

/// How the coordinators of one scale die, one after the other. Each takes up what the one before it left.
fn deaths() -> Vec<Death> {
    use dying::Moment::{After, Before};
    vec![
        // Before it is durable that anything was asked for, and right after.
        Death::Append(1, Before),
        Death::Append(1, After),
        Death::Enter("decommission"),
        Death::Slot("decommission", 1),
        Death::Timer(Duration::from_millis(400)),
        Death::Slot("decommission", 700),
        // The second attempt of its step fails too, when all is done.
        Death::Slot("decommission", 1300),
        Death::Timer(Duration::from_millis(700)),
        // The node is empty and forgotten, and nobody has written that down.
        Death::Leave("decommission"),
        Death::Enter("create"),
        Death::Leave("create"),
        Death::Enter("destroy"),
        Death::Leave("destroy"),
        Death::Enter("configure"),
        Death::Leave("configure"),
        Death::Enter("start"),
        Death::Slot("start", 64),
        Death::Timer(Duration::from_millis(600)),
        // Does not die, but gives up: the cluster is in error, no node is deleted, and somebody retries.
        Death::Halts("start"),
        Death::Slot("start", 1000),
        Death::Timer(Duration::from_millis(900)),
        Death::Leave("start"),
        Death::Never,
    ]
}

async fn accident() -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let _cleanup = Cleanup(data.path());
    let started = Instant::now();
    let service = open(data.path(), Death::Never).await?;
    let end = ask(&service, Asked::Create).await?.end().await.map_err(|error| error.to_string())?;
    expect(end.verdict == Verdict::Done, || format!("the cluster was not made: {end:?}"))?;
    let record = record(&service).await?;
    service.shutdown(Duration::from_secs(10)).await.map_err(|error| error.to_string())?;
    drop(service);

    let users = Users::start(&record.nodes, KEYS).await?;
    let mut killed = 0;
    for death in deaths() {
        let ended = Task { asked: Asked::Scale, death, data: data.path().to_owned() }.spawn().await?;
        println!("{:>6.1} s  {death:?}: {ended:?}", started.elapsed().as_secs_f64());
        users.check()?;
        expect(death.fits(ended), || format!("a coordinator that was to die by {death:?} ended {ended:?}"))?;
        killed += usize::from(ended == coordinator::Ended::Killed);
    }
    expect(killed > 15, || format!("only {killed} coordinators were killed"))?;
    let written = users.stop().await?;

    let service = open(data.path(), Death::Never).await?;
    let record = self::record(&service).await?;
    expect(record.status == Status::Active, || format!("{:?}: {}", record.status, record.status_description))?;
    let count = |group: &str| record.nodes.iter().filter(|node| node.group().as_str() == group).count();
    expect((count("east"), count("west")) == (1, 4), || format!("the nodes are {:?}", record.nodes))?;
    let machines = engine(data.path())?.list(&cluster()).await.map_err(|error| error.to_string())?;
    expect(machines.len() == 5, || format!("the machines are {machines:?}"))?;
    written.all_there(&record.nodes).await?;
    check_by_redis(&record.nodes[0].reach().map_err(|error| error.to_string())?.to_string())?;
    println!("{:>6.1} s  {} keys, all there", started.elapsed().as_secs_f64(), written.count());

    let end = ask(&service, Asked::Delete).await?.end().await.map_err(|error| error.to_string())?;
    expect(end.verdict == Verdict::Done, || format!("the deletion ended {end:?}"))?;
    let left = processes_in(data.path());
    expect(left.is_empty(), || format!("processes are left: {left:?}"))?;
    service.shutdown(Duration::from_secs(10)).await.map_err(|error| error.to_string())
}

async fn record(service: &saga_cluster::service::Service) -> Result<saga_cluster::model::Cluster, String> {
    let report = service.show(&cluster()).await.map_err(|error| error.to_string())?;
    report.record.ok_or_else(|| "the cluster has no record".to_owned())
}

/// What Redis's own tool says, if it is there.
fn check_by_redis(address: &str) -> Result<(), String> {
    let Ok(said) = std::process::Command::new("redis-cli").args(["--cluster", "check", address]).output() else {
        println!("*** SKIPPED: `redis-cli --cluster check`, as there is no redis-cli ***");
        return Ok(());
    };
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let fine = ["[OK] All nodes agree about slots configuration", "[OK] All 16384 slots covered"];
    let wrong = ["[WARNING]", "[ERR]", "slots are open"];
    let all_fine = fine.iter().all(|line| text.contains(line)) && !wrong.iter().any(|word| text.contains(word));
    expect(said.status.success() && all_fine, || text.clone())
}

/// The processes whose command line names that directory.
fn processes_in(data: &Path) -> Vec<i32> {
    let needle = data.to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    pids.filter(|pid| {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap_or_default();
        link.to_string_lossy().contains(&needle)
    })
    .collect()
}

fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Kills what a failed test leaves behind.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        for pid in processes_in(self.0) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
