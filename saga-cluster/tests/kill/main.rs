//! `kill -9` of the coordinator at every journal append, of every operation, on real node processes.
//!
//! Each case is a coordinator in a process of its own that kills itself (SIGKILL: nothing is flushed, no destructor runs)
//! right before or right after its k-th append became durable. Then a new coordinator opens the same data, and either
//! goes on, or is asked to delete the cluster. Whatever k was, the end is the same: the cluster is what was asked for,
//! with every block, or it is gone; and no node process is left that no record knows of.
//!
//! The cases need processes that die, so this target has a `main` of its own. `KILL_CASE=name` runs the cases whose names
//! contain the text.

mod case;
mod coordinator;
mod dying;

use std::process::ExitCode;
use std::sync::Arc;

use futures::StreamExt;

use case::{Asked, Case, Moment, Then};

/// More appends than any of the operations makes: the cases of an operation end where a coordinator survives.
const MOST_APPENDS: u64 = 200;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if let Some(task) = coordinator::Task::of_this_process() {
        runtime.block_on(coordinator::work(task));
        return ExitCode::SUCCESS;
    }
    let only = std::env::var("KILL_CASE").unwrap_or_default();
    runtime.block_on(all_cases(&only))
}

async fn all_cases(only: &str) -> ExitCode {
    let mut series = Vec::new();
    for asked in [Asked::Create, Asked::Scale, Asked::Delete] {
        for then in [Then::Resume, Then::Delete] {
            for moment in [Moment::Before, Moment::After] {
                series.push((asked, then, moment));
            }
        }
    }
    let only: Arc<str> = only.into();
    // Two series at a time: each has processes that mostly wait for each other.
    let results: Vec<(u32, Vec<String>)> = futures::stream::iter(series)
        .map(|(asked, then, moment)| {
            let only = Arc::clone(&only);
            tokio::spawn(async move { one_series(asked, then, moment, &only).await })
        })
        .buffer_unordered(2)
        .map(|done| done.unwrap_or_else(|panic| (0, vec![format!("a series panicked: {panic}")])))
        .collect()
        .await;
    let passed: u32 = results.iter().map(|(passed, _)| passed).sum();
    let failures: Vec<String> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    for failure in &failures {
        println!("FAILED {failure}");
    }
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        failures.len()
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kills at the first append, the second, … until the operation comes to its end before the k-th.
async fn one_series(asked: Asked, then: Then, moment: Moment, only: &str) -> (u32, Vec<String>) {
    let (mut passed, mut failures) = (0, Vec::new());
    for append in 1..=MOST_APPENDS {
        let case = Case { asked, then, moment, append };
        if !case.to_string().contains(only) {
            continue;
        }
        match case.run().await {
            Ok(true) => {
                passed += 1;
                println!("test {case} ... ok");
            }
            Ok(false) => {
                println!("test {asked}: the coordinator makes {} appends", append - 1);
                // Fewer would mean that the kills hit nothing.
                if append < 4 {
                    failures.push(format!("{case}: the operation makes hardly any appends"));
                }
                break;
            }
            Err(why) => {
                println!("test {case} ... FAILED: {why}");
                failures.push(format!("{case}: {why}"));
            }
        }
    }
    (passed, failures)
}
