//! What is checked of an append before the server is asked.

use saga_core::journal::EncodedRecord;
use saga_core::store::{Append, Refused, RunSummary};
use saga_core::{Epoch, RunId, Seq};

/// The largest record that is taken, in bytes: that of the other stores.
pub(super) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

pub(super) fn check_append(append: &Append) -> Result<(), Refused> {
    let malformed = |what| Err(Refused::Malformed { run: append.run.clone(), what });
    if append.records.is_empty() {
        return malformed("it has no records");
    }
    let places = append.records.iter().map(|record| record.seq.0);
    if !places.eq((1..=append.records.len() as u64).map(|after| append.expected.0.saturating_add(after))) {
        return malformed("its records do not follow each other from where it expects the journal to end");
    }
    if append.start.is_some() && append.expected != Seq::ZERO {
        return malformed("it starts a run, but expects that there are records already");
    }
    if append.start.is_some() && append.epoch != Epoch::FIRST {
        return malformed("it starts a run, but not under the first epoch");
    }
    check_size(&append.run, &append.records)
}

pub(super) fn check_restored(summary: &RunSummary, records: &[EncodedRecord]) -> Result<(), Refused> {
    let whole = records.iter().map(|record| record.seq.0).eq(1..=summary.seq.0);
    if records.is_empty() || !whole {
        let what = "its records are not those from the first to its newest";
        return Err(Refused::Malformed { run: summary.run.clone(), what });
    }
    check_size(&summary.run, records)
}

fn check_size(run: &RunId, records: &[EncodedRecord]) -> Result<(), Refused> {
    match records.iter().map(|record| record.bytes.len()).max() {
        Some(bytes) if bytes > MAX_RECORD_BYTES => {
            Err(Refused::TooLarge { run: run.clone(), bytes, limit: MAX_RECORD_BYTES })
        }
        _ => Ok(()),
    }
}
