//! Finding the processes of machines among all processes, by the lock that they have for standard input and not by a
//! number that someone once wrote into a file: process ids are used again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use super::layout::{self, Site};
use crate::node::NodeArgs;

/// A running process of a machine. There may be several of one machine, if its program has children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) pid: i32,
    pub(super) site: Site,
}

/// All processes of machines under a root that this user owns.
pub(super) fn scan(root: &Path) -> io::Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        sightings.extend(look(root, pid)?);
    }
    Ok(sightings)
}

/// Looks at one process. A process that has ended, or is ending, has no command line any more.
fn look(root: &Path, pid: i32) -> io::Result<Option<Sighting>> {
    let of_another = std::fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid() != geteuid().as_raw());
    match of_another {
        Ok(false) => {}
        Ok(true) => return Ok(None),
        Err(error) => return ended(&error).then_some(None).ok_or(error),
    }
    let site = match std::fs::read_link(format!("/proc/{pid}/fd/0")) {
        Ok(input) => layout::site_of_lock(root, &input),
        // It has no standard input, or lets nobody see it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied || ended(&error) => None,
        Err(error) => return Err(error),
    };
    let site = match site {
        None => by_command_line(root, pid)?,
        site => site,
    };
    Ok(site.map(|site| Sighting { pid, site }))
}

/// Recognises a node that was not started with its lock in hand: by an older release, or on the command line.
fn by_command_line(root: &Path, pid: i32) -> io::Result<Option<Site>> {
    let line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line,
        Err(error) => return ended(&error).then_some(None).ok_or(error),
    };
    let Ok(line) = std::str::from_utf8(&line) else { return Ok(None) };
    let args: Vec<&str> = line.split_terminator('\0').collect();
    let Some(node) = NodeArgs::from_command_line(&args) else { return Ok(None) };
    let site = layout::site(root, &node.cluster, &node.name, &node.token);
    // The directory must be the very one that this engine would give to that node: other engines have other roots.
    Ok((site.dir == node.dir).then_some(site))
}

/// Whether the process ended while it was looked at. The kernel says `ESRCH` once a file in its folder was opened.
fn ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Kills a process, if it is still the one that was seen.
///
/// The handle is taken first and the process looked at again after: if it is still the right one then, the handle is
/// to it, and no process that gets the same number later can be hit.
pub(super) fn kill(root: &Path, sighting: &Sighting) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(sighting.pid) else { return Ok(()) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        handle => handle?,
    };
    if look(root, sighting.pid)?.as_ref() != Some(sighting) {
        return Ok(());
    }
    match pidfd_send_signal(handle, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => Ok(sent?),
    }
}
