//! graphrun: workflows as graphs, run by an engine that is one member of a Raft group, with its log and state in redb.
//!
//! The graph is built once, with the library's typed builder: a saga region of activities, each with its compensation.

use std::time::Duration;

use ::graphrun::{Catalog, Definition, Value, payload, region, workflow};
use async_trait::async_trait;
use saga_benches::Failure;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::peer::{Engine, Ground, Kind, Peer, STEPS};

const ACT: &str = "chain.act";
const UNDO: &str = "chain.undo";
/// No saga takes that long.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// graphrun's local engine.
#[derive(Debug, Clone, Copy)]
pub struct Graphrun;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Number {
    value: i64,
}
payload!(Number, "number");

#[async_trait]
impl Peer for Graphrun {
    fn name(&self) -> String {
        "graphrun 0.1".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Durable
    }

    fn durability(&self) -> String {
        "redb, durability immediate".to_owned()
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let catalog = catalog()?;
        let definition = chain(&catalog)?;
        let engine = ::graphrun::Engine::builder(ground.directory)
            .activity(ACT, |number: Number| async move { Ok(Number { value: number.value + 1 }) })?
            .activity(UNDO, |_: Number| async { Ok(()) })?
            .open()
            .await?;
        Ok(Box::new(Running { engine, catalog, definition }))
    }
}

struct Running {
    engine: ::graphrun::Engine,
    catalog: Catalog,
    definition: Definition,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        let input = Value::Object([("value".to_owned(), Value::Int(i64::try_from(input)?))].into());
        let run = self.engine.start(self.definition.clone(), self.catalog.clone(), input).await?;
        match self.engine.wait_terminal(run, PATIENCE).await? {
            Value::Object(fields) => match fields.get("value") {
                Some(Value::Int(value)) => Ok(u64::try_from(*value)?),
                other => Err(format!("an output without its value: {other:?}").into()),
            },
            other => Err(format!("an output of another kind: {other:?}").into()),
        }
    }

    async fn stop(&self) -> Result<(), Failure> {
        Ok(self.engine.shutdown().await?)
    }
}

fn catalog() -> Result<Catalog, Failure> {
    let activity = |name: &str, output: &str| {
        json!({
            "name": name,
            "version": 1,
            "input_schema": "number/v1",
            "output_schema": output,
            "execution": "async",
            "effects": "external",
            "recovery": "RetrySafe",
            "error_codes": [],
        })
    };
    let catalog = json!({
        "format": "graphrun.catalog/v1",
        "schemas": {
            "number/v1": {
                "type": "object",
                "required": ["value"],
                "additionalProperties": false,
                "properties": { "value": { "type": "integer" } },
            },
        },
        "activities": [activity(ACT, "number/v1"), activity(UNDO, "unit/v1")],
    });
    Ok(Catalog::from_json(&serde_json::to_vec(&catalog)?)?)
}

fn chain(catalog: &Catalog) -> ::graphrun::Result<Definition> {
    let act = catalog.activity_v1::<Number, Number>(ACT)?;
    let undo = catalog.activity_v1::<Number, ()>(UNDO)?;
    let mut body = region::<Number>();
    for step in 0..STEPS {
        body = body.activity(&format!("step_{step}"), &act)?.compensate(&undo)?;
    }
    workflow::<Number>("chain").saga("saga", body.complete("done")?)?.finish(catalog)
}
