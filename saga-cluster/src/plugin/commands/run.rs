//! Running one program to its end, bounded in time, with everything that it started.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use tokio_util::sync::CancellationToken;
use tracing::info;

const POLL: Duration = Duration::from_millis(10);
/// How long a program that was told to end has until it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last of its output may take to be read once nobody is left to write any.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The longest answer.
const MOST_ANSWER: u64 = 4 * 1024 * 1024;
/// How much of the end of its standard error an error tells.
const TAIL: usize = 2000;

/// A program, with its arguments and its time.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// How people call it.
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) within: Duration,
    /// Variables of this process's environment that it does not get.
    pub(super) hidden: Vec<OsString>,
}

/// What became of a program that ended by itself.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// All that it wrote to its standard output.
    pub(super) answer: Vec<u8>,
    /// The end of what it wrote to its standard error.
    pub(super) complaint: String,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEnded {
    #[error("it cannot be run: {0}")]
    NotRun(std::io::Error),
    #[error("it was told to stop")]
    Stopped,
    #[error("it was not done within {0:?}")]
    TimedOut(Duration),
    #[error("it cannot be watched: {0}")]
    Unwatched(std::io::Error),
    #[error("it left something running that holds its output, or wrote more than {MOST_ANSWER} bytes")]
    Unread,
}

impl Program {
    /// Runs it, and blocks this thread until it has ended, and all of its process group with it.
    pub(super) fn run(&self, input: Vec<u8>, stop: &CancellationToken) -> Result<Ended, NotEnded> {
        let mut command = Command::new(&self.file);
        command.args(&self.args).process_group(0);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command)?;
        let (answer, complaint) = self.talk(&mut group.child, input)?;
        group.wait(Instant::now() + self.within, stop, self.within)?;
        // The leader has ended. What it left behind in its group ends before anything is concluded.
        let status = group.end()?;
        let answer = answer.recv_timeout(LAST_WORDS).map_err(|_| NotEnded::Unread)?;
        if answer.len() as u64 > MOST_ANSWER {
            return Err(NotEnded::Unread);
        }
        let complaint = complaint.recv_timeout(LAST_WORDS).unwrap_or_default();
        Ok(Ended { status, answer, complaint })
    }

    /// Threads that write to it and read from it, so that neither side waits for the other.
    fn talk(&self, child: &mut Child, input: Vec<u8>) -> Result<(Receiver<Vec<u8>>, Receiver<String>), NotEnded> {
        let closed = || NotEnded::Unwatched(ErrorKind::BrokenPipe.into());
        let mut stdin = child.stdin.take().ok_or_else(closed)?;
        let stdout = child.stdout.take().ok_or_else(closed)?;
        let stderr = child.stderr.take().ok_or_else(closed)?;
        // One that does not want to know is told all the same.
        std::thread::spawn(move || stdin.write_all(&input));
        let (answered, answer) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MOST_ANSWER + 1).read_to_end(&mut bytes);
            // An answer that was cut off is none.
            read.ok().and_then(|_| answered.send(bytes).ok())
        });
        let (complained, complaint) = mpsc::channel();
        let name = self.name.clone();
        std::thread::spawn(move || {
            let mut tail = String::new();
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                info!(program = %name, "{}", text.trim_end());
                tail.push_str(&text);
                let surplus = tail.len().saturating_sub(TAIL);
                let start = (surplus..).find(|at| tail.is_char_boundary(*at)).unwrap_or(0);
                tail.drain(..start);
                line.clear();
            }
            complained.send(tail.trim().to_owned())
        });
        Ok((answer, complaint))
    }
}

/// A process and all that it started. None of it outlives this.
struct Group {
    child: Child,
    leader: Pid,
    reaped: bool,
}

impl Group {
    fn spawn(command: &mut Command) -> Result<Self, NotEnded> {
        let mut attempts = 0;
        let child = loop {
            match command.spawn() {
                // Somebody has just written it, and a fork still has it open.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && attempts < 100 => {
                    attempts += 1;
                    std::thread::sleep(POLL);
                }
                spawned => break spawned.map_err(NotEnded::NotRun)?,
            }
        };
        let leader = Pid::from_child(&child);
        Ok(Self { child, leader, reaped: false })
    }

    /// Waits until the leader has ended, without reaping it: its number is nobody else's until then.
    fn wait(&self, until: Instant, stop: &CancellationToken, within: Duration) -> Result<(), NotEnded> {
        let mut why = None;
        let mut kill_at = None;
        while !self.has_ended()? {
            if why.is_none() && (stop.is_cancelled() || Instant::now() >= until) {
                why = Some(if stop.is_cancelled() { NotEnded::Stopped } else { NotEnded::TimedOut(within) });
                kill_at = Some(Instant::now() + GRACE);
                let _ = kill_process_group(self.leader, Signal::TERM);
            }
            if kill_at.is_some_and(|at| Instant::now() >= at) {
                let _ = kill_process_group(self.leader, Signal::KILL);
            }
            std::thread::sleep(POLL);
        }
        why.map_or(Ok(()), Err)
    }

    fn has_ended(&self) -> Result<bool, NotEnded> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let ended = waitid(WaitId::Pid(self.leader), look);
        ended.map(|ended| ended.is_some()).map_err(|error| NotEnded::Unwatched(error.into()))
    }

    /// Ends what is left of it, and says how the leader ended.
    fn end(&mut self) -> Result<ExitStatus, NotEnded> {
        let _ = kill_process_group(self.leader, Signal::KILL);
        self.reaped = true;
        let status = self.child.wait().map_err(NotEnded::Unwatched)?;
        // A kill is on its way for a moment. Not for ever: what has ended is in the group until its new parent asks for it.
        let give_up = Instant::now() + LAST_WORDS;
        while test_kill_process_group(self.leader).is_ok() && Instant::now() < give_up {
            std::thread::sleep(POLL);
        }
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}
