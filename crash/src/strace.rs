//! strace: tells what a process asked of the kernel, and makes calls fail.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::Fail;

/// This program with the given arguments, under strace with the given options, whose output goes to a file.
pub(crate) fn command<S: AsRef<OsStr>>(
    options: &[&str],
    output: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Result<Command, Fail> {
    let mut command = Command::new("strace");
    command.arg("-f").args(options).args(["-e", "signal=none", "-o"]).arg(output);
    command.arg(std::env::current_exe()?).args(arguments);
    Ok(command)
}

/// Says what is in the way of using strace, if something is.
///
/// # Errors
///
/// With what is in the way, and what to do about it.
pub(crate) fn check() -> Result<(), Fail> {
    match Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output() {
        Err(error) => {
            Err(format!("strace cannot be run ({error}), so this trial is NOT held: apt-get install strace").into())
        }
        Ok(ran) if !ran.status.success() => {
            let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
            Err(format!("strace may not trace here ({}), so this trial is NOT held", complaint.trim()).into())
        }
        Ok(_) => Ok(()),
    }
}
