//! What a turn has to write: events that are given their places and their time, and encoded.

use std::cell::Cell;

use crate::action::RunScope;
use crate::id::{Seq, Timestamp};
use crate::journal::{EncodedRecord, Event, Record};
use crate::store::{Append, RunStatus};

/// Most records are smaller than this.
const USUAL_BYTES: usize = 256;
/// The end of one step and the start of the next.
const USUAL_RECORDS: usize = 2;
/// A record that has more memory does not keep it.
const MOST_KEPT_BYTES: usize = 4096;

/// Memory of records that a store has taken a copy of, to be used again by the next draft on the same thread.
#[derive(Default)]
struct Spare {
    /// Empty, but with room.
    list: Vec<EncodedRecord>,
    /// Of which nothing counts but their memory.
    records: Vec<EncodedRecord>,
}

thread_local! {
    static SPARE: Cell<Spare> = const { Cell::new(Spare { list: Vec::new(), records: Vec::new() }) };
}

impl Spare {
    /// What there is; nothing is left there.
    fn take() -> Self {
        SPARE.try_with(Cell::take).unwrap_or_default()
    }

    fn keep(self) {
        let _ = SPARE.try_with(|spare| spare.set(self));
    }
}

/// An append that is being written.
pub(super) struct Draft {
    expected: Seq,
    at: Timestamp,
    records: Vec<EncodedRecord>,
    spare: Vec<EncodedRecord>,
}

impl Draft {
    pub(super) fn new(expected: Seq, at: Timestamp) -> Self {
        Self { expected, at, records: Vec::new(), spare: Vec::new() }
    }

    pub(super) fn push(&mut self, event: Event) {
        let seq = self.expected.plus(self.records.len() + 1);
        if self.records.is_empty() {
            // Only now: most drafts that come to nothing are made while there is nothing to do.
            Spare { list: self.records, records: self.spare } = Spare::take();
            self.records.reserve_exact(USUAL_RECORDS);
        }
        let fresh = || EncodedRecord { seq, bytes: Vec::with_capacity(USUAL_BYTES) };
        let mut record = self.spare.pop().unwrap_or_else(fresh);
        record.encode_again(&Record { seq, at: self.at, event });
        self.records.push(record);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn into_records(self) -> Vec<EncodedRecord> {
        Spare { list: Vec::new(), records: self.spare }.keep();
        self.records
    }

    pub(super) fn append(self, scope: &RunScope, status: RunStatus) -> Append {
        let (expected, at) = (self.expected, self.at);
        let records = self.into_records();
        Append { run: scope.run.clone(), epoch: scope.epoch, expected, records, status, at, start: None }
    }
}

/// Keeps the memory of an append that was answered, as far as the store has left it there.
pub(super) fn recycle(append: Append) {
    let (mut list, Spare { mut records, .. }) = (append.records, Spare::take());
    records.reserve_exact(USUAL_RECORDS.saturating_sub(records.len()));
    let kept = list.drain(..).filter(|record| record.bytes.capacity() <= MOST_KEPT_BYTES);
    records.extend(kept.take(USUAL_RECORDS.saturating_sub(records.len())));
    if list.capacity() > USUAL_RECORDS {
        list = Vec::new();
    }
    Spare { list, records }.keep();
}

/// Gives events their places and their time, and encodes them.
pub(crate) fn encode(after: Seq, at: Timestamp, events: Vec<Event>) -> Vec<EncodedRecord> {
    let mut draft = Draft::new(after, at);
    events.into_iter().for_each(|event| draft.push(event));
    draft.into_records()
}
