//! What a store has promised, and whether it keeps that.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::store::{Append, Damage, RunStatus, SledStore, Store, StoreError};
use saga_core::{Epoch, RunId, Seq, Timestamp, WorkerId};

use super::script::{Script, record};
use super::{LEASE, Told, list};

/// What was told of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    seq: u64,
    epoch: u64,
    deleting: bool,
    deleted: bool,
}

/// All that a store has promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    runs: BTreeMap<RunId, Known>,
    told: usize,
}

/// What came of holding a store against its promise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// Where the store is wrong, and does not say so.
    pub(crate) violations: Vec<String>,
    /// Runs that the store names as hurt.
    pub(crate) named: BTreeSet<RunId>,
    /// Runs that are gone, or back though they were deleted, where the store says that something is lost, but not what.
    pub(crate) gone: usize,
    /// Runs that are all there.
    pub(crate) whole: usize,
}

impl Promise {
    /// The promise behind the first `count` things that were told.
    pub(crate) fn of(told: &[Told]) -> Self {
        let mut promise = Self::default();
        told.iter().for_each(|told| promise.add(told));
        promise
    }

    pub(crate) fn add(&mut self, told: &Told) {
        self.told += 1;
        match told {
            Told::Written { run, seq, epoch, .. } | Told::Claimed { run, seq, epoch } => {
                let known = self.runs.entry(run.clone()).or_default();
                known.seq = known.seq.max(*seq);
                known.epoch = known.epoch.max(*epoch);
            }
            Told::Deleting { run } => self.runs.entry(run.clone()).or_default().deleting = true,
            Told::Deleted { run } => self.runs.entry(run.clone()).or_default().deleted = true,
            Told::Failed { .. } | Told::Closed => {}
        }
    }

    /// How many things were told.
    pub(crate) fn len(&self) -> usize {
        self.told
    }

    /// Holds an open store against the promise: each run is as it was told, or the store says that it is not.
    pub(crate) async fn check(&self, store: &SledStore) -> Result<Verdict, StoreError> {
        let damage = store.damage()?;
        let named: BTreeSet<&RunId> = damage.iter().filter_map(|damage| damage.run.as_ref()).collect();
        let losing = damage.iter().any(|damage| damage.run.is_none());
        let mut verdict = Verdict { named: named.iter().map(|run| (*run).clone()).collect(), ..Verdict::default() };
        let listed = match list(store).await {
            Ok(listed) => listed,
            Err(error) if losing => {
                verdict.violations.push(format!("nothing can be listed: {error}"));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let strangers = listed.iter().map(|summary| &summary.run).filter(|run| !self.runs.contains_key(*run));
        let strangers: Vec<_> = strangers.map(|run| (run, Known::default())).collect();
        for (run, known) in self.runs.iter().map(|(run, known)| (run, *known)).chain(strangers) {
            match look(store, run, known).await {
                Look::Whole => verdict.whole += 1,
                Look::Named => drop(verdict.named.insert(run.clone())),
                Look::Gone | Look::Back if losing => verdict.gone += 1,
                Look::Back => verdict.violations.push(format!("{run}: it was deleted, and is there")),
                Look::Gone => verdict.violations.push(format!("{run} is lost, {} records of it were told", known.seq)),
                // What the store says of it comes first.
                Look::Wrong(_) if named.contains(run) => drop(verdict.named.insert(run.clone())),
                Look::Wrong(what) => verdict.violations.push(format!("{run}: {what}")),
            }
        }
        Ok(verdict)
    }
}

enum Look {
    /// It is as it should be.
    Whole,
    /// The store says that it is hurt.
    Named,
    /// The store does not know it.
    Gone,
    /// It was deleted, and is there.
    Back,
    /// It is not as it should be.
    Wrong(String),
}

async fn look(store: &SledStore, run: &RunId, known: Known) -> Look {
    let script = Script::of(run);
    let summary = match store.get(run).await {
        Ok(Some(summary)) => summary,
        Ok(None) if known.deleting || known.seq == 0 => return Look::Whole,
        Ok(None) => return Look::Gone,
        Err(StoreError::Corrupt { .. }) => return Look::Named,
        Err(error) => return Look::Wrong(format!("it cannot be had: {error}")),
    };
    let seq = summary.seq.0;
    let records = match store.read(run, Seq::ZERO, usize::MAX).await {
        Ok(records) => records,
        // A parked run's journal is not given out.
        Err(StoreError::Corrupt { .. }) => return Look::Named,
        Err(error) => return Look::Wrong(format!("its journal cannot be had: {error}")),
    };
    // Each record has a checksum of its own, which its reader checks.
    if records.iter().any(|record| record.decode().is_err()) {
        return Look::Named;
    }
    if known.deleted {
        return Look::Back;
    }
    // One more may be there, that nobody was told of.
    if seq < known.seq || seq > known.seq + 1 {
        return Look::Wrong(format!("it has {seq} records, {} were told", known.seq));
    }
    if records.len() as u64 != seq || (1..).zip(&records).any(|(seq, found)| *found != record(run, seq)) {
        return Look::Wrong(format!("its journal has {} records, or others than were written", records.len()));
    }
    if summary.status != script.status(seq) {
        return Look::Wrong(format!("it is {} with {seq} records, instead of {}", summary.status, script.status(seq)));
    }
    if summary.epoch.0 < known.epoch {
        return Look::Wrong(format!("epoch {} was given out, it has {}", known.epoch, summary.epoch));
    }
    Look::Whole
}

/// Goes on with all runs that live and are not hurt, and starts one; answers what was told then.
pub(crate) async fn go_on(store: &SledStore, name: &str) -> Result<Vec<Told>, String> {
    let told = |error: StoreError| error.to_string();
    let damage: Vec<Damage> = store.damage().map_err(told)?;
    let parked: BTreeSet<RunId> = damage.into_iter().filter_map(|damage| damage.run).collect();
    let worker = WorkerId::new(name).map_err(|error| error.to_string())?;
    let mut runs = Vec::new();
    for summary in list(store).await.map_err(told)? {
        if summary.status == RunStatus::Running && !parked.contains(&summary.run) {
            let claim = store.claim_run(&worker, &summary.run, LEASE).await.map_err(|error| error.to_string())?;
            runs.push((summary.run, claim.summary.epoch, claim.summary.seq));
        }
    }
    let new = RunId::new(format!("{name}-new")).map_err(|error| error.to_string())?;
    runs.push((new, Epoch::FIRST, Seq::ZERO));
    let at = Timestamp::from(std::time::SystemTime::now());
    let batch: Vec<Append> =
        runs.iter().map(|(run, epoch, seq)| Script::of(run).append(run, *epoch, *seq, at)).collect();
    let answers = store.append(&batch).await.map_err(told)?;
    let mut written = Vec::new();
    for ((run, epoch, seq), answer) in runs.into_iter().zip(answers) {
        answer.map_err(|refused| format!("{run} cannot go on: {refused}"))?;
        written.push(Told::Written { run, seq: seq.0 + 1, epoch: epoch.0, late: false });
    }
    Ok(written)
}
