//! The trial in small, and the proof that it can fail: with a fault built in, the checks find it.

mod program;

use std::process::Command;

use program::{count, told, trial};

#[test]
fn sagas_recover_whatever_is_killed() {
    let output = trial(&["postgres", "--sagas", "300", "--kills", "20", "--farewells", "3", "--restarts", "2"]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(count(&text, "workers killed"), 20, "{text}");
    assert_eq!(count(&text, "restarts of the database"), 2, "{text}");
    assert!(count(&text, "takeovers of runs") > 0, "nobody was hit:\n{text}");
}

#[test]
fn sagas_recover_however_often_their_process_is_killed() {
    let output = trial(&["sled", "--sagas", "150", "--kills", "40"]);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(count(&text, "workers killed"), 40, "{text}");
    assert!(count(&text, "takeovers of runs") > 0, "nothing was hit:\n{text}");
    assert!(count(&text, "of these by themselves, at a chosen moment") > 0, "{text}");
    let phases =
        ["before they came to the store", "while they opened", "while they took up runs", "while they drove runs"];
    assert_eq!(phases.iter().map(|phase| count(&text, phase)).sum::<u64>(), 40, "{text}");
}

const POSTGRES: &[&str] = &["postgres", "--restarts", "0", "--lease-ms", "500"];
const SLED: &[&str] = &["sled"];

/// A trial with a fault built in must not hold, and say which rule it broke.
fn is_found(on: &[&str], sabotage: &str, rule: &str) {
    let output = trial(&[on, &["--sagas", "120", "--kills", "2", "--sabotage", sabotage]].concat());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("VIOLATED: {rule}")), "{text}");
    assert!(text.contains("--seed 1"), "what repeats it: {text}");
    remove_what_was_kept(&text);
}

/// A trial that fails keeps its evidence, for whoever looks for the cause.
fn remove_what_was_kept(text: &str) {
    let folder = text.lines().find_map(|line| line.strip_prefix("kept in ")).expect("it is kept");
    std::fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn a_world_that_forgets_to_undo_is_found() {
    is_found(SLED, "forget-undo", "nothing stands that the outcome does not name");
}

#[test]
fn a_worker_that_acts_under_a_lost_claim_is_found() {
    is_found(POSTGRES, "stale-epoch", "in a run, nobody acts under a claim after somebody has acted under a later one");
}

#[test]
fn a_start_that_is_acknowledged_and_lost_is_found() {
    is_found(SLED, "lose-start", "no acknowledged start is lost");
}

#[test]
fn keys_that_exclude_nobody_are_found() {
    is_found(POSTGRES, "ignore-keys", "the effects of two runs with one exclusive key never overlap");
}

#[test]
fn without_postgresql_it_says_what_to_install() {
    let output = Command::new(env!("CARGO_BIN_EXE_saga-crash"))
        .args(["postgres", "--sagas", "1"])
        .env("PATH", "")
        .env("SAGA_POSTGRES_BIN", "/nowhere")
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(2));
    let text = told(&output);
    assert!(text.contains("SAGA_POSTGRES_BIN names /nowhere, but there is no initdb in it"), "{text}");
}
