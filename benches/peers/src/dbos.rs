//! DBOS Transact for Rust: durable functions on PostgreSQL.
//!
//! A workflow is a function, its steps are awaited one after the other, and each step's result is a checkpoint in the
//! database. Compensations are written by hand, as a workflow of that library has them: what was done is undone in
//! reverse when a step fails.

use ::dbos::{Config, DBOS, WorkflowRef, step};
use async_trait::async_trait;
use saga_benches::Failure;

use crate::peer::{Engine, Ground, Kind, POSTGRES_DURABILITY, Peer, STEPS};

/// DBOS with so many pooled connections. Its default is 10.
#[derive(Debug, Clone, Copy)]
pub struct Dbos {
    /// At most so many.
    pub connections: u32,
}

#[async_trait]
impl Peer for Dbos {
    fn name(&self) -> String {
        format!("dbos 0.5, {} connections", self.connections)
    }

    fn kind(&self) -> Kind {
        Kind::Durable
    }

    fn durability(&self) -> String {
        POSTGRES_DURABILITY.to_owned()
    }

    fn needs_server(&self) -> bool {
        true
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let server = ground.server.ok_or("DBOS needs a PostgreSQL server")?;
        let config = Config {
            max_connections: self.connections,
            app_version: Some("1".to_owned()),
            ..Config::new("saga-peers", server.new_database().await)
        };
        let dbos = DBOS::new(config);
        let workflow = dbos.register_workflow("chain", chain)?;
        dbos.launch().await?;
        Ok(Box::new(Running { dbos, workflow }))
    }
}

struct Running {
    dbos: DBOS,
    workflow: WorkflowRef<u64, u64>,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        Ok(self.workflow.run(input).await?)
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.dbos.shutdown().await;
        Ok(())
    }
}

/// The saga, written as a workflow.
async fn chain(input: u64) -> ::dbos::Result<u64> {
    let mut value = input;
    for number in 0..STEPS {
        match step(&format!("step-{number}"), || act(value)).await {
            Ok(output) => value = output,
            Err(error) => {
                for done in (0..number).rev() {
                    step(&format!("undo-{done}"), || undo(input + done)).await?;
                }
                return Err(error);
            }
        }
    }
    Ok(value)
}

async fn act(n: u64) -> ::dbos::Result<u64> {
    Ok(n + 1)
}

async fn undo(_: u64) -> ::dbos::Result<()> {
    Ok(())
}
