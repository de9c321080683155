//! Writing: the check and the write are one critical section, and nothing is told before it is durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::id::{Epoch, ExclusiveKey, RunId, Timestamp};
use crate::journal::EncodedRecord;
use crate::store::head::{self, Head};
use crate::store::sled::by_end;
use crate::store::sled::disk::UNSYNCED_BYTES;
use crate::store::sled::ended::{self, Ended};
use crate::store::sled::frame::{Extent, Kind, Origin, Standing};
use crate::store::sled::group::Group;
use crate::store::sled::index::{FrameLog, Index, Live};
use crate::store::sled::{Core, MAX_RECORD_BYTES, damaged};
use crate::store::{Append, Refused, RunSummary, StoreError};

/// How many small changes of trees are made between two syncs; see [`UNSYNCED_BYTES`].
const UNSYNCED_DELETES: usize = 64;

/// What only the one who writes may touch.
pub(super) struct Writer {
    pub(super) log: FrameLog,
    /// The number of the frame after the last that belongs to a whole group.
    pub(super) whole: u64,
    /// Bytes given to sled since the last sync.
    pub(super) unsynced: usize,
    /// Frames that are of no use any more, once what was written meanwhile is synced.
    pub(super) spent: Vec<u64>,
    /// Frames that can go.
    pub(super) removable: Vec<u64>,
    /// Frames that are missing or unreadable, and that nobody has given up.
    pub(super) lost: BTreeSet<u64>,
}

/// A run as a batch changes it, before that is durable.
struct Planned {
    head: Head,
    extents: Vec<Extent>,
    starts: bool,
}

impl Planned {
    fn run(&self) -> &RunId {
        &self.head.summary().run
    }
}

/// A batch that was checked and laid out.
struct Plan {
    /// In the order in which they come in the batch.
    runs: Vec<Planned>,
    /// Where each run is in `runs`.
    places: HashMap<RunId, usize>,
    /// Keys that the batch takes (`Some`) and frees.
    keys: HashMap<ExclusiveKey, Option<RunId>>,
    group: Group,
}

impl Core {
    /// The right to write, if writing still makes sense.
    pub(super) fn write(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.writer.is_poisoned() {
            // A write that panicked half-way is as bad as one that failed.
            self.poison("a write panicked".to_owned());
        }
        self.check_poison()?;
        Ok(writer)
    }

    pub(super) fn sync(&self, writer: &mut Writer) -> Result<(), StoreError> {
        self.disk.sync().map_err(|reason| self.poison(reason))?;
        let noted = self.disk.mark.write(writer.whole);
        noted.map_err(|error| self.poison(format!("it could not be noted what is durable: {error}")))?;
        writer.unsynced = 0;
        writer.removable.append(&mut writer.spent);
        Ok(())
    }

    /// Notes that sled was given `bytes`, and syncs if those are too many to leave for later.
    fn wrote(&self, writer: &mut Writer, bytes: usize) -> Result<(), StoreError> {
        writer.unsynced += bytes;
        if writer.unsynced >= UNSYNCED_BYTES { self.sync(writer) } else { Ok(()) }
    }

    pub(super) fn insert(
        &self,
        writer: &mut Writer,
        tree: &sled::Tree,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let bytes = key.len() + value.len();
        tree.insert(key, value).map_err(|error| self.poison(format!("sled could not write: {error}")))?;
        self.wrote(writer, bytes)
    }

    pub(super) fn remove(&self, writer: &mut Writer, tree: &sled::Tree, key: &[u8]) -> Result<(), StoreError> {
        tree.remove(key).map_err(|error| self.poison(format!("sled could not write: {error}")))?;
        self.wrote(writer, UNSYNCED_BYTES / UNSYNCED_DELETES)
    }

    /// Gives a group's frames to sled. It counts only once its last frame is there.
    pub(super) fn insert_group(&self, writer: &mut Writer, group: Group) -> Result<(), StoreError> {
        for frame in group.seal() {
            writer.log.push(frame.number, frame.bytes.len());
            let key = frame.number.to_be_bytes();
            self.insert(writer, &self.disk.rolls, &key, frame.roll)?;
            self.insert(writer, &self.disk.frames, &key, frame.bytes)?;
        }
        writer.whole = writer.log.next();
        Ok(())
    }

    pub(super) fn insert_ended(&self, writer: &mut Writer, ended: &Ended) -> Result<(), StoreError> {
        let run = &ended.summary.run;
        for (number, part) in ended.write() {
            self.insert(writer, &self.disk.ended, &ended::key(run, number), part)?;
        }
        Ok(())
    }

    pub(super) fn append(&self, batch: &[Append], now: Instant) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let mut writer = self.write()?;
        let bytes = batch.iter().flat_map(|append| &append.records).map(|record| record.bytes.len()).sum();
        self.disk.check_room(bytes)?;
        let mut plan = Plan::new(batch.len(), writer.log.next());
        let answers = {
            let index = self.index();
            batch.iter().map(|append| self.plan(&mut plan, &index, append, now)).collect::<Result<Vec<_>, _>>()?
        };
        if plan.group.is_empty() {
            return Ok(answers);
        }
        self.commit(&mut writer, plan)?;
        self.clean(&mut writer)?;
        Ok(answers)
    }

    /// Checks one append against the index as the batch has changed it so far, and adds it to the plan.
    fn plan(
        &self,
        plan: &mut Plan,
        index: &Index,
        append: &Append,
        now: Instant,
    ) -> Result<Result<(), Refused>, StoreError> {
        if let Err(refused) = head::check_form(append, MAX_RECORD_BYTES) {
            return Ok(Err(refused));
        }
        let run = || append.run.clone();
        if let Some(what) = index.damaged.get(&append.run) {
            return Ok(Err(Refused::Damaged { run: run(), what: what.clone() }));
        }
        if let Some(at) = plan.places.get(&append.run).copied() {
            if append.start.is_some() {
                return Ok(Err(Refused::Exists { run: run() }));
            }
            if let Err(refused) = plan.runs[at].head.check(append) {
                return Ok(Err(refused));
            }
            plan.take(append, at, false);
            return Ok(Ok(()));
        }
        let live = index.live.get(&append.run);
        let ended = if live.is_none() { self.ended_summary(&append.run)? } else { None };
        match (&append.start, live, ended) {
            (Some(_), None, None) | (None, Some(_), _) => {}
            (Some(_), ..) => return Ok(Err(Refused::Exists { run: run() })),
            (None, None, None) => return Ok(Err(Refused::UnknownRun { run: run() })),
            // Refused, as it has ended; the check says which of the possible refusals it is.
            (None, None, Some(ended)) => return Ok(Head::found(ended).check(append)),
        }
        if let Some(live) = live {
            if let Err(refused) = live.head.check(append) {
                return Ok(Err(refused));
            }
            let at = plan.add(Planned { head: live.head.clone(), extents: Vec::with_capacity(1), starts: false });
            plan.take(append, at, false);
        } else if let Some(new) = &append.start {
            if let Some(key) = &new.key {
                let holder = plan.keys.get(key).cloned().unwrap_or_else(|| index.keys.get(key).cloned());
                if let Some(holder) = holder {
                    return Ok(Err(Refused::KeyHeld { key: key.clone(), holder }));
                }
                plan.keys.insert(key.clone(), Some(append.run.clone()));
            }
            let head = Head::start(append, new, now);
            let at = plan.add(Planned { head, extents: Vec::with_capacity(1), starts: true });
            plan.take(append, at, true);
        }
        Ok(Ok(()))
    }

    fn commit(&self, writer: &mut Writer, plan: Plan) -> Result<(), StoreError> {
        // Ended runs first. An entry that is durable while the frame with the run's end is not points behind the newest
        // frame, so it is recognised and dropped when the store is opened.
        let mut entries = self.entries(&plan.runs);
        for (page, value) in by_end::lay_out(&mut entries, writer.log.next()) {
            self.insert(writer, &self.disk.by_end, &page.bytes(), value)?;
        }
        for entry in &entries {
            self.insert_ended(writer, entry)?;
        }
        self.insert_group(writer, plan.group)?;
        self.sync(writer)?;

        let mut index = self.index_mut();
        for (key, holder) in plan.keys {
            match holder {
                Some(run) => index.keys.insert(key, run),
                None => index.keys.remove(&key),
            };
        }
        for planned in plan.runs {
            for extent in &planned.extents {
                writer.log.keep(extent);
            }
            if planned.head.status().is_ended() {
                index.live.remove(planned.run());
            } else if planned.starts {
                let run = planned.run().clone();
                index.live.insert(run, Live { head: planned.head, extents: planned.extents });
            } else if let Some(live) = index.live.get_mut(planned.run()) {
                live.head.settle(&planned.head);
                live.extents.extend_from_slice(&planned.extents);
            }
        }
        Ok(())
    }

    /// The entries of those that end.
    fn entries(&self, runs: &[Planned]) -> Vec<Ended> {
        let index = self.index();
        let ended = runs.iter().filter(|planned| planned.head.status().is_ended());
        let entry = |planned: &Planned| {
            let before = index.live.get(planned.run()).map_or(&[][..], |live| &live.extents);
            let extents = [before, &planned.extents].concat();
            Ended { summary: planned.head.summary().clone(), extents, side: false, page: None }
        };
        ended.map(entry).collect()
    }

    /// Adds a run as it was in another store.
    pub(super) fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        if let Err(refused) = head::check_restored(summary, records, MAX_RECORD_BYTES) {
            return Ok(Err(refused));
        }
        let mut writer = self.write()?;
        self.disk.check_room(records.iter().map(|record| record.bytes.len()).sum())?;
        let run = summary.run.clone();
        let mut plan = Plan::new(1, writer.log.next());
        {
            let index = self.index();
            if let Some(what) = index.damaged.get(&run) {
                return Ok(Err(Refused::Damaged { run, what: what.clone() }));
            }
            if index.live.contains_key(&run) || self.ended_summary(&run)?.is_some() {
                return Ok(Err(Refused::Exists { run }));
            }
            if let Some(key) = summary.key.as_ref().filter(|_| !summary.status.is_ended()) {
                if let Some(holder) = index.keys.get(key) {
                    return Ok(Err(Refused::KeyHeld { key: key.clone(), holder: holder.clone() }));
                }
                plan.keys.insert(key.clone(), Some(run.clone()));
            }
        }
        let origin = Origin::of(summary);
        let mut extents = Vec::new();
        plan.group.add_records(Kind::Start, &run, Standing::of(summary), Some(&origin), records, &mut extents);
        plan.add(Planned { head: Head::found(summary.clone()), extents, starts: true });
        self.commit(&mut writer, plan)?;
        self.clean(&mut writer)?;
        Ok(Ok(()))
    }

    pub(super) fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        let mut writer = self.write()?;
        if self.index().live.contains_key(run) {
            return Err(StoreError::NotEnded { run: run.clone() });
        }
        if let Some(entry) = self.forget_entry(&mut writer, run)? {
            self.unlist(&mut writer, &entry)?;
        }
        self.mark_dropped(&mut writer, std::slice::from_ref(run))?;
        self.sync(&mut writer)?;
        self.clean(&mut writer)
    }

    pub(super) fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut writer = self.write()?;
        loop {
            let (looked_at, deleted) = self.prune_some(&mut writer, ended_before, limit)?;
            // None deleted is to say that none is left, not that leftovers were in the way.
            if deleted > 0 || looked_at == 0 {
                return Ok(deleted);
            }
        }
    }

    /// Looks at the first keys of the index by end, deletes what they speak of, and says how many there were of both.
    fn prune_some(
        &self,
        writer: &mut Writer,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<(usize, usize), StoreError> {
        let due = self.ended_before(ended_before, limit)?;
        let mut deleted = Vec::new();
        for (key, ends) in &due {
            let mut left = Vec::new();
            for (at, run) in ends {
                if *at >= ended_before || deleted.len() >= limit {
                    left.push((*at, run.clone()));
                } else if self.ended_summary(run)?.is_some_and(|entry| entry.updated_at == *at) {
                    self.forget_entry(writer, run)?;
                    deleted.push(run.clone());
                }
                // Otherwise it is a leftover of a crash: the run is not there, or has ended at another time.
            }
            self.keep_listed(writer, key, &left)?;
        }
        if !due.is_empty() {
            self.mark_dropped(writer, &deleted)?;
            self.sync(writer)?;
            self.clean(writer)?;
        }
        Ok((due.len(), deleted.len()))
    }

    /// Removes the entry of an ended run, and says what it was, if it can be read.
    fn forget_entry(&self, writer: &mut Writer, run: &RunId) -> Result<Option<Ended>, StoreError> {
        let Some(first) = self.ended_part(run, 0)? else {
            return Err(self.damage_of(run).unwrap_or_else(|| StoreError::UnknownRun { run: run.clone() }));
        };
        // What cannot be read can be deleted all the same; its frames are then kept until the next opening.
        let entry = self.read_ended(run, &first).ok();
        for extent in entry.iter().flat_map(|entry| &entry.extents) {
            writer.log.drop(extent);
        }
        self.remove_ended(writer, run)?;
        Ok(entry)
    }

    /// Removes all parts of an entry, the first part first, as it is what makes the entry count.
    pub(super) fn remove_ended(&self, writer: &mut Writer, run: &RunId) -> Result<(), StoreError> {
        self.ended_keys(run)?.iter().try_for_each(|key| self.remove(writer, &self.disk.ended, key))
    }

    /// The keys of all parts of an entry.
    pub(super) fn ended_keys(&self, run: &RunId) -> Result<Vec<sled::IVec>, StoreError> {
        let parts = ended::key(run, 0)..=ended::key(run, u32::MAX);
        let keys = self.disk.ended.range(parts).map(|found| found.map(|(key, _)| key));
        keys.collect::<Result<_, _>>().map_err(|error| damaged("an ended run cannot be read", &error))
    }

    /// Notes in the frames that runs are gone. Without it, a run that ended shortly before could not be told from one whose
    /// entry was lost by a crash.
    pub(super) fn mark_dropped(&self, writer: &mut Writer, runs: &[RunId]) -> Result<(), StoreError> {
        let mut group = Group::new(writer.log.next());
        for run in runs {
            group.add_mark(Kind::Drop, run, Epoch::default());
        }
        self.insert_group(writer, group)
    }
}

impl Plan {
    /// An empty plan for so many appends, whose frames are to be numbered from `first` on.
    fn new(appends: usize, first: u64) -> Self {
        Self {
            runs: Vec::with_capacity(appends),
            places: HashMap::with_capacity(appends),
            keys: HashMap::new(),
            group: Group::new(first),
        }
    }

    /// Adds a run that it does not have yet, and says where.
    fn add(&mut self, planned: Planned) -> usize {
        let at = self.runs.len();
        self.places.insert(planned.run().clone(), at);
        self.runs.push(planned);
        at
    }

    /// Adds an append that was checked, of the run at `at`.
    fn take(&mut self, append: &Append, at: usize, starts: bool) {
        let Planned { head, extents, .. } = &mut self.runs[at];
        head.advance(append);
        let summary: &RunSummary = head.summary();
        let origin = starts.then(|| Origin::of(summary));
        let kind = if starts { Kind::Start } else { Kind::Append };
        self.group.add_records(kind, &append.run, Standing::of(summary), origin.as_ref(), &append.records, extents);
        if let Some(key) = summary.key.as_ref().filter(|_| append.status.is_ended()) {
            self.keys.insert(key.clone(), None);
        }
    }
}
