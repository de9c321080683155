//! The outside world: files, one for each effect, and the ledger beside them.
//!
//! It is idempotent by key: making what is there already changes nothing, and so does unmaking what is not. Both survive the
//! death of whoever asked for them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use saga_core::{Ctx, Epoch, RunId};

use crate::ledger::{Act, Entry, Ledger, Mark};

/// A fault that is built in on purpose, to see that the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// The world forgets to undo some effects, and says that it did.
    ForgetUndo,
    /// Workers act under a claim that they have lost, as far as the ledger tells.
    StaleEpoch,
    /// Some starts are acknowledged that were never made.
    LoseStart,
    /// Exclusive keys are not asked for.
    IgnoreKeys,
}

impl Sabotage {
    /// What tells another process of it.
    pub(crate) fn arguments(self) -> [OsString; 2] {
        let value = self.to_possible_value().expect("no value is hidden");
        ["--sabotage".into(), value.get_name().into()]
    }
}

/// The outside world, as a worker reaches it.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    ledger: Ledger,
    worker: String,
    sabotage: Option<Sabotage>,
}

impl World {
    /// The world in a folder, which is made if it is not there.
    pub(crate) fn open(folder: &Path, worker: &str, sabotage: Option<Sabotage>) -> io::Result<Self> {
        for part in ["effects", "settled"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let ledger = Ledger::open(&ledger_of(folder))?;
        Ok(Self { folder: folder.to_owned(), ledger, worker: worker.to_owned(), sabotage })
    }

    pub(crate) fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    /// Makes an effect. Says whether it was not there before.
    pub(crate) fn make(&self, key: &str) -> io::Result<bool> {
        match OpenOptions::new().write(true).create_new(true).open(self.effect(key)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Unmakes an effect. Says whether it was there.
    pub(crate) fn unmake(&self, key: &str) -> io::Result<bool> {
        if self.sabotage == Some(Sabotage::ForgetUndo) && key.bytes().map(u32::from).sum::<u32>() % 4 == 0 {
            return Ok(true);
        }
        match fs::remove_file(self.effect(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether an effect is there.
    pub(crate) fn has(&self, key: &str) -> io::Result<bool> {
        fs::exists(self.effect(key))
    }

    /// Everything that is there, by [`file_name`].
    pub(crate) fn effects(&self) -> io::Result<BTreeSet<String>> {
        let entries = fs::read_dir(self.folder.join("effects"))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// An operator puts right what was in a run's way.
    pub(crate) fn settle(&self, run: &RunId) -> io::Result<()> {
        fs::write(self.folder.join("settled").join(run.as_str()), "")
    }

    pub(crate) fn is_settled(&self, run: &RunId) -> io::Result<bool> {
        fs::exists(self.folder.join("settled").join(run.as_str()))
    }

    /// Writes an entry into the ledger, for the attempt that `ctx` is of.
    pub(crate) fn write(&self, ctx: &Ctx<Self>, act: Act, mark: Mark) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let mut epoch = ctx.epoch();
        if self.sabotage == Some(Sabotage::StaleEpoch) && act == Act::Do && ctx.step().as_str() == "c" {
            epoch = Epoch(epoch.0.saturating_sub(1));
        }
        self.ledger.add(&Entry {
            at: u64::try_from(at).unwrap_or(u64::MAX),
            worker: self.worker.clone(),
            run: ctx.run().clone(),
            step: ctx.step().clone(),
            item: ctx.item(),
            key: ctx.idempotency_key(),
            epoch,
            attempt: ctx.attempt(),
            act,
            mark,
        })
    }

    fn effect(&self, key: &str) -> PathBuf {
        self.folder.join("effects").join(file_name(key))
    }
}

/// Where the ledger of a world is.
pub(crate) fn ledger_of(folder: &Path) -> PathBuf {
    folder.join("ledger")
}

/// The name of an effect's file.
pub(crate) fn file_name(key: &str) -> String {
    key.replace('/', "~")
}
