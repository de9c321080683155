//! The end of a trial: nobody kills any more. What stands is looked at, what is broken is mended, and all is deleted.

use std::collections::BTreeSet;

use saga_cluster::model::{Cluster, Status};

use super::blocks;
use super::evidence::{BlockLook, Calm, Helped};
use super::machines::Machines;
use super::place::machines_in;
use super::town::{Rest, Town, rests};
use crate::Fail;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) calm: Calm,
    pub(crate) blocks: Vec<BlockLook>,
    pub(crate) helped: Vec<Helped>,
    pub(crate) left: Machines,
    pub(crate) left_records: Vec<String>,
}

/// Waits until nothing moves, and looks.
pub(crate) async fn look(town: &Town) -> Result<Found, Fail> {
    let mut found = Found::default();
    let records = town.records(|records| records.values().all(rests)).await;
    found.calm.records = records.unwrap_or_else(|records| records);
    let known: BTreeSet<String> = found.calm.records.values().flat_map(paths).collect();
    let as_recorded = |machines: &Machines| {
        machines.processes.keys().eq(&known) && machines.processes.values().all(|pids| pids.len() == 1)
    };
    found.calm.machines = town.machines(as_recorded).await?;
    for record in found.calm.records.values() {
        found.blocks.extend(blocks::look(town, record, "when all was calm").await?);
    }
    Ok(found)
}

/// Helps whoever rests in error, and deletes every cluster.
pub(crate) async fn clear(town: &Town, found: &mut Found) -> Result<(), Fail> {
    let records: Vec<Cluster> = found.calm.records.values().cloned().collect();
    for record in records.iter().filter(|record| record.status == Status::Error) {
        let name = record.name().as_str();
        if town.show(name).await?.allows("retry") {
            let helped = help(town, name, "retry", &["retry", name]).await?;
            found.helped.push(helped);
            if let Rest::Active(record) = town.rest(name).await {
                found.blocks.extend(blocks::look(town, &record, "after the retry").await?);
            }
        }
    }
    for record in &records {
        let name = record.name().as_str();
        found.helped.push(help(town, name, "delete", &["delete", name]).await?);
    }
    found.left_records = match town.records(|records| records.is_empty()).await {
        Ok(_) => Vec::new(),
        Err(records) => records.into_keys().collect(),
    };
    found.left = town.machines(Machines::is_empty).await?;
    Ok(())
}

async fn help(town: &Town, cluster: &str, verb: &'static str, arguments: &[&str]) -> Result<Helped, Fail> {
    let told = town.ask(cluster, arguments, None).await?;
    let (status, why) = match town.rest(cluster).await {
        Rest::Active(record) | Rest::Error(record) => (Some(record.status), record.status_description.clone()),
        Rest::Gone => (None, String::new()),
    };
    Ok(Helped { cluster: cluster.to_owned(), verb, code: told.code, status, why })
}

/// The machines of a record, as they are seen.
pub(crate) fn paths(record: &Cluster) -> Vec<String> {
    machines_in(record).into_iter().map(|machine| format!("{}/{machine}", record.name())).collect()
}
