//! A place to run the command in, whose processes end with it even if the test fails.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

pub(crate) const SPEC: &str = "name = 'store'\nplugin = 'blocks'\nengine = 'process'\n\n\
                               [[groups]]\nname = 'east'\ncount = 2\n\n[[groups]]\nname = 'west'\ncount = 1\n";

/// How long anything may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

/// Polls until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it took too long until {what}");
        std::thread::sleep(POLL);
    }
}

/// The address of an empty database, which goes with this process.
pub(crate) fn new_database() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(saga_postgres::testing::database())
}

/// A directory with a data directory in it.
pub(crate) struct Place {
    root: tempfile::TempDir,
    /// The database that all commands use, if it is not the data directory.
    store: Option<String>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    /// Its exit code; `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Checks the exit code, and shows all if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n---\n{}", self.stdout, self.stderr);
        self
    }

    /// Every line of the output, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The lines of one type.
    #[track_caller]
    pub(crate) fn of_type(&self, kind: &str) -> Vec<Value> {
        self.json().into_iter().filter(|line| line["type"] == kind).collect()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap(), store: None };
        std::fs::write(place.spec(), SPEC).unwrap();
        place
    }

    /// With clusters and journals in a database of its own.
    pub(crate) fn on_database() -> Self {
        let mut place = Self::new();
        place.store = Some(new_database());
        place
    }

    /// Changes the database behind the back of all.
    pub(crate) fn sql(&self, statement: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(saga_postgres::testing::execute(self.store.as_ref().unwrap(), statement));
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.path().join("store.toml")
    }

    /// A file with that text.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saga-cluster"));
        command.args(args).env("SAGA_CLUSTER_DATA", self.data()).env("USER", "tester").env_remove("RUST_LOG");
        match &self.store {
            Some(url) => command.env("SAGA_CLUSTER_STORE", url),
            None => command.env_remove("SAGA_CLUSTER_STORE"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.start(args).wait()
    }

    /// Runs `create` with the spec.
    pub(crate) fn create(&self) -> Done {
        self.run(&["create", self.spec().to_str().unwrap()])
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::new(&mut self.command(args))
    }

    /// Starts `create` with machines that do not begin to work before the gate is [opened](Self::open_gate).
    pub(crate) fn start_slow_create(&self) -> Running {
        let spec = self.spec();
        let running = self.start_slow(&["create", spec.to_str().unwrap()]);
        until("all machines have a process", || self.processes() >= 3);
        running
    }

    /// Starts a command whose machines do not begin to work before the gate is [opened](Self::open_gate).
    pub(crate) fn start_slow(&self, args: &[&str]) -> Running {
        let script = format!(
            "#!/bin/sh\nwhile [ ! -e '{gate}' ]; do [ -d '{root}' ] || exit 1; sleep 0.02; done\nexec '{program}' \"$@\"\n",
            gate = self.gate().display(),
            root = self.path().display(),
            program = env!("CARGO_BIN_EXE_saga-cluster"),
        );
        let program = self.path().join("slow-node");
        // Not written by this process: nobody may run a program that somebody else has open to write, and what other tests start at
        // this moment has all that is open here.
        let write = ["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""];
        let written = Command::new("/bin/sh").args(write).arg(&program).arg(script).status().unwrap();
        assert!(written.success(), "{written}");
        Running::new(self.command(args).env("SAGA_CLUSTER_NODE_PROGRAM", program))
    }

    fn gate(&self) -> PathBuf {
        self.path().join("gate")
    }

    pub(crate) fn open_gate(&self) {
        std::fs::write(self.gate(), "").unwrap();
    }

    /// How many processes have a machine's directory on their command line.
    pub(crate) fn processes(&self) -> usize {
        processes_in(&self.data().join("machines"))
    }

    /// What `list` says of the one cluster: its status, and nothing is waited for.
    pub(crate) fn status(&self) -> Option<String> {
        let done = self.run(&["list", "--json", "--no-wait"]).expect(0);
        Some(done.of_type("cluster").first()?["status"].as_str()?.to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let path = self.path();
        // A node whose directory is gone ends by itself. The removal is repeated while somebody writes into it.
        let started = Instant::now();
        while std::fs::remove_dir_all(&path).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
            || processes_in(&path) > 0
        {
            assert!(started.elapsed() < PATIENCE, "a process outlived its directory");
            std::thread::sleep(POLL);
        }
    }
}

/// How many processes name something in that directory on their command line.
///
/// A shell that waits forks to do so, and until the fork has become another program it has the shell's command line: a
/// child with the command line of its parent is not counted.
pub(crate) fn processes_in(root: &Path) -> usize {
    let line_of = |process: &Path| std::fs::read(process.join("cmdline")).ok();
    let is_counted = |process: &Path| {
        let line = line_of(process)?;
        let mut arguments = line.split(|byte| *byte == 0);
        let is_here = arguments.any(|one| Path::new(OsStr::from_bytes(one)).starts_with(root));
        // Without a parent it has ended by now.
        let parent = parent(process)?;
        let is_fork = line_of(&Path::new("/proc").join(parent.to_string())).is_some_and(|its| its == line);
        Some(is_here && !is_fork)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| is_counted(&process.path()) == Some(true)).count()
}

/// The parent of a process: the second field behind its name, which stands in brackets and may hold anything.
fn parent(process: &Path) -> Option<u32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A command that runs, and is killed if the test forgets it.
pub(crate) struct Running {
    child: Child,
    reading: Option<(JoinHandle<()>, JoinHandle<()>)>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    fn new(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let reading = (read(child.stdout.take().unwrap(), &stdout), read(child.stderr.take().unwrap(), &stderr));
        Self { child, reading: Some(reading), stdout, stderr }
    }

    /// Waits until it has told something.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) {
        until(&format!("it says: {what}"), || self.stderr.lock().unwrap().contains(what));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, within bounds.
    pub(crate) fn wait(mut self) -> Done {
        until("the command ends", || !self.is_running());
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = self.reading.take().unwrap();
        stdout.join().unwrap();
        stderr.join().unwrap();
        assert!(status.signal().is_none_or(|signal| signal == 9), "{status}");
        let text = |told: &Mutex<String>| std::mem::take(&mut *told.lock().unwrap());
        Done { code: status.code(), stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = String::new();
        while from.read_line(&mut line).unwrap() > 0 {
            into.lock().unwrap().push_str(&line);
            line.clear();
        }
    })
}
