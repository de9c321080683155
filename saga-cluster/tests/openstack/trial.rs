//! What all trials but the kills have in common.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::deaths::{CREATED, SCALED, Site, World};
use crate::program::Program;
use crate::world::By;

/// How long it may take until something is to be seen.
const SHOWS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A trial on a cluster of its own. What it made goes, whether it went well or not.
pub(crate) async fn on_a_site(
    by: By,
    trial: impl AsyncFnOnce(&Site<By>, &Program) -> Result<(), String>,
) -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let site = Site::new(by, data.path());
    let program = Program::new(&site)?;
    let tried = trial(&site, &program).await;
    let cleaned = clean(&site, &program).await;
    tried.and(cleaned)
}

async fn clean(site: &Site<By>, program: &Program) -> Result<(), String> {
    // If a command of a failed trial is still at work, it is the one that can be told; if there is no cluster, it says so.
    let _ = program.delete()?.done().await?;
    By::clean(site).await
}

/// Waits until the cloud has a server of the cluster.
pub(crate) async fn begun(site: &Site<By>) -> Result<(), String> {
    let engine = site.world.engine(&site.data)?;
    until("a server was made", async || {
        let machines = engine.list(&site.cluster).await.map_err(|error| error.to_string())?;
        Ok(!machines.is_empty())
    })
    .await
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool, String>) -> Result<(), String> {
    let started = Instant::now();
    while !is_so().await? {
        if started.elapsed() > SHOWS_WITHIN {
            return Err(format!("it took too long until {what}"));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The cluster serves with the nodes that it was made with, everybody says so, and nothing else is in the cloud.
pub(crate) async fn is_as_created(site: &Site<By>, program: &Program) -> Result<(), String> {
    is_active(site, program, CREATED).await
}

/// The same, with those that it has after a scale.
pub(crate) async fn is_as_scaled(site: &Site<By>, program: &Program) -> Result<(), String> {
    is_active(site, program, SCALED).await
}

pub(crate) async fn is_active(site: &Site<By>, program: &Program, groups: &[(&str, usize)]) -> Result<(), String> {
    program.answers(Some("active")).await?;
    site.with_service(async |service| site.is_active(service, groups, false).await).await
}

/// The cluster is in error, everybody says so, and in the cloud is what the record says, and nothing else.
pub(crate) async fn is_in_error(site: &Site<By>, program: &Program) -> Result<(), String> {
    program.answers(Some("error")).await?;
    site.with_service(async |service| {
        let record = site.record(service).await?.ok_or("the record is gone")?;
        site.holds(Some(&record), false).await
    })
    .await
}

/// There is no cluster, and nothing of it in the cloud.
pub(crate) async fn is_gone(site: &Site<By>, program: &Program) -> Result<(), String> {
    program.answers(None).await?;
    site.with_service(async |service| site.is_gone(service).await).await
}
