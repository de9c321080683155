//! Giving room back: frames that nobody needs go, and what little is of use in old ones is copied into a new one.

use std::collections::{HashMap, HashSet};

use crate::id::RunId;
use crate::store::sled::commit::Writer;
use crate::store::sled::ended::{self, Ended};
use crate::store::sled::frame::{Directory, Extent, Kind, Origin, Standing, read_extent};
use crate::store::sled::group::Group;
use crate::store::sled::{Core, damaged};
use crate::store::{RunSummary, StoreError};

/// Half of what frames hold may be of no use before anything is copied: so each byte is copied once for each byte that
/// became useless meanwhile, at most.
const USEFUL_PART: u64 = 2;

/// Below this, room is not worth a copy.
const SLACK_BYTES: u64 = 512 * 1024;

/// Cleaning is done by those who write; so much of it at most, each time.
const COPIED_BYTES: usize = 32 * 1024;
const FRAMES: usize = 256;

/// Where records stood, and where they stand now.
struct Move {
    run: RunId,
    from: Extent,
    to: Vec<Extent>,
}

impl Core {
    /// Removes what can be removed, and copies a little if that is due.
    ///
    /// A frame goes only after a sync that came after it was of no use any more, so after no crash is there a moment at
    /// which neither it nor its copy is there. Duplicates are recognised when the store is opened.
    pub(super) fn clean(&self, writer: &mut Writer) -> Result<(), StoreError> {
        for number in std::mem::take(&mut writer.removable) {
            let key = number.to_be_bytes();
            self.remove(writer, &self.disk.frames, &key)?;
            self.remove(writer, &self.disk.rolls, &key)?;
        }
        // Which runs are damaged is told from the frames around the damaged ones. And of a run that began in a lost frame
        // nothing else tells: were that the oldest, nobody would miss it once it is gone. So these all stay until somebody
        // has looked at it.
        if !self.index().damaged.is_empty() || !writer.lost.is_empty() {
            return Ok(());
        }
        self.pop_spent(writer);
        let (bytes, live) = writer.log.usage();
        if bytes > USEFUL_PART * live + SLACK_BYTES {
            let oldest = writer.log.oldest_useful(COPIED_BYTES, FRAMES);
            if self.copy_out(writer, &oldest)? {
                self.pop_spent(writer);
            }
        }
        Ok(())
    }

    fn pop_spent(&self, writer: &mut Writer) {
        while let Some((number, false)) = writer.log.oldest() {
            writer.log.pop();
            writer.spent.push(number);
            if writer.spent.len() >= FRAMES {
                break;
            }
        }
    }

    /// Copies what is of use in some frames into new ones, and says whether that could be done.
    fn copy_out(&self, writer: &mut Writer, numbers: &[u64]) -> Result<bool, StoreError> {
        let mut group = Group::new(writer.log.next());
        let mut ended: HashMap<RunId, Ended> = HashMap::new();
        let mut moves = Vec::new();
        for number in numbers.iter().copied() {
            let frame = self.disk.frames.get(number.to_be_bytes());
            let frame = frame.map_err(|error| damaged("a frame cannot be read", &error))?;
            let Some((frame, Ok(directory))) = frame.map(|frame| (frame.len(), Directory::read(&frame))) else {
                return Ok(false);
            };
            for (at, entry) in directory.entries.iter().enumerate() {
                let Some(from) = directory.extent(number, at, frame) else { continue };
                // Otherwise the run is deleted, or another one of the same id, or the records were copied before.
                let Some(summary) = self.owner_of(&from, &entry.run, &mut ended)? else { continue };
                let mut records = Vec::new();
                if read_extent(&from, 0, usize::MAX, &mut records, |number| self.fetch(number)).is_err() {
                    return Ok(false);
                }
                let (standing, origin) = (Standing::of(&summary), Origin::of(&summary));
                let mut to = Vec::new();
                group.add_records(Kind::Copy, &entry.run, standing, Some(&origin), &records, &mut to);
                moves.push(Move { run: entry.run.clone(), from, to });
            }
        }
        self.insert_group(writer, group)?;
        let mut moved = HashSet::new();
        for Move { run, from, to } in moves {
            writer.log.drop(&from);
            for extent in &to {
                writer.log.keep(extent);
            }
            if let Some(live) = self.index_mut().live.get_mut(&run) {
                replace(&mut live.extents, &from, to);
            } else if let Some(found) = ended.get_mut(&run) {
                replace(&mut found.extents, &from, to);
                moved.insert(run);
            }
        }
        if !moved.is_empty() {
            // An entry must never be durable before the frames that it points at: it would be taken for unfinished.
            self.sync(writer)?;
        }
        for entry in ended.values_mut().filter(|entry| moved.contains(&entry.summary.run)) {
            let old = self.ended_keys(&entry.summary.run)?;
            entry.side = !entry.side;
            self.insert_ended(writer, entry)?;
            for key in old.iter().filter(|key| !ended::is_first(key)) {
                self.remove(writer, &self.disk.ended, key)?;
            }
        }
        Ok(true)
    }

    /// The head of the run that an extent belongs to, if that exists and still has its records there.
    fn owner_of(
        &self,
        extent: &Extent,
        run: &RunId,
        ended: &mut HashMap<RunId, Ended>,
    ) -> Result<Option<RunSummary>, StoreError> {
        if let Some(live) = self.index().live.get(run) {
            return Ok(live.extents.contains(extent).then(|| live.head.summary().clone()));
        }
        if !ended.contains_key(run) {
            let Some(found) = self.ended(run)? else { return Ok(None) };
            ended.insert(run.clone(), found);
        }
        let found = ended.get(run).filter(|ended| ended.extents.contains(extent));
        Ok(found.map(|ended| ended.summary.clone()))
    }
}

fn replace(extents: &mut Vec<Extent>, from: &Extent, to: Vec<Extent>) {
    if let Some(at) = extents.iter().position(|extent| extent == from) {
        extents.splice(at..=at, to);
    }
}
