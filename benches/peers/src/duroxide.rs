//! duroxide, of Microsoft: durable functions, with the SQLite provider that it comes with.
//!
//! An orchestration is a function, its activities are awaited one after the other, and it is replayed from its history for
//! each of its turns. Compensations are written by hand, as its guide has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::duroxide::providers::sqlite::SqliteProvider;
use ::duroxide::runtime::Runtime;
use ::duroxide::runtime::registry::ActivityRegistry;
use ::duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, RuntimeOptions};
use async_trait::async_trait;
use saga_benches::Failure;

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

const ACT: &str = "act";
const UNDO: &str = "undo";
const CHAIN: &str = "chain";
/// No saga takes that long.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// duroxide on SQLite.
#[derive(Debug, Clone, Copy)]
pub struct Duroxide {
    /// How long its dispatchers rest at least when there was nothing to do, if not as long as by default (100 ms).
    pub poll: Option<Duration>,
}

#[async_trait]
impl Peer for Duroxide {
    fn name(&self) -> String {
        match self.poll {
            None => "duroxide 0.1".to_owned(),
            Some(poll) => format!("duroxide 0.1, polls every {} ms", poll.as_millis()),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Written
    }

    fn durability(&self) -> String {
        "SQLite, WAL, synchronous normal".to_owned()
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let url = format!("sqlite:{}?mode=rwc", ground.directory.join("duroxide.db").display());
        let store = Arc::new(SqliteProvider::new(&url, None).await?);
        let activities = ActivityRegistry::builder().register_typed(ACT, act).register_typed(UNDO, undo).build();
        let orchestrations = OrchestrationRegistry::builder().register_typed(CHAIN, chain).build();
        let mut options = RuntimeOptions::default();
        if let Some(poll) = self.poll {
            options.dispatcher_min_poll_interval = poll;
        }
        let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
        Ok(Box::new(Running { runtime, client: Client::new(store), begun: AtomicU64::new(0) }))
    }
}

struct Running {
    runtime: Arc<Runtime>,
    client: Client,
    begun: AtomicU64,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        let instance = format!("saga-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        self.client.start_orchestration_typed(instance.as_str(), CHAIN, input).await?;
        Ok(self.client.wait_for_orchestration_typed::<u64>(&instance, PATIENCE).await??)
    }

    async fn stop(&self) -> Result<(), Failure> {
        Arc::clone(&self.runtime).shutdown(None).await;
        Ok(())
    }
}

/// The saga, written as an orchestration.
async fn chain(context: OrchestrationContext, input: u64) -> Result<u64, String> {
    let mut value = input;
    for number in 0..STEPS {
        match context.schedule_activity_typed(ACT, &value).await {
            Ok(output) => value = output,
            Err(error) => {
                for done in (0..number).rev() {
                    context.schedule_activity_typed::<u64, ()>(UNDO, &(input + done)).await?;
                }
                return Err(error);
            }
        }
    }
    Ok(value)
}

async fn act(_: ActivityContext, n: u64) -> Result<u64, String> {
    Ok(n + 1)
}

async fn undo(_: ActivityContext, _: u64) -> Result<(), String> {
    Ok(())
}
