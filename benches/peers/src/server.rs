//! A PostgreSQL server for one run, with the settings that `initdb` gives it.
//!
//! It listens on a socket in a directory of its own and nowhere else, and ends with the [`Server`]. PostgreSQL does not
//! run as root: then it is run as the user `postgres`, or `nobody`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use saga_benches::Failure;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const SUPERUSER: &str = "bench";

/// A running server.
pub struct Server {
    process: Child,
    programs: PathBuf,
    directory: TempDir,
    user: Option<User>,
    databases: AtomicU32,
}

/// Whom the server is run as.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Server {
    /// Starts a server with its data in `directory`, if PostgreSQL is installed; `None` if it is not.
    ///
    /// # Errors
    ///
    /// What is in the way of an installed one.
    pub async fn start(directory: &Path) -> Result<Option<Self>, Failure> {
        let Some(programs) = programs() else { return Ok(None) };
        let user = if rustix::process::geteuid().is_root() { Some(user()?) } else { None };
        let directory = tempfile::Builder::new().prefix("saga-peers-").tempdir_in(directory)?;
        if let Some(User { uid, gid }) = user {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid))?;
        }
        let data = directory.path().join("data");
        let mut initdb = command(&programs, "initdb", user);
        initdb.arg("--pgdata").arg(&data).args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8"]);
        run(initdb).await?;

        let mut process = command(&programs, "postgres", user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = process.stderr.take().ok_or("the server has no log")?;
        let mut log = BufReader::new(log).lines();
        let mut said = Vec::new();
        loop {
            let Some(line) = log.next_line().await? else {
                return Err(format!("PostgreSQL did not start:\n{}", said.join("\n")).into());
            };
            if line.contains("ready to accept connections") {
                break;
            }
            said.push(line);
        }
        // A server whose log nobody reads would come to a stop.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Ok(Some(Self { process, programs, directory, user, databases: AtomicU32::new(0) }))
    }

    /// Makes an empty database, and gives its URL.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn new_database(&self) -> Result<String, Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.ask(&format!("CREATE DATABASE {name}")).await?;
        Ok(format!("postgres://{SUPERUSER}@localhost/{name}?host={}", self.directory.path().display()))
    }

    /// What the server has set, of what its durability depends on.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn settings(&self) -> Result<String, Failure> {
        let answer = self
            .ask(
                "SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name) FROM pg_settings \
                 WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'server_version')",
            )
            .await?;
        Ok(answer.trim().to_owned())
    }

    async fn ask(&self, sql: &str) -> Result<String, Failure> {
        let mut psql = command(&self.programs, "psql", self.user);
        psql.arg("-h")
            .arg(self.directory.path())
            .args(["-U", SUPERUSER, "-d", "postgres", "-X", "-A", "-t", "-q", "-c", sql]);
        run(psql).await
    }

    /// Ends the server in good order.
    ///
    /// # Errors
    ///
    /// That it did not end.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.interrupt();
        tokio::time::timeout(Duration::from_secs(60), self.process.wait()).await??;
        Ok(())
    }

    /// Its word for a fast shutdown.
    fn interrupt(&self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

/// One of PostgreSQL's programs.
fn command(programs: &Path, program: &str, user: Option<User>) -> Command {
    let mut command = Command::new(programs.join(program));
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

async fn run(mut command: Command) -> Result<String, Failure> {
    let output = command.output().await?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    Err(format!("{program} failed, {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// The directory of PostgreSQL's programs: that in `PATH`, or the newest one where Debian has them.
fn programs() -> Option<PathBuf> {
    let has_all =
        |directory: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| directory.join(name).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(directory) = std::env::split_paths(&path).find(has_all) {
        return Some(directory);
    }
    let releases = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let release = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = releases.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| release(path).is_some());
    newest.filter(|path| has_all(&path.join("bin"))).max_by_key(release).map(|path| path.join("bin"))
}

fn user() -> Result<User, Failure> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
        Some(User { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or_else(|| "PostgreSQL does not run as root, and there is no user for it".into())
}
