//! Throw-away servers are thrown away.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use saga_postgres::testing::Server;

/// Set for the process that is to be killed.
const OWNER: &str = "SAGA_TEST_OWNS_A_SERVER";

/// What the process does that is killed by the test below.
#[test]
#[ignore = "it waits to be killed"]
fn a_process_with_a_server() {
    // Whoever asks for all tests that are ignored does not wait for ever.
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let server = Server::options().fast(true).start();
    println!("\nfolder {}", server.host().display());
    loop {
        std::thread::park();
    }
}

/// A server does not outlive the process that started it, even if that is killed, nor does its folder.
#[test]
fn a_server_dies_with_its_owner() {
    let program = std::env::current_exe().expect("this program has a path");
    let mut owner = Command::new(program)
        .args(["--ignored", "--exact", "--nocapture", "servers::a_process_with_a_server"])
        .env(OWNER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let lines = BufReader::new(owner.stdout.take().expect("it is piped")).lines();
    let folder = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("folder ").map(PathBuf::from));
    let folder = folder.expect("it names its folder");
    assert!(folder.join("data/postmaster.pid").exists(), "it runs");
    owner.kill().expect("it can be killed");
    owner.wait().expect("it is dead");
    // Nothing tells when that is done but the folder itself.
    while folder.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
