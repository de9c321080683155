//! The store, in small: a journal, the newest claim, and the condition of an append.

use std::sync::Arc;

use saga_core::journal::{Event, Record};
use saga_core::{Epoch, Seq, Timestamp};

/// What a store knows of a run besides its events, and what it compares an append with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The newest claim.
    pub epoch: Epoch,
    /// The place of the newest event.
    pub seq: Seq,
}

/// Under which conditions an append was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The claim of the writer.
    pub epoch: Epoch,
    /// The place of the newest event that the writer knows of.
    pub expected: Seq,
}

/// The events of a run, as they were appended. Journals that begin alike share their beginnings.
#[derive(Debug, Clone, Default)]
pub struct Journal(Option<Arc<Page>>);

#[derive(Debug)]
struct Page {
    before: Journal,
    records: Vec<Record>,
    len: u64,
}

impl Journal {
    /// The place of the newest event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.0.as_ref().map_or(0, |page| page.len))
    }

    /// This journal, and one append more.
    #[must_use]
    pub fn with(&self, at: Timestamp, events: &[Event]) -> Self {
        let first = self.seq().0 + 1;
        let records: Vec<Record> =
            (first..).zip(events).map(|(seq, event)| Record { seq: Seq(seq), at, event: event.clone() }).collect();
        let len = self.seq().0 + records.len() as u64;
        Self(Some(Arc::new(Page { before: self.clone(), records, len })))
    }

    /// All records, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<&Record> {
        let mut records = Vec::with_capacity(self.seq().0 as usize);
        let mut here = self;
        while let Some(page) = &here.0 {
            records.extend(page.records.iter().rev());
            here = &page.before;
        }
        records.reverse();
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_in_the_order_in_which_it_was_written() {
        let began = Journal::default().with(Timestamp(1), &[Event::RollbackBegan, Event::Finalized]);
        let one = began.with(Timestamp(2), &[Event::RollbackBegan]);
        let other = began.with(Timestamp(3), &[Event::Finalized]);
        let places = |journal: &Journal| journal.records().iter().map(|r| (r.seq.0, r.at.0)).collect::<Vec<_>>();
        assert_eq!(places(&one), [(1, 1), (2, 1), (3, 2)]);
        assert_eq!(places(&other), [(1, 1), (2, 1), (3, 3)]);
        assert_eq!(other.records()[2].event, Event::Finalized);
    }
}
