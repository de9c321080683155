//! The processes of the command: those that run, and who of them is hit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::fleet::was_killed;

/// What a process of the command is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It works for others.
    Worker,
    /// It is a user's command.
    Client,
    /// It looks for this trial. Never chosen, but it may be found to hold the data.
    Observer,
}

/// Why a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killer {
    /// Chance.
    Chaos,
    /// The user who had started it.
    User,
}

/// How often processes were killed, told to end, and ended by themselves.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    pub(crate) workers: AtomicUsize,
    pub(crate) clients: AtomicUsize,
    pub(crate) observers: AtomicUsize,
    pub(crate) by_users: AtomicUsize,
    pub(crate) farewells: AtomicUsize,
}

impl Hits {
    /// All kills.
    pub(crate) fn kills(&self) -> usize {
        [&self.workers, &self.clients, &self.observers, &self.by_users]
            .map(|hits| hits.load(Ordering::Relaxed))
            .iter()
            .sum()
    }
}

/// How a process ended, and what it told.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether somebody had told it to end.
    pub(crate) told_to_end: bool,
}

impl Ended {
    pub(crate) fn was_killed(&self) -> bool {
        was_killed(self.status)
    }
}

/// All processes of the command that this trial has started.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    running: Mutex<BTreeMap<u64, Running>>,
    next: AtomicU64,
    pub(crate) hits: Hits,
}

#[derive(Debug)]
struct Running {
    role: Role,
    pid: u32,
    hits: mpsc::UnboundedSender<(Signal, Killer)>,
}

impl Processes {
    /// Runs a process to its end. What it tells goes into the log if there is one, and is answered otherwise. `begun` is
    /// told its number here.
    pub(crate) async fn run(
        &self,
        role: Role,
        mut command: Command,
        log: Option<File>,
        begun: impl FnOnce(u64),
    ) -> io::Result<Ended> {
        command.stdin(Stdio::null()).kill_on_drop(true);
        match log {
            Some(log) => command.stdout(log.try_clone()?).stderr(log),
            None => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async { tokio::join!(read(stdout), read(stderr)) };
        let (sender, mut hits) = mpsc::unbounded_channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let pid = child.id().unwrap_or_default();
        self.running().insert(number, Running { role, pid, hits: sender });
        begun(number);
        let living = async {
            let (mut killer, mut told_to_end) = (None, false);
            loop {
                tokio::select! {
                    status = child.wait() => return status.map(|status| (status, killer, told_to_end)),
                    Some((signal, by)) = hits.recv() => {
                        // Not waited for yet, so the number is still its own.
                        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                            let _ = kill_process(pid, signal);
                        }
                        killer = Some(by);
                        told_to_end |= signal == Signal::TERM;
                    }
                }
            }
        };
        let (ended, (stdout, stderr)) = tokio::join!(living, reading);
        self.running().remove(&number);
        let (status, killer, told_to_end) = ended?;
        let ended = Ended { status, stdout: stdout?, stderr: stderr?, told_to_end };
        if ended.was_killed() {
            let count = match (killer, role) {
                (Some(Killer::User), _) => &self.hits.by_users,
                (_, Role::Worker) => &self.hits.workers,
                (_, Role::Client) => &self.hits.clients,
                (_, Role::Observer) => &self.hits.observers,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ended)
    }

    /// Hits one of those that run, of the wanted role if there is one, else whoever is not an observer. Says whether there
    /// was anybody.
    pub(crate) fn hit(&self, wanted: Role, dice: &mut fastrand::Rng, signal: Signal) -> bool {
        let running = self.running();
        let of = |is: &dyn Fn(Role) -> bool| -> Vec<u64> {
            running.iter().filter(|(_, one)| is(one.role)).map(|(number, _)| *number).collect()
        };
        let mut choice = of(&|role| role == wanted);
        if choice.is_empty() {
            choice = of(&|role| role != Role::Observer);
        }
        let Some(number) = dice.choice(choice) else { return false };
        running.get(&number).is_some_and(|one| one.hits.send((signal, Killer::Chaos)).is_ok())
    }

    /// Hits the process that has locked that file, if it is one of these.
    pub(crate) fn hit_holder(&self, lock: &Path, signal: Signal) -> bool {
        let Some(holder) = holder(lock) else { return false };
        let running = self.running();
        let held = running.values().find(|one| one.pid == holder);
        held.is_some_and(|one| one.hits.send((signal, Killer::Chaos)).is_ok())
    }

    /// Kills the process of that number.
    pub(crate) fn kill(&self, number: u64, killer: Killer) {
        if let Some(one) = self.running().get(&number) {
            let _ = one.hits.send((Signal::KILL, killer));
        }
    }

    /// Tells all of a role to end.
    pub(crate) fn tell_to_end(&self, role: Role) {
        for one in self.running().values().filter(|one| one.role == role) {
            let _ = one.hits.send((Signal::TERM, Killer::Chaos));
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has locked a file, by the kernel's word.
fn holder(lock: &Path) -> Option<u32> {
    let inode = std::fs::metadata(lock).ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234 0 EOF`
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = *words else { return None };
        (file.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok())?
    })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
