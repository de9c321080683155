//! The socket in the data directory.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Listens at a path, in place of whatever socket was left there. Whoever calls this holds the directory's lock, so what
/// is there is nobody's any more.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let draft = path.with_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _directory) = shorten(&draft)?;
    let listener = UnixListener::bind(short)?;
    // Under its real name it never has other rights than these.
    std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Connects to whoever listens at a path.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (short, _directory) = shorten(path)?;
    UnixStream::connect(short).await
}

/// The same path, through a handle on its directory: a socket's path may have no more than 107 bytes, and that of a data
/// directory often has. Valid as long as the handle.
pub(super) fn shorten(path: &Path) -> io::Result<(PathBuf, File)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    Ok((Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name), directory))
}
