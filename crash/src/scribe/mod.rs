//! A process that writes to a store itself, without sagas, so that what the store promised can be told to the record.

mod promise;
mod script;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use saga_core::store::{Query, RunStatus, SledStore, Store, StoreError};
use saga_core::{Epoch, RunId, Seq, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

pub(crate) use self::promise::{Promise, go_on};
pub(crate) use self::script::{Script, known_saga};
use crate::Fail;
use crate::log::Log;

/// How often it goes on asking a store that fails for good: it must fail every time.
const STUBBORN: u32 = 5;
const AGAIN: Duration = Duration::from_millis(10);
const LEASE: Duration = Duration::from_secs(3600);

/// What the scribe is told by whoever starts it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScribeArgs {
    /// Where the store and the acknowledgements are.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Names its runs, so that each process has its own.
    #[arg(long, default_value_t = 0)]
    pub(crate) generation: u32,
    /// How many write at once.
    #[arg(long, default_value_t = 4)]
    pub(crate) writers: u32,
    /// It ends after so many appends.
    #[arg(long)]
    pub(crate) appends: u64,
    /// Whether it kills itself then, instead of closing the store.
    #[arg(long)]
    pub(crate) die: bool,
    /// As `SledOptions::min_free_bytes`.
    #[arg(long)]
    pub(crate) min_free: Option<u64>,
    /// What it does wrong on purpose.
    #[arg(long)]
    pub(crate) sabotage: Option<ScribeSabotage>,
}

/// A fault that is built in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScribeSabotage {
    /// What is about to be written is acknowledged already.
    EarlyAck,
}

impl ScribeSabotage {
    /// As it is given on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no value is hidden").get_name().to_owned()
    }
}

/// Ends this process by SIGKILL, at once.
pub(crate) fn die() -> ! {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("nobody survives that: {killed:?}")
}

/// What the scribe was told by the store, written down as it was told, one line by one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// The run has records up to this one. `late`: the store had failed before it was asked for this.
    Written { run: RunId, seq: u64, epoch: u64, late: bool },
    /// The run has records up to this one, and is held under this epoch.
    Claimed { run: RunId, seq: u64, epoch: u64 },
    /// The run is about to be deleted: it may be there or not.
    Deleting { run: RunId },
    /// It is not there any more.
    Deleted { run: RunId },
    /// The store failed.
    Failed { poisoned: bool, full: bool, what: String },
    /// The store was closed in good order.
    Closed,
}

/// Where the store of a scribe is, in its folder.
pub(crate) fn store_of(folder: &Path) -> PathBuf {
    folder.join("store")
}

/// Where a scribe writes down what it is told.
pub(crate) fn told_of(folder: &Path) -> PathBuf {
    folder.join("told")
}

/// All that the scribes of a folder were told, in its order.
pub(crate) fn told(folder: &Path) -> std::io::Result<Vec<Told>> {
    Ok(crate::log::read(&told_of(folder))?.whole)
}

struct Scribe {
    store: SledStore,
    told: Log<Told>,
    left: AtomicU64,
    failures: AtomicU64,
    /// Live runs of earlier processes, and how far they are.
    inherited: Mutex<VecDeque<(RunId, Epoch, Seq)>>,
    args: ScribeArgs,
}

/// Writes until it has made its appends, or the store fails for good.
pub(crate) async fn work(args: &ScribeArgs) -> Result<(), Fail> {
    let mut options = SledStore::options();
    if let Some(bytes) = args.min_free {
        options = options.min_free_bytes(bytes);
    }
    let told = Log::open(&told_of(&args.folder))?;
    let store = match options.open(store_of(&args.folder)) {
        Ok(store) => store,
        Err(error) => {
            told.add(&failed(&error))?;
            return Err(error.into());
        }
    };
    let (left, args) = (AtomicU64::new(args.appends), args.clone());
    let scribe = Scribe { store, told, left, failures: AtomicU64::new(0), inherited: Mutex::default(), args };
    let scribe = Arc::new(scribe);
    scribe.take_up().await?;
    let writers = (0..scribe.args.writers).map(|writer| tokio::spawn(Arc::clone(&scribe).write(writer)));
    for writer in writers.collect::<Vec<_>>() {
        writer.await??;
    }
    if scribe.failures.load(Ordering::Relaxed) > 0 {
        return Err("the store failed for good".into());
    }
    match scribe.store.close().await {
        Ok(()) => scribe.told.add(&Told::Closed)?,
        // It syncs once more, so this too may be what fails.
        Err(error) => {
            scribe.told.add(&failed(&error))?;
            return Err(error.into());
        }
    }
    Ok(())
}

fn failed(error: &StoreError) -> Told {
    Told::Failed {
        poisoned: matches!(error, StoreError::Poisoned { .. }),
        full: matches!(error, StoreError::Full { .. }),
        what: error.to_string(),
    }
}

impl Scribe {
    /// Claims what earlier processes have left behind.
    async fn take_up(&self) -> Result<(), Fail> {
        let worker = WorkerId::new(format!("scribe-{}", self.args.generation))?;
        let claims = loop {
            match self.store.claim(&worker, &[known_saga()], LEASE, usize::MAX).await {
                Ok(claims) => break claims,
                Err(error) => self.note(&error).await?,
            }
            if self.is_over() {
                return Ok(());
            }
        };
        for claim in claims {
            let (run, epoch, seq) = (claim.summary.run, claim.summary.epoch, claim.summary.seq);
            self.told.add(&Told::Claimed { run: run.clone(), seq: seq.0, epoch: epoch.0 })?;
            self.inherited.lock().unwrap_or_else(PoisonError::into_inner).push_back((run, epoch, seq));
        }
        Ok(())
    }

    /// Whether there is nothing more to be written, or no sense in it.
    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || self.failures.load(Ordering::Relaxed) > u64::from(STUBBORN)
    }

    async fn write(self: Arc<Self>, writer: u32) -> Result<(), Fail> {
        let old = RunId::new(format!("old-{}-{writer}", self.args.generation))?;
        let mut length = Seq::ZERO;
        for number in 0_u32.. {
            if self.is_over() {
                return Ok(());
            }
            // Now and then something is said by a run that lives for ever, and by one that was left behind.
            if number.is_multiple_of(5) && self.append(&old, Epoch::FIRST, length).await? {
                length = length.plus(1);
            }
            let next = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some((run, epoch, seq)) = next
                && self.append(&run, epoch, seq).await?
                && Script::of(&run).status(seq.0 + 1) == RunStatus::Running
            {
                let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
                inherited.push_back((run, epoch, seq.plus(1)));
            }
            let run = RunId::new(format!("run-{}-{writer}-{number}", self.args.generation))?;
            self.see_through(&run).await?;
        }
        Ok(())
    }

    /// Writes all of a run.
    async fn see_through(&self, run: &RunId) -> Result<(), Fail> {
        let script = Script::of(run);
        for seq in 0..script.records {
            if !self.append(run, Epoch::FIRST, Seq(seq)).await? {
                return Ok(());
            }
        }
        if script.deleted {
            self.told.add(&Told::Deleting { run: run.clone() })?;
            match self.store.delete(run).await {
                Ok(()) => self.told.add(&Told::Deleted { run: run.clone() })?,
                Err(error) => self.note(&error).await?,
            }
        }
        Ok(())
    }

    /// Appends one record behind `seq`, as often as it takes. Says whether it is there.
    async fn append(&self, run: &RunId, epoch: Epoch, seq: Seq) -> Result<bool, Fail> {
        let append = Script::of(run).append(run, epoch, seq, Timestamp::from(std::time::SystemTime::now()));
        while !self.is_over() {
            let late = self.failures.load(Ordering::Relaxed) > 0;
            let written = Told::Written { run: run.clone(), seq: seq.0 + 1, epoch: epoch.0, late };
            if self.args.sabotage == Some(ScribeSabotage::EarlyAck) {
                self.told.add(&written)?;
            }
            match self.store.append(std::slice::from_ref(&append)).await {
                Ok(answers) => {
                    answers.into_iter().collect::<Result<(), _>>()?;
                    let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                    if self.args.sabotage.is_none() {
                        self.told.add(&written)?;
                    }
                    // With the others in the middle of something.
                    if self.args.die && self.left.load(Ordering::Relaxed) == 0 {
                        die();
                    }
                    return Ok(true);
                }
                Err(error) => self.note(&error).await?,
            }
        }
        Ok(false)
    }

    /// Writes an error down. What may pass is waited for.
    async fn note(&self, error: &StoreError) -> Result<(), Fail> {
        self.told.add(&failed(error))?;
        if !error.is_transient() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }
}

/// All runs that a store lists.
pub(crate) async fn list(store: &SledStore) -> Result<Vec<saga_core::store::RunSummary>, StoreError> {
    let mut query = Query { limit: 1000, ..Query::default() };
    let mut all = Vec::new();
    loop {
        let page = store.list(&query).await?;
        all.extend(page.runs);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}
