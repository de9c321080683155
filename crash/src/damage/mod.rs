//! A store that is hurt: its file is cut, bytes of it are flipped, its disk is full, its calls to the kernel fail.

mod calls;
mod cut;
mod flip;
mod full;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};

use crate::Fail;
use crate::fleet::was_killed;
use crate::scribe::{self, Promise, store_of};

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(crate) struct DamageArgs {
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    /// Cuts the files of a killed store at every byte of their ends.
    Cut(cut::CutArgs),
    /// Flips a byte in every frame, and bytes of the file.
    Flip(flip::FlipArgs),
    /// Fills the disk, and makes room again.
    Full(full::FullArgs),
    /// Makes each sync and each write of a process fail, one after the other, and kills it at each of them.
    Fsync(calls::CallsArgs),
}

/// Holds the trial.
pub(crate) fn trial(args: &DamageArgs) -> Result<ExitCode, Fail> {
    match &args.how {
        How::Cut(args) => cut::trial(args),
        How::Flip(args) => flip::trial(args),
        How::Full(args) => full::trial(args),
        How::Fsync(args) => calls::trial(args),
    }
}

/// A store whose process was killed while it wrote, and what it had promised by then.
struct Killed {
    store: PathBuf,
    promise: Promise,
}

/// Lets two processes write, the second of which recovers what the first has left, and is killed too.
fn killed(folder: &Path, seed: u64, appends: u64) -> Result<Killed, Fail> {
    for (generation, appends) in [(2 * seed, appends / 2), (2 * seed + 1, appends - appends / 2)] {
        let arguments = ["--generation", &generation.to_string(), "--appends", &appends.to_string(), "--die"];
        let ran = scribe(folder, &arguments).output()?;
        if !was_killed(ran.status) {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(format!("the process that was to be killed ended with {}: {said}", ran.status).into());
        }
    }
    Ok(Killed { store: store_of(folder), promise: Promise::of(&scribe::told(folder)?) })
}

fn scribe(folder: &Path, arguments: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("saga-crash"));
    let mut command = Command::new(program);
    command.args(["scribe", "--folder"]).arg(folder).args(arguments);
    command
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The files of a store, but for its lock, which holds nothing.
fn files(store: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && name != "lock" {
            files.push((name, std::fs::read(entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}
