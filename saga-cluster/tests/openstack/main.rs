//! `kill -9` of the coordinator at every journal append, of every operation, on the servers of a real OpenStack.
//!
//! It runs only where the environment says which cloud it is (`OS_AUTH_URL`, or `OS_CLOUD`), and says so if it does not. It
//! makes up to four servers at a time, in a cluster whose name has the number of this process, and nothing else is touched.
//! The flavor and the image are those of `OPENSTACK_FLAVOR` and `OPENSTACK_IMAGE`, or else `small` and `tiny`.

mod case;
mod cloud;
mod coordinator;
#[path = "../kill/dying.rs"]
mod dying;
mod faults;

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
    let arguments = Arguments::from_args();
    if std::env::var_os("OS_AUTH_URL").is_none() && std::env::var_os("OS_CLOUD").is_none() {
        eprintln!("SKIPPED: no OpenStack was tried: neither OS_AUTH_URL nor OS_CLOUD is set (see docs/engines.md)");
        return;
    }
    if !cloud::can_be_looked_at() {
        eprintln!(
            "SKIPPED: the look past the engine, which needs OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME"
        );
    }
    let mut series = vec![trial("a_cluster_lives_and_goes", case::life)];
    for asked in [Asked::Create, Asked::Scale, Asked::Delete] {
        for then in [Then::Resume, Then::Delete] {
            for moment in [Moment::Before, Moment::After] {
                let name = format!("{asked}_killed_{moment}_every_append_then_{then}");
                series.push(Trial::test(name, move || runtime().block_on(kill_at_every_append(asked, then, moment))));
            }
        }
    }
    series.push(trial("the_user_deletes_in_the_middle", faults::the_user_deletes_in_the_middle));
    if faults::program().is_some() {
        series.extend([
            trial("quota_ends_in_the_middle_of_a_create", faults::quota_ends_in_the_middle_of_a_create),
            trial("quota_ends_in_the_middle_of_a_scale", faults::quota_ends_in_the_middle_of_a_scale),
            trial("compute_is_stopped_for_a_while", faults::compute_is_stopped_for_a_while),
            trial("compute_is_stopped_and_the_user_deletes", faults::compute_is_stopped_and_the_user_deletes),
            trial("neutron_is_down_for_a_while", faults::neutron_is_down_for_a_while),
        ]);
    } else {
        eprintln!("SKIPPED: faults of the cloud: OPENSTACK_FAULT does not name the program that makes them");
    }
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, series).exit();
}

fn trial<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), String>>,
{
    Trial::test(name, move || runtime().block_on(body()).map_err(Failed::from))
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
            eprintln!("{asked} {moment} {then}: {} kills", append - 1);
            return match append {
                0..=FEWEST_APPENDS => Err(format!("{case}: the operation makes hardly any appends").into()),
                _ => Ok(()),
            };
        }
    }
    Err("the operation makes more appends than it can".into())
}
