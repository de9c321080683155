//! The journal: the ordered events of one run, which are the only source of truth about it.
//!
//! `event` is the closed set of what can happen; `codec` turns an event into versioned, checksummed bytes and back;
//! `json` writes their JSON.

mod codec;
mod event;
mod json;

pub use codec::{EncodedRecord, FORMAT_VERSION, JournalError};
pub use event::{Actor, Cause, Event, Failure, FailureKind, FailureOrigin, ProbeAnswer, Record, Rest, Verb};
