//! What a peer has to do.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use saga_benches::Failure;
use saga_benches::postgres::Postgres;

use crate::{cano, dbos, duroxide, graphrun, ours, restate, steno};

/// How many steps the saga has.
pub const STEPS: u64 = 5;

/// By what those keep their promise that share the run's PostgreSQL server. What it has set is printed below the tables.
pub const POSTGRES_DURABILITY: &str = "PostgreSQL, committed";

/// What a peer promises to be left of a saga. What is kept on a disk is not compared with what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every step that was answered, after a power loss too.
    Durable,
    /// Every step that was answered, after the end of the process. A power loss may take the last ones.
    Written,
    /// Nothing.
    InMemory,
}

impl Kind {
    /// Whether it keeps what was done on a disk.
    #[must_use]
    pub fn is_on_disk(self) -> bool {
        match self {
            Self::Durable | Self::Written => true,
            Self::InMemory => false,
        }
    }
}

/// What there is to work with.
pub struct Ground<'a> {
    /// An empty directory on the disk that is measured.
    pub directory: &'a Path,
    /// A PostgreSQL server, if this machine has one.
    pub server: Option<&'a Postgres>,
}

/// A library that runs sagas.
#[async_trait]
pub trait Peer: Send + Sync {
    /// Its name and release, with what was set otherwise than by default.
    fn name(&self) -> String;

    /// Whether it is ours.
    fn is_ours(&self) -> bool {
        false
    }

    /// What it promises.
    fn kind(&self) -> Kind;

    /// By what it keeps that promise, for people.
    fn durability(&self) -> String;

    /// Whether it needs a PostgreSQL server.
    fn needs_server(&self) -> bool {
        false
    }

    /// Starts it, with nothing left of before.
    ///
    /// # Errors
    ///
    /// What it fails with.
    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure>;
}

/// A peer at work.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Runs one saga to its end, and gives its output: the input and [`STEPS`].
    ///
    /// # Errors
    ///
    /// What it fails with.
    async fn saga(&self, input: u64) -> Result<u64, Failure>;

    /// Ends in good order.
    ///
    /// # Errors
    ///
    /// What it fails with.
    async fn stop(&self) -> Result<(), Failure>;
}

/// Every peer, ours among them, but those that need a program which is not there.
#[must_use]
pub fn all(dbos_connections: &[u32], restate: Option<restate::Restate>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(ours::Ours::Postgres),
        Box::new(ours::Ours::Sled),
        Box::new(ours::Ours::Memory),
        Box::new(steno::Steno),
        Box::new(cano::Cano),
        Box::new(graphrun::Graphrun),
        Box::new(duroxide::Duroxide { poll: None }),
        Box::new(duroxide::Duroxide { poll: Some(Duration::from_millis(1)) }),
    ];
    for &connections in dbos_connections {
        peers.push(Box::new(dbos::Dbos { connections }));
    }
    if let Some(restate) = restate {
        peers.push(Box::new(restate));
    }
    peers
}
