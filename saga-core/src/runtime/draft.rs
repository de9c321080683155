//! What a turn has to write: events that are given their places and their time, and encoded.

use crate::action::RunScope;
use crate::id::{Seq, Timestamp};
use crate::journal::{EncodedRecord, Event, Record};
use crate::store::{Append, RunStatus};

/// Gives events their places and their time.
pub(crate) fn encode(after: Seq, at: Timestamp, events: Vec<Event>) -> Vec<EncodedRecord> {
    let mut draft = Draft::new(after, at);
    events.into_iter().for_each(|event| draft.push(event));
    draft.records
}

/// An append that is being written.
pub(super) struct Draft {
    expected: Seq,
    at: Timestamp,
    pub(super) records: Vec<EncodedRecord>,
    scratch: Vec<u8>,
}

impl Draft {
    pub(super) fn new(expected: Seq, at: Timestamp) -> Self {
        Self { expected, at, records: Vec::new(), scratch: Vec::new() }
    }

    pub(super) fn push(&mut self, event: Event) {
        let record = Record { seq: self.expected.plus(self.records.len() + 1), at: self.at, event };
        if self.records.is_empty() {
            // The end of one step and the start of the next.
            self.records.reserve_exact(2);
        }
        self.records.push(EncodedRecord::encode_by(&mut self.scratch, &record));
    }

    pub(super) fn append(self, scope: &RunScope, status: RunStatus) -> Append {
        let Self { expected, at, records, .. } = self;
        Append { run: scope.run.clone(), epoch: scope.epoch, expected, records, status, at, start: None }
    }
}
