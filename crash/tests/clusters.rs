//! The trial of clusters in small, and the proof that it can fail.

use std::process::{Command, Output};

fn trial(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_saga-crash"))
        .arg("cluster")
        .args(arguments)
        .output()
        .expect("the program can be started");
    let told = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, told)
}

/// The number in a line of the report.
fn count(text: &str, line: &str) -> u64 {
    let found = text.lines().find_map(|row| row.split_once(line)).map(|(_, count)| count);
    let number = found.and_then(|count| count.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no count of `{line}` in\n{text}"))
}

fn holds(store: &str) {
    let (output, text) = trial(&[store, "--clusters", "6", "--kills", "14"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(count(&text, "processes killed") >= 14, "{text}");
    for what in
        ["takeovers of runs", "machines seen", "every block whose writing was acknowledged is there, byte for byte"]
    {
        assert!(count(&text, what) > 0, "nothing was hit, or nothing was looked at: {text}");
    }
}

#[test]
fn no_kill_harms_clusters_in_a_data_directory() {
    holds("sled");
}

#[test]
fn no_kill_harms_clusters_in_a_database() {
    holds("postgres");
}

/// A trial with a fault built in must not hold, and say which rule it broke.
fn is_found(store: &str, sabotage: &str, rule: &str) {
    let (output, text) = trial(&[store, "--clusters", "3", "--kills", "0", "--sabotage", sabotage]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("VIOLATED: {rule}")), "{text}");
    let folder = text.lines().find_map(|line| line.strip_prefix("kept in ")).expect("it is kept");
    std::fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn a_machine_that_is_left_is_found() {
    is_found("sled", "leave-process", "when all is deleted there is no record");
}

#[test]
fn a_machine_that_no_record_names_is_found() {
    is_found("sled", "stray-process", "when nothing moves, each node of a record has one process");
}

#[test]
fn a_block_that_is_lost_is_found() {
    is_found("sled", "lose-block", "every block whose writing was acknowledged");
}

#[test]
fn a_status_that_is_put_back_is_found() {
    is_found("postgres", "put-status-back", "statuses move only along drawn transitions");
}

#[test]
fn a_command_that_lies_is_found() {
    is_found("sled", "lie", "the end that a command told");
}
