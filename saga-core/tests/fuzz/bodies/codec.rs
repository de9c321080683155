//! The codec: bytes become a record, or an error.

use saga_core::Seq;
use saga_core::journal::{EncodedRecord, FORMAT_VERSION};

/// An envelope around what is to be its JSON, with the right checksum.
pub fn sealed(seq: Seq, json: &[u8]) -> EncodedRecord {
    let mut bytes = vec![FORMAT_VERSION];
    bytes.extend_from_slice(&crc32fast::hash(json).to_le_bytes());
    bytes.extend_from_slice(json);
    EncodedRecord { seq, bytes }
}

/// Reads `data` as an envelope, and as what is in one. What can be read is written as something that reads the same.
pub fn codec(data: &[u8]) {
    let number: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    let seq = Seq(number["seq"].as_u64().unwrap_or(1));
    for encoded in [EncodedRecord { seq, bytes: data.to_vec() }, sealed(seq, data)] {
        match encoded.decode() {
            Ok(record) => {
                assert_eq!(record.seq, seq);
                let again = EncodedRecord::encode(&record);
                assert_eq!(again.decode().expect("what was encoded decodes"), record);
                // The JSON of the first may have had other fields, another order, other spaces; that of the second has not.
                assert_eq!(EncodedRecord::encode(&again.decode().expect("it did before")), again);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
