//! Who holds a run.

use super::{
    Factory, LEASE, another_fingerprint, append, get, known, next, read_all, records, run_id, start, taken, worker,
};
use crate::id::{Epoch, RunId};
use crate::store::{Append, ClaimError, KnownSaga, Refused, RunStatus, Store};

fn under(epoch: u64, mut append: Append) -> Append {
    append.epoch = Epoch(epoch);
    append
}

async fn claimed<S: Store>(store: &S, by: &str, limit: usize) -> Vec<RunId> {
    let claims = store.claim(&worker(by), &[known("s")], LEASE, limit).await.expect("the store works");
    for claim in &claims {
        assert_eq!(claim.summary.owner, Some(worker(by)));
        assert_eq!(get(store, &claim.summary.run).await, claim.summary, "the claim is told as it is");
        if let Some(journal) = &claim.journal {
            assert_eq!(*journal, read_all(store, &claim.summary.run).await, "the journal comes along as it is");
        }
    }
    let mut runs: Vec<_> = claims.into_iter().map(|claim| claim.summary.run).collect();
    runs.sort_unstable();
    runs
}

/// Renews, and names what was lost, in order.
async fn lost<S: Store>(store: &S, by: &str, held: &[(RunId, Epoch)]) -> Vec<RunId> {
    let mut lost = store.renew(&worker(by), held, LEASE).await.expect("the store works");
    lost.sort_unstable();
    lost
}

/// Who starts a run holds it, under the first epoch.
pub async fn the_starter_holds_the_run<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    assert_eq!(claimed(&store, "v", 10).await, Vec::<RunId>::new());
    let lost = lost(&store, "w", &[(run, Epoch::FIRST)]).await;
    assert!(lost.is_empty(), "{lost:?}");
}

/// A claim takes live runs that nobody holds, and raises their epoch by one.
pub async fn claims_take_only_what_nobody_holds<F: Factory>(factory: &F) {
    let (store, a, b, c) = (factory.open().await, run_id("a"), run_id("b"), run_id("c"));
    for run in [&a, &b, &c] {
        taken(&store, start(run)).await;
    }
    store.release(&[(a.clone(), Epoch(1)), (c.clone(), Epoch(1))]).await.expect("the store works");
    taken(&store, next(&c, 1, RunStatus::Completed)).await;
    assert_eq!(claimed(&store, "v", 10).await, std::slice::from_ref(&a));
    assert_eq!(get(&store, &a).await.epoch, Epoch(2));
    assert_eq!(
        claimed(&store, "v", 10).await,
        Vec::<RunId>::new(),
        "what is held, if by oneself, is not claimed again"
    );
}

/// A worker gets only runs of the sagas that it knows, in the versions and structures that it knows.
pub async fn claims_are_for_the_sagas_asked_for<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.release(&[(run.clone(), Epoch(1))]).await.expect("the store works");
    let other_version = KnownSaga { version: 2, ..known("s") };
    let other_structure = KnownSaga { fingerprint: another_fingerprint(), ..known("s") };
    let mut several = [other_version, known("t"), other_structure, known("s")];
    for unknown in [&several[..0], &several[..1], &several[1..2], &several[2..3], &several[..3]] {
        assert!(store.claim(&worker("v"), unknown, LEASE, 10).await.expect("the store works").is_empty());
    }
    several.reverse();
    assert_eq!(store.claim(&worker("v"), &several, LEASE, 10).await.expect("the store works").len(), 1);
}

/// Once a run is claimed, its holder before cannot write any more, and the new one can.
pub async fn a_claim_fences_the_one_before<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.release(&[(run.clone(), Epoch(1))]).await.expect("the store works");
    assert_eq!(claimed(&store, "v", 1).await, std::slice::from_ref(&run));
    let refused = append(&store, next(&run, 1, RunStatus::Running)).await;
    assert_eq!(refused, Err(Refused::Stale { run: run.clone(), current: Epoch(2), found: Epoch(1) }));
    taken(&store, under(2, next(&run, 1, RunStatus::Running))).await;
}

/// A lease that was not renewed in time lets others have the run. Until they do, its holder may write.
pub async fn an_expired_lease_can_be_claimed<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    if !factory.advance(LEASE / 2).await {
        return;
    }
    assert_eq!(claimed(&store, "v", 1).await, Vec::<RunId>::new());
    factory.advance(LEASE).await;
    assert_eq!(get(&store, &run).await.owner, None, "nobody holds it");
    taken(&store, next(&run, 1, RunStatus::Running)).await;
    assert_eq!(claimed(&store, "v", 1).await, std::slice::from_ref(&run));
    assert!(matches!(append(&store, next(&run, 2, RunStatus::Running)).await, Err(Refused::Stale { .. })));
}

/// Renewing in time keeps the run.
pub async fn a_renewed_lease_holds_on<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    for _ in 0..5 {
        if !factory.advance(LEASE * 2 / 3).await {
            return;
        }
        assert_eq!(claimed(&store, "v", 1).await, Vec::<RunId>::new());
        let held = [(run.clone(), Epoch(1))];
        assert!(lost(&store, "w", &held).await.is_empty());
    }
}

/// Renewing names each run that is not held any more, whatever became of it, and keeps the others.
pub async fn renewing_names_what_is_lost<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let names = ["claimed", "ended", "held", "released", "resting"];
    for name in names {
        taken(&store, start(&run_id(name))).await;
    }
    store.release(&[(run_id("claimed"), Epoch(1))]).await.expect("the store works");
    assert_eq!(claimed(&store, "v", 1).await, [run_id("claimed")]);
    store.release(&[(run_id("released"), Epoch(1))]).await.expect("the store works");
    taken(&store, next(&run_id("ended"), 1, RunStatus::Completed)).await;
    taken(&store, next(&run_id("resting"), 1, RunStatus::Halted)).await;
    let mut held: Vec<_> = names.iter().map(|name| (run_id(name), Epoch(1))).collect();
    held.push((run_id("unknown"), Epoch(1)));
    assert_eq!(lost(&store, "w", &held).await, ["claimed", "ended", "released", "resting", "unknown"].map(run_id));
    // Another worker's claim is not renewed under its epoch.
    assert_eq!(lost(&store, "w", &[(run_id("claimed"), Epoch(2))]).await, [run_id("claimed")]);
}

/// What is released can be claimed without waiting for the lease.
pub async fn released_runs_can_be_claimed_at_once<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.release(&[(run.clone(), Epoch(1))]).await.expect("the store works");
    assert_eq!(get(&store, &run).await.owner, None);
    assert_eq!(claimed(&store, "v", 1).await, [run]);
}

/// A release under an old epoch, or of a run that is not there, is passed over.
pub async fn releasing_another_claim_does_nothing<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    store.claim_run(&worker("w"), &run, LEASE).await.expect("its holder may claim it");
    let held = [(run.clone(), Epoch(1)), (run_id("unknown"), Epoch(1))];
    store.release(&held).await.expect("the store works");
    assert_eq!(get(&store, &run).await.owner, Some(worker("w")));
}

/// `claim` leaves resting runs to operators, who claim them by name and may set them going again.
pub async fn resting_runs_are_claimed_by_name_only<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in [RunStatus::Halted, RunStatus::Stuck] {
        let run = run_id(status.as_str());
        taken(&store, start(&run)).await;
        taken(&store, next(&run, 1, status)).await;
        assert_eq!(claimed(&store, "v", 10).await, Vec::<RunId>::new());
        let claim = store.claim_run(&worker("v"), &run, LEASE).await.expect("nobody holds it");
        assert_eq!((claim.summary.epoch, claim.summary.status), (Epoch(2), status));
        assert_eq!(claim.summary.owner, Some(worker("v")));
        taken(&store, under(2, next(&run, 2, RunStatus::Running))).await;
        assert_eq!(get(&store, &run).await.owner, Some(worker("v")), "who set it going drives it");
    }
}

/// A run is not claimed from a worker that holds it, but the worker itself may claim it, under a new epoch.
pub async fn one_run_is_not_claimed_from_its_holder<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let error = store.claim_run(&worker("v"), &run, LEASE).await.expect_err("it is held");
    assert!(matches!(&error, ClaimError::Held { owner, .. } if *owner == worker("w")), "{error}");
    let claim = store.claim_run(&worker("w"), &run, LEASE).await.expect("it is its own");
    assert_eq!(claim.summary.epoch, Epoch(2));
    taken(&store, under(2, next(&run, 1, RunStatus::Completed))).await;
    let error = store.claim_run(&worker("w"), &run, LEASE).await.expect_err("it has ended");
    assert!(matches!(error, ClaimError::Ended { .. }), "{error}");
    let error = store.claim_run(&worker("w"), &run_id("unknown"), LEASE).await.expect_err("there is none");
    assert!(matches!(error, ClaimError::UnknownRun { .. }), "{error}");
}

/// A run that comes to rest or ends has no owner any more.
pub async fn resting_runs_have_no_owner<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for status in RunStatus::ALL {
        let run = run_id(status.as_str());
        taken(&store, start(&run)).await;
        taken(&store, next(&run, 1, status)).await;
        assert_eq!(get(&store, &run).await.owner.is_some(), status.is_live(), "{status}");
    }
}

/// At most as many runs are claimed as asked for, and the rest is there for others.
pub async fn claims_are_limited<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let runs: Vec<_> = (0..5).map(|number| run_id(&format!("run-{number}"))).collect();
    for run in &runs {
        taken(&store, start(run)).await;
    }
    let held: Vec<_> = runs.iter().map(|run| (run.clone(), Epoch(1))).collect();
    store.release(&held).await.expect("the store works");
    assert_eq!(claimed(&store, "v", 0).await, Vec::<RunId>::new());
    let mut all = claimed(&store, "v", 3).await;
    assert_eq!(all.len(), 3);
    all.extend(claimed(&store, "u", 3).await);
    all.sort_unstable();
    assert_eq!(all, runs);
}

/// A run that was started by nobody in particular is there for the first who claims it.
pub async fn a_run_without_a_holder_can_be_claimed_at_once<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    let mut first = start(&run);
    first.start.as_mut().expect("it starts a run").claim = None;
    taken(&store, first).await;
    assert_eq!(get(&store, &run).await.owner, None);
    assert_eq!(claimed(&store, "v", 10).await, std::slice::from_ref(&run));
    assert_eq!(get(&store, &run).await.epoch, Epoch(2), "the first epoch was that of the start");
}

/// A worker that was away for longer than its lease holds on to what nobody took meanwhile, and to nothing else.
pub async fn an_expired_lease_that_nobody_took_revives<F: Factory>(factory: &F) {
    let (store, kept, taken_over) = (factory.open().await, run_id("kept"), run_id("taken over"));
    taken(&store, start(&kept)).await;
    taken(&store, start(&taken_over)).await;
    if !factory.advance(LEASE * 2).await {
        return;
    }
    assert_eq!(claimed(&store, "v", 1).await.len(), 1);
    let held = [(kept.clone(), Epoch(1)), (taken_over.clone(), Epoch(1))];
    let lost = lost(&store, "w", &held).await;
    assert_eq!(lost.len(), 1);
    let (mine, theirs) = if lost[0] == kept { (&taken_over, &kept) } else { (&kept, &taken_over) };
    assert_eq!(get(&store, mine).await.owner, Some(worker("w")));
    assert_eq!(get(&store, theirs).await.owner, Some(worker("v")));
    taken(&store, next(mine, 1, RunStatus::Running)).await;
    assert!(matches!(append(&store, next(theirs, 1, RunStatus::Running)).await, Err(Refused::Stale { .. })));
}

/// Under a lease that has expired, the run is there for its last holder as for any other.
pub async fn a_worker_can_claim_what_it_lost<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    if !factory.advance(LEASE * 2).await {
        return;
    }
    assert_eq!(claimed(&store, "w", 10).await, std::slice::from_ref(&run));
    assert!(matches!(append(&store, next(&run, 1, RunStatus::Running)).await, Err(Refused::Stale { .. })));
}

/// A run passes from worker to worker, each fenced by the next, and its journal is one.
pub async fn a_run_passes_through_many_hands<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    for hand in 1..=8_u64 {
        store.release(&[(run.clone(), Epoch(hand))]).await.expect("the store works");
        assert_eq!(claimed(&store, &format!("worker-{hand}"), 1).await, std::slice::from_ref(&run));
        let stale = under(hand, next(&run, hand, RunStatus::Running));
        assert_eq!(
            append(&store, stale).await,
            Err(Refused::Stale { run: run.clone(), current: Epoch(hand + 1), found: Epoch(hand) })
        );
        taken(&store, under(hand + 1, next(&run, hand, RunStatus::Running))).await;
    }
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 9));
}
