//! The program, as its tests call it.

use std::process::{Command, Output};

/// Holds a trial. What is killed and when differs from time to time; what is to hold does not.
pub(crate) fn trial(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga-crash"));
    // It reads what its processes log.
    command
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LOG")
        .output()
        .expect("the program can be started")
}

pub(crate) fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How often a line of the report was counted.
pub(crate) fn count(text: &str, line: &str) -> u64 {
    let found = text.lines().find_map(|row| row.split_once(line)).map(|(_, count)| count);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    found.map(digits).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count of `{line}` in\n{text}"))
}
