//! The limit that the disk sets: a plain file, to the end of which groups of bytes are written, with one `fdatasync` for
//! each group.
//!
//! Whoever journals durably cannot be faster than this, at the same number of clients, on the same disk. It knows of no
//! runs, no conditions, no index, and could not be read again: no store can do with so little.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::measure::{Figures, Stop, closed_loop};

/// Most appends of one group, as many as the coordinator's committer takes.
const MOST_APPENDS: usize = 4096;

/// What one saga writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How often, one after the other.
    pub appends: u64,
    /// How much each time, in bytes.
    pub bytes: usize,
}

/// Whether a directory is on a file system that is kept in memory: there is no disk to wait for, and no figure of
/// anything durable means anything. Always `false` where the system does not say.
#[must_use]
pub fn is_in_memory(directory: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;
        rustix::fs::statfs(directory).is_ok_and(|file_system| {
            // Its type differs between architectures.
            #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
            let kind = file_system.f_type as u64 & 0xffff_ffff;
            kind == TMPFS || kind == RAMFS
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = directory;
        false
    }
}

struct Request {
    bytes: usize,
    written: oneshot::Sender<std::io::Result<()>>,
}

/// Writes what sagas of this load would write, from as many clients, into a new file in `directory`.
///
/// # Errors
///
/// What the file system fails with.
pub async fn plain_file(directory: &Path, load: Load, clients: usize, stop: Stop) -> Result<Figures, Failure> {
    let file = tempfile::tempfile_in(directory)?;
    let (requests, incoming) = mpsc::unbounded_channel();
    let writer = tokio::task::spawn_blocking(move || write_groups(file, incoming));
    let figures = closed_loop(clients, stop, move |_| {
        let requests = requests.clone();
        async move {
            for _ in 0..load.appends {
                let (written, answer) = oneshot::channel();
                requests.send(Request { bytes: load.bytes, written })?;
                answer.await??;
            }
            Ok(())
        }
    })
    .await;
    writer.await?;
    figures
}

/// Groups are formed by load: while one is being written the next one gathers.
fn write_groups(mut file: File, mut incoming: mpsc::UnboundedReceiver<Request>) {
    let (mut group, mut bytes) = (Vec::new(), Vec::new());
    while incoming.blocking_recv_many(&mut group, MOST_APPENDS) > 0 {
        bytes.clear();
        bytes.resize(group.iter().map(|request: &Request| request.bytes).sum(), b'x');
        let done = file.write_all(&bytes).and_then(|()| file.sync_data());
        for request in group.drain(..) {
            let answer = match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
            };
            // A client that has failed waits no more.
            let _ = request.written.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_takes_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let (requests, incoming) = mpsc::unbounded_channel();
        let mut answers = Vec::new();
        for bytes in [10, 20, 30] {
            let (written, answer) = oneshot::channel();
            requests.send(Request { bytes, written }).unwrap();
            answers.push(answer);
        }
        drop(requests);
        let file = File::create(&path).unwrap();
        tokio::task::spawn_blocking(move || write_groups(file, incoming)).await.unwrap();
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 60);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_system_in_memory_is_known_for_one() {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        if let Some(mount) = mounts.find(|mount| mount[2] == "tmpfs" && !mount[1].contains('\\')) {
            assert!(is_in_memory(Path::new(mount[1])), "{mount:?}");
        }
        assert!(!is_in_memory(Path::new("/proc")));
    }

    #[tokio::test]
    async fn a_limit_is_measured() {
        let directory = tempfile::tempdir().unwrap();
        let load = Load { appends: 3, bytes: 100 };
        let figures = plain_file(directory.path(), load, 2, Stop::Sagas(4)).await.unwrap();
        assert_eq!(figures.sagas(), 4);
    }
}
