//! cano: state machines whose every transition is a row in redb.
//!
//! A saga is a workflow of compensatable tasks with its checkpoint store. As that library's documentation has it for work
//! that comes in by itself, each saga gets a workflow and resources of its own, and its values go from task to task through a
//! store among those resources; what a task did is checkpointed for its compensation.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::cano::RedbCheckpointStore;
use ::cano::prelude::*;
use async_trait::async_trait;
use saga_benches::Failure;

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

/// Where a saga's value is, among its resources.
const VALUES: &str = "values";
const VALUE: &str = "value";

/// cano with the checkpoint store that it comes with.
#[derive(Debug, Clone, Copy)]
pub struct Cano;

#[async_trait]
impl Peer for Cano {
    fn name(&self) -> String {
        "cano 0.15".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Durable
    }

    fn durability(&self) -> String {
        "redb, durability immediate".to_owned()
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let store = RedbCheckpointStore::new(ground.directory.join("cano.redb"))?;
        Ok(Box::new(Running { store: Arc::new(store), begun: AtomicU64::new(0) }))
    }
}

struct Running {
    store: Arc<RedbCheckpointStore>,
    begun: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Step(u64),
    Done,
}

/// The task of one step.
struct Act(u64);

#[saga::task(state = State)]
impl Act {
    type Output = u64;

    fn name(&self) -> Cow<'static, str> {
        format!("step-{}", self.0).into()
    }

    async fn run(&self, resources: &Resources) -> Result<(TaskResult<State>, u64), CanoError> {
        let values = resources.get::<MemoryStore, _>(VALUES)?;
        let value = values.get::<u64>(VALUE)? + 1;
        values.put(VALUE, value)?;
        let next = if self.0 + 1 < STEPS { State::Step(self.0 + 1) } else { State::Done };
        Ok((TaskResult::Single(next), value))
    }

    async fn compensate(&self, _: &Resources, _: u64) -> Result<(), CanoError> {
        Ok(())
    }
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        let values = MemoryStore::new();
        values.put(VALUE, input)?;
        let resources = Resources::new().insert(VALUES, values.clone());
        let mut workflow = Workflow::new(resources);
        for step in 0..STEPS {
            workflow = workflow.register_with_compensation(State::Step(step), Act(step));
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let workflow = workflow
            .add_exit_state(State::Done)
            .with_checkpoint_store(Arc::<RedbCheckpointStore>::clone(&self.store))
            .with_workflow_id(format!("saga-{number}"));
        workflow.orchestrate(State::Step(0), CancellationToken::disabled()).await?;
        Ok(values.get(VALUE)?)
    }

    /// The database is closed when it is dropped.
    async fn stop(&self) -> Result<(), Failure> {
        Ok(())
    }
}
