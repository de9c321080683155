//! Clusters on a real OpenStack: the coordinator is killed at every journal append (see `deaths`), and between a request
//! and its answer; connections are cut; the cloud is broken; users change their minds.
//!
//! It runs only where the environment says which cloud it is (`OS_AUTH_URL`, or `OS_CLOUD`), and says so if it does not. Each
//! trial makes up to four servers, in clusters whose names have the number of this process, and nothing else is touched.

mod cloud;
#[path = "../deaths/mod.rs"]
mod deaths;
mod faults;
mod lost;
mod program;
mod proxy;
mod trial;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};

use proxy::Loss;
use world::By;

fn main() {
    if deaths::died::<By>() {
        return;
    }
    let arguments = Arguments::from_args();
    if std::env::var_os("OS_AUTH_URL").is_none() && std::env::var_os("OS_CLOUD").is_none() {
        eprintln!("SKIPPED: no OpenStack was tried: neither OS_AUTH_URL nor OS_CLOUD is set (see docs/engines.md)");
        return;
    }
    if !cloud::can_be_looked_at() {
        eprintln!(
            "SKIPPED: lost answers, and the look past the engine, which need OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and \
             OS_PROJECT_NAME"
        );
    }
    if faults::program().is_none() {
        eprintln!("SKIPPED: faults of the cloud: OPENSTACK_FAULT does not name the program that makes them");
    }
    let trials = By::chosen().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(2)
    });
    let trials = trials.into_iter().flat_map(trials_of).collect();
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials).exit();
}

fn trials_of(by: By) -> Vec<Trial> {
    let mut trials = vec![
        trial(by, "nothing_is_in_the_way", lost::nothing),
        trial(by, "the_user_deletes_in_the_middle", lost::the_user_deletes_in_the_middle),
    ];
    if cloud::can_be_looked_at() {
        trials.extend([
            trial(by, "requests_are_lost", async |by| lost::connections_are_cut(by, Loss::Request).await),
            trial(by, "answers_are_lost", async |by| lost::connections_are_cut(by, Loss::Answer).await),
            trial(by, "the_coordinator_is_killed_before_the_answer", lost::the_coordinator_is_killed_before_the_answer),
        ]);
    }
    if faults::program().is_some() {
        trials.extend([
            trial(by, "quota_ends_in_the_middle_of_a_create", faults::quota_ends_in_the_middle_of_a_create),
            trial(by, "quota_ends_in_the_middle_of_a_scale", faults::quota_ends_in_the_middle_of_a_scale),
            trial(by, "compute_is_stopped_for_a_while", faults::compute_is_stopped_for_a_while),
            trial(by, "compute_is_stopped_for_over_a_minute", faults::compute_is_stopped_for_over_a_minute),
            trial(by, "compute_is_known_to_be_down", faults::compute_is_known_to_be_down),
            trial(by, "compute_is_stopped_and_the_user_deletes", faults::compute_is_stopped_and_the_user_deletes),
            trial(by, "neutron_is_down_for_a_while", faults::neutron_is_down_for_a_while),
            trial(by, "neutron_is_down_in_a_scale", faults::neutron_is_down_in_a_scale),
        ]);
    }
    trials.extend(deaths::series(&by, &format!("{}::", by.kind())));
    trials
}

fn trial(by: By, name: &str, body: impl AsyncFnOnce(By) -> Result<(), String> + Send + 'static) -> Trial {
    let name = format!("{}::{name}", by.kind());
    Trial::test(name, move || deaths::runtime().block_on(body(by)).map_err(Failed::from))
}
