//! A `redis-server` as a machine of the process engine.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tracing::debug;

use super::link::{IDENTITY, Link, command};
use super::settings;
use crate::engine::process::{Program, Site, executable};
use crate::engine::{EngineError, Finding};
use crate::model::{Node, Settings};

const CONFIG: &str = "redis.conf";
const ADDRESS: &str = "address";

/// Where ports are looked for: below those that the kernel gives to connections, which would come and go on them.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const PORT_ATTEMPTS: u32 = 1_000;

/// Earlier ones do not announce themselves by a name.
const OLDEST: u32 = 7;
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// Runs a `redis-server` in cluster mode on each machine, on loopback, with its data in the machine's directory.
///
/// The setting `config` of a group adds lines to its `redis.conf`. Unless these say otherwise it writes what it is told to
/// an append-only file.
#[derive(Debug, Clone)]
pub struct RedisProgram {
    server: PathBuf,
}

impl Default for RedisProgram {
    fn default() -> Self {
        Self { server: "redis-server".into() }
    }
}

impl RedisProgram {
    /// The `redis-server` that is found in the `PATH`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another `redis-server`. It must be of version 7.0 or later.
    #[must_use]
    pub fn server(mut self, file: impl Into<PathBuf>) -> Self {
        self.server = file.into();
        self
    }
}

#[async_trait]
impl Program for RedisProgram {
    async fn check(&self) -> Vec<Finding> {
        vec![match self.version().await {
            Ok(said) if major(&said).is_some_and(|major| major >= OLDEST) => Finding::ok("redis-server", said),
            Ok(said) => Finding::problem("redis-server", format!("it is to be of version {OLDEST}.0 or later: {said}")),
            Err(why) => Finding::problem("redis-server", why),
        }]
    }

    fn command(&self, site: &Site, settings: &Settings) -> Result<Command, EngineError> {
        let lines = settings::config(settings).map_err(EngineError::rejected)?;
        let prepared = (|| {
            let [port, bus_port] = ports(site)?;
            let mut text = String::new();
            let mut line = |name: &str, value: &str| writeln!(text, "{name} {}", quoted(value));
            let written = (|| {
                line("bind", "127.0.0.1")?;
                line("port", &port.to_string())?;
                line("cluster-enabled", "yes")?;
                line("cluster-port", &bus_port.to_string())?;
                line("cluster-config-file", "nodes.conf")?;
                line(IDENTITY, site.token.as_str())?;
                // All are on one computer: who does not answer for that long is dead. They also tell each other everything
                // at least twice in that time.
                line("cluster-node-timeout", "5000")?;
                // Who is whose replica is decided by the plugin, and by failovers.
                line("cluster-allow-replica-migration", "no")?;
                line("daemonize", "no")?;
                line("dir", &site.dir.to_string_lossy())?;
                line("logfile", "")?;
                // The command line goes on telling whose server it is.
                line("set-proc-title", "no")?;
                line("appendonly", "yes")?;
                line("save", "")?;
                line("repl-diskless-sync-delay", "0")?;
                lines.iter().try_for_each(|(name, value)| line(name, value))
            })();
            written.map_err(io::Error::other)?;
            crate::node::write_atomically(&site.dir.join(CONFIG), text.as_bytes())?;
            crate::node::write_atomically(&site.dir.join(ADDRESS), address(port).to_string().as_bytes())
        })();
        prepared.map_err(|error| EngineError::failed(format!("{} cannot be prepared", site.name)).because(error))?;
        let mut command = Command::new(&self.server);
        command.arg(site.dir.join(CONFIG));
        Ok(command)
    }

    async fn answers(&self, site: &Site, within: Duration) -> Option<SocketAddr> {
        let address = written(site)?;
        let node = Node { name: site.name.clone(), token: site.token.clone(), address: Some(address) };
        // One that still loads its data is connected to, but does not answer this.
        let asked = async { Link::open(&node, within).await?.call::<String>(&command("PING")).await };
        match asked.await {
            Ok(_) => Some(address),
            Err(error) => {
                debug!(node = %site.name, %address, %error, "a server does not answer");
                None
            }
        }
    }
}

impl RedisProgram {
    /// What the server says of its version, or why it cannot be run.
    async fn version(&self) -> Result<String, String> {
        let file = executable(&self.server)?;
        let mut asked = tokio::process::Command::new(&file);
        let asked = asked.arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
        match tokio::time::timeout(VERSION_WITHIN, asked).await {
            Ok(Ok(said)) if said.status.success() => Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned()),
            Ok(Ok(said)) => Err(format!("{} cannot be run: {}", file.display(), said.status)),
            Ok(Err(error)) => Err(format!("{} cannot be run: {error}", file.display())),
            Err(_) => Err(format!("{} did not tell its version within {VERSION_WITHIN:?}", file.display())),
        }
    }
}

/// The first number of `Redis server v=7.0.15 sha=…`.
fn major(said: &str) -> Option<u32> {
    said.split_whitespace().find_map(|word| word.strip_prefix("v="))?.split('.').next()?.parse().ok()
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn written(site: &Site) -> Option<SocketAddr> {
    std::fs::read_to_string(site.dir.join(ADDRESS)).ok()?.parse().ok()
}

/// Two ports that nobody listens on: those that it had, if it was started before. Somebody else may take them before it
/// does; then it ends, and is made again.
fn ports(site: &Site) -> io::Result<[u16; 2]> {
    let is_free = |port: &u16| TcpListener::bind(address(*port)).is_ok();
    let had = written(site).map(|address| address.port());
    let mut tried = (0..PORT_ATTEMPTS).map(|attempt| {
        // By the directory too: nodes of one name in two places are not to be after one port.
        let hash = crc32fast::hash(format!("{} {} {attempt}", site.dir.display(), site.token).as_bytes());
        PORTS.start + (hash % u32::from(PORTS.end - PORTS.start)) as u16
    });
    let none_free = || io::Error::new(io::ErrorKind::AddrInUse, "no port is free");
    let port = match had.filter(is_free) {
        Some(port) => port,
        None => tried.find(is_free).ok_or_else(none_free)?,
    };
    let bus_port = tried.find(|other| *other != port && is_free(other)).ok_or_else(none_free)?;
    Ok([port, bus_port])
}

/// A value as `redis.conf` reads it, whatever it holds.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Severity;

    #[test]
    fn a_version_is_read() {
        assert_eq!(major("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"), Some(7));
        assert_eq!(major("Redis server v=10.1"), Some(10));
        assert_eq!(major("something else"), None);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_found_out_before() {
        let checked = RedisProgram::new().server("/nowhere/redis-server").check().await;
        assert_eq!(checked.len(), 1);
        assert!(checked[0].severity == Severity::Problem && checked[0].text.contains("/nowhere/redis-server"));
        let another = RedisProgram::new().server("/bin/true").check().await;
        assert!(another[0].text.contains("7.0 or later"), "{another:?}");
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(quoted("/a b/c"), r#""/a b/c""#);
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("ä"), r#""\xc3\xa4""#);
        assert_eq!(quoted(""), r#""""#);
    }
}
