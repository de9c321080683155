//! saga-core, on each of its stores.

use async_trait::async_trait;
use saga_benches::stores::{Place, StoreKind};
use saga_benches::{Failure, Nothing, chain};
use saga_core::{Coordinator, Outcome, Saga, Shutdown};

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

/// saga-core on one of its stores.
#[derive(Debug, Clone, Copy)]
pub enum Ours {
    /// Embedded, on this disk.
    Sled,
    /// In memory.
    Memory,
}

impl Ours {
    fn store(self) -> StoreKind {
        match self {
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
        self.store().durability().to_owned()
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let opened = self.store().open(&Place { directory: ground.directory.to_owned() }).await?;
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
