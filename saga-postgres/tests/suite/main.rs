//! The store among others, and when things fail.

mod coordinators;
mod failures;
mod opening;
mod servers;
mod sharing;
mod tls;

use std::time::Duration;

use saga_core::journal::{Cause, EncodedRecord, Event, Record};
use saga_core::plan::Fingerprint;
use saga_core::store::{Append, FirstClaim, KnownSaga, NewRun, Refused, RunStatus, Store, StoreError};
use saga_core::{Actor, Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp, WorkerId};

/// So long that none runs out, however busy this machine is.
const LEASE: Duration = Duration::from_secs(3600);

fn id(name: &str) -> RunId {
    RunId::new(name).expect("a sound id")
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).expect("a sound id")
}

fn fingerprint() -> Fingerprint {
    serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").expect("a sound fingerprint")
}

fn known() -> KnownSaga {
    KnownSaga { saga: SagaName::new("s").expect("a sound name"), version: 1, fingerprint: fingerprint() }
}

fn record(seq: u64) -> EncodedRecord {
    let by = Actor::new("ada", format!("record {seq}"));
    let event = Event::AbortBegan { cause: Cause::Cancelled { by } };
    EncodedRecord::encode(&Record { seq: Seq(seq), at: Timestamp(1000 + seq), event })
}

fn start(run: &str) -> Append {
    let KnownSaga { saga, version, fingerprint } = known();
    let claim = Some(FirstClaim { worker: worker("w"), lease: LEASE });
    let start = Some(NewRun { saga, version, fingerprint, key: None, claim });
    Append { start, ..next(run, 0, RunStatus::Running) }
}

fn start_with_key(run: &str, key: &str) -> Append {
    let mut append = start(run);
    if let Some(new) = &mut append.start {
        new.key = Some(ExclusiveKey::new(key).expect("a sound key"));
    }
    append
}

fn next(run: &str, expected: u64, status: RunStatus) -> Append {
    Append {
        run: id(run),
        epoch: Epoch::FIRST,
        expected: Seq(expected),
        records: vec![record(expected + 1)],
        status,
        at: Timestamp(1000 + expected),
        start: None,
    }
}

fn under(epoch: u64, append: Append) -> Append {
    Append { epoch: Epoch(epoch), ..append }
}

async fn append(store: &impl Store, append: Append) -> Result<Result<(), Refused>, StoreError> {
    Ok(store.append(&[append]).await?.remove(0))
}

async fn taken(store: &impl Store, wanted: Append) {
    append(store, wanted).await.expect("the store works").expect("nothing is in the way");
}

/// Tries again what may pass, as the committer does, until it is taken or was taken by a try before.
async fn taken_at_last(store: &impl Store, wanted: Append) {
    let (run, expected) = (wanted.run.clone(), wanted.expected);
    let mut in_doubt = false;
    loop {
        match append(store, wanted.clone()).await {
            Ok(Ok(())) => return,
            Ok(Err(refused)) => {
                assert!(in_doubt, "{refused}");
                let written = store.read(&run, expected, 1).await.expect("the store works");
                assert_eq!(written, wanted.records, "{refused}");
                return;
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                in_doubt = true;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
