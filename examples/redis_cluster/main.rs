//! A Redis Cluster that is made, grown, shrunk and deleted while it is used, and whose coordinator is killed in the middle.
//!
//! ```text
//! cargo run -p saga-examples --example redis_cluster
//! ```
//!
//! It needs `redis-server` (7.0 or later; `apt-get install redis-server`). Every node is a real server, on loopback, in a
//! temporary directory. The work is done by coordinators, each in a process of its own: this program tells what they do,
//! kills one of them (SIGKILL) while keys are on their way from one server to another, and lets the next one go on. All
//! the while one client writes and another reads. In the end every key that was acknowledged is there, and then nothing
//! is left at all.

mod coordinator;
mod users;

use std::process::{ExitCode, Stdio};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use coordinator::Verb;
use users::Users;

type Error = Box<dyn std::error::Error + Send + Sync>;

const KEYS: usize = 10_000;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [] => narrate().await,
        // What this program starts itself as.
        [coordinator, verb, data] if coordinator == "coordinator" => match Verb::parse(verb) {
            Some(verb) => coordinator::work(verb, data.as_ref()).await,
            None => Err(format!("`{verb}` is nothing that a coordinator does").into()),
        },
        _ => Err("it takes no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn narrate() -> Result<(), Error> {
    if std::process::Command::new("redis-server").arg("--version").output().is_err() {
        return Err("there is no redis-server. Install it: apt-get install redis-server".into());
    }
    let directory = tempfile::tempdir()?;
    let story = Story { started: Instant::now(), data: directory.path().to_owned() };
    let told = tell(&story).await;
    if told.is_err() {
        // Its servers would outlive this program.
        let _ = story.coordinate(Verb::Delete, None).await;
    }
    told
}

async fn tell(story: &Story) -> Result<(), Error> {
    let data = story.data.as_path();
    println!("1. A cluster of six servers is made: three masters, and a replica of each.");
    story.coordinate(Verb::Create, None).await?;
    story.look().await?;

    println!("\n2. {KEYS} keys are written. From now on one client writes, and another reads what was acknowledged.");
    let users = Users::start(&coordinator::nodes(data).await?, KEYS).await?;
    story.tell(format!("{} keys are acknowledged", users.keys()));

    println!("\n3. The cluster grows to eight servers, so one more master. Its coordinator is killed in the middle.");
    story.coordinate(Verb::Grow, Some(700)).await?;
    story.tell("kill -9. Slots are on their way, and nobody remembers which but the servers".to_owned());
    users.check()?;
    story.coordinate(Verb::Grow, None).await?;
    story.look().await?;

    println!("\n4. It shrinks to six, and another group grows: a server comes while three go. Killed again.");
    story.coordinate(Verb::Shrink, Some(300)).await?;
    story.tell("kill -9".to_owned());
    users.check()?;
    story.coordinate(Verb::Shrink, None).await?;
    story.look().await?;

    println!("\n5. The clients stop. Every key that was acknowledged is asked for once more.");
    let (there, reads) = users.stop(&coordinator::nodes(data).await?).await?;
    story.tell(format!("{there} keys, all there, with their values; {reads} reads meanwhile, none of them wrong"));

    println!("\n6. The cluster is deleted.");
    story.coordinate(Verb::Delete, None).await?;
    match coordinator::machines(data).await? {
        0 => story.tell("no server is left".to_owned()),
        left => return Err(format!("{left} servers are left").into()),
    }
    Ok(())
}

/// Tells what happens.
struct Story {
    started: Instant,
    data: std::path::PathBuf,
}

impl Story {
    fn tell(&self, text: String) {
        println!("   {:>5.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Lets a coordinator do something in a process of its own; or kills it when it has moved so many slots.
    async fn coordinate(&self, verb: Verb, kill_at: Option<u64>) -> Result<(), Error> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["coordinator", verb.word()])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("a coordinator cannot be heard")?).lines();
        let mut slots = 0;
        while let Some(line) = lines.next_line().await? {
            match line.strip_prefix("slot ") {
                None => self.tell(line),
                Some(moved) => {
                    slots += 1;
                    if kill_at.is_some_and(|limit| slots >= limit) {
                        child.kill().await?;
                        self.tell(format!("moving slots: {moved}"));
                        return Ok(());
                    }
                }
            }
        }
        let ended = child.wait().await?;
        match (ended.success(), kill_at) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err("the coordinator was done before it could be killed".into()),
            (false, _) => Err(format!("a coordinator failed: {ended}").into()),
        }
    }

    /// Tells how the cluster is.
    async fn look(&self) -> Result<(), Error> {
        self.tell(coordinator::look(&self.data).await?);
        Ok(())
    }
}
