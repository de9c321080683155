//! What runs on a machine of the process engine. The engine itself knows nothing of it but this trait.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{Access, access};
use tracing::debug;

use super::layout::Site;
use crate::engine::{EngineError, Finding};
use crate::model::Settings;
use crate::node::{self, Connection, NodeArgs};

/// A program that can be a machine: how it is started, and where it answers.
///
/// The engine starts at most one process for each machine. It gives it the machine's lock as standard input, by which it
/// finds the process again: a program may read from it (there is nothing in it), but must leave it open, and must not go
/// to the background. Output goes to the file `log` in the machine's directory, in which the program may keep what it
/// likes but the files `lock`, `log` and `program`.
#[async_trait]
pub trait Program: fmt::Debug + Send + Sync + 'static {
    /// The command that is the machine, with all that it needs written to the machine's directory. Asked for again when
    /// a machine whose process has ended is started anew, and after a crash in the middle of a start; nothing runs on
    /// the directory then.
    ///
    /// # Errors
    /// [`EngineError`]: rejected, if there can be no such machine, with what is wrong.
    fn command(&self, site: &Site, settings: &Settings) -> Result<Command, EngineError>;

    /// Looks whether machines could be made of it, without making one: the program is there, and can be run. By default
    /// there is nothing to look at.
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Where the machine answers: none if it does not within that time, or if what answers is not this very machine.
    async fn answers(&self, site: &Site, within: Duration) -> Option<SocketAddr>;
}

/// Where a program is that can be run: a path, or a name that is looked up in the `PATH`, as the system does.
///
/// # Errors
/// Why there is none, in words.
pub fn executable(program: &Path) -> Result<PathBuf, String> {
    let may_be_run = |file: &Path| match file.metadata() {
        Err(error) => Err(format!("{}: {error}", file.display())),
        Ok(found) if !found.is_file() => Err(format!("{} is no file", file.display())),
        Ok(_) => access(file, Access::EXEC_OK).map_err(|_| format!("{} may not be executed", file.display())),
    };
    if program.components().count() != 1 || program.is_absolute() {
        return may_be_run(program).map(|()| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(program));
    let found = places.find(|file| may_be_run(file).is_ok());
    found.ok_or_else(|| format!("there is no program `{}` in the PATH", program.display()))
}

/// A node that keeps blocks: what a machine runs unless something else was asked for.
#[derive(Debug, Clone)]
pub(super) struct BlockNode {
    pub(super) file: PathBuf,
    pub(super) leading_args: Vec<OsString>,
}

#[async_trait]
impl Program for BlockNode {
    async fn check(&self) -> Vec<Finding> {
        vec![match executable(&self.file) {
            Ok(file) => Finding::ok("program", file.display().to_string()),
            Err(why) => Finding::problem("program", why),
        }]
    }

    fn command(&self, site: &Site, _: &Settings) -> Result<Command, EngineError> {
        let Site { cluster, name, token, dir } = site.clone();
        let mut command = Command::new(&self.file);
        command.args(&self.leading_args).args(NodeArgs { cluster, name, token, dir }.to_command_line());
        Ok(command)
    }

    async fn answers(&self, site: &Site, within: Duration) -> Option<SocketAddr> {
        let address = node::written_address(&site.dir)?;
        match Connection::open(address, &site.token, within).await {
            Ok(_) => Some(address),
            Err(error) => {
                debug!(node = %site.name, %address, %error, "a node does not answer");
                None
            }
        }
    }
}
