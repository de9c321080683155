//! A run's records in memory.

use crate::id::Seq;
use crate::journal::EncodedRecord;

/// How many bytes say how long a record is.
const LENGTH: usize = size_of::<u32>();

/// The records of one run, as they were appended: each append is one piece of memory that is no larger than it has to be.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pieces: Vec<Piece>,
}

/// What one append added: its records one behind the other, each behind its length.
#[derive(Debug)]
pub(super) struct Piece {
    /// The place of the newest record up to here.
    last: Seq,
    bytes: Box<[u8]>,
}

impl Piece {
    pub(super) fn of(records: &[EncodedRecord]) -> Self {
        let mut bytes = Vec::with_capacity(records.iter().map(|record| LENGTH + record.bytes.len()).sum());
        for record in records {
            // A store takes no record that is larger.
            let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&record.bytes);
        }
        Self { last: records.last().map_or(Seq::ZERO, |last| last.seq), bytes: bytes.into_boxed_slice() }
    }
}

impl Journal {
    /// Adds records to the end, where they belong.
    pub(super) fn append(&mut self, piece: Piece) {
        // Many a run waits after its first append.
        self.pieces.reserve_exact(usize::from(self.pieces.is_empty()));
        self.pieces.push(piece);
    }

    /// The records that come after a place, at most so many.
    pub(super) fn read(&self, after: Seq, limit: usize) -> Vec<EncodedRecord> {
        let first = self.pieces.partition_point(|piece| piece.last <= after);
        let before = first.checked_sub(1).map_or(Seq::ZERO, |before| self.pieces[before].last);
        let bytes = self.pieces[first..].iter().flat_map(|piece| records(&piece.bytes));
        let numbered = (before.0 + 1..).map(Seq).zip(bytes).skip_while(|(seq, _)| *seq <= after);
        numbered.take(limit).map(|(seq, bytes)| EncodedRecord { seq, bytes: bytes.to_vec() }).collect()
    }

    /// Changes the bytes of one record, and says whether there is such a record.
    pub(super) fn edit(&mut self, seq: Seq, edit: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut all = self.read(Seq::ZERO, usize::MAX);
        let Some(record) = all.iter_mut().find(|record| record.seq == seq) else { return false };
        edit(&mut record.bytes);
        self.pieces.clear();
        self.append(Piece::of(&all));
        true
    }
}

/// The records of a piece.
fn records(mut piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = piece.split_first_chunk::<LENGTH>()?;
        let (record, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        piece = rest;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, bytes: &[u8]) -> EncodedRecord {
        EncodedRecord { seq: Seq(seq), bytes: bytes.to_vec() }
    }

    fn appended() -> ([EncodedRecord; 5], Journal) {
        let all = [record(1, b"one"), record(2, b""), record(3, b"three"), record(4, b"4"), record(5, b"five")];
        let mut journal = Journal::default();
        for part in [0..2, 2..3, 3..5] {
            journal.append(Piece::of(&all[part]));
        }
        (all, journal)
    }

    #[test]
    fn any_part_of_it_can_be_read() {
        let (all, journal) = appended();
        for after in 0..=6 {
            for limit in 0..=6 {
                let expected: Vec<_> = all.iter().skip(after).take(limit).cloned().collect();
                assert_eq!(journal.read(Seq(after as u64), limit), expected, "{limit} after {after}");
            }
        }
        assert!(Journal::default().read(Seq::ZERO, 7).is_empty());
    }

    #[test]
    fn one_record_can_be_changed() {
        let (mut all, mut journal) = appended();
        assert!(journal.edit(Seq(2), |bytes| bytes.extend_from_slice(b"two")));
        assert!(!journal.edit(Seq(6), |bytes| bytes.clear()));
        all[1].bytes = b"two".to_vec();
        assert_eq!(journal.read(Seq::ZERO, 9), all);
        journal.append(Piece::of(&[record(6, b"six")]));
        assert_eq!(journal.read(Seq(4), 9), [record(5, b"five"), record(6, b"six")]);
    }
}
