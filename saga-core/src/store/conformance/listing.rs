//! Listing.

use super::{Factory, get, key, list_all, next, read_all, run_id, saga, start, start_with_key, taken};
use crate::id::RunId;
use crate::store::{Query, RunStatus, Store};

/// Runs with every status, by turns, whose names do not sort in the order in which they were made.
async fn fill<S: Store>(store: &S, count: usize) -> Vec<(RunId, RunStatus)> {
    let mut runs = Vec::new();
    for number in 0..count {
        let run = run_id(&format!("run-{:02}", (number * 7) % count));
        let status = RunStatus::ALL[number % RunStatus::ALL.len()];
        let mut first = start(&run);
        if let Some(new) = first.start.as_mut().filter(|_| number % 2 == 0) {
            new.saga = saga("even");
        }
        taken(store, first).await;
        taken(store, next(&run, 1, status)).await;
        runs.push((run, status));
    }
    runs.sort_unstable();
    runs
}

/// A listing goes through all runs in ascending order, whatever the size of its pages.
pub async fn listings_are_sorted_and_paged<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let empty = store.list(&Query::default()).await.expect("the store works");
    assert!(empty.runs.is_empty() && empty.next.is_none());
    let runs = fill(&store, 25).await;
    let expected: Vec<_> = runs.iter().map(|(run, _)| run.clone()).collect();
    for limit in [1, 2, 5, 24, 25, 26, 100] {
        assert_eq!(list_all(&store, Query { limit, ..Query::default() }).await, expected, "pages of {limit}");
    }
    let all = store.list(&Query { limit: 25, ..Query::default() }).await.expect("the store works");
    assert_eq!(all.next, None, "a last page that is full says that it is the last");
    for summary in all.runs {
        assert_eq!(summary, get(&store, &summary.run).await);
    }
}

/// Many runs are found as each by itself, without those that there are not. What comes along of their journals is all of it.
pub async fn many_runs_are_looked_at_at_once<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let mut runs: Vec<_> = fill(&store, 13).await.into_iter().map(|(run, _)| run).collect();
    let mut expected = Vec::new();
    for run in &runs {
        expected.push((get(&store, run).await, read_all(&store, run).await));
    }
    runs.extend([run_id("unknown"), run_id("unheard of")]);
    let mut found = store.look(&runs).await.expect("the store works");
    found.sort_unstable_by(|one, other| one.summary.run.cmp(&other.summary.run));
    assert_eq!(found.len(), expected.len());
    for (found, (summary, journal)) in found.into_iter().zip(expected) {
        assert_eq!(found.summary, summary);
        assert_eq!(found.journal.unwrap_or_else(|| journal.clone()), journal, "of {}", summary.run);
    }
    assert_eq!(store.look(&[]).await.expect("the store works"), []);
}

/// Only runs of the statuses and the saga asked for are listed.
pub async fn listings_are_filtered<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let runs = fill(&store, 24).await;
    let wanted: [&[RunStatus]; 4] =
        [&[RunStatus::Running], &[RunStatus::Completed], &[RunStatus::Halted, RunStatus::Abandoned], &RunStatus::ALL];
    for statuses in wanted {
        let query = Query { statuses: statuses.to_vec(), limit: 3, ..Query::default() };
        let expected: Vec<_> =
            runs.iter().filter(|(_, status)| statuses.contains(status)).map(|(run, _)| run.clone()).collect();
        assert_eq!(list_all(&store, query).await, expected, "{statuses:?}");
    }
    let query = Query { saga: Some(saga("even")), limit: 5, ..Query::default() };
    assert_eq!(list_all(&store, query).await.len(), 12);
    let query = Query { saga: Some(saga("unheard of")), ..Query::default() };
    assert!(list_all(&store, query).await.is_empty());
}

/// A key names the runs that hold it and those that held it, and no others.
pub async fn listings_by_key_tell_the_past_too<F: Factory>(factory: &F) {
    let store = factory.open().await;
    fill(&store, 12).await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let run = run_id(&format!("with-key-{number}"));
        taken(&store, start_with_key(&run, "k")).await;
        if number < 4 {
            taken(&store, next(&run, 1, RunStatus::RolledBack)).await;
        }
        expected.push(run);
    }
    let of_key = |held: &str| Query { key: Some(key(held)), limit: 2, ..Query::default() };
    assert_eq!(list_all(&store, of_key("k")).await, expected);
    assert_eq!(list_all(&store, of_key("another")).await, Vec::<RunId>::new());
    let live = Query { statuses: vec![RunStatus::Running], ..of_key("k") };
    assert_eq!(list_all(&store, live).await, expected[4..]);
}

/// Runs that start and end between two pages move no other run: none is told twice, none is left out.
pub async fn pages_stay_put_while_runs_come_and_go<F: Factory>(factory: &F) {
    let store = factory.open().await;
    let expected: Vec<_> = fill(&store, 20).await.into_iter().map(|(run, _)| run).collect();
    let mut query = Query { limit: 3, ..Query::default() };
    let mut found = Vec::new();
    for number in 0.. {
        let page = store.list(&query).await.expect("the store works");
        found.extend(page.runs.into_iter().map(|summary| summary.run));
        let Some(after) = page.next else { break };
        query.after = Some(after);
        taken(&store, start(&run_id(&format!("run-{number:02}-new")))).await;
        taken(&store, start(&run_id(&format!("a-{number}")))).await;
        let live = Query { statuses: vec![RunStatus::Running], limit: 1, ..Query::default() };
        let live = store.list(&live).await.expect("the store works").runs.remove(0);
        taken(&store, next(&live.run, live.seq.0, RunStatus::Completed)).await;
    }
    found.retain(|run| !run.as_str().ends_with("-new"));
    assert_eq!(found, expected);
}
