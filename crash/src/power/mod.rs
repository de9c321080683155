//! Loss of power: all writes of a process are recorded, and the disk is rebuilt as of many moments from what was synced by
//! then, with and without a part of what was not.

mod disk;
mod trace;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use self::disk::{Disk, Image, Luck, lay_out};
use self::trace::{Event, Reader};
use crate::fleet::was_killed;
use crate::scribe::{Promise, ScribeSabotage, store_of, told_of};
use crate::tally::Tally;
use crate::trials::{Expect, open_and_look, work_off};
use crate::{Fail, strace};

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(crate) struct PowerArgs {
    /// How many appends are made before the last process ends, in all.
    #[arg(long, default_value_t = 4000)]
    appends: u64,
    /// How many processes make them, one after the other. All but the last are killed.
    #[arg(long, default_value_t = 4)]
    processes: u32,
    /// At how many moments the power goes.
    #[arg(long, default_value_t = 2000)]
    moments: usize,
    /// How many times chance decides about what was not synced, for each moment.
    #[arg(long, default_value_t = 2)]
    chances: u32,
    /// When the power goes, and what is left of what was not synced, follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

/// A fault that is built in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// The store acknowledges what it has not synced.
    EarlyAck,
    /// The drive takes no notice of syncs.
    DeafDrive,
}

/// A moment at which the power goes.
struct Loss {
    name: String,
    image: Image,
    promise: Promise,
}

/// Holds the trial.
pub(crate) fn trial(args: &PowerArgs) -> Result<ExitCode, Fail> {
    strace::check()?;
    let events = record_whole(args)?;
    let told = events.iter().filter(|event| matches!(event, Event::Told(_))).count();
    eprintln!("{} events, {told} acknowledgements; the power goes {} times", events.len(), args.moments);
    let mut tally = Tally::default();
    let writes = events.iter().filter(|event| matches!(event, Event::Writing { .. })).count();
    let syncs = events.iter().filter(|event| matches!(event, Event::Synced { .. })).count();
    tally.fact("processes, all but the last of them killed", args.processes);
    tally.fact("writes recorded", writes);
    tally.fact("syncs recorded", syncs);
    tally.fact("acknowledgements", told);
    tally.fact("moments at which the power goes", args.moments.min(events.len()));
    let rebuilt = work_off(
        "states rebuilt",
        |make| moments(args, &events, make),
        |loss: &Loss, folder, runtime, tally| {
            let store = store_of(folder);
            lay_out(&loss.image, &store)?;
            tally.count("acknowledgements looked at", loss.promise.len());
            let expect = Expect { damage: false, refusal: false };
            open_and_look(&store, loss.promise.clone(), expect, &loss.name, runtime, tally);
            Ok(())
        },
    )?;
    tally.merge(rebuilt);
    Ok(tally.tell(args.seed))
}

/// How often is recorded what processes do, until a record is complete.
const MOST_RECORDS: usize = 3;

/// A complete record. One that is not says nothing about the store, only that the trial has not seen everything, as happens
/// now and then when processes are killed: what was recorded then is told, left out, and recorded anew.
fn record_whole(args: &PowerArgs) -> Result<Vec<Event>, Fail> {
    for _ in 1..MOST_RECORDS {
        match record(args, tempfile::TempDir::with_prefix("saga-crash-")?.path()) {
            Err(error) if error.to_string().starts_with(NOT_COMPLETE) => eprintln!("recorded anew: {error}"),
            recorded => return recorded,
        }
    }
    record(args, tempfile::TempDir::with_prefix("saga-crash-")?.path())
}

const NOT_COMPLETE: &str = "the record is not complete";

/// Lets processes write, and reads what they did.
fn record(args: &PowerArgs, folder: &Path) -> Result<Vec<Event>, Fail> {
    // Paths in the trace are those that the kernel knows.
    let folder = folder.canonicalize()?;
    let mut reader = Reader::new(&store_of(&folder), &told_of(&folder));
    let mut events = Vec::new();
    for generation in 0..args.processes {
        let last = generation + 1 == args.processes;
        let output = folder.join("trace");
        let calls = "trace=pwrite64,write,pwritev,writev,fdatasync,fsync,ftruncate,fallocate,openat,rename,renameat,\
                     renameat2,unlink,unlinkat,sync_file_range";
        let options = ["-y", "-xx", "-s", "4000000", "--seccomp-bpf", "-e", calls];
        let appends = (args.appends / u64::from(args.processes)).to_string();
        let mut child = strace::command(&options, &output, ["scribe", "--folder"])?;
        child.arg(&folder).args(["--generation", &generation.to_string(), "--appends", &appends, "--writers", "8"]);
        if !last {
            child.arg("--die");
        }
        if args.sabotage == Some(Sabotage::EarlyAck) {
            child.args(["--sabotage", &ScribeSabotage::EarlyAck.name()]);
        }
        let ran = child.output()?;
        let killed = was_killed(ran.status);
        if killed == last || !(killed || ran.status.success()) {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(format!("a process that was to be recorded ended with {}: {said}", ran.status).into());
        }
        let mut added = reader.read(&std::fs::read_to_string(&output)?);
        // One that ends in good order takes sled's threads along in the middle of a call, too.
        trace::settle(&mut added, &store_of(&folder), reader.now())?;
        events.append(&mut added);
    }
    is_complete(&events, &store_of(&folder))?;
    Ok(events)
}

/// Sees to it that nothing is missing in the record: with all that was written, synced or not, it must come to the files
/// as they are.
fn is_complete(events: &[Event], store: &Path) -> Result<(), Fail> {
    let mut disk = Disk::new(false);
    events.iter().for_each(|event| disk.apply(event));
    for (path, bytes) in disk.image(Luck::All, &mut fastrand::Rng::with_seed(0)) {
        if std::fs::read(store.join(&path))? != bytes {
            return Err(format!("{NOT_COMPLETE}: {} is another file than it says", path.display()).into());
        }
    }
    Ok(())
}

/// Makes the states of the disk.
fn moments(args: &PowerArgs, events: &[Event], make: &mut dyn FnMut(Loss)) -> Result<(), Fail> {
    let mut dice = fastrand::Rng::with_seed(args.seed);
    let mut at = dice.choose_multiple(0..events.len(), args.moments);
    at.sort_unstable();
    let mut at = at.into_iter().peekable();
    let mut disk = Disk::new(args.sabotage == Some(Sabotage::DeafDrive));
    let mut promise = Promise::default();
    for (number, event) in events.iter().enumerate() {
        disk.apply(event);
        if let Event::Told(told) = event {
            promise.add(told);
        }
        if at.next_if_eq(&number).is_none() {
            continue;
        }
        let chances = std::iter::repeat_n(Luck::Chance, args.chances as usize);
        for (chance, luck) in [Luck::None, Luck::All].into_iter().chain(chances).enumerate() {
            let name = format!("after event {number}, with {} changes not synced, {luck:?} {chance}", disk.unsynced());
            make(Loss { name, image: disk.image(luck, &mut dice), promise: promise.clone() });
        }
    }
    Ok(())
}
