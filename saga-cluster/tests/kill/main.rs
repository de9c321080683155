//! `kill -9` of the coordinator at every journal append, of every operation, on real node processes.
//!
//! Each case is a coordinator in a process of its own that kills itself (SIGKILL: nothing is flushed, no destructor runs)
//! right before or right after its k-th append became durable. Then a new coordinator opens the same data, and either
//! goes on, or is asked to delete the cluster. Whatever k was, the end is the same: the cluster is what was asked for,
//! with every block, or it is gone; and no node process is left that no record knows of.
//!
//! The cases need processes that die, so this target has a `main` of its own: without the task of a dying coordinator it
//! is an ordinary test program.

mod case;
mod coordinator;
mod dying;

use libtest_mimic::{Arguments, Failed, Trial};

use case::{Asked, Case, Moment, Then};

/// More appends than any of the operations makes: the cases of an operation end where a coordinator survives.
const MOST_APPENDS: u64 = 200;
/// Fewer would mean that the kills hit nothing.
const FEWEST_APPENDS: u64 = 4;

fn main() {
    if let Some(task) = coordinator::Task::of_this_process() {
        runtime().block_on(coordinator::work(task));
        return;
    }
    let mut series = Vec::new();
    for asked in [Asked::Create, Asked::Scale, Asked::Delete] {
        for then in [Then::Resume, Then::Delete] {
            for moment in [Moment::Before, Moment::After] {
                let name = format!("{asked}_killed_{moment}_every_append_then_{then}");
                series.push(Trial::test(name, move || runtime().block_on(kill_at_every_append(asked, then, moment))));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), series).exit();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Kills at the first append, the second, … until the operation comes to its end before the k-th.
async fn kill_at_every_append(asked: Asked, then: Then, moment: Moment) -> Result<(), Failed> {
    for append in 1..=MOST_APPENDS {
        let case = Case { asked, then, moment, append };
        let killed = case.run().await.map_err(|why| format!("{case}: {why}"))?;
        if !killed {
            return match append {
                0..=FEWEST_APPENDS => Err(format!("{case}: the operation makes hardly any appends").into()),
                _ => Ok(()),
            };
        }
    }
    Err("the operation makes more appends than it can".into())
}
