//! Reading a frame: a directory of what happened to which run, then the records. [`group`](super::group) writes them.
//!
//! The byte-level picture is in the [module's documentation](super).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp};
use crate::journal::EncodedRecord;
use crate::plan::Fingerprint;
use crate::store::{RunStatus, RunSummary};

/// The version of the layout that is written.
pub(super) const VERSION: u8 = 1;

pub(super) const HEADER: usize = 17;

/// The largest value that is ever given to sled.
///
/// sled writes a tree's leaf as a whole every ten changes or so, and what is over 128 KiB goes to a file that it never
/// syncs. So it is the *leaf* that must stay below: sled splits one that has more than 16 values, and merges at most three
/// into a full one. 24 values of this size stay below 128 KiB.
pub(super) const FRAME_BYTES: usize = 5 * 1024;

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its first records.
    Start,
    /// Further records.
    Append,
    /// Records that stood in an older frame, which is about to go.
    Copy,
    /// A new epoch.
    Claim,
    /// It was given up, because it is damaged.
    Drop,
}

impl Kind {
    fn has_records(self) -> bool {
        matches!(self, Self::Start | Self::Append | Self::Copy)
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Append => 2,
            Self::Copy => 3,
            Self::Claim => 4,
            Self::Drop => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Start, Self::Append, Self::Copy, Self::Claim, Self::Drop].into_iter().find(|kind| kind.code() == code)
    }
}

/// What is told of a run once, when it starts, and again in copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    saga: SagaName,
    version: u32,
    fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<ExclusiveKey>,
    created_at: Timestamp,
}

impl Origin {
    pub(super) fn of(summary: &RunSummary) -> Self {
        Self {
            saga: summary.saga.clone(),
            version: summary.version,
            fingerprint: summary.fingerprint,
            key: summary.key.clone(),
            created_at: summary.created_at,
        }
    }

    pub(super) fn into_summary(self, run: RunId, standing: Standing, seq: Seq) -> RunSummary {
        RunSummary {
            run,
            saga: self.saga,
            version: self.version,
            fingerprint: self.fingerprint,
            key: self.key,
            status: standing.status,
            seq,
            epoch: standing.epoch,
            owner: None,
            created_at: self.created_at,
            updated_at: standing.at,
        }
    }
}

/// Where a run stands behind an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) epoch: Epoch,
    pub(super) status: RunStatus,
    pub(super) at: Timestamp,
}

impl Standing {
    pub(super) fn of(summary: &RunSummary) -> Self {
        Self { epoch: summary.epoch, status: summary.status, at: summary.updated_at }
    }
}

/// Where some successive records of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The place of the first of them.
    pub(super) first: u64,
    /// How many they are.
    pub(super) count: u32,
    /// The frame that has them, or that they begin in.
    pub(super) frame: u64,
    /// Their entry in the directory of that frame.
    pub(super) entry: u16,
    /// How many frames after that one they go on in.
    pub(super) spill: u32,
    /// How many bytes they are.
    pub(super) bytes: u32,
}

impl Extent {
    /// The place after the last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// One entry of a directory, read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) run: RunId,
    pub(super) standing: Standing,
    pub(super) origin: Option<Origin>,
    first: u64,
    lengths: Vec<u32>,
    /// Where its records begin in the frame.
    offset: usize,
}

/// A frame's header and directory, read and checked.
#[derive(Debug)]
pub(super) struct Directory {
    /// The frame's place in its group, from 0.
    pub(super) index: u32,
    /// How many frames the group has.
    pub(super) of: u32,
    pub(super) entries: Vec<Entry>,
    data_at: usize,
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn status_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Running => 0,
        RunStatus::Halted => 1,
        RunStatus::Stuck => 2,
        RunStatus::Completed => 3,
        RunStatus::RolledBack => 4,
        RunStatus::Abandoned => 5,
    }
}

pub(super) fn status_of(code: u8) -> Option<RunStatus> {
    RunStatus::ALL.into_iter().find(|known| status_code(*known) == code)
}

/// A 32-bit name of a run for the roll of a frame.
pub(super) fn roll_mark(run: &RunId) -> [u8; 4] {
    crc32fast::hash(run.as_str().as_bytes()).to_le_bytes()
}

// Both are bounded far below by what is checked before: lengths of ids and records, and the size of a frame.
pub(super) fn u16_of(number: usize) -> u16 {
    u16::try_from(number).expect("bounded by the size of a frame")
}

pub(super) fn u32_of(number: usize) -> u32 {
    u32::try_from(number).expect("bounded by the size of a record")
}

impl Directory {
    /// Reads and checks a frame's header and directory.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |why: &str| Unreadable(why.to_owned());
        let short = || unreadable("it is cut off");
        match frame.first() {
            None => return Err(unreadable("it is empty")),
            Some(&VERSION) => {}
            Some(other) => return Err(Unreadable(format!("its format is {other}, not {VERSION}"))),
        }
        let word = |at: usize| -> Result<u32, Unreadable> {
            let bytes = frame.get(at..at + 4).ok_or_else(short)?;
            Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| short())?))
        };
        let (checksum, index, of, length) = (word(1)?, word(5)?, word(9)?, word(13)? as usize);
        let data_at = HEADER.saturating_add(length);
        let checked = frame.get(5..data_at).ok_or_else(short)?;
        if crc32fast::hash(checked) != checksum {
            return Err(unreadable("the checksum of its directory is wrong"));
        }
        let mut cursor = Cursor { bytes: &frame[HEADER..data_at] };
        let mut entries = Vec::new();
        let mut offset = data_at;
        while !cursor.bytes.is_empty() {
            let entry = cursor.entry(offset).ok_or_else(|| unreadable("its directory makes no sense"))?;
            offset += entry.bytes();
            entries.push(entry);
        }
        if index >= of {
            return Err(unreadable("its place in its group makes no sense"));
        }
        Ok(Self { index, of, entries, data_at })
    }

    /// Where the records of an entry are, if it has any.
    pub(super) fn extent(&self, frame: u64, entry: usize, frame_len: usize) -> Option<Extent> {
        let found = self.entries.get(entry).filter(|found| found.kind.has_records())?;
        let beyond = (found.offset + found.bytes()).saturating_sub(frame_len);
        Some(Extent {
            first: found.first,
            count: u32_of(found.lengths.len()),
            frame,
            entry: u16_of(entry),
            spill: u32_of(beyond.div_ceil(FRAME_BYTES - HEADER)),
            bytes: u32_of(found.bytes()),
        })
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.lengths.iter().map(|length| *length as usize).sum()
    }

    /// Cuts records out of `data`, which is all of this entry's, keeping those after `after`, `limit` of them at most.
    fn cut(&self, mut data: &[u8], after: u64, limit: usize, into: &mut Vec<EncodedRecord>) -> Option<()> {
        // In this order, as the place after the last one may be more than there is a number for.
        for (length, seq) in self.lengths.iter().zip(self.first..) {
            let (now, later) = data.split_at_checked(*length as usize)?;
            data = later;
            if seq > after {
                if into.len() >= limit {
                    break;
                }
                into.push(EncodedRecord { seq: Seq(seq), bytes: now.to_vec() });
            }
        }
        Some(())
    }
}

/// Reads the records of an extent that come after `after` into `into`, until that holds `limit`.
pub(super) fn read_extent<B: AsRef<[u8]>, E: From<Unreadable>>(
    extent: &Extent,
    after: u64,
    limit: usize,
    into: &mut Vec<EncodedRecord>,
    mut fetch: impl FnMut(u64) -> Result<B, E>,
) -> Result<(), E> {
    let frame = fetch(extent.frame)?;
    let frame = frame.as_ref();
    let directory = Directory::read(frame)?;
    let wrong = || Unreadable("it does not hold the records that the index says it has".to_owned());
    let entry = directory
        .entries
        .get(usize::from(extent.entry))
        .filter(|entry| entry.first == extent.first && entry.lengths.len() == extent.count as usize)
        .ok_or_else(wrong)?;
    let here = frame.get(entry.offset..).ok_or_else(wrong)?;
    if extent.spill == 0 {
        entry.cut(here, after, limit, into).ok_or_else(wrong)?;
    } else {
        let mut data = here.to_vec();
        for next in 1..=u64::from(extent.spill) {
            let frame = fetch(extent.frame + next)?;
            let frame = frame.as_ref();
            data.extend_from_slice(&frame[Directory::read(frame)?.data_at..]);
        }
        entry.cut(&data, after, limit, into).ok_or_else(wrong)?;
    }
    Ok(())
}

/// What is left to be read.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (now, later) = self.bytes.split_at_checked(count)?;
        self.bytes = later;
        Some(now)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Text behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn entry(&mut self, offset: usize) -> Option<Entry> {
        let kind = Kind::from_code(self.u8()?)?;
        let run = RunId::new(self.text()?).ok()?;
        let epoch = Epoch(self.u64()?);
        let mut standing = Standing { epoch, status: RunStatus::Running, at: Timestamp::default() };
        if !kind.has_records() {
            return Some(Entry { kind, run, standing, origin: None, first: 0, lengths: Vec::new(), offset });
        }
        let first = self.u64()?;
        standing.status = status_of(self.u8()?)?;
        standing.at = Timestamp(self.u64()?);
        let length = usize::from(self.u16()?);
        let json = self.take(length)?;
        let origin = if json.is_empty() { None } else { Some(serde_json::from_slice(json).ok()?) };
        let lengths: Vec<u32> = (0..self.u16()?).map(|_| self.u32()).collect::<Option<_>>()?;
        // These are added up wherever the entry is used. Places count from 1.
        first.checked_sub(1)?.checked_add(1 + lengths.len() as u64)?;
        lengths.iter().try_fold(0_u32, |sum, length| sum.checked_add(*length))?;
        Some(Entry { kind, run, standing, origin, first, lengths, offset })
    }
}
