//! What is kept of an ended run outside of memory: its head, and where its records are.

use crate::id::{Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp};
use crate::plan::Fingerprint;
use crate::store::RunSummary;
use crate::store::sled::by_end::PageKey;
use crate::store::sled::frame::{Cursor, Extent, Unreadable, status_code, status_of, u16_of};

/// The version that is written.
pub(super) const VERSION: u8 = 2;
/// The version whose head is JSON, and that is on no page of the index by end.
pub(super) const JSON_HEAD: u8 = 1;

const HEADER: usize = 16;

/// What one value takes; a run with many extents has several. See `FRAME_BYTES` for the reason of the bound.
pub(super) const PART_BYTES: usize = 4 * 1024;

/// An ended run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) summary: RunSummary,
    pub(super) extents: Vec<Extent>,
    /// Which of two ranges of part numbers those behind the first part have. An entry that is written anew takes the other
    /// one, so that until its first part is there, the old entry is whole.
    pub(super) side: bool,
    /// The page of the index by end that it is on. `None` if it is not on one, but there by itself.
    pub(super) page: Option<PageKey>,
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

impl Ended {
    /// The parts, with their numbers. The first one is the last here: with it, the entry counts.
    pub(super) fn write(&self) -> Vec<(u32, Vec<u8>)> {
        let head = self.head();
        let mut extents = Vec::with_capacity(8 * self.extents.len());
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
        let mut bytes = Vec::with_capacity(HEADER + head.len() + extents.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&extents).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(extents.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(head.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.push(u8::from(self.side));
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&extents);
        if bytes.len() <= PART_BYTES {
            return vec![(number(self.side, 0), bytes)];
        }
        let parts = (0..).zip(bytes.chunks(PART_BYTES));
        let mut parts: Vec<_> = parts.map(|(nth, part)| (number(self.side, nth), part.to_vec())).collect();
        parts.reverse();
        parts
    }

    fn head(&self) -> Vec<u8> {
        let RunSummary { run, saga, version, fingerprint, key, status, seq, epoch, owner: _, created_at, updated_at } =
            &self.summary;
        let mut bytes = Vec::with_capacity(192);
        for text in [run.as_str(), saga.as_str(), key.as_ref().map_or("", ExclusiveKey::as_str)] {
            bytes.extend_from_slice(&u16_of(text.len()).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&fingerprint.to_bytes());
        bytes.push(status_code(*status));
        for number in [seq.0, epoch.0, created_at.0, updated_at.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(page) = self.page {
            bytes.extend_from_slice(&page.bytes());
        }
        bytes
    }

    /// The head, from the first part alone.
    pub(super) fn read_summary(first: &[u8]) -> Result<RunSummary, Unreadable> {
        header(first)?.read_head().map(|(summary, _)| summary)
    }

    /// All of it; `part` yields the parts but for the first.
    pub(super) fn read<E: From<Unreadable>>(
        first: &[u8],
        mut part: impl FnMut(u32) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let header = header(first)?;
        let (summary, page) = header.read_head()?;
        let Header { checksum, length, side, rest, .. } = header;
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
        Ok(Self { summary, extents, side, page })
    }
}

struct Header<'a> {
    version: u8,
    /// Checksum and length of the extents.
    checksum: u32,
    length: usize,
    side: bool,
    head: &'a [u8],
    /// As much of the extents as there is here.
    rest: &'a [u8],
}

impl Header<'_> {
    /// The summary, and the page of the index by end.
    fn read_head(&self) -> Result<(RunSummary, Option<PageKey>), Unreadable> {
        if self.version == JSON_HEAD {
            let summary: RunSummary = serde_json::from_slice(self.head)
                .map_err(|error| Unreadable(format!("its head is not known: {error}")))?;
            return Ok((RunSummary { owner: None, ..summary }, None));
        }
        read_head(Cursor { bytes: self.head }).ok_or_else(|| Unreadable("its head makes no sense".to_owned()))
    }
}

fn read_head(mut head: Cursor<'_>) -> Option<(RunSummary, Option<PageKey>)> {
    let run = RunId::new(head.text()?).ok()?;
    let saga = SagaName::new(head.text()?).ok()?;
    let key = Some(head.text()?).filter(|key| !key.is_empty()).map(ExclusiveKey::new).transpose().ok()?;
    let summary = RunSummary {
        run,
        saga,
        version: head.u32()?,
        fingerprint: Fingerprint::from_bytes(head.take(16)?.try_into().ok()?),
        key,
        status: status_of(head.u8()?)?,
        seq: Seq(head.u64()?),
        epoch: Epoch(head.u64()?),
        owner: None,
        created_at: Timestamp(head.u64()?),
        updated_at: Timestamp(head.u64()?),
    };
    let page = if head.bytes.is_empty() { None } else { Some(PageKey::read(head.bytes)?) };
    Some((summary, page))
}

fn header(first: &[u8]) -> Result<Header<'_>, Unreadable> {
    let short = || Unreadable("it is cut off".to_owned());
    match first.first() {
        None => return Err(short()),
        Some(&(JSON_HEAD | VERSION)) => {}
        Some(other) => return Err(Unreadable(format!("its format is {other}, not {VERSION}"))),
    }
    let fixed: &[u8; HEADER] = first.first_chunk().ok_or_else(short)?;
    let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let length = usize::from(u16::from_le_bytes([fixed[13], fixed[14]]));
    let (head, rest) = first[HEADER..].split_at_checked(length).ok_or_else(short)?;
    if crc32fast::hash(head) != word(1) {
        return Err(Unreadable("the checksum of its head is wrong".to_owned()));
    }
    Ok(Header { version: fixed[0], checksum: word(5), length: word(9) as usize, side: fixed[15] != 0, head, rest })
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
