//! The index of ended runs by the time of their end, which pruning goes by.
//!
//! What ended in one commit is on one page, a value of the tree. A run that is alone there, as all were in format 1, has a key of
//! its own instead, and no value. The index may name what is not there any more, or ended again at another time (after a
//! crash): whoever reads it asks the entries of the ended runs.

use crate::id::{RunId, Timestamp};
use crate::store::RunSummary;
use crate::store::StoreError;
use crate::store::sled::Core;
use crate::store::sled::commit::Writer;
use crate::store::sled::damaged;
use crate::store::sled::ended::{Ended, PART_BYTES};
use crate::store::sled::frame::{Cursor, u16_of, u32_of};

const VERSION: u8 = 1;
/// The version, and the checksum of what follows.
const HEADER: usize = 5;

/// The key of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageKey {
    /// The earliest end that it had when it was written.
    at: Timestamp,
    /// The frame that the commit begins with.
    frame: u64,
    /// Which of the pages of that commit it is.
    part: u32,
}

impl PageKey {
    /// Sorts as the ends do.
    pub(super) fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.frame.to_be_bytes());
        bytes[16..].copy_from_slice(&self.part.to_be_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (at, bytes) = bytes.split_first_chunk()?;
        let (frame, bytes) = bytes.split_first_chunk()?;
        let part = u32::from_be_bytes(bytes.try_into().ok()?);
        Some(Self { at: Timestamp(u64::from_be_bytes(*at)), frame: u64::from_be_bytes(*frame), part })
    }
}

/// A run, and when it ended.
pub(super) type End = (Timestamp, RunId);

/// The key of a run that is on no page.
pub(super) fn own_key(summary: &RunSummary) -> Vec<u8> {
    let mut key = summary.updated_at.0.to_be_bytes().to_vec();
    key.extend_from_slice(summary.run.as_str().as_bytes());
    key
}

/// Puts what ended in the commit that begins with a frame on pages, and tells each entry on which.
pub(super) fn lay_out(entries: &mut [Ended], frame: u64) -> Vec<(PageKey, Vec<u8>)> {
    let mut pages = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = HEADER;
        let fits = |entry: &&Ended| {
            bytes += 10 + entry.summary.run.as_str().len();
            bytes <= PART_BYTES
        };
        let count = rest.iter().take_while(fits).count();
        let (now, later) = rest.split_at_mut(count);
        rest = later;
        let at = now.iter().map(|entry| entry.summary.updated_at).min().unwrap_or_default();
        let key = PageKey { at, frame, part: u32_of(pages.len()) };
        now.iter_mut().for_each(|entry| entry.page = Some(key));
        pages.push((key, write(now.iter().map(|entry| (entry.summary.updated_at, &entry.summary.run)))));
    }
    pages
}

/// The value of a page.
pub(super) fn write<'a>(ends: impl Iterator<Item = (Timestamp, &'a RunId)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PART_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&[0; HEADER - 1]);
    for (at, run) in ends {
        bytes.extend_from_slice(&at.0.to_le_bytes());
        bytes.extend_from_slice(&u16_of(run.as_str().len()).to_le_bytes());
        bytes.extend_from_slice(run.as_str().as_bytes());
    }
    let checksum = crc32fast::hash(&bytes[HEADER..]);
    bytes[1..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The runs that a key and its value name; none if they make no sense.
pub(super) fn read(key: &[u8], value: &[u8]) -> Vec<End> {
    let read = || {
        let mut value = Cursor { bytes: value };
        if value.bytes.is_empty() {
            let (at, run) = key.split_first_chunk::<8>()?;
            let run = RunId::new(std::str::from_utf8(run).ok()?).ok()?;
            return Some(vec![(Timestamp(u64::from_be_bytes(*at)), run)]);
        }
        let (version, checksum) = (value.u8()?, value.u32()?);
        if version != VERSION || crc32fast::hash(value.bytes) != checksum {
            return None;
        }
        let mut ends = Vec::new();
        while !value.bytes.is_empty() {
            ends.push((Timestamp(value.u64()?), RunId::new(value.text()?).ok()?));
        }
        Some(ends)
    };
    read().unwrap_or_default()
}

impl Core {
    /// Takes a run out of the index.
    pub(super) fn unlist(&self, writer: &mut Writer, entry: &Ended) -> Result<(), StoreError> {
        let Some(page) = entry.page else {
            return self.remove(writer, &self.disk.by_end, &own_key(&entry.summary));
        };
        let key = page.bytes();
        let value = self.disk.by_end.get(key).map_err(|error| damaged("the index by end cannot be read", &error))?;
        let Some(value) = value else { return Ok(()) };
        let mut ends = read(&key, &value);
        ends.retain(|(_, run)| *run != entry.summary.run);
        self.keep_listed(writer, &key, &ends)
    }

    /// Leaves only these on a page.
    pub(super) fn keep_listed(&self, writer: &mut Writer, key: &[u8], ends: &[End]) -> Result<(), StoreError> {
        if ends.is_empty() {
            return self.remove(writer, &self.disk.by_end, key);
        }
        let page = write(ends.iter().map(|(at, run)| (*at, run)));
        self.insert(writer, &self.disk.by_end, key, page)
    }

    /// The first keys that name runs which ended before a time, with what they name: as many as name `limit` of them.
    pub(super) fn ended_before(
        &self,
        time: Timestamp,
        limit: usize,
    ) -> Result<Vec<(sled::IVec, Vec<End>)>, StoreError> {
        let mut found = Vec::new();
        let mut due = 0;
        for entry in self.disk.by_end.range(..time.0.to_be_bytes()) {
            if due >= limit {
                break;
            }
            let (key, value) = entry.map_err(|error| damaged("the index by end cannot be read", &error))?;
            let ends = read(&key, &value);
            // Later ends may be on a page that had an earlier one. What makes no sense is due as well.
            let before = ends.iter().filter(|(at, _)| *at < time).count();
            if before > 0 || ends.is_empty() {
                due += before.max(1);
                found.push((key, ends));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(of: &[(u64, String)]) -> Vec<End> {
        of.iter().map(|(at, run)| (Timestamp(*at), RunId::new(run).unwrap())).collect()
    }

    fn written(ends: &[End]) -> Vec<u8> {
        write(ends.iter().map(|(at, run)| (*at, run)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn what_is_written_is_read(of in prop::collection::vec((any::<u64>(), "[a-z]{1,20}"), 1..20)) {
            let ends = ends(&of);
            prop_assert_eq!(read(b"any key", &written(&ends)), ends);
        }

        #[test]
        fn what_is_damaged_names_nobody(
            of in prop::collection::vec((any::<u64>(), "[a-z]{1,20}"), 1..9),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let mut page = written(&ends(&of));
            let at = at.index(page.len());
            page[at] ^= 1 << bit;
            prop_assert_eq!(read(b"any key", &page), []);
        }

        #[test]
        fn keys_sort_as_ends_do(one in any::<(u64, u64, u32)>(), other in any::<(u64, u64, u32)>()) {
            let key = |(at, frame, part)| PageKey { at: Timestamp(at), frame, part };
            prop_assert_eq!(key(one).bytes().cmp(&key(other).bytes()), one.cmp(&other));
            prop_assert_eq!(PageKey::read(&key(one).bytes()), Some(key(one)));
        }
    }
}
