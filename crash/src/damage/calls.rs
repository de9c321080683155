//! Calls to the kernel that fail: each of the first syncs and writes of a process, and a kill at each of them.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::fleet::was_killed;
use crate::scribe::{self, Promise, Told, store_of};
use crate::tally::Tally;
use crate::trials::{Expect, open_and_look, scratch, work_off};
use crate::{Fail, strace};

/// What is asked of the trial.
#[derive(Debug, Args)]
pub(super) struct CallsArgs {
    /// How many appends a process makes, if nothing fails.
    #[arg(long, default_value_t = 40)]
    appends: u64,
    /// How many calls of each kind are made to fail, one at a time: the first ones, opening and recovery included.
    #[arg(long, default_value_t = 60)]
    calls: u32,
    /// Names the runs, and with them what they hold.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, hide = true)]
    sabotage: Option<crate::scribe::ScribeSabotage>,
}

/// Which calls fail, and how.
const KINDS: [(&str, &str); 9] = [
    ("fdatasync", "error=EIO"),
    ("fsync", "error=EIO"),
    ("sync_file_range", "error=EIO"),
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    ("fdatasync", "signal=KILL"),
    ("fsync", "signal=KILL"),
    ("pwrite64", "signal=KILL"),
    ("ftruncate,rename,unlink", "signal=KILL"),
];

struct Case {
    call: &'static str,
    how: &'static str,
    nth: u32,
}

pub(super) fn trial(args: &CallsArgs) -> Result<ExitCode, Fail> {
    strace::check()?;
    // What is there already: a store that was killed, so that opening it is recovering it.
    let folder = scratch()?;
    super::killed(folder.path(), args.seed, 60)?;
    let mut tally = Tally::default();
    tally.fact("calls made to fail, of each kind, at most", args.calls);
    let make = |make: &mut dyn FnMut(Case)| {
        for (call, how) in KINDS {
            (1..=args.calls).for_each(|nth| make(Case { call, how, nth }));
        }
        Ok(())
    };
    let looked = work_off("calls", make, |case: &Case, own: &Path, runtime, tally| {
        super::copy(folder.path(), own)?;
        let inject = format!("inject={}:{}:when={}", case.call, case.how, case.nth);
        let name = format!("strace -f -e {inject}");
        let options = ["--quiet=all", "-e", &inject, "-e", &format!("trace={}", case.call)];
        let mut child = strace::command(&options, &own.join("trace"), ["scribe", "--folder"])?;
        let generation = (2 * args.seed + 2).to_string();
        child.arg(own).args(["--generation", &generation, "--appends", &args.appends.to_string()]);
        if let Some(sabotage) = args.sabotage {
            child.args(["--sabotage", &sabotage.name()]);
        }
        let ran = child.env("RUST_BACKTRACE", "0").output()?;
        let said = String::from_utf8_lossy(&ran.stderr);
        let told = scribe::told(own)?;
        let failed = told.iter().position(|told| matches!(told, Told::Failed { .. }));
        let what = match (case.how, failed) {
            ("signal=KILL", _) if was_killed(ran.status) => "killed",
            (_, Some(_)) => "failed, and said so",
            // Fewer calls of this kind were made, or it was one that matters to nobody.
            (_, None) if ran.status.success() => "went on unharmed",
            (_, None) => {
                tally.violation(format!("{name}: the process ended with {}: {said}", ran.status));
                return Ok(());
            }
        };
        tally.count(&format!("{} {}: {what}", case.call, case.how), 1);
        if said.contains("panicked at") {
            tally.count(&format!("{} {}: a thread of sled's panicked", case.call, case.how), 1);
        }
        if let Some(failed) = failed {
            for told in &told[failed..] {
                match told {
                    Told::Failed { what, .. } if !what.contains("reopened") && !what.contains("not available") => {
                        tally.violation(format!("{name}: the error says not what to do: {what}"));
                    }
                    Told::Written { run, seq, late: true, .. } => {
                        tally.violation(format!("{name}: record {seq} of {run} was acknowledged after a failure"));
                    }
                    _ => {}
                }
            }
        }
        let expect = Expect { damage: false, refusal: false };
        open_and_look(&store_of(own), Promise::of(&told), expect, &name, runtime, tally);
        Ok(())
    })?;
    tally.merge(looked);
    Ok(tally.tell(args.seed))
}
