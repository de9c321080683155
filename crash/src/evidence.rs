//! All that is known when everything is over: what was ordered, what the clients were told, what the store holds, what
//! really happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use saga_core::journal::Record;
use saga_core::plan::Plan;
use saga_core::store::{Query, RunSummary};
use saga_core::{Client, Outcome, OutcomeError, Payload, RunId, Seq};

use crate::Fail;
use crate::acks::{Ack, Told};
use crate::ledger::Entry;
use crate::load::{Job, Sagas};
use crate::log::{self, Records};
use crate::world::{World, ledger_of};

/// How many records are read in one call to the store, and how many runs at once.
const PAGE: usize = 512;
const AT_ONCE: usize = 16;

/// What there is to be checked. It says nothing of how it came about: the checks serve every store.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) runs: Vec<RunEvidence>,
    /// Runs in the store that nobody has ordered.
    pub(crate) strangers: Vec<RunId>,
    /// The ledger, in its order.
    pub(crate) ledger: Vec<Entry>,
    pub(crate) torn: usize,
    /// The effects that stand, by the name of their files.
    pub(crate) world: BTreeSet<String>,
    /// Whether workers were asleep for longer than their leases: then, and only then, late effects are to be expected.
    pub(crate) sleepers: bool,
    /// What was seen to go wrong while it went on.
    pub(crate) incidents: Vec<String>,
}

/// What is known of a run.
#[derive(Debug)]
pub(crate) struct RunEvidence {
    pub(crate) job: Job,
    pub(crate) plan: Arc<Plan>,
    pub(crate) told: Vec<Told>,
    /// What the store has of it.
    pub(crate) kept: Option<Kept>,
}

/// What the store has of a run.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) summary: RunSummary,
    pub(crate) journal: Vec<Record>,
    /// How it ended, or rests; what is in the way of telling, if it is not at rest.
    pub(crate) outcome: Result<Outcome<Payload>, String>,
}

impl Evidence {
    /// Gathers it, when nobody writes any more.
    pub(crate) async fn gather(
        client: &Client<World>,
        sagas: &Sagas,
        jobs: Vec<Job>,
        folder: &Path,
        world: &World,
    ) -> Result<Self, Fail> {
        let mut told: HashMap<RunId, Vec<Told>> = HashMap::new();
        let acks: Records<Ack> = log::read(&acks_of(folder))?;
        for ack in acks.whole {
            told.entry(ack.run).or_default().push(ack.told);
        }
        let mut summaries = summaries(client).await?;
        let runs = jobs.into_iter().map(|job| {
            let summary = summaries.remove(&job.run);
            let told = told.remove(&job.run).unwrap_or_default();
            let plan = Arc::clone(sagas.of(job.order.kind).plan());
            async move {
                let kept = match summary {
                    Some(summary) => Some(Kept::read(client, summary).await?),
                    None => None,
                };
                Ok::<_, Fail>(RunEvidence { job, plan, told, kept })
            }
        });
        let runs: Vec<_> = runs.collect();
        let runs = futures::stream::iter(runs).buffered(AT_ONCE).try_collect().await?;
        let ledger: Records<Entry> = log::read(&ledger_of(folder))?;
        Ok(Self {
            runs,
            strangers: summaries.into_keys().collect(),
            ledger: ledger.whole,
            torn: acks.torn + ledger.torn,
            world: world.effects()?,
            sleepers: false,
            incidents: Vec::new(),
        })
    }
}

impl Kept {
    async fn read(client: &Client<World>, summary: RunSummary) -> Result<Self, Fail> {
        let mut journal: Vec<Record> = Vec::new();
        loop {
            let after = journal.last().map_or(Seq::ZERO, |record| record.seq);
            let page = client.store().read(&summary.run, after, PAGE).await?;
            let last = page.len() < PAGE;
            for encoded in page {
                journal.push(encoded.decode()?);
            }
            if last {
                break;
            }
        }
        let outcome = if summary.status.is_live() {
            Err(format!("it is {}, held by {:?}", summary.status, summary.owner))
        } else {
            let told: Result<_, OutcomeError> = async { client.attach(&summary.run).await?.outcome().await }.await;
            told.map_err(|error| error.to_string())
        };
        Ok(Self { summary, journal, outcome })
    }
}

/// Where the clients write down what they are told.
pub(crate) fn acks_of(folder: &Path) -> std::path::PathBuf {
    folder.join("acks")
}

async fn summaries(client: &Client<World>) -> Result<BTreeMap<RunId, RunSummary>, Fail> {
    let mut query = Query { limit: PAGE, ..Query::default() };
    let mut all = BTreeMap::new();
    loop {
        let page = client.list(&query).await?;
        all.extend(page.runs.into_iter().map(|summary| (summary.run.clone(), summary)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}
