//! steno, of Oxide: sagas as graphs of actions. Its own store keeps nothing; one that is durable is for its users to write,
//! so it is compared with saga-core in memory.

use std::sync::Arc;

use ::steno::{
    Action, ActionContext, ActionError, ActionFunc, ActionRegistry, DagBuilder, InMemorySecStore, Node, SagaDag,
    SagaId, SagaName, SagaType, SecClient,
};
use async_trait::async_trait;
use saga_benches::Failure;

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

/// steno with its store that keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct Steno;

#[derive(Debug)]
struct Chain;

impl SagaType for Chain {
    type ExecContextType = ();
}

#[async_trait]
impl Peer for Steno {
    fn name(&self) -> String {
        "steno 0.5".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::InMemory
    }

    fn durability(&self) -> String {
        "none".to_owned()
    }

    async fn start(&self, _: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let coordinator = ::steno::sec(log, Arc::new(InMemorySecStore::new()));
        let actions: Vec<Arc<dyn Action<Chain>>> = (0..STEPS).map(action).collect();
        let mut registry = ActionRegistry::new();
        for action in &actions {
            registry.register(Arc::clone(action));
        }
        Ok(Box::new(Running { coordinator, actions, registry: Arc::new(registry) }))
    }
}

struct Running {
    coordinator: SecClient,
    actions: Vec<Arc<dyn Action<Chain>>>,
    registry: Arc<ActionRegistry<Chain>>,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        // A graph belongs to one saga, with its input: it is built for each.
        let mut graph = DagBuilder::new(SagaName::new("chain"));
        for (number, action) in (0..STEPS).zip(&self.actions) {
            graph.append(Node::action(node(number), format!("step {number}"), action.as_ref()));
        }
        let graph = Arc::new(SagaDag::new(graph.build()?, serde_json::to_value(input)?));
        let id = SagaId::new_v4();
        let end = self.coordinator.saga_create(id, Arc::new(()), graph, Arc::clone(&self.registry)).await?;
        self.coordinator.saga_start(id).await?;
        let done = end.await.kind.map_err(|failed| failed.error_source)?;
        Ok(done.lookup_node_output(&node(STEPS - 1))?)
    }

    /// Dropping the coordinator ends it.
    async fn stop(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn node(number: u64) -> String {
    format!("node-{number}")
}

/// The action of one step.
fn action(number: u64) -> Arc<dyn Action<Chain>> {
    let act = move |context: ActionContext<Chain>| async move {
        let n: u64 = match number.checked_sub(1) {
            Some(before) => context.lookup(&node(before))?,
            None => context.saga_params()?,
        };
        Ok::<u64, ActionError>(n + 1)
    };
    ActionFunc::new_action(format!("step-{number}"), act, |_| async { Ok(()) })
}
