//! What is kept of an ended run outside of memory: its head, and where its records are.

use crate::id::{RunId, Timestamp};
use crate::store::RunSummary;
use crate::store::sled::frame::{Extent, Unreadable};

const VERSION: u8 = 1;
const HEADER: usize = 16;

/// What one value takes; a run with many extents has several. See `FRAME_BYTES` for the reason of the bound.
const PART_BYTES: usize = 4 * 1024;

/// An ended run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) summary: RunSummary,
    pub(super) extents: Vec<Extent>,
    /// Which of two ranges of part numbers those behind the first part have. An entry that is written anew takes the other
    /// one, so that until its first part is there, the old entry is whole.
    pub(super) side: bool,
}

/// The number of the `nth` part of an entry.
fn number(side: bool, nth: u32) -> u32 {
    if nth == 0 { 0 } else { u32::from(side) << 31 | nth }
}

/// The key of a part of an ended run. Sorts as the ids do, because no id has a control character.
pub(super) fn key(run: &RunId, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(run.as_str().len() + 5);
    key.extend_from_slice(run.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// Whether a key is that of a run's first part.
pub(super) fn is_first(key: &[u8]) -> bool {
    key.ends_with(&[0; 5])
}

/// The run that a key belongs to.
pub(super) fn run_of(key: &[u8]) -> Option<RunId> {
    let id = key.get(..key.len().checked_sub(5)?)?;
    RunId::new(std::str::from_utf8(id).ok()?).ok()
}

/// The key of an ended run in the order of their ends.
pub(super) fn end_key(summary: &RunSummary) -> Vec<u8> {
    let mut key = summary.updated_at.0.to_be_bytes().to_vec();
    key.extend_from_slice(summary.run.as_str().as_bytes());
    key
}

/// The end and the run of a key made by [`end_key`].
pub(super) fn read_end_key(key: &[u8]) -> Option<(Timestamp, RunId)> {
    let (at, run) = key.split_at_checked(8)?;
    let at = Timestamp(u64::from_be_bytes(at.try_into().ok()?));
    Some((at, RunId::new(std::str::from_utf8(run).ok()?).ok()?))
}

impl Ended {
    /// The parts, with their numbers. The first one is the last here: with it, the entry counts.
    pub(super) fn write(&self) -> Vec<(u32, Vec<u8>)> {
        let head = serde_json::to_vec(&self.summary).expect("a summary always has a JSON form");
        let mut extents = Vec::new();
        let (mut next, mut frame) = (0, 0);
        for extent in &self.extents {
            put(&mut extents, extent.first.wrapping_sub(next));
            put(&mut extents, u64::from(extent.count));
            // Frames go up but for copies, so the difference is small, and may be negative.
            let step = extent.frame.wrapping_sub(frame).cast_signed();
            put(&mut extents, ((step << 1) ^ (step >> 63)).cast_unsigned());
            put(&mut extents, u64::from(extent.entry));
            put(&mut extents, u64::from(extent.spill));
            put(&mut extents, u64::from(extent.bytes));
            (next, frame) = (extent.end(), extent.frame);
        }
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&extents).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(extents.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(head.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.push(u8::from(self.side));
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&extents);
        let parts = (0..).zip(bytes.chunks(PART_BYTES));
        let mut parts: Vec<_> = parts.map(|(nth, part)| (number(self.side, nth), part.to_vec())).collect();
        parts.reverse();
        parts
    }

    /// The head, from the first part alone.
    pub(super) fn read_summary(first: &[u8]) -> Result<RunSummary, Unreadable> {
        let Header { head, .. } = header(first)?;
        serde_json::from_slice(head).map_err(|error| Unreadable(format!("its head is not known: {error}")))
    }

    /// All of it; `part` yields the parts but for the first.
    pub(super) fn read<E: From<Unreadable>>(
        first: &[u8],
        mut part: impl FnMut(u32) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let Header { checksum, length, side, rest, .. } = header(first)?;
        let summary = Self::read_summary(first)?;
        let mut bytes = rest.to_vec();
        let mut nth = 1;
        while bytes.len() < length {
            let more = part(number(side, nth))?.ok_or_else(|| Unreadable("a part of it is missing".to_owned()))?;
            bytes.extend_from_slice(&more);
            nth += 1;
        }
        if bytes.len() != length || crc32fast::hash(&bytes) != checksum {
            return Err(Unreadable("the checksum of its extents is wrong".to_owned()).into());
        }
        let extents = read_extents(&bytes).ok_or_else(|| Unreadable("its extents make no sense".to_owned()))?;
        Ok(Self { summary, extents, side })
    }
}

struct Header<'a> {
    /// Checksum and length of the extents.
    checksum: u32,
    length: usize,
    side: bool,
    /// The head's JSON.
    head: &'a [u8],
    /// As much of the extents as there is here.
    rest: &'a [u8],
}

fn header(first: &[u8]) -> Result<Header<'_>, Unreadable> {
    let short = || Unreadable("it is cut off".to_owned());
    match first.first() {
        None => return Err(short()),
        Some(&VERSION) => {}
        Some(other) => return Err(Unreadable(format!("its format is {other}, not {VERSION}"))),
    }
    let fixed: &[u8; HEADER] = first.first_chunk().ok_or_else(short)?;
    let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let length = usize::from(u16::from_le_bytes([fixed[13], fixed[14]]));
    let (head, rest) = first[HEADER..].split_at_checked(length).ok_or_else(short)?;
    if crc32fast::hash(head) != word(1) {
        return Err(Unreadable("the checksum of its head is wrong".to_owned()));
    }
    Ok(Header { checksum: word(5), length: word(9) as usize, side: fixed[15] != 0, head, rest })
}

fn read_extents(mut bytes: &[u8]) -> Option<Vec<Extent>> {
    let (mut next, mut frame) = (0_u64, 0_u64);
    let mut extents = Vec::new();
    while !bytes.is_empty() {
        let first = next.wrapping_add(take(&mut bytes)?);
        let count = u32::try_from(take(&mut bytes)?).ok()?;
        let step = take(&mut bytes)?;
        frame = frame.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
        let entry = u16::try_from(take(&mut bytes)?).ok()?;
        let spill = u32::try_from(take(&mut bytes)?).ok()?;
        let extent = Extent { first, count, frame, entry, spill, bytes: u32::try_from(take(&mut bytes)?).ok()? };
        next = first.checked_add(u64::from(count))?;
        extents.push(extent);
    }
    Some(extents)
}

/// Seven bits to a byte, low ones first, the top bit set on all bytes but the last.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
