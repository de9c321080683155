//! saga-core, on each of its stores.

use async_trait::async_trait;
use saga_benches::stores::{Place, StoreKind};
use saga_benches::{Failure, Nothing, chain};
use saga_core::{Coordinator, Outcome, Saga, Shutdown};

use crate::peer::{Engine, Ground, Kind, POSTGRES_DURABILITY, Peer, STEPS};

/// saga-core on one of its stores.
#[derive(Debug, Clone, Copy)]
pub enum Ours {
    /// On PostgreSQL.
    Postgres,
    /// Embedded, on this disk.
    Sled,
    /// In memory.
    Memory,
}

impl Ours {
    fn store(self) -> StoreKind {
        match self {
            Self::Postgres => StoreKind::Postgres,
            Self::Sled => StoreKind::Sled,
            Self::Memory => StoreKind::Memory,
        }
    }
}

#[async_trait]
impl Peer for Ours {
    fn name(&self) -> String {
        format!("saga-core, {}", self.store().name())
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn kind(&self) -> Kind {
        if self.store().is_durable() { Kind::Durable } else { Kind::InMemory }
    }

    fn durability(&self) -> String {
        match self {
            Self::Postgres => POSTGRES_DURABILITY.to_owned(),
            Self::Sled | Self::Memory => self.store().durability().to_owned(),
        }
    }

    fn needs_server(&self) -> bool {
        self.store() == StoreKind::Postgres
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let database = match ground.server {
            Some(server) if self.needs_server() => Some(server.new_database().await),
            _ => None,
        };
        let place = Place { directory: ground.directory.to_owned(), database, tables: None };
        let opened = self.store().open(&place).await?;
        let saga = chain(usize::try_from(STEPS)?);
        let coordinator =
            Coordinator::builder_shared(opened.store, std::sync::Arc::new(Nothing)).register(&saga).start().await?;
        Ok(Box::new(Running { coordinator, saga }))
    }
}

struct Running {
    coordinator: Coordinator<Nothing>,
    saga: Saga<Nothing, u64, u64>,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        match self.coordinator.start(&self.saga, input).await?.outcome().await? {
            Outcome::Completed(output) => Ok(output),
            other => Err(format!("the saga did not complete: {other:?}").into()),
        }
    }

    async fn stop(&self) -> Result<(), Failure> {
        Ok(self.coordinator.shutdown(Shutdown::Drain).await?)
    }
}
