//! Flipped bytes: in each value that the store has in sled, one at a time, and in the files as they lie on the disk.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use saga_core::RunId;

use super::{Killed, copy, files, killed};
use crate::Fail;
use crate::scribe::store_of;
use crate::tally::Tally;
use crate::trials::{Expect, open_and_look, scratch, work_off};

/// The header of a frame: version, checksum, place, number, length of the directory. See `saga_core::store::sled`.
const HEADER: usize = 17;
/// sled lets go of its lock a little after it is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(super) struct FlipArgs {
    /// How many appends were made before.
    #[arg(long, default_value_t = 600)]
    appends: u64,
    /// How many bytes of sled's files are flipped, one at a time, besides one in each part of each frame.
    #[arg(long, default_value_t = 4000)]
    raw: usize,
    /// Which bytes are flipped, and how, follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

/// A fault that is built in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// Checksums are made right after the flip, as if nobody checked them.
    Forge,
}

/// Something that is flipped.
enum Flip {
    /// A byte of a value within sled.
    Value { tree: &'static str, key: Vec<u8>, value: Vec<u8>, part: &'static str, roll: Option<Vec<u8>> },
    /// A byte of a file.
    Raw { file: String, at: usize, bit: u8 },
}

pub(super) fn trial(args: &FlipArgs) -> Result<ExitCode, Fail> {
    let folder = scratch()?;
    let Killed { store, promise } = killed(folder.path(), args.seed, args.appends)?;
    let flips = flips(args, folder.path(), &store)?;
    let mut tally = Tally::default();
    tally.fact("acknowledgements", promise.len());
    let make = |make: &mut dyn FnMut(Flip)| {
        flips.into_iter().for_each(make);
        Ok(())
    };
    let looked = work_off("flips", make, |flip: &Flip, folder: &Path, runtime, tally| {
        let flipped = store_of(folder);
        copy(&store, &flipped)?;
        let name = flip.make(&flipped)?;
        let of = match flip {
            Flip::Value { part, .. } => format!("flips of {part}"),
            Flip::Raw { file, .. } => {
                format!("flips in {}", if file.starts_with("snap") { "the snapshot" } else { file })
            }
        };
        tally.count(&of, 1);
        let expect = Expect { damage: true, refusal: matches!(flip, Flip::Raw { .. }) };
        let Some(named) = open_and_look(&flipped, promise.clone(), expect, &name, runtime, tally) else {
            return Ok(());
        };
        let how = if named.is_empty() { "cost nothing" } else { "hurt runs, which were named" };
        tally.count(&format!("{of} that {how}"), 1);
        if let Flip::Value { roll: Some(roll), .. } = flip {
            // All that may be hurt has something in this frame.
            for run in named.iter().filter(|run| !is_on(roll, run)) {
                tally.violation(format!("{name}: {run} is named as hurt, and has nothing in that frame"));
            }
        }
        Ok(())
    })?;
    tally.merge(looked);
    Ok(tally.tell(args.seed))
}

/// Whether a run has something in a frame, by the roll of that: the checksums of the ids of its runs.
fn is_on(roll: &[u8], run: &RunId) -> bool {
    let mark = crc32fast::hash(run.as_str().as_bytes()).to_le_bytes();
    roll.chunks_exact(4).any(|other| other == mark)
}

/// What is to be flipped.
fn flips(args: &FlipArgs, folder: &Path, store: &Path) -> Result<Vec<Flip>, Fail> {
    let mut dice = fastrand::Rng::with_seed(args.seed);
    let seen = folder.join("seen");
    copy(store, &seen)?;
    let mut flips = Vec::new();
    {
        let db = open(&seen)?;
        let rolls = db.open_tree("rolls")?;
        for entry in &db.open_tree("frames")? {
            let (key, value) = entry?;
            let roll = rolls.get(&key)?.map(|roll| roll.to_vec());
            let data = directory_end(&value).min(value.len());
            let mut flip = |part, at: std::ops::Range<usize>| {
                if at.is_empty() {
                    return;
                }
                let mut bytes = value.to_vec();
                bytes[dice.usize(at)] ^= 1 << dice.u32(..8);
                if args.sabotage == Some(Sabotage::Forge) {
                    forge(&mut bytes, data);
                }
                flips.push(Flip::Value { tree: "frames", key: key.to_vec(), value: bytes, part, roll: roll.clone() });
            };
            flip("headers of frames", 0..HEADER);
            // Where nobody checks, it has to matter: then it is the name of a run.
            let name = value[HEADER..data].windows(4).position(|bytes| bytes == b"run-").map(|at| HEADER + at);
            let directory = match (args.sabotage, name) {
                (Some(Sabotage::Forge), Some(at)) => at..at + 3,
                _ => HEADER..data,
            };
            flip("directories of frames", directory);
            flip("records in frames", data..value.len());
        }
        for (tree, part) in [("ended", "entries of ended runs"), ("rolls", "rolls of frames")] {
            for entry in &db.open_tree(tree)? {
                let (key, value) = entry?;
                let mut bytes = value.to_vec();
                if let Some(at) = (!bytes.is_empty()).then(|| dice.usize(..bytes.len())) {
                    bytes[at] ^= 1 << dice.u32(..8);
                    flips.push(Flip::Value { tree, key: key.to_vec(), value: bytes, part, roll: None });
                }
            }
        }
    }
    let files: Vec<_> = files(store)?.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    for number in 0..args.raw {
        // One in sixteen elsewhere than in sled's file.
        let (file, bytes) = match files.iter().find(|(file, _)| file == "db") {
            Some(db) if !number.is_multiple_of(16) => db,
            _ => &files[dice.usize(..files.len())],
        };
        flips.push(Flip::Raw { file: file.clone(), at: dice.usize(..bytes.len()), bit: 1 << dice.u32(..8) });
    }
    Ok(flips)
}

fn directory_end(frame: &[u8]) -> usize {
    let length = frame.get(13..17).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    HEADER + length as usize
}

/// Makes the checksum of a frame right.
fn forge(frame: &mut [u8], directory_end: usize) {
    let checksum = crc32fast::hash(&frame[5..directory_end]).to_le_bytes();
    frame[1..5].copy_from_slice(&checksum);
}

impl Flip {
    /// Flips it in a store; answers what was done, for people.
    fn make(&self, store: &Path) -> Result<String, Fail> {
        match self {
            Self::Value { tree, key, value, part, .. } => {
                let db = open(store)?;
                db.open_tree(tree)?.insert(key, value.as_slice())?;
                db.flush()?;
                let key = key.as_slice().try_into().map_or_else(
                    |_| String::from_utf8_lossy(key).into_owned(),
                    |number| u64::from_be_bytes(number).to_string(),
                );
                Ok(format!("{part}, {key}"))
            }
            Self::Raw { file, at, bit } => {
                let mut bytes = std::fs::read(store.join(file))?;
                bytes[*at] ^= bit;
                std::fs::write(store.join(file), bytes)?;
                Ok(format!("{file}, byte {at}, bit {bit}"))
            }
        }
    }
}

fn open(store: &Path) -> Result<sled::Db, Fail> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match sled::open(store) {
            Err(error) if error.to_string().contains("lock") && Instant::now() < give_up => std::thread::yield_now(),
            opened => return Ok(opened?),
        }
    }
}
