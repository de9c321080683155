//! What every [`Store`] must do, as tests that any store can be put through.
//!
//! Implement [`Factory`] for a type that makes empty stores, and let [`store_conformance!`](crate::store_conformance) make
//! one test of each property:
//!
//! ```
//! use saga_core::store::{MemoryStore, conformance::Factory};
//!
//! struct InMemory;
//!
//! #[async_trait::async_trait]
//! impl Factory for InMemory {
//!     type Store = MemoryStore;
//!     async fn open(&self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//! }
//!
//! mod conformance {
//!     saga_core::store_conformance!(super::InMemory);
//! }
//! # fn main() {}
//! ```
//!
//! A property that does not hold panics with what was expected. What a store cannot do ([`Factory::reopen`],
//! [`Factory::advance`]) is passed over.

mod appends;
mod claims;
mod concurrency;
mod durability;
mod listing;
mod moving;
mod requests;
mod retention;

use std::time::Duration;

use async_trait::async_trait;

pub use self::appends::*;
pub use self::claims::*;
pub use self::concurrency::*;
pub use self::durability::*;
pub use self::listing::*;
pub use self::moving::*;
pub use self::requests::*;
pub use self::retention::*;
use crate::id::{Epoch, ExclusiveKey, RunId, SagaName, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, Cause, EncodedRecord, Event, Record};
use crate::plan::Fingerprint;
use crate::store::{Append, FirstClaim, KnownSaga, NewRun, Query, Refused, RunStatus, RunSummary, Store};

/// Makes the stores that are tested.
#[async_trait]
pub trait Factory: Send + Sync {
    /// The store.
    type Store: Store;

    /// Makes a store that is empty, and that nobody else uses.
    async fn open(&self) -> Self::Store;

    /// Closes a store and opens it again in place, as after the end of the process. `None`, if it does not outlive it.
    async fn reopen(&self, _store: Self::Store) -> Option<Self::Store> {
        None
    }

    /// Lets this much time pass for the leases of all stores, and says whether it could. With tokio's clock:
    /// `tokio::time::pause(); tokio::time::advance(by).await; tokio::time::resume(); true`.
    async fn advance(&self, _by: Duration) -> bool {
        false
    }
}

/// Makes one `#[tokio::test]` of each property of the [conformance suite](self), for the stores of the given
/// [`Factory`](crate::store::conformance::Factory). The crate that uses it needs tokio with its macros.
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::__store_conformance_tests! { $factory;
            a_start_creates_the_run, appends_go_on_from_where_the_run_is, an_append_at_another_place_is_refused,
            an_append_that_was_taken_answers_so_when_tried_again, an_unknown_run_takes_no_appends,
            starting_twice_is_told, an_ended_run_takes_no_appends, a_stale_epoch_is_refused,
            the_appends_of_a_batch_are_independent, a_batch_can_start_a_run_and_go_on_with_it,
            malformed_appends_are_refused, an_empty_batch_is_nothing, large_records_come_back_whole,
            a_key_is_held_until_the_end, a_resting_run_holds_its_key, a_batch_sees_its_own_keys,
            reading_is_paged, the_records_come_back_as_they_were,
            the_starter_holds_the_run, claims_take_only_what_nobody_holds, claims_are_for_the_sagas_asked_for,
            a_claim_fences_the_one_before, an_expired_lease_can_be_claimed, a_renewed_lease_holds_on,
            renewing_names_what_is_lost, released_runs_can_be_claimed_at_once, releasing_another_claim_does_nothing,
            resting_runs_are_claimed_by_name_only, one_run_is_not_claimed_from_its_holder,
            resting_runs_have_no_owner, claims_are_limited,
            a_run_without_a_holder_can_be_claimed_at_once, an_expired_lease_that_nobody_took_revives,
            a_worker_can_claim_what_it_lost, a_run_passes_through_many_hands, claims_at_once_take_different_runs,
            a_request_reaches_the_holder, a_request_is_passed_on_with_the_claim, a_request_ends_when_the_run_rests,
            a_request_needs_a_live_run, a_restored_run_is_as_it_was, a_restored_run_replaces_nothing,
            a_restored_journal_is_whole,
            many_runs_are_looked_at_at_once, listings_are_sorted_and_paged, listings_are_filtered, listings_by_key_tell_the_past_too, pages_stay_put_while_runs_come_and_go,
            only_ended_runs_are_deleted, a_deleted_run_can_be_started_anew, pruning_takes_what_ended_first,
            many_runs_at_once, one_of_many_starts_wins, one_of_many_holders_wins, one_of_many_appends_wins,
            what_is_acknowledged_outlives_a_restart, leases_end_with_the_only_process, epochs_outlive_a_restart,
            keys_outlive_a_restart, deletions_outlive_a_restart, a_closed_store_refuses,
        }
    };
}

/// Implementation detail of [`store_conformance!`](crate::store_conformance).
#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_tests {
    ($factory:expr; $($property:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $property() {
                $crate::store::conformance::$property(&$factory).await;
            }
        )*
    };
}

/// So long that none runs out by itself, however slow the store is.
const LEASE: Duration = Duration::from_secs(3600);

fn run_id(name: &str) -> RunId {
    RunId::new(name).expect("a sound id")
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).expect("a sound id")
}

fn saga(name: &str) -> SagaName {
    SagaName::new(name).expect("a sound name")
}

/// Saga `name` as a worker knows it, in the version and structure of the runs that are started here.
fn known(name: &str) -> KnownSaga {
    KnownSaga { saga: saga(name), version: 1, fingerprint: fingerprint() }
}

fn key(name: &str) -> ExclusiveKey {
    ExclusiveKey::new(name).expect("a sound key")
}

fn fingerprint() -> Fingerprint {
    serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").expect("a sound fingerprint")
}

fn another_fingerprint() -> Fingerprint {
    serde_json::from_str("\"6ba7b814-9dad-11d1-80b4-00c04fd430c8\"").expect("a sound fingerprint")
}

/// `count` records behind `after`, each with an event that tells its place and run apart.
fn records(run: &RunId, after: u64, count: u64) -> Vec<EncodedRecord> {
    let record = |seq| {
        let by = Actor::new(run.as_str(), format!("record {seq}"));
        let event = Event::AbortBegan { cause: Cause::Cancelled { by } };
        EncodedRecord::encode(&Record { seq: Seq(seq), at: Timestamp(1000 + seq), event })
    };
    (after + 1..=after + count).map(record).collect()
}

/// The first append of a run: one record, by worker `w`, of saga `s` version 1.
fn start(run: &RunId) -> Append {
    Append {
        run: run.clone(),
        epoch: Epoch::FIRST,
        expected: Seq::ZERO,
        records: records(run, 0, 1),
        status: RunStatus::Running,
        at: Timestamp(1000),
        start: Some(NewRun {
            saga: saga("s"),
            version: 1,
            fingerprint: fingerprint(),
            key: None,
            claim: Some(FirstClaim { worker: worker("w"), lease: LEASE }),
        }),
    }
}

fn start_with_key(run: &RunId, held: &str) -> Append {
    let mut append = start(run);
    if let Some(new) = &mut append.start {
        new.key = Some(key(held));
    }
    append
}

/// One more record, behind `expected`, after which the run has the given status.
fn next(run: &RunId, expected: u64, status: RunStatus) -> Append {
    Append {
        run: run.clone(),
        epoch: Epoch::FIRST,
        expected: Seq(expected),
        records: records(run, expected, 1),
        status,
        at: Timestamp(1000 + expected),
        start: None,
    }
}

async fn append<S: Store>(store: &S, append: Append) -> Result<(), Refused> {
    let mut answers = store.append(&[append]).await.expect("the store works");
    assert_eq!(answers.len(), 1, "one answer for one append");
    answers.remove(0)
}

async fn taken<S: Store>(store: &S, wanted: Append) {
    let run = wanted.run.clone();
    append(store, wanted).await.unwrap_or_else(|refused| panic!("an append to {run} was refused: {refused}"));
}

async fn get<S: Store>(store: &S, run: &RunId) -> RunSummary {
    store.get(run).await.expect("the store works").unwrap_or_else(|| panic!("there is no run {run}"))
}

async fn read_all<S: Store>(store: &S, run: &RunId) -> Vec<EncodedRecord> {
    store.read(run, Seq::ZERO, usize::MAX).await.expect("the journal can be read")
}

async fn list_all<S: Store>(store: &S, query: Query) -> Vec<RunId> {
    let (mut found, mut query) = (Vec::new(), query);
    loop {
        let page = store.list(&query).await.expect("the store works");
        assert!(page.runs.len() <= query.limit, "a page has at most as many runs as asked for");
        found.extend(page.runs.into_iter().map(|summary| summary.run));
        match page.next {
            Some(after) => query.after = Some(after),
            None => return found,
        }
    }
}
