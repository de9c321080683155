//! All that is known when everything is over: what users asked and were told, what they saw, what the journals say, what
//! machines there were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saga_cluster::model::{Cluster, Status};
use saga_core::Seq;
use saga_core::journal::Record;
use saga_core::store::{Query, RunSummary, Store};
use serde::{Deserialize, Serialize};

use super::machines::Machines;
use super::told::Told;
use crate::Fail;

const PAGE: usize = 512;

/// What there is to be checked. It says nothing of how it came about: the checks serve every store.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) told: Vec<Told>,
    pub(crate) runs: Vec<RunEvidence>,
    /// The records, each time that somebody looked.
    pub(crate) looks: Vec<Look>,
    /// Every machine that was ever seen, as `cluster/node@token`.
    pub(crate) machines: BTreeSet<String>,
    pub(crate) blocks: Vec<BlockLook>,
    pub(crate) deleted: Vec<Deleted>,
    /// Clusters whose record somebody removed.
    pub(crate) vanished: BTreeSet<String>,
    /// When nobody kills any more and nothing moves: before anything is mended.
    pub(crate) calm: Calm,
    /// Who was helped out of an error, and where that led.
    pub(crate) helped: Vec<Helped>,
    /// What is left when every cluster was deleted.
    pub(crate) left: Machines,
    pub(crate) left_records: Vec<String>,
    /// What was seen to go wrong while it went on.
    pub(crate) incidents: Vec<String>,
}

/// A run, by the store.
#[derive(Debug)]
pub(crate) struct RunEvidence {
    pub(crate) summary: RunSummary,
    pub(crate) journal: Vec<Record>,
}

/// What a record said when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) status: Status,
    pub(crate) why: String,
}

impl Look {
    pub(crate) fn at(record: &Cluster) -> Self {
        let (id, name) = (record.id.to_string(), record.name().to_string());
        Self { id, name, version: record.version, status: record.status, why: record.status_description.clone() }
    }
}

/// A look for a block.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BlockLook {
    pub(crate) cluster: String,
    pub(crate) key: String,
    pub(crate) when: &'static str,
    /// What is wrong with it.
    pub(crate) wrong: Option<String>,
}

/// What a user found who was told that their cluster is deleted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Deleted {
    pub(crate) by: String,
    pub(crate) left: Machines,
    pub(crate) record: Option<Cluster>,
}

/// What there is when nothing moves any more.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Calm {
    pub(crate) records: BTreeMap<String, Cluster>,
    pub(crate) machines: Machines,
}

/// What a person could do about a cluster in error.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Helped {
    pub(crate) cluster: String,
    pub(crate) verb: &'static str,
    pub(crate) code: Option<i32>,
    /// Where the cluster was then; none if it was gone.
    pub(crate) status: Option<Status>,
    pub(crate) why: String,
}

/// Reads every run of a store.
pub(crate) async fn runs(store: Arc<dyn Store>) -> Result<Vec<RunEvidence>, Fail> {
    let mut query = Query { limit: PAGE, ..Query::default() };
    let mut runs = Vec::new();
    loop {
        let page = store.list(&query).await?;
        for summary in page.runs {
            let mut journal: Vec<Record> = Vec::new();
            loop {
                let after = journal.last().map_or(Seq::ZERO, |record| record.seq);
                let read = store.read(&summary.run, after, PAGE).await?;
                let last = read.len() < PAGE;
                for record in read {
                    journal.push(record.decode()?);
                }
                if last {
                    break;
                }
            }
            runs.push(RunEvidence { summary, journal });
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(runs),
        }
    }
}
