//! What is tried with bytes that anybody may have written. Each body takes what a fuzzer gives, panics at what must not be,
//! and needs nothing else.

mod codec;
mod journal;
mod machine;
mod recovery;

pub use codec::codec;
pub use journal::{journal, legal_journals};
pub use machine::machine;
pub use recovery::recovery;
