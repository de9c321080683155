//! Laying out the frames of one commit.

use crate::id::{Epoch, RunId};
use crate::journal::EncodedRecord;
use crate::store::RunStatus;
use crate::store::sled::frame::{
    Extent, FRAME_BYTES, HEADER, Kind, Origin, Standing, VERSION, roll_mark, status_code, u16_of, u32_of,
};

/// Entries of more records than this are cut in two, so that a directory always fits in a frame.
const MAX_RECORDS_PER_ENTRY: usize = 256;

/// What an entry has before the run's id: what it is of, and how long the id is.
const HEAD_BYTES: usize = 3;

#[derive(Default)]
struct Pending {
    directory: Vec<u8>,
    entries: u16,
    data: Vec<u8>,
    roll: Vec<u8>,
}

/// Room for the directory and the roll of a frame with ordinary appends.
const DIRECTORY_BYTES: usize = 2 * 1024;
const ROLL_BYTES: usize = 128;

impl Pending {
    /// An empty frame that is going to be filled.
    fn with_room() -> Self {
        Self {
            directory: Vec::with_capacity(DIRECTORY_BYTES),
            entries: 0,
            data: Vec::with_capacity(FRAME_BYTES),
            roll: Vec::with_capacity(ROLL_BYTES),
        }
    }

    /// The frame's bytes, with its place in its group, and its roll.
    fn seal(self, index: u32, of: u32) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = Vec::with_capacity(HEADER + self.directory.len() + self.data.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&of.to_le_bytes());
        bytes.extend_from_slice(&u32_of(self.directory.len()).to_le_bytes());
        bytes.extend_from_slice(&self.directory);
        let checksum = crc32fast::hash(&bytes[5..]);
        bytes[1..5].copy_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&self.data);
        debug_assert!(bytes.len() <= FRAME_BYTES);
        (bytes, self.roll)
    }
}

/// A frame as it is given to sled.
pub(super) struct Sealed {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) roll: Vec<u8>,
}

/// Lays out the frames of one commit.
pub(super) struct Group {
    first: u64,
    frames: Vec<Pending>,
    /// The entry that is being made.
    entry: Vec<u8>,
}

impl Group {
    /// An empty group, whose frames will be numbered from `first` on.
    pub(super) fn new(first: u64) -> Self {
        Self { first, frames: Vec::new(), entry: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds an entry that has no records.
    pub(super) fn add_mark(&mut self, kind: Kind, run: &RunId, epoch: Epoch) {
        self.begin_entry(kind, run);
        self.entry.extend_from_slice(&epoch.0.to_le_bytes());
        self.place(&[], run);
    }

    fn begin_entry(&mut self, kind: Kind, run: &RunId) {
        let id = run.as_str().as_bytes();
        self.entry.clear();
        self.entry.push(kind.code());
        self.entry.extend_from_slice(&u16_of(id.len()).to_le_bytes());
        self.entry.extend_from_slice(id);
    }

    /// Adds records, and says where they will be: their extents go to the end of `extents`.
    pub(super) fn add_records(
        &mut self,
        kind: Kind,
        run: &RunId,
        standing: Standing,
        origin: Option<&Origin>,
        records: &[EncodedRecord],
        extents: &mut Vec<Extent>,
    ) {
        let json = origin.map(|origin| serde_json::to_vec(origin).expect("an origin always has a JSON form"));
        let mut rest = records;
        while !rest.is_empty() {
            // What a later entry of a start says is an append to what the first one started.
            let (kind, json) = match (&json, rest.len() == records.len(), kind) {
                (json, true, kind) => (kind, json.as_deref().unwrap_or_default()),
                (Some(json), false, Kind::Copy) => (Kind::Copy, json.as_slice()),
                (_, false, _) => (Kind::Append, [].as_slice()),
            };
            let fixed = HEAD_BYTES + run.as_str().len() + 8 + 8 + 1 + 8 + 2 + json.len() + 2;
            let fitting = |room: usize| {
                let mut used = fixed;
                let fits = |record: &&EncodedRecord| {
                    used += 4 + record.bytes.len();
                    used <= room
                };
                rest.iter().take(MAX_RECORDS_PER_ENTRY).take_while(fits).count()
            };
            let room = self.room();
            let wanted = rest.len().min(MAX_RECORDS_PER_ENTRY);
            let count = match fitting(room) {
                all if all == wanted => all,
                // A fresh frame takes more; what the old one has left is not lost, frames are as long as what they hold.
                _ if room < FRAME_BYTES - HEADER => {
                    self.frames.push(Pending::with_room());
                    continue;
                }
                // A record that is larger than a frame goes on in the next ones.
                some => some.max(1),
            };
            let (now, later) = rest.split_at(count);
            rest = later;
            // Only the last entry may say that the run has ended: whoever scans forgets an ended run, and would take what
            // comes then for another. The copies of an ended run all say so, as nobody is to remember any of them.
            let last = later.is_empty() || kind == Kind::Copy;
            let status = if last { standing.status } else { RunStatus::Running };
            self.begin_entry(kind, run);
            let entry = &mut self.entry;
            entry.extend_from_slice(&standing.epoch.0.to_le_bytes());
            entry.extend_from_slice(&now[0].seq.0.to_le_bytes());
            entry.push(status_code(status));
            entry.extend_from_slice(&standing.at.0.to_le_bytes());
            entry.extend_from_slice(&u16_of(json.len()).to_le_bytes());
            entry.extend_from_slice(json);
            entry.extend_from_slice(&u16_of(count).to_le_bytes());
            for record in now {
                entry.extend_from_slice(&u32_of(record.bytes.len()).to_le_bytes());
            }
            let (frame, entry, spill) = self.place(now, run);
            extents.push(Extent {
                first: now[0].seq.0,
                count: u32_of(count),
                frame,
                entry,
                spill,
                bytes: u32_of(now.iter().map(|record| record.bytes.len()).sum()),
            });
        }
    }

    fn room(&self) -> usize {
        let Some(last) = self.frames.last() else { return FRAME_BYTES - HEADER };
        // Entries are numbered in 16 bits, which no frame of this size comes near.
        (FRAME_BYTES - HEADER).saturating_sub(last.directory.len() + last.data.len())
    }

    /// Puts the entry that was made, and its records, into the last frame, or into a new one if there it does not fit, and
    /// returns where it is.
    fn place(&mut self, records: &[EncodedRecord], run: &RunId) -> (u64, u16, u32) {
        let bytes = self.entry.len() + records.iter().map(|record| record.bytes.len()).sum::<usize>();
        if self.frames.is_empty() || (bytes > self.room() && self.room() < FRAME_BYTES - HEADER) {
            self.frames.push(Pending::with_room());
        }
        let at = self.frames.len() - 1;
        let frame = &mut self.frames[at];
        let number = frame.entries;
        frame.entries += 1;
        frame.directory.extend_from_slice(&self.entry);
        mark(frame, run);
        if bytes <= FRAME_BYTES - HEADER {
            // What fits has its place: there is room for all of it now.
            for record in records {
                frame.data.extend_from_slice(&record.bytes);
            }
            return (self.first + at as u64, number, 0);
        }
        let mut spill = 0;
        for record in records {
            let mut data = record.bytes.as_slice();
            while !data.is_empty() {
                if self.room() == 0 {
                    self.frames.push(Pending::default());
                    spill += 1;
                    mark(&mut self.frames[at + spill], run);
                }
                let (now, later) = data.split_at(self.room().min(data.len()));
                self.frames[at + spill].data.extend_from_slice(now);
                data = later;
            }
        }
        if spill > 0 {
            // Nothing else goes into the last frame of a spill: a frame without entries has only what spilled into it.
            self.frames.push(Pending::default());
        }
        (self.first + at as u64, number, u32_of(spill))
    }

    /// The finished frames, in the order of their numbers.
    pub(super) fn seal(mut self) -> Vec<Sealed> {
        if self.frames.last().is_some_and(|last| last.entries == 0 && last.data.is_empty()) {
            self.frames.pop();
        }
        let of = u32_of(self.frames.len());
        let seal = |(index, frame): (usize, Pending)| {
            let (bytes, roll) = frame.seal(u32_of(index), of);
            Sealed { number: self.first + index as u64, bytes, roll }
        };
        self.frames.into_iter().enumerate().map(seal).collect()
    }
}

/// A frame with nothing in it, which stands for one that was lost and given up.
pub(super) fn blank() -> Vec<u8> {
    Pending::default().seal(0, 1).0
}

fn mark(frame: &mut Pending, run: &RunId) {
    let mark = roll_mark(run);
    if !frame.roll.chunks_exact(4).any(|other| other == mark) {
        frame.roll.extend_from_slice(&mark);
    }
}
