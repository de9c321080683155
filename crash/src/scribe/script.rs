//! What a run of the scribe holds: it follows from its id, so that whoever reads it knows what should be there.

use std::time::Duration;

use saga_core::journal::{EncodedRecord, Event, Record};
use saga_core::plan::Fingerprint;
use saga_core::store::{Append, FirstClaim, KnownSaga, NewRun, RunStatus};
use saga_core::{Epoch, ItemRef, Payload, RunId, SagaName, Seq, StepIndex, Timestamp, WorkerId};

/// Some fit many times into a frame of the store, some not at all.
const LENGTHS: [usize; 6] = [40, 40, 200, 200, 900, 9000];

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    /// How many records it gets from the process that starts it.
    pub(crate) records: u64,
    /// What its last record makes of it.
    end: RunStatus,
    /// Whether it is deleted after that.
    pub(crate) deleted: bool,
}

impl Script {
    pub(crate) fn of(run: &RunId) -> Self {
        let mut dice = dice(run, 0);
        let records = dice.u64(2..=6);
        let end = match dice.u32(..8) {
            0 => RunStatus::Running,
            1 => RunStatus::Halted,
            2 => RunStatus::RolledBack,
            _ => RunStatus::Completed,
        };
        let end = if run.as_str().starts_with("old") { RunStatus::Running } else { end };
        Self { records, end, deleted: end.is_ended() && dice.u32(..3) == 0 }
    }

    /// How the run stands with its first `seq` records. One that lives on for ever gets more than [`records`](Self::records).
    pub(crate) fn status(&self, seq: u64) -> RunStatus {
        if seq < self.records { RunStatus::Running } else { self.end }
    }

    /// What appends the record behind `seq`; behind 0, it starts the run.
    pub(crate) fn append(&self, run: &RunId, epoch: Epoch, seq: Seq, at: Timestamp) -> Append {
        let KnownSaga { saga, version, fingerprint } = known_saga();
        let worker = WorkerId::new("scribe").expect("a valid name");
        let claim = Some(FirstClaim { worker, lease: Duration::from_secs(3600) });
        Append {
            run: run.clone(),
            epoch,
            expected: seq,
            records: vec![record(run, seq.0 + 1)],
            status: self.status(seq.0 + 1),
            at,
            start: (seq == Seq::ZERO).then_some(NewRun { saga, version, fingerprint, key: None, claim }),
        }
    }
}

/// The saga that the runs of the scribe say they are of.
pub(crate) fn known_saga() -> KnownSaga {
    let fingerprint: Fingerprint =
        serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").expect("a valid fingerprint");
    KnownSaga { saga: SagaName::new("scribe").expect("a valid name"), version: 1, fingerprint }
}

/// The record of a run at a place.
pub(super) fn record(run: &RunId, seq: u64) -> EncodedRecord {
    let mut dice = dice(run, seq);
    let length = *dice.choice(&LENGTHS).expect("there are some");
    let mut text = format!("<{run}:{seq}>");
    while text.len() < length {
        text.push(dice.alphanumeric());
    }
    let value = Payload::encode(&text).expect("text has a JSON form");
    let event = Event::Checkpointed { of: ItemRef::new(StepIndex(0), 0), value };
    EncodedRecord::encode(&Record { seq: Seq(seq), at: Timestamp(1000 + seq), event })
}

/// The same for the same run and place, in every process (FNV-1a).
fn dice(run: &RunId, seq: u64) -> fastrand::Rng {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let seed = run.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    fastrand::Rng::with_seed(seed.wrapping_add(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
