//! The files of a store whose process was killed, cut at every byte of their ends.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::{Killed, copy, files, killed};
use crate::Fail;
use crate::scribe::store_of;
use crate::tally::Tally;
use crate::trials::{Expect, open_and_look, scratch, work_off};

/// More of the same byte than this is no record.
const FILLING: usize = 64;

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(super) struct CutArgs {
    /// How many appends were made before.
    #[arg(long, default_value_t = 600)]
    appends: u64,
    /// How much of the end of sled's file is gone through, in bytes. Other files are gone through as a whole.
    #[arg(long, default_value_t = 16 * 1024)]
    tail: usize,
    /// Only every so many bytes of it.
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// Names the runs, and with them what they hold.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also without the mark of what was acknowledged, which finds what is missing at the end.
    #[arg(long, hide = true)]
    unmarked: bool,
}

/// A file, and where it is cut.
struct Cut {
    file: String,
    at: usize,
}

pub(super) fn trial(args: &CutArgs) -> Result<ExitCode, Fail> {
    let folder = scratch()?;
    let Killed { store, promise } = killed(folder.path(), args.seed, args.appends)?;
    if args.unmarked {
        std::fs::remove_file(store.join("acknowledged"))?;
    }
    let mut tally = Tally::default();
    let mut cuts = Vec::new();
    for (file, bytes) in files(&store)? {
        let end = end(&bytes);
        let from = if file == "db" { end.saturating_sub(args.tail) } else { 0 };
        tally.fact(format!("cuts of {}, of {} bytes", generic(&file), bytes.len()), (end - from).div_ceil(args.step));
        cuts.extend((from..end).step_by(args.step).map(|at| Cut { file: file.clone(), at }));
    }
    tally.fact("acknowledgements", promise.len());
    let make = |make: &mut dyn FnMut(Cut)| {
        cuts.into_iter().for_each(make);
        Ok(())
    };
    let looked = work_off("cuts", make, |cut: &Cut, folder: &Path, runtime, tally| {
        let cut_off = store_of(folder);
        copy(&store, &cut_off)?;
        std::fs::File::options().write(true).open(cut_off.join(&cut.file))?.set_len(cut.at as u64)?;
        let (name, expect) = (format!("{} cut at {}", cut.file, cut.at), Expect { damage: true, refusal: true });
        let named = open_and_look(&cut_off, promise.clone(), expect, &name, runtime, tally);
        let how = if named.is_none_or(|named| !named.is_empty()) {
            "cuts that were noticed"
        } else {
            "cuts that cost nothing"
        };
        tally.count(how, 1);
        Ok(())
    })?;
    tally.merge(looked);
    Ok(tally.tell(args.seed))
}

/// Where what was written ends: when sled is opened, it fills up the rest of the segment that it goes on in.
fn end(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last() else { return 0 };
    let end = bytes.iter().rposition(|byte| byte != last).map_or(0, |at| at + 1);
    if bytes.len() - end > FILLING { end } else { bytes.len() }
}

/// The kind of file: snapshots have numbers.
fn generic(file: &str) -> &str {
    if file.starts_with("snap.") { "the snapshot" } else { file }
}
