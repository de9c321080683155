//! A full disk: the store says so, runs wait, room is made, all goes on.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use saga_core::store::SledStore;

use super::scribe;
use crate::check;
use crate::customer::client;
use crate::evidence::{Evidence, acks_of};
use crate::load::{Sagas, jobs};
use crate::scribe::{Promise, Told, store_of, told};
use crate::tally::Tally;
use crate::trials::{Expect, open_and_look};
use crate::world::World;
use crate::{Fail, sled, strace};

/// How large the disk is: the store asks for 32 MiB to be left, and the load wants less than the rest.
const DISK: u64 = 64 << 20;
/// What is left of it when the load begins: more than what the store wants to keep, by a little.
const LEFT: u64 = (32 << 20) + (1 << 20);
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(super) struct FullArgs {
    /// How many runs are started.
    #[arg(long, default_value_t = 2000)]
    sagas: usize,
    /// What is ordered follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Does as if nothing could be mounted here.
    #[arg(long)]
    no_mount: bool,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

/// A fault that is built in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// What was acknowledged on the full disk is lost.
    LoseStore,
}

/// A disk of its own, in memory.
struct Mount(PathBuf);

impl Mount {
    fn make(at: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let size = format!("size={bytes}");
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at).output();
        match made {
            Ok(made) if made.status.success() => Ok(Self(at.to_owned())),
            Ok(made) => Err(String::from_utf8_lossy(&made.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Leaves only so many bytes free.
    fn fill(&self, left: u64) -> Result<PathBuf, Fail> {
        let at = self.0.join("ballast");
        let free = rustix::fs::statvfs(&self.0)?;
        let mut file = File::create(&at)?;
        let mut wanted = (free.f_bavail * free.f_frsize).saturating_sub(left);
        let block = vec![1; 1 << 16];
        while wanted > 0 {
            let now = wanted.min(block.len() as u64);
            file.write_all(&block[..usize::try_from(now)?])?;
            wanted -= now;
        }
        Ok(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("-l").arg(&self.0).status();
        if !gone.is_ok_and(|gone| gone.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

pub(super) fn trial(args: &FullArgs) -> Result<ExitCode, Fail> {
    let mut tally = Tally::default();
    let folder = tempfile::TempDir::with_prefix("saga-crash-")?;
    let probe =
        if args.no_mount { Err("as was asked".to_owned()) } else { Mount::make(&folder.path().join("probe"), 1 << 20) };
    match probe {
        Ok(probe) => {
            drop(probe);
            wait_for_room(args, &folder.path().join("sagas"), &mut tally)?;
            run_into_the_end(args, &folder.path().join("scribe"), &mut tally)?;
        }
        Err(why) => {
            eprintln!(
                "\n*** SKIPPED: no disk of its own can be mounted here ({why}), so NO real disk was filled, and it was\n*** NOT seen that runs wait for room. That takes root. Writes are made to fail instead. ***\n"
            );
            tally.fact("disks filled", "none: nothing can be mounted here");
        }
    }
    pretend(&folder.path().join("pretended"), &mut tally)?;
    Ok(tally.tell(args.seed))
}

/// The load on a disk that is nearly full: the store says so before anything fails, the runs wait, and end when there is room.
fn wait_for_room(args: &FullArgs, folder: &Path, tally: &mut Tally) -> Result<(), Fail> {
    let store = sled::store_of(folder);
    let mount = Mount::make(&store, DISK)?;
    let ballast = mount.fill(LEFT)?;
    let mut process = Command::new(std::env::current_exe()?)
        .args(["embedded", "--name", "0.0", "--at-once", "200", "--folder"])
        .arg(folder)
        .args(["--seed", &args.seed.to_string(), "--sagas", &args.sagas.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    writeln!(process.stdin.take().ok_or("no input")?, "{}", args.sagas)?;
    let said = await_line(&mut process, "no room left on the store's device")?;
    tally.fact("the store said", &said);
    // It is not that nobody asks: they ask again and again, and are told the same.
    await_lines(&mut process, "no room left on the store's device", 3)?;
    let known = Sagas::build()?;
    let (all, before) = (jobs(args.seed, args.sagas), ends(folder)?);
    tally.fact("runs that had ended when the disk was full", before);
    if before >= args.sagas {
        tally.violation("every run had ended before the disk was full");
    }
    std::fs::remove_file(ballast)?;
    drain(&mut process);
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match process.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                process.kill()?;
                break process.wait()?;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if !status.success() {
        tally.violation(format!("with room again, the process ended with {status}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if args.sabotage == Some(Sabotage::LoseStore) {
        for entry in std::fs::read_dir(&store)? {
            let path = entry?.path();
            if path.is_file() { std::fs::remove_file(path)? } else { std::fs::remove_dir_all(path)? }
        }
    }
    let evidence = runtime.block_on(async {
        let world = World::open(folder, "nobody", None)?;
        let client = client(SledStore::open(&store)?, &known)?;
        Evidence::gather(&client, &known, all, folder, &world).await
    })?;
    drop(runtime);
    tally.fact("runs that ended right when there was room", evidence.runs.len());
    for finding in check::check(&evidence) {
        tally.count("things looked at in the runs", finding.looked);
        let of = |violation: check::Violation| format!("{}: {:?}: {}", finding.rule, violation.run, violation.what);
        tally.violations("runs on a full disk", finding.violations.into_iter().map(of));
    }
    Ok(())
}

fn ends(folder: &Path) -> Result<usize, Fail> {
    let acks = crate::log::read::<crate::acks::Ack>(&acks_of(folder))?.whole;
    Ok(acks.iter().filter(|ack| matches!(ack.told, crate::acks::Told::Ended(_))).count())
}

/// Waits until the process says something; nothing of it is lost.
fn await_line(process: &mut Child, wanted: &str) -> Result<String, Fail> {
    let mut lines = BufReader::with_capacity(1, process.stderr.take().ok_or("no output")?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if let Some(at) = line.find(wanted) {
            let said = line[at..].trim().to_owned();
            process.stderr = Some(lines.into_inner());
            return Ok(said);
        }
        line.clear();
    }
    Err(format!("the process ended ({}) without saying `{wanted}`", process.wait()?).into())
}

fn await_lines(process: &mut Child, wanted: &str, times: u32) -> Result<(), Fail> {
    (0..times).try_for_each(|_| await_line(process, wanted).map(drop))
}

/// Reads what else it says, so that it never waits for a reader.
fn drain(process: &mut Child) {
    if let Some(mut stderr) = process.stderr.take() {
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    }
}

/// A store that does not look for room runs into the end of the disk: it must be opened again, and has lost nothing.
fn run_into_the_end(args: &FullArgs, folder: &Path, tally: &mut Tally) -> Result<(), Fail> {
    let mount = Mount::make(&store_of(folder), DISK)?;
    let ballast = mount.fill(1 << 20)?;
    let generation = args.seed.to_string();
    let ran = scribe(folder, &["--generation", &generation, "--appends", "20000", "--min-free", "0"]).output()?;
    let told = told(folder)?;
    judge("a disk that ran full", &told, &String::from_utf8_lossy(&ran.stderr), tally);
    std::fs::remove_file(ballast)?;
    look("a disk that ran full", folder, &told, tally)
}

/// The same without a disk: from some write on, all fail.
fn pretend(folder: &Path, tally: &mut Tally) -> Result<(), Fail> {
    if let Err(why) = strace::check() {
        eprintln!("\n*** SKIPPED: {why} ***\n");
        tally.fact("writes made to fail", "none: there is no strace");
        return Ok(());
    }
    // strace counts the calls of each thread apart.
    for from in [2, 4, 7] {
        let own = folder.join(from.to_string());
        std::fs::create_dir_all(&own)?;
        let inject = format!("inject=pwrite64:error=ENOSPC:when={from}+");
        let options = ["--quiet=all", "-e", &inject, "-e", "trace=pwrite64"];
        let mut child = strace::command(&options, &own.join("trace"), ["scribe", "--folder"])?;
        let ran = child.arg(&own).args(["--appends", "400"]).env("RUST_BACKTRACE", "0").output()?;
        let (told, name) = (told(&own)?, format!("no room for writes from number {from} of a thread on"));
        judge(&name, &told, &String::from_utf8_lossy(&ran.stderr), tally);
        look(&name, &own, &told, tally)?;
        tally.count("writes made to fail with no room", 1);
    }
    Ok(())
}

/// The first failure says that there is no room, and nothing was acknowledged after it.
fn judge(name: &str, told: &[Told], stderr: &str, tally: &mut Tally) {
    let Some(at) = told.iter().position(|told| matches!(told, Told::Failed { .. })) else {
        return tally.violation(format!("{name}: nothing failed: {stderr}"));
    };
    if let Told::Failed { what, .. } = &told[at] {
        if !what.contains("No space left") && !what.contains("no room") {
            tally.violation(format!("{name}: the error does not say that there is no room: {what}"));
        }
        tally.fact(format!("{name}: the store said"), what);
    }
    let after = told[at..].iter().filter(|told| matches!(told, Told::Written { late: true, .. })).count();
    if after > 0 {
        tally.violation(format!("{name}: {after} appends were acknowledged after a failure"));
    }
}

fn look(name: &str, folder: &Path, told: &[Told], tally: &mut Tally) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let expect = Expect { damage: false, refusal: false };
    open_and_look(&store_of(folder), Promise::of(told), expect, name, &runtime, tally);
    Ok(())
}
