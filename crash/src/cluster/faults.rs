//! What is wrong with machines, and the program that a machine begins as: one that has its fault, and then is a node.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::Duration;

use super::COMMAND;
use super::place::faults_of;

/// What is wrong with a machine that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its first so many processes end at once.
    Dies(u32),
    /// It takes so many milliseconds to start.
    Slow(u64),
    /// It starts, and cannot write down what it is told, until it is mended.
    Stubborn,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dies(times) => write!(f, "dies {times}"),
            Self::Slow(millis) => write!(f, "slow {millis}"),
            Self::Stubborn => f.write_str("stubborn 0"),
        }
    }
}

impl FromStr for Fault {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("`{text}` is no fault"));
        let (kind, number) = text.split_once(' ').ok_or_else(invalid)?;
        let number: u32 = number.trim().parse().map_err(|_| invalid())?;
        match kind {
            "dies" => Ok(Self::Dies(number)),
            "slow" => Ok(Self::Slow(number.into())),
            "stubborn" => Ok(Self::Stubborn),
            _ => Err(invalid()),
        }
    }
}

/// Keeps a machine from writing its state: it replaces the file whole, by a draft whose place is taken now.
pub(crate) fn make_stubborn(machine: &Path) {
    let _ = std::fs::create_dir(machine.join("state.draft"));
}

/// Takes the disk of a machine away, with all its blocks. [`mend`] brings it back.
pub(crate) fn take_disk(machine: &Path) {
    let _ = std::fs::rename(machine.join("blocks"), machine.join("blocks.away"));
}

/// Takes the faults of a machine away. It may be gone, with them.
pub(crate) fn mend(machine: &Path) {
    let _ = std::fs::remove_dir(machine.join("state.draft"));
    let _ = std::fs::rename(machine.join("blocks.away"), machine.join("blocks"));
}

/// Begins as a machine with its fault, and goes on as a node: the same process, with the same arguments.
pub(crate) fn be_a_faulty_node(called: &Path) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = called.parent().unwrap_or(Path::new("."));
    if let Err(error) = have_the_fault(folder, &arguments) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(folder.join(COMMAND)).args(&arguments).exec();
    eprintln!("the node cannot be started: {error}");
    ExitCode::FAILURE
}

fn have_the_fault(folder: &Path, arguments: &[String]) -> io::Result<()> {
    let value = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let (Some(cluster), Some(node), Some(dir)) = (value("--cluster"), value("--name"), value("--dir")) else {
        return Ok(());
    };
    let file = faults_of(folder).join(format!("{cluster}@{node}"));
    let fault: Fault = match std::fs::read_to_string(&file) {
        Ok(text) => text.parse()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match fault {
        Fault::Dies(0) => Ok(()),
        Fault::Dies(times) => {
            rewrite(&file, Fault::Dies(times - 1))?;
            Err(io::Error::other("this machine does not start"))
        }
        Fault::Slow(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            Ok(())
        }
        Fault::Stubborn => {
            make_stubborn(Path::new(dir));
            Ok(())
        }
    }
}

/// Writes the fault that is left. The file may have been taken away by then, and stays away.
fn rewrite(file: &PathBuf, fault: Fault) -> io::Result<()> {
    match std::fs::OpenOptions::new().write(true).truncate(true).open(file) {
        Ok(mut file) => io::Write::write_all(&mut file, fault.to_string().as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_was_written() {
        for fault in [Fault::Dies(3), Fault::Slow(700), Fault::Stubborn] {
            assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
        }
        assert!("dies".parse::<Fault>().is_err());
        assert!("sings 3".parse::<Fault>().is_err());
    }

    #[test]
    fn a_machine_that_dies_twice_starts_the_third_time() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(faults_of(folder.path())).unwrap();
        std::fs::write(faults_of(folder.path()).join("c@w-1"), "dies 2").unwrap();
        let arguments = ["node", "--cluster", "c", "--name", "w-1", "--dir", "/nowhere"].map(str::to_owned);
        let tries: Vec<_> = (0..3).map(|_| have_the_fault(folder.path(), &arguments).is_ok()).collect();
        assert_eq!(tries, [false, false, true]);
    }
}
