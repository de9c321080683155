//! The examples do what they say. (`cargo test` builds them beside its own programs.)

use std::path::PathBuf;
use std::process::{Command, Output};

fn example(name: &str) -> Command {
    let this = std::env::current_exe().expect("this program has a path");
    let target = this.parent().and_then(|deps| deps.parent()).map(PathBuf::from).expect("it is in target/*/deps");
    Command::new(target.join("examples").join(name))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_trip_is_booked_undone_halted_and_retried() {
    let output = example("trip").output().expect("it runs");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for said in ["=> completed", "=> rolled back, nothing is left", "=> halted at `mail`", "receipt for Ada"] {
        assert!(text.contains(said), "{said} is missing in:\n{text}");
    }
    let booked = text.split("in the end:").nth(1).expect("a list of bookings");
    assert!(!booked.contains("Bob"), "Bob's bookings are undone:\n{text}");
}

#[test]
fn a_crashed_run_is_taken_up_by_the_next_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let crashed = example("crash").arg(directory.path()).output().expect("it runs");
    assert!(!crashed.status.success(), "the first process dies");
    assert!(text(&crashed).contains("attempt 1"));

    let resumed = example("crash").arg(directory.path()).output().expect("it runs");
    let said = text(&resumed);
    assert!(resumed.status.success(), "{said}\n{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(said.contains("=> completed") && !said.contains("pouring"), "what was done is not done again:\n{said}");
}

#[test]
fn a_redis_cluster_is_scaled_under_load_and_no_key_is_lost() {
    let output = example("redis_cluster").output().expect("it runs");
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("kill -9").count(), 2, "{said}");
    assert_eq!(said.matches("finds an unfinished scale").count(), 2, "{said}");
    assert!(said.contains("all there") && said.contains("no server is left"), "{said}");
}
