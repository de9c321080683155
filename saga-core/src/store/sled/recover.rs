//! Opening: the index is rebuilt from the frames, what was not finished is dropped, what is damaged is named.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::id::{RunId, Seq};
use crate::store::StoreError;
use crate::store::head::Head;
use crate::store::sled::by_end;
use crate::store::sled::commit::Writer;
use crate::store::sled::disk::Disk;
use crate::store::sled::ended::{self, Ended};
use crate::store::sled::frame::{Directory, Extent, Kind, Origin, Standing, roll_mark};
use crate::store::sled::index::{FrameLog, Index, Live};
use crate::store::sled::mark::Found as Marked;
use crate::store::sled::{Core, Damage, refused};

/// After so many keys in a row that sled cannot read, the rest is taken for lost.
const PATIENCE: usize = 4096;

/// How many of the newest frames may have been written since the last sync. sled writes in order, but a drive that loses
/// power may have kept the later and lost the earlier; so within these frames, the end of a run is believed without its entry.
const UNCERTAIN_FRAMES: u64 = 256;

/// A run as far as the frames tell.
#[derive(Default)]
struct Found {
    origin: Option<Origin>,
    standing: Option<Standing>,
    extents: Vec<Extent>,
}

impl Found {
    fn stand(&mut self, standing: Standing) {
        let epoch = self.standing.map_or(standing.epoch, |before| before.epoch.max(standing.epoch));
        self.standing = Some(Standing { epoch, ..standing });
    }

    /// Orders the extents, drops those that were copied since, and returns the first place that is missing, if one is.
    fn settle(&mut self) -> Option<u64> {
        self.extents.sort_unstable_by_key(|extent| (extent.first, Reverse(extent.frame)));
        let mut next = 1;
        let mut gap = None;
        self.extents.retain(|extent| {
            if extent.first < next {
                return false;
            }
            if extent.first > next {
                gap = gap.or(Some(next));
            }
            next = extent.end();
            true
        });
        gap
    }

    fn newest_frame(&self) -> Option<u64> {
        self.extents.iter().map(|extent| extent.frame).max()
    }
}

/// The number of a lost frame, and its roll if that can be had.
type Roll = (u64, Option<sled::IVec>);

#[derive(Default)]
struct Scan {
    runs: HashMap<RunId, Found>,
    /// Runs that ended in the newest frames.
    just_ended: HashMap<RunId, Found>,
    newest: u64,
    log: FrameLog,
    /// Frames that are missing or unreadable.
    lost: BTreeSet<u64>,
    damage: Vec<Damage>,
}

impl Core {
    pub(super) fn recover(disk: Disk) -> Result<Self, StoreError> {
        let mut scan = Scan::default();
        drop_unfinished(&disk)?;
        scan.newest = disk.frames.last().ok().flatten().map_or(0, |(key, _)| number_of(&key));
        scan.frames(&disk);
        scan.tail(&disk);
        let mut unfinished = Vec::new();
        scan.ended(&disk, &mut unfinished)?;
        let rolls = scan.rolls(&disk);
        let mut index = scan.settle(&rolls);
        let lost_entries = scan.lost_entries(&rolls, &mut index);
        let Scan { log, damage, lost, .. } = scan;
        let whole = log.next();
        let writer = Writer { log, whole, unsynced: 0, spent: Vec::new(), removable: Vec::new(), lost };
        let core = Self::new(disk, index, writer, damage);
        {
            let mut writer = core.write()?;
            for entry in unfinished {
                core.remove_ended(&mut writer, &entry.summary.run)?;
                core.unlist(&mut writer, &entry)?;
            }
            for entry in lost_entries {
                core.insert(&mut writer, &core.disk.by_end, &by_end::own_key(&entry.summary), Vec::new())?;
                core.insert_ended(&mut writer, &entry)?;
            }
            core.sync(&mut writer)?;
            core.disk.mark.sync()?;
            core.clean(&mut writer)?;
        }
        Ok(core)
    }
}

fn number_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

/// Removes the newest group if its last frame is not there, unless it is known to have been acknowledged: then it is damaged.
fn drop_unfinished(disk: &Disk) -> Result<(), StoreError> {
    let unreadable = |error| refused(format!("the newest frames cannot be read: {error}"));
    let Some((newest, _)) = disk.frames.last().map_err(unreadable)? else { return Ok(()) };
    let newest = number_of(&newest);
    // Any frame of the group that can be read tells how far it should go.
    for entry in disk.frames.iter().rev() {
        let (key, frame) = entry.map_err(unreadable)?;
        let Ok(directory) = Directory::read(&frame) else { continue };
        let first = number_of(&key).saturating_sub(u64::from(directory.index));
        let after = first + u64::from(directory.of);
        if matches!(disk.mark.found(), Marked::Next(next) if after <= next) {
            return Ok(());
        }
        // A frame that is not there in the middle of the newest group was not written before the power went. One that is
        // there but cannot be read is another matter.
        let there = disk.frames.range(first.to_be_bytes()..after.to_be_bytes()).count() as u64;
        // The front of the group may have been cleaned away, if it is the only one.
        let oldest = disk.frames.first().map_err(unreadable)?.map_or(first, |(key, _)| number_of(&key));
        if there < after - first.max(oldest) {
            for number in (first..=newest).rev() {
                disk.frames.remove(number.to_be_bytes()).map_err(unreadable)?;
                disk.rolls.remove(number.to_be_bytes()).map_err(unreadable)?;
            }
            disk.sync().map_err(|reason| StoreError::Poisoned { reason })?;
        }
        return Ok(());
    }
    Ok(())
}

impl Scan {
    fn frames(&mut self, disk: &Disk) {
        let mut next: Option<u64> = None;
        let mut failures = 0;
        loop {
            for entry in disk.frames.range(next.unwrap_or(0).to_be_bytes()..) {
                match entry {
                    Ok((key, frame)) => {
                        failures = 0;
                        let number = number_of(&key);
                        for missing in next.unwrap_or(number)..number {
                            self.lose(missing, "it is missing");
                        }
                        self.frame(number, &frame);
                        next = Some(number + 1);
                    }
                    Err(error) => {
                        failures += 1;
                        let lost = next.unwrap_or(0);
                        self.lose(lost, &error.to_string());
                        next = Some(lost + 1);
                        break;
                    }
                }
            }
            // The iteration ended by itself, or there is nothing more to be had.
            if failures == 0 || failures > PATIENCE {
                return;
            }
            if disk.frames.range(next.unwrap_or(0).to_be_bytes()..).next().is_none() {
                return;
            }
        }
    }

    /// Finds out whether there were frames behind the newest.
    fn tail(&mut self, disk: &Disk) {
        let next = match disk.mark.found() {
            Marked::Nothing => return,
            Marked::Next(next) => next,
            Marked::Unreadable => {
                let what =
                    "the mark of what was acknowledged is damaged: it is not known whether newer frames are lost";
                self.damage.push(Damage { frame: None, run: None, what: what.to_owned() });
                return;
            }
        };
        // With no frame at all it is not known which of those before the mark there still were.
        let there = self.log.next();
        let first = if there == 0 { next.saturating_sub(1) } else { there };
        if first >= next {
            return;
        }
        self.lost.extend(first..next);
        self.log.pass(next);
        let what = format!("frames {first} to {}, the newest, are lost, though they were acknowledged", next - 1);
        self.damage.push(Damage { frame: Some(first), run: None, what });
    }

    fn lose(&mut self, number: u64, why: &str) {
        if self.lost.insert(number) {
            self.damage.push(Damage { frame: Some(number), run: None, what: format!("frame {number}: {why}") });
        }
    }

    fn frame(&mut self, number: u64, frame: &[u8]) {
        self.log.push(number, frame.len());
        let directory = match Directory::read(frame) {
            Ok(directory) => directory,
            Err(why) => return self.lose(number, &why.to_string()),
        };
        for (at, entry) in directory.entries.iter().enumerate() {
            let run = &entry.run;
            match entry.kind {
                Kind::Drop => {
                    self.runs.remove(run);
                    self.just_ended.remove(run);
                }
                Kind::Claim => {
                    if let Some(found) = self.runs.get_mut(run) {
                        let standing = found.standing.unwrap_or(entry.standing);
                        found.stand(Standing { epoch: entry.standing.epoch, ..standing });
                    }
                }
                kind => {
                    if kind == Kind::Start {
                        // It is not the run of this id that there may have been before.
                        self.runs.remove(run);
                        self.just_ended.remove(run);
                    }
                    let found = self.runs.entry(run.clone()).or_default();
                    found.stand(entry.standing);
                    if entry.origin.is_some() {
                        found.origin.clone_from(&entry.origin);
                    }
                    found.extents.extend(directory.extent(number, at, frame.len()));
                    // An ended run is kept elsewhere, or is deleted. Its frames still tell that it is not live.
                    if entry.standing.status.is_ended() {
                        let ended = self.runs.remove(run).unwrap_or_default();
                        if kind != Kind::Copy && number + UNCERTAIN_FRAMES > self.newest {
                            self.just_ended.insert(run.clone(), ended);
                        }
                    }
                }
            }
        }
    }

    fn ended(&mut self, disk: &Disk, unfinished: &mut Vec<Ended>) -> Result<(), StoreError> {
        for entry in disk.ended.iter() {
            let (key, value) = entry.map_err(|error| refused(format!("ended runs cannot be read: {error}")))?;
            if !ended::is_first(&key) {
                continue;
            }
            let part = |number| {
                let run = ended::run_of(&key);
                Ok(run.and_then(|run| disk.ended.get(ended::key(&run, number)).ok().flatten()).map(|v| v.to_vec()))
            };
            let entry = match Ended::read::<super::frame::Unreadable>(&value, part) {
                Ok(entry) => entry,
                Err(why) => {
                    let run = ended::run_of(&key);
                    self.damage.push(Damage { frame: None, run, what: format!("the entry of an ended run: {why}") });
                    continue;
                }
            };
            let run = &entry.summary.run;
            let newest = entry.extents.iter().map(|extent| extent.frame + u64::from(extent.spill)).max();
            if newest >= Some(self.log.next()) {
                // It was written, but the frame with the run's end was not: the run has not ended.
                unfinished.push(entry);
                continue;
            }
            self.runs.remove(run);
            self.just_ended.remove(run);
            for extent in &entry.extents {
                if !self.lost.contains(&extent.frame) {
                    self.log.keep(extent);
                }
                if let Some(frame) = self.lost.range(extent.frame..=extent.frame + u64::from(extent.spill)).next() {
                    let what = format!("records of this ended run are in frame {frame}");
                    self.damage.push(Damage { frame: Some(*frame), run: Some(run.clone()), what });
                }
            }
        }
        Ok(())
    }

    /// The rolls of lost frames, as far as they can be had.
    fn rolls(&self, disk: &Disk) -> Vec<Roll> {
        let roll = |number: &u64| (*number, disk.rolls.get(number.to_be_bytes()).ok().flatten());
        self.lost.iter().map(roll).collect()
    }

    /// The entries of runs that ended, were not deleted, and have none.
    fn lost_entries(&mut self, rolls: &[Roll], index: &mut Index) -> Vec<Ended> {
        let mut entries = Vec::new();
        for (run, mut found) in std::mem::take(&mut self.just_ended) {
            if let Some(number) = lost_behind(rolls, &run, &found) {
                let what = format!("it has ended, and may have been deleted in frame {number}, which is lost");
                self.damage.push(Damage { frame: None, run: Some(run.clone()), what: what.clone() });
                found.settle();
                index.damaged.insert(run.clone(), what);
                index.remains.insert(run, found.extents);
                continue;
            }
            let whole = found.settle().is_none();
            let (Some(origin), Some(standing)) = (found.origin, found.standing) else { continue };
            let seq = found.extents.last().map_or(0, |extent| extent.end() - 1);
            if whole {
                for extent in &found.extents {
                    self.log.keep(extent);
                }
                let summary = origin.into_summary(run, standing, Seq(seq));
                entries.push(Ended { summary, extents: found.extents, side: false, page: None });
            }
        }
        entries
    }

    fn settle(&mut self, rolls: &[Roll]) -> Index {
        let mut index = Index::default();
        for (run, mut found) in std::mem::take(&mut self.runs) {
            let gap = found.settle();
            let what = match (&found.origin, gap) {
                (None, _) => Some("its start is lost".to_owned()),
                (_, Some(gap)) => Some(format!("record {gap} is lost")),
                // What is lost behind a run's newest record leaves no gap.
                (Some(_), None) => lost_behind(rolls, &run, &found)
                    .map(|number| format!("its newest records may have been in frame {number}, which is lost")),
            };
            let what = what.or_else(|| {
                let lost = |extent: &Extent| {
                    self.lost.range(extent.frame..=extent.frame + u64::from(extent.spill)).next().copied()
                };
                found.extents.iter().find_map(lost).map(|frame| format!("a part of a record was in frame {frame}"))
            });
            if let Some(what) = what {
                self.damage.push(Damage { frame: None, run: Some(run.clone()), what: what.clone() });
                index.damaged.insert(run.clone(), what);
            }
            let (Some(origin), Some(standing)) = (found.origin, found.standing) else {
                index.remains.insert(run, found.extents);
                continue;
            };
            for extent in &found.extents {
                self.log.keep(extent);
            }
            let seq = found.extents.last().map_or(0, |extent| extent.end() - 1);
            let summary = origin.into_summary(run.clone(), standing, Seq(seq));
            if let Some(key) = &summary.key {
                index.keys.insert(key.clone(), run.clone());
            }
            index.live.insert(run, Live { head: Head::found(summary), extents: found.extents });
        }
        index
    }
}

/// A lost frame, newer than all that is known of a run, that may have had something of it. Its roll tells; without that, it
/// must be feared for every run.
fn lost_behind(rolls: &[Roll], run: &RunId, found: &Found) -> Option<u64> {
    let mark = roll_mark(run);
    let newest = found.newest_frame();
    let feared = rolls.iter().find(|(number, roll)| {
        let named = roll.as_ref().is_none_or(|roll| roll.chunks_exact(4).any(|other| other == mark));
        newest < Some(*number) && named
    });
    feared.map(|(number, _)| *number)
}
