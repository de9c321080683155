//! A `redis-server` as a machine of the process engine.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use tracing::debug;

use super::link::{IDENTITY, Link, command};
use super::settings;
use crate::engine::EngineError;
use crate::engine::process::{Program, Site};
use crate::model::{Node, Settings};

const CONFIG: &str = "redis.conf";
const ADDRESS: &str = "address";

/// Where ports are looked for: below those that the kernel gives to connections, which would come and go on them.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const PORT_ATTEMPTS: u32 = 1_000;

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
        let node = Node { name: site.name.clone(), token: site.token.clone(), address };
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

    #[test]
    fn values_are_quoted() {
        assert_eq!(quoted("/a b/c"), r#""/a b/c""#);
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("ä"), r#""\xc3\xa4""#);
        assert_eq!(quoted(""), r#""""#);
    }
}
