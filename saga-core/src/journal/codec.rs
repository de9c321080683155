//! The bytes of a record: a versioned, checksummed envelope around JSON.
//!
//! ```text
//! byte 0      format version (1)
//! bytes 1-4   CRC-32 (IEEE) of all bytes from 5 on, little endian
//! bytes 5-    the record as JSON: {"seq":1,"at":1732320000000,"event":{...}}
//! ```

use crate::id::Seq;
use crate::journal::{Record, json};
use crate::scratch;

/// The version of the envelope that this build writes. It reads this one and every older one.
pub const FORMAT_VERSION: u8 = 1;

const HEADER_BYTES: usize = 5;

/// A record as a store keeps it. Stores do not look inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The record's place in its journal.
    pub seq: Seq,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// A journal, or a part of one, that cannot be read. The run is parked; nothing of it is changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The bytes are not what was written: their checksum differs. Restore the store from a copy, or abandon the run.
    #[error("record {seq} is damaged: its checksum is {found:08x}, it should be {expected:08x}")]
    Checksum {
        /// The record's place.
        seq: Seq,
        /// The checksum in the envelope.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The bytes end before the envelope does.
    #[error("record {seq} is cut off: it has only {bytes} bytes")]
    TooShort {
        /// The record's place.
        seq: Seq,
        /// How many bytes there are.
        bytes: usize,
    },
    /// A newer release wrote this record. Run that release, or a newer one.
    #[error("record {seq} has format {found}; this build reads formats up to {FORMAT_VERSION}: use a newer release")]
    NewerFormat {
        /// The record's place.
        seq: Seq,
        /// Its format.
        found: u8,
    },
    /// No release ever wrote this format: the bytes are damaged. Restore the store from a copy, or abandon the run.
    #[error("record {seq} is damaged: there is no format {found}")]
    UnknownFormat {
        /// The record's place.
        seq: Seq,
        /// What stands where the format should.
        found: u8,
    },
    /// The checksum holds, but the JSON is no event that this build knows. Run the release that wrote it, or a newer one.
    #[error("record {seq} holds no known event: {source}")]
    UnknownEvent {
        /// The record's place.
        seq: Seq,
        /// What the JSON parser says.
        source: serde_json::Error,
    },
    /// The records do not follow each other: one is missing, or stands twice.
    #[error("record {expected} should come next, but record {found} does")]
    Gap {
        /// The place that should come next.
        expected: Seq,
        /// The place that came.
        found: Seq,
    },
    /// The journal has no records.
    #[error("the journal is empty")]
    Empty,
}

/// Writes the envelope of a record to empty memory.
fn write(record: &Record, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[FORMAT_VERSION, 0, 0, 0, 0]);
    json::write(record, bytes);
    let checksum = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

impl EncodedRecord {
    /// Encodes a record.
    ///
    /// # Panics
    ///
    /// Never: a record's parts all have a JSON form.
    #[must_use]
    pub fn encode(record: &Record) -> Self {
        let bytes = scratch::with(|bytes| {
            write(record, bytes);
            bytes.to_vec()
        });
        Self { seq: record.seq, bytes }
    }

    /// As [`encode`](Self::encode), in place of another one.
    pub(crate) fn encode_again(&mut self, record: &Record) {
        self.seq = record.seq;
        self.bytes.clear();
        write(record, &mut self.bytes);
    }

    /// Checks and decodes the record.
    ///
    /// # Errors
    ///
    /// Every [`JournalError`] but `Empty`.
    pub fn decode(&self) -> Result<Record, JournalError> {
        let seq = self.seq;
        let (Some(&version), Some(checksum), Some(json)) =
            (self.bytes.first(), self.bytes.get(1..HEADER_BYTES), self.bytes.get(HEADER_BYTES..))
        else {
            return Err(JournalError::TooShort { seq, bytes: self.bytes.len() });
        };
        if version > FORMAT_VERSION {
            return Err(JournalError::NewerFormat { seq, found: version });
        }
        // The version is in front of what is checksummed, so that every format can have a checksum of its own.
        if version == 0 {
            return Err(JournalError::UnknownFormat { seq, found: version });
        }
        let expected = u32::from_le_bytes(checksum.try_into().unwrap_or_default());
        let found = crc32fast::hash(json);
        if expected != found {
            return Err(JournalError::Checksum { seq, expected, found });
        }
        let record: Record =
            serde_json::from_slice(json).map_err(|source| JournalError::UnknownEvent { seq, source })?;
        if record.seq != seq {
            return Err(JournalError::Gap { expected: seq, found: record.seq });
        }
        Ok(record)
    }
}
