//! Many callers at once.

use futures::future::join_all;

use super::{
    Factory, LEASE, append, get, key, known, next, read_all, records, run_id, start, start_with_key, taken, worker,
};
use crate::store::{Refused, RunStatus, Store};

/// Appends to many runs from many callers all land where they belong.
pub async fn many_runs_at_once<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let drive = |number: u64| {
        let store = &store;
        async move {
            let run = run_id(&format!("run-{number}"));
            taken(store, start(&run)).await;
            for expected in 1..6 {
                taken(store, next(&run, expected, RunStatus::Running)).await;
            }
            if number.is_multiple_of(2) {
                taken(store, next(&run, 6, RunStatus::Completed)).await;
            }
        }
    };
    join_all((0..32).map(drive)).await;
    for number in 0_u64..32 {
        let run = run_id(&format!("run-{number}"));
        assert_eq!(read_all(&store, &run).await, records(&run, 0, 6 + u64::from(number.is_multiple_of(2))));
    }
}

/// Of many starts of one id, exactly one is taken.
pub async fn one_of_many_starts_wins<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    let answers = join_all((0..16).map(|_| append(&store, start(&run)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let exists = answers.iter().filter(|answer| matches!(answer, Err(Refused::Exists { .. }))).count();
    assert_eq!(exists, 15, "{answers:?}");
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 1));
}

/// Of many starts with one key, exactly one is taken, and all others are told by whom.
pub async fn one_of_many_holders_wins<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let runs: Vec<_> = (0..16).map(|number| run_id(&format!("run-{number}"))).collect();
    let answers = join_all(runs.iter().map(|run| append(&store, start_with_key(run, "k")))).await;
    let holder = store.holder(&key("k")).await.expect("the store works").expect("somebody holds it");
    for (run, answer) in runs.iter().zip(answers) {
        if *run == holder {
            assert_eq!(answer, Ok(()));
        } else {
            assert_eq!(answer, Err(Refused::KeyHeld { key: key("k"), holder: holder.clone() }));
            assert_eq!(store.get(run).await.expect("the store works"), None);
        }
    }
}

/// Of many appends at one place, exactly one is taken.
pub async fn one_of_many_appends_wins<F: Factory>(factory: &F) {
    let (store, run) = (factory.open().await, run_id("run"));
    taken(&store, start(&run)).await;
    let answers = join_all((0..16).map(|_| append(&store, next(&run, 1, RunStatus::Running)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(get(&store, &run).await.seq.0, 2);
    assert_eq!(read_all(&store, &run).await, records(&run, 0, 2));
}

/// Workers that claim at the same time get different runs, and together all of them.
pub async fn claims_at_once_take_different_runs<F: Factory>(factory: &F) {
    let store = factory.open().await;
    for number in 0..60 {
        let mut first = start(&run_id(&format!("run-{number:02}")));
        first.start.as_mut().expect("it starts a run").claim = None;
        taken(&store, first).await;
    }
    let claim_all = async |by: u32| {
        let mut claimed = Vec::new();
        loop {
            let claims = store.claim(&worker(&format!("worker-{by}")), &[known("s")], LEASE, 7).await;
            let claims = claims.expect("the store works");
            if claims.is_empty() {
                return claimed;
            }
            claimed.extend(claims.into_iter().map(|claim| claim.summary.run));
        }
    };
    let mut claimed = join_all((0..4).map(claim_all)).await.concat();
    claimed.sort_unstable();
    let all: Vec<_> = (0..60).map(|number| run_id(&format!("run-{number:02}"))).collect();
    assert_eq!(claimed, all);
}
