//! A PostgreSQL server in a temporary folder.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::find::{self, User};

/// What outlives the process that started a server: when the pipe from it ends, however that came, the server is stopped
/// at once and its folder removed. `$1` is the folder, `$2` the program `pg_ctl`, `$3` says whether we own the folder.
const SUPERVISOR: &str = r#"
read -r _
"$2" -D "$1/data" -m immediate -w -t 10 stop >/dev/null 2>&1
[ "$3" = keep ] || rm -rf "$1"
"#;

const SETTINGS: &str = "\
listen_addresses = ''
max_connections = 500
max_wal_size = '1GB'
shared_buffers = '128MB'
wal_level = replica
max_wal_senders = 4
hot_standby = on
max_prepared_transactions = 0
log_min_messages = warning
";

const FAST: &str = "fsync = off\nfull_page_writes = off\nsynchronous_commit = on\n";

/// How to start a [`Server`].
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    fast: bool,
    settings: String,
    folder: Option<PathBuf>,
}

impl ServerOptions {
    /// Whether to do without durability: nothing is synced. `false` by default.
    #[must_use]
    pub fn fast(mut self, fast: bool) -> Self {
        self.fast = fast;
        self
    }

    /// One more line of `postgresql.conf`, such as `max_connections = 10`.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Puts the server into this folder, which must be there and empty (a small file system, say), instead of a new one.
    /// What is in it is left behind.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Makes the server's files, and starts it. This takes a second or two.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not there, with what to install; or if it does not start, with what it says.
    #[must_use]
    pub fn start(self) -> Server {
        let place = Place::new(self.folder.as_deref());
        let data = place.data();
        place.run("initdb", |initdb| {
            initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
            initdb.arg(&data);
        });
        let sockets = format!("unix_socket_directories = '{}'\n", place.folder.display());
        let fast = if self.fast { FAST } else { "" };
        place.write("data/postgresql.auto.conf", &[SETTINGS, &sockets, fast, &self.settings].concat());
        Server::run(place)
    }
}

/// A PostgreSQL server of one's own, in a temporary folder, reached by a unix socket there.
///
/// It is stopped and its folder removed when this is dropped, and also when the process ends in whatever way.
#[derive(Debug)]
pub struct Server {
    place: Place,
}

impl Server {
    /// A new server. This takes a second or two.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not there, with what to install; or if it does not start, with what it says.
    #[must_use]
    pub fn start() -> Self {
        Self::options().start()
    }

    /// How to start a server that differs from the default.
    #[must_use]
    pub fn options() -> ServerOptions {
        ServerOptions::default()
    }

    fn run(place: Place) -> Self {
        let server = Self { place };
        server.resume();
        server
    }

    /// The folder of the server's socket, for addresses that name several hosts.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.place.folder
    }

    /// The address of the server's database `postgres`, for its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        Self::url_of(&[self])
    }

    /// One address for several servers, which are tried in this order.
    #[must_use]
    pub fn url_of(servers: &[&Self]) -> String {
        let hosts: Vec<_> =
            servers.iter().map(|server| server.host().display().to_string().replace('/', "%2F")).collect();
        format!("postgresql://postgres@{}/postgres", hosts.join(","))
    }

    /// Starts the server again, after a [`stop`](Self::stop) or a [`kill`](Self::kill).
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn resume(&self) {
        let log = self.place.folder.join("log");
        self.place.run("pg_ctl", |pg_ctl| {
            pg_ctl.args(["-w", "-t", "60", "-D"]).arg(self.place.data()).arg("-l").arg(log).arg("start");
        });
    }

    /// Stops the server, as an operator would who does not wait for its clients.
    ///
    /// # Panics
    ///
    /// If it does not stop.
    pub fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// Stops the server as if the power had gone, and starts it again.
    ///
    /// # Panics
    ///
    /// If it does not come back.
    pub fn restart(&self) {
        self.control(&["-m", "immediate", "restart"]);
    }

    /// Kills the server's first process, as the kernel would; the others notice, and end. It is dead when this returns,
    /// and can be [started again](Self::resume).
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub fn kill(&self) {
        let file = std::fs::read_to_string(self.place.data().join("postmaster.pid")).expect("the server runs");
        let pid = file.lines().next().expect("a process").to_owned();
        let killed = Command::new("kill").args(["-KILL", &pid]).status().expect("kill can be started");
        assert!(killed.success(), "process {pid} cannot be killed");
        // Its children hold its shared memory until they notice, and as long as they do it cannot be started again.
        while std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| self.is_of_server(&entry.path())) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // They name a process that may still be in the kernel's table, if nobody has asked how it ended.
        for file in ["data/postmaster.pid", ".s.PGSQL.5432.lock"] {
            std::fs::remove_file(self.place.folder.join(file)).expect("the server ran");
        }
    }

    /// Whether a process works in the server's folder.
    fn is_of_server(&self, process: &Path) -> bool {
        std::fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == self.place.data())
    }

    /// Starts a server that follows this one, and takes no writes.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let place = Place::new(None);
        let data = place.data();
        place.run("pg_basebackup", |backup| {
            backup.args(["--username=postgres", "--checkpoint=fast", "--no-sync", "-R", "-X", "stream", "-D"]);
            backup.arg(&data).arg("-h").arg(self.host());
        });
        let file = data.join("postgresql.auto.conf");
        let mut settings = std::fs::OpenOptions::new().append(true).open(file).expect("the copy has settings");
        writeln!(settings, "unix_socket_directories = '{}'", place.folder.display()).expect("the file can be written");
        Self::run(place)
    }

    /// Makes a primary of a [standby](Self::standby). It takes writes when this returns.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn promote(&self) {
        self.control(&["promote"]);
    }

    /// What the server has written to its log, for messages of tests that fail.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.folder.join("log")).unwrap_or_default()
    }

    fn control(&self, arguments: &[&str]) {
        self.place.run("pg_ctl", |pg_ctl| {
            pg_ctl.args(["-w", "-t", "60", "-D"]).arg(self.place.data()).arg("-l").arg(self.place.folder.join("log"));
            pg_ctl.args(arguments);
        });
    }
}

/// Where the folders of servers are made: where all temporary files are, if that will do.
fn temporary(user: Option<User>) -> PathBuf {
    let usual = std::env::temp_dir();
    // The path of a socket, which is behind it and the folder's name, can have little more than a hundred bytes.
    let is_short = usual.as_os_str().len() <= 56;
    let may_be_entered = |folder: &Path| std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0);
    let is_open = user.is_none() || usual.ancestors().all(may_be_entered);
    if is_short && is_open { usual } else { PathBuf::from("/tmp") }
}

fn run_as(user: Option<User>, command: &mut Command) {
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
}

/// Where a server's files are, and as whom it runs.
#[derive(Debug)]
struct Place {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<User>,
    /// `None` once it is being dropped: the end of this pipe is what the supervisor waits for.
    lifeline: Option<ChildStdin>,
    supervisor: Child,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // It has been told; whether it could clean up is nothing that a test could do anything about.
        let _ = self.supervisor.wait();
    }
}

impl Place {
    fn new(folder: Option<&Path>) -> Self {
        let (programs, user) = (find::programs(), find::another_user());
        let is_ours = folder.is_none();
        let name = || format!("saga-pg-{}", &uuid::Uuid::now_v7().simple().to_string()[8..]);
        let folder = folder.map_or_else(|| temporary(user).join(name()), Path::to_owned);
        if is_ours {
            std::fs::create_dir(&folder).expect("a temporary folder can be made");
        }
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("the folder is ours");
        if let Some(User { uid, gid }) = user {
            chown(&folder, Some(uid), Some(gid)).expect("the folder can be given away");
        }
        let mut supervisor = Command::new("/bin/sh");
        let keep = if is_ours { "remove" } else { "keep" };
        supervisor.args(["-c", SUPERVISOR, "supervisor"]).arg(&folder).arg(programs.join("pg_ctl")).arg(keep);
        // In a group of its own: what interrupts the tests, or kills their whole group, must leave it to clean up.
        supervisor.process_group(0).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        run_as(user, &mut supervisor);
        let mut supervisor = supervisor.spawn().expect("sh can be started");
        let lifeline = supervisor.stdin.take();
        Self { programs, folder, user, lifeline, supervisor }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.folder.join(file);
        std::fs::write(&file, text).expect("the file can be written");
        if let Some(User { uid, gid }) = self.user {
            chown(&file, Some(uid), Some(gid)).expect("the file can be given away");
        }
    }

    /// Runs one of PostgreSQL's programs to its end, in a folder that it may enter.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) {
        let mut command = Command::new(self.programs.join(program));
        arguments(&mut command);
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
        run_as(self.user, &mut command);
        // Not a pipe: a server that is started here would hold it open.
        let said = self.folder.join("said");
        let file = std::fs::File::create(&said).expect("the file can be made");
        command.stdout(file.try_clone().expect("a second handle on the file")).stderr(file);
        let status = command.status().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        assert!(
            status.success(),
            "{program} failed: {}\n{}",
            std::fs::read_to_string(&said).unwrap_or_default(),
            std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        );
    }
}
