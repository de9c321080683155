//! Between rows and the types of `saga-core`.

use std::time::Duration;

use saga_core::journal::EncodedRecord;
use saga_core::plan::Fingerprint;
use saga_core::store::{RunStatus, RunSummary, StoreError};
use saga_core::{Actor, Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp, WorkerId};
use tokio_postgres::Row;
use uuid::Uuid;

/// The first status of a run that has ended; those before are live or resting.
pub(super) const FIRST_ENDED: i16 = 3;

/// Which rows of a journal come along with its head: as many as a saga of thirty steps has, if none is long. What is more is
/// read by itself, so that the heads which are asked for at once bring some megabytes along at most.
pub(super) const MOST_ROWS_ALONG: usize = 32;
pub(super) const MOST_BYTES_ALONG: usize = 2048;

/// The columns of a summary, of the table or alias `r`. An owner counts as long as its lease does.
pub(super) const SUMMARY: &str = "r.run, r.saga, r.version, r.fingerprint, r.key, r.status, r.seq, r.epoch, \
    CASE WHEN r.lease_until > clock_timestamp() THEN r.owner END, r.created_at, r.updated_at";

/// The number of a status in the table.
pub(super) fn status_number(status: RunStatus) -> i16 {
    match status {
        RunStatus::Running => 0,
        RunStatus::Halted => 1,
        RunStatus::Stuck => 2,
        RunStatus::Completed => FIRST_ENDED,
        RunStatus::RolledBack => 4,
        RunStatus::Abandoned => 5,
    }
}

pub(super) fn status(number: i16) -> Result<RunStatus, StoreError> {
    RunStatus::ALL
        .into_iter()
        .find(|status| status_number(*status) == number)
        .ok_or_else(|| corrupt(format!("a run has the status {number}, which there is not")))
}

/// A number for a `bigint` column. None that is really used is out of its range.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number(big: i64) -> Result<u64, StoreError> {
    u64::try_from(big).map_err(|_| corrupt(format!("a number is {big}")))
}

/// A lease in microseconds, at most a century, so that the end of it is a time that PostgreSQL knows.
pub(super) fn micros(lease: Duration) -> i64 {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(lease.min(CENTURY).as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn uuid(fingerprint: Fingerprint) -> Result<Uuid, StoreError> {
    Uuid::try_parse(&fingerprint.to_string()).map_err(|error| corrupt(format!("a fingerprint is no UUID: {error}")))
}

fn fingerprint(uuid: Uuid) -> Result<Fingerprint, StoreError> {
    serde_json::from_value(uuid.to_string().into()).map_err(|error| corrupt(format!("a fingerprint: {error}")))
}

/// The summary in a row that begins with the columns of [`SUMMARY`].
pub(super) fn summary(row: &Row) -> Result<RunSummary, StoreError> {
    Ok(RunSummary {
        run: run(row.get(0))?,
        saga: SagaName::new(row.get::<_, &str>(1)).map_err(id)?,
        version: u32::try_from(row.get::<_, i64>(2)).map_err(|error| corrupt(format!("a version: {error}")))?,
        fingerprint: fingerprint(row.get(3))?,
        key: row.get::<_, Option<&str>>(4).map(ExclusiveKey::new).transpose().map_err(id)?,
        status: status(row.get(5))?,
        seq: Seq(number(row.get(6))?),
        epoch: Epoch(number(row.get(7))?),
        owner: row.get::<_, Option<&str>>(8).map(WorkerId::new).transpose().map_err(id)?,
        created_at: Timestamp(number(row.get(9))?),
        updated_at: Timestamp(number(row.get(10))?),
    })
}

pub(super) fn run(text: &str) -> Result<RunId, StoreError> {
    RunId::new(text).map_err(id)
}

#[allow(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn id(error: saga_core::InvalidId) -> StoreError {
    corrupt(error.to_string())
}

pub(super) fn actor_to_text(actor: &Actor) -> Result<String, StoreError> {
    serde_json::to_string(actor).map_err(|error| corrupt(format!("an actor cannot be written: {error}")))
}

pub(super) fn actor(text: &str) -> Result<Actor, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("who asked for a cancellation: {error}")))
}

/// Records as they stand in one row: each with its length before it.
pub(super) fn pack(records: &[EncodedRecord]) -> Vec<u8> {
    let bytes = records.iter().map(|record| record.bytes.len() + 4).sum();
    let mut packed = Vec::with_capacity(bytes);
    for record in records {
        // No record has 4 GiB: the store takes none of more than 16 MiB.
        let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        packed.extend_from_slice(&length.to_be_bytes());
        packed.extend_from_slice(&record.bytes);
    }
    packed
}

/// The records of a row, the last of which is at `last`.
pub(super) fn unpack(last: Seq, packed: &[u8]) -> Result<Vec<EncodedRecord>, StoreError> {
    let mut records = Vec::new();
    split(packed, &mut records).ok_or_else(|| cut_off(last))?;
    let first = last.0.checked_sub(records.len() as u64).ok_or_else(|| cut_off(last))?;
    for (seq, record) in (first + 1..).zip(&mut records) {
        record.seq = Seq(seq);
    }
    Ok(records)
}

/// A whole journal that ends at `last`, of all its rows. `None` if these are not all, or not as they were written: who reads
/// them by themselves is told what is wrong with them.
pub(super) fn whole_journal(rows: &[Option<&[u8]>], last: Seq) -> Option<Vec<EncodedRecord>> {
    let mut records = Vec::new();
    for packed in rows {
        split(packed.as_ref()?, &mut records)?;
    }
    for (seq, record) in (1..).zip(&mut records) {
        record.seq = Seq(seq);
    }
    (records.last()?.seq == last).then_some(records)
}

/// Adds the records of a row, whose places are yet to be found. `None` if the row is cut off.
fn split(mut packed: &[u8], records: &mut Vec<EncodedRecord>) -> Option<()> {
    while !packed.is_empty() {
        let (length, rest) = packed.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        records.push(EncodedRecord { seq: Seq::ZERO, bytes: bytes.to_vec() });
        packed = rest;
    }
    Some(())
}

fn cut_off(last: Seq) -> StoreError {
    corrupt(format!("the row of a journal that ends at {last} is not as it was written"))
}

pub(super) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lengths: &[usize], from: u64) -> Vec<EncodedRecord> {
        let record = |(seq, length): (u64, &usize)| EncodedRecord { seq: Seq(seq), bytes: vec![seq as u8; *length] };
        (from..).zip(lengths).map(record).collect()
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        for lengths in [&[0][..], &[3], &[0, 0], &[5, 0, 70_000, 1]] {
            let records = records(lengths, 8);
            let last = records.last().expect("there are some").seq;
            assert_eq!(unpack(last, &pack(&records)).expect("it is whole"), records);
        }
    }

    #[test]
    fn a_row_that_is_cut_off_is_told() {
        let packed = pack(&records(&[3, 4], 1));
        for end in (1..packed.len()).filter(|end| *end != 7) {
            unpack(Seq(2), &packed[..end]).expect_err("it is cut off");
        }
        unpack(Seq(1), &packed).expect_err("two records cannot end at 1");
    }

    #[test]
    fn a_journal_is_whole_or_it_is_none() {
        let rows = [pack(&records(&[3], 1)), pack(&records(&[4, 0], 2)), pack(&records(&[5], 4))];
        let rows: Vec<Option<&[u8]>> = rows.iter().map(|row| Some(&row[..])).collect();
        assert_eq!(whole_journal(&rows, Seq(4)), Some(records(&[3, 4, 0, 5], 1)));
        for (rows, last) in [(&rows[..2], 4), (&rows[..], 5), (&rows[1..], 4), (&[], 0)] {
            assert_eq!(whole_journal(rows, Seq(last)), None, "{rows:?} until {last}");
        }
        assert_eq!(whole_journal(&[rows[0], None, rows[2]], Seq(4)), None, "one is too long to come along");
        assert_eq!(whole_journal(&[rows[0].map(|row| &row[..4])], Seq(1)), None, "it is cut off");
    }

    #[test]
    fn every_status_has_its_number() {
        for (number, known) in (0..).zip(RunStatus::ALL) {
            assert_eq!(status_number(known), number);
            assert_eq!(status(number).expect("it is known"), known);
            assert_eq!(known.is_ended(), number >= FIRST_ENDED);
        }
        status(6).expect_err("there is none");
    }
}
