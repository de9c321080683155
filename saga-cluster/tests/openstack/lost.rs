//! What is lost between the coordinator and the cloud: a request, an answer, or the coordinator itself.

use crate::cloud::Cloud;
use crate::deaths::Site;
use crate::program::{Program, Running};
use crate::proxy::{Losing, Loss, Proxy};
use crate::trial::{begun, is_as_created, is_as_scaled, is_gone, on_a_site, until};
use crate::world::By;

/// A program whose calls of the engine's service come by a proxy.
async fn behind(site: &Site<By>, losing: Losing) -> Result<(Program, Proxy), String> {
    let service = site.world.service();
    let endpoint = Cloud::of_the_environment().await?.endpoint(service)?;
    let address = endpoint.split('/').nth(2).ok_or("the endpoint has no address")?.to_owned();
    let proxy = Proxy::start(address.clone(), losing).await?;
    let variable = format!("OS_{}_ENDPOINT_OVERRIDE", service.to_uppercase());
    let program = Program::new(site)?.variable(variable, endpoint.replace(&address, &proxy.address));
    Ok((program, proxy))
}

/// The first requests of each kind are cut off, or answered to nobody: all that is asked for is done, and once.
pub(crate) async fn connections_are_cut(by: By, loss: Loss) -> Result<(), String> {
    let losing = |method| Losing { method, loss, times: 2 };
    on_a_site(by, async |site, plain| {
        let (program, proxy) = behind(site, losing("POST")).await?;
        program.create()?.succeeds().await?;
        proxy.has_lost(2).await?;
        is_as_created(site, plain).await?;

        // A scale has one node that goes.
        let (program, proxy) = behind(site, Losing { times: 1, ..losing(by.method_of_a_scale()) }).await?;
        program.scale()?.succeeds().await?;
        proxy.has_lost(1).await?;
        is_as_scaled(site, plain).await?;

        let (program, proxy) = behind(site, losing("DELETE")).await?;
        program.delete()?.succeeds().await?;
        proxy.has_lost(by.deletions().min(2)).await?;
        is_gone(site, plain).await
    })
    .await
}

/// The coordinator is killed when the cloud has done what it was asked for and nobody was told; the next one goes on.
pub(crate) async fn the_coordinator_is_killed_before_the_answer(by: By) -> Result<(), String> {
    on_a_site(by, async |site, plain| {
        dies_unanswered(site, plain, "POST", Program::create).await?;
        is_as_created(site, plain).await?;
        dies_unanswered(site, plain, by.method_of_a_scale(), Program::scale).await?;
        is_as_scaled(site, plain).await?;
        dies_unanswered(site, plain, "DELETE", Program::delete).await?;
        is_gone(site, plain).await
    })
    .await
}

async fn dies_unanswered(
    site: &Site<By>,
    plain: &Program,
    method: &'static str,
    start: impl FnOnce(&Program) -> Result<Running, String>,
) -> Result<(), String> {
    let (program, proxy) = behind(site, Losing { method, loss: Loss::Silence, times: 1 }).await?;
    let running = start(&program)?;
    proxy.has_lost(1).await?;
    running.die().await?;
    plain.resume().await
}

/// Nothing is lost; but a user changes their mind, twice: in a create, and in a scale.
pub(crate) async fn the_user_deletes_in_the_middle(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        let creation = program.create()?;
        begun(site).await?;
        program.delete()?.succeeds().await?;
        creation.done().await?.exit(3)?;
        is_gone(site, program).await?;

        program.create()?.succeeds().await?;
        let scale = program.scale()?;
        until("it is being scaled", async || program.has_status("scaling").await).await?;
        program.delete()?.succeeds().await?;
        scale.done().await?.exit(3)?;
        is_gone(site, program).await
    })
    .await
}

/// Create, scale both ways at once, delete, as it should be.
pub(crate) async fn nothing(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        program.create()?.succeeds().await?;
        is_as_created(site, program).await?;
        program.scale()?.succeeds().await?;
        is_as_scaled(site, program).await?;
        program.delete()?.succeeds().await?;
        is_gone(site, program).await
    })
    .await
}
