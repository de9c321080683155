//! The proof that acknowledged means synced: what the kernel was asked to do, in which order.

use std::collections::HashMap;
use std::process::Command;

use saga_core::store::{RunStatus, SledStore};
use tempfile::TempDir;

use crate::{append, id, taken};

const TRACED: &str = "SAGA_STORE_TEST_TRACED";
const APPENDS: u64 = 20;

/// Appends, one after the other, and says so after each. Only of use as a child.
#[test]
fn child_that_is_traced() {
    use std::io::Write;
    let Some(path) = std::env::var_os(TRACED) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = SledStore::open(path).unwrap();
        let run = id("traced");
        for expected in 0..APPENDS {
            taken(&store, &[append(&run, expected, 40, RunStatus::Running)]).await;
            // One call, so that it is one line of the trace.
            std::io::stdout().write_all(format!("acknowledged {}\n", expected + 1).as_bytes()).unwrap();
            std::io::stdout().flush().unwrap();
        }
    });
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// Bytes were written to sled's file.
    Write(String),
    /// A sync of sled's file came back; it began behind so many finished calls.
    Synced { began: usize },
    /// An append was acknowledged.
    Acknowledged(u64),
}

/// The calls of the trace that matter, in the order in which they came back.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (call, began) = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(process, (begun.to_owned(), calls.len()));
            // What is acknowledged counts from when it was about to be.
            if !begun.starts_with("write(1<") {
                continue;
            }
            (begun.to_owned(), calls.len())
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((begun, began)) = unfinished.remove(process) else { continue };
            if begun.starts_with("write(1<") {
                continue;
            }
            let end = resumed.split_once("resumed>").map_or("", |(_, end)| end);
            (begun + end, began)
        } else {
            (rest.to_owned(), calls.len())
        };
        let of_db = call.contains("/store/db>");
        if call.starts_with("pwrite64(") && of_db {
            calls.push(Call::Write(call));
        } else if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && of_db {
            assert!(call.trim_end().ends_with("= 0"), "a sync failed: {call}");
            if call.starts_with("fdatasync(") {
                calls.push(Call::Synced { began });
            }
        } else if let Some((_, number)) = call.split_once("\"acknowledged ").filter(|_| call.starts_with("write(1<")) {
            let number = number.chars().take_while(char::is_ascii_digit).collect::<String>();
            calls.push(Call::Acknowledged(number.parse().unwrap()));
        }
    }
    calls
}

#[test]
fn every_append_is_synced_before_it_is_acknowledged() {
    let directory = TempDir::new().unwrap();
    let (output, path) = (directory.path().join("trace"), directory.path().join("store"));
    let ran = Command::new("strace")
        .args(["-f", "-y", "-s", "1000000", "-e", "trace=fdatasync,fsync,pwrite64,write", "-e", "signal=none", "-o"])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "trace::child_that_is_traced", "--nocapture", "--test-threads=1"])
        .env(TRACED, &path)
        .output();
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            eprintln!("SKIPPED: strace cannot be run ({error}), so it is NOT proven that appends are synced");
            return;
        }
    };
    let complaint = String::from_utf8_lossy(&ran.stderr);
    if complaint.contains("ptrace") || complaint.contains("PTRACE") {
        eprintln!("SKIPPED: strace may not trace here ({complaint}), so it is NOT proven that appends are synced");
        return;
    }
    assert!(ran.status.success(), "the traced child failed: {complaint}");

    let trace = String::from_utf8_lossy(&std::fs::read(&output).unwrap()).into_owned();
    let calls = calls(&trace);
    for number in 1..=APPENDS {
        let acknowledged = calls
            .iter()
            .position(|call| *call == Call::Acknowledged(number))
            .unwrap_or_else(|| panic!("append {number} is not acknowledged in the trace"));
        let wanted = format!("<traced:{number}>");
        let written = calls[..acknowledged]
            .iter()
            .position(|call| matches!(call, Call::Write(bytes) if bytes.contains(&wanted)))
            .unwrap_or_else(|| panic!("append {number} is not written to sled's file before it is acknowledged"));
        let synced =
            calls[written..acknowledged].iter().any(|call| matches!(call, Call::Synced { began } if *began > written));
        assert!(synced, "append {number} is acknowledged before it is synced");
    }
}
