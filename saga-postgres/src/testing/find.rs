//! Where PostgreSQL's programs are, and as whom they can run.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::BIN_VARIABLE;

/// A user that is not root, by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The folder with `initdb`, `postgres` and `pg_ctl`.
pub(super) fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os(BIN_VARIABLE) {
        let folder = PathBuf::from(folder);
        assert!(is_whole(&folder), "{BIN_VARIABLE} names {}, but there is no initdb in it", folder.display());
        return folder;
    }
    let in_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    // A link in `PATH` leads to a folder in which the others are too.
    let behind = |folder: PathBuf| std::fs::canonicalize(folder.join("initdb")).ok()?.parent().map(Path::to_owned);
    in_path.filter_map(behind).chain(debian()).find(|folder| is_whole(folder)).unwrap_or_else(|| {
        panic!(
            "these tests need PostgreSQL, and its initdb is neither in PATH nor in /usr/lib/postgresql/*/bin. \
             Install it (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: \
             brew install postgresql), or name its folder in {BIN_VARIABLE}, or name a running server in {}",
            super::URL_VARIABLE
        )
    })
}

fn is_whole(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl", "pg_basebackup"].iter().all(|program| folder.join(program).is_file())
}

/// Debian's folders, the newest version first.
fn debian() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    let mut versions: Vec<_> = versions.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    versions.sort_unstable();
    versions.into_iter().rev().map(|(_, path)| path.join("bin")).collect()
}

/// The user to run servers as, if that cannot be our own: PostgreSQL refuses to run as root.
pub(super) fn another_user() -> Option<User> {
    // Whoever runs this process owns its folder in /proc; without one, nobody is root here.
    let uid = std::fs::metadata("/proc/self").map(|metadata| metadata.uid()).ok()?;
    if uid != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (name == wanted).then_some(User { uid, gid })
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Some(user.expect("PostgreSQL does not run as root, and there is neither a user postgres nor nobody"))
}
