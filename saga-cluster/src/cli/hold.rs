//! One process at a time holds the data directory.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::place::without_password;

/// The lock of the data directory. It ends with the value, and with the process.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "kept for its lock")] File);

impl Hold {
    /// Takes the lock, unless another process has it.
    pub(super) fn take(lock: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Who holds a lock, as far as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pid: Option<u32>,
    command: Option<String>,
}

impl Holder {
    /// Asks the kernel who holds the lock. Nothing that a process wrote about itself could be trusted after a crash.
    pub(super) fn of(lock: &Path) -> Self {
        let pid = std::fs::metadata(lock).ok().and_then(|file| {
            let locks = std::fs::read_to_string("/proc/locks").ok()?;
            pid_of(&locks, file.ino())
        });
        Self { pid, command: pid.and_then(command_of) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} (`{command}`)"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("another process"),
        }
    }
}

/// Finds the owner of a `flock` in `/proc/locks`, whose lines look like
/// `1: FLOCK  ADVISORY  WRITE 4242 fd:01:1234 0 EOF`.
fn pid_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        // A process that waits for a lock has an arrow before the kind, and does not hold it.
        (words.next()? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?;
        let file = words.next()?;
        (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
    })
}

/// The command line of a process, with the path of the program left out.
fn command_of(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let (program, args) = line.split_once('\0')?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let args: Vec<String> = args.split_terminator('\0').map(without_password).collect();
    Some(format!("{program} {}", args.join(" ")).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Hold::take(&path).unwrap().unwrap();
        assert!(Hold::take(&path).unwrap().is_none());
        let holder = Holder::of(&path);
        // A container may hide the kernel's list, but must not make it name somebody else.
        assert!(holder.pid.is_none_or(|pid| pid == std::process::id()), "{holder}");
        drop(held);
        assert!(Hold::take(&path).unwrap().is_some());
    }

    #[test]
    fn only_the_holder_of_that_very_file_counts() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:7 0 EOF\n2: FLOCK  ADVISORY  WRITE 22 fd:01:17 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 33 fd:01:7 0 EOF\n3: FLOCK  ADVISORY  WRITE 44 fd:01:7 0 EOF\n";
        assert_eq!(pid_of(locks, 7), Some(44));
        assert_eq!(pid_of(locks, 17), Some(22));
        assert_eq!(pid_of(locks, 1), None);
    }

    #[test]
    fn a_process_is_told_by_its_command() {
        let command = command_of(std::process::id()).unwrap();
        assert!(!command.starts_with('/') && !command.contains('\0'), "{command}");
    }
}
