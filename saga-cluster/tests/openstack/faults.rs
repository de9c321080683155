//! What is broken on purpose: quota, compute service, network service.
//!
//! `OPENSTACK_FAULT` names the program that breaks the cloud, and mends it: it is called with `quota N`, `compute-stop`,
//! `compute-cont`, `neutron-down` or `neutron-up`.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use crate::deaths::{Site, expect};
use crate::program::Program;
use crate::trial::{begun, is_active, is_as_created, is_as_scaled, is_gone, is_in_error, on_a_site};
use crate::world::By;

/// How long a fault lasts that is mended while something waits for it.
const A_WHILE: Duration = Duration::from_secs(8);
/// By then Nova takes a compute service that says nothing for down.
const OVER_A_MINUTE: Duration = Duration::from_secs(75);

pub(crate) fn program() -> Option<OsString> {
    std::env::var_os("OPENSTACK_FAULT")
}

/// A fault; dropped, it is mended.
struct Fault {
    mend: &'static [&'static str],
}

impl Fault {
    /// Breaks something, beside what goes on.
    async fn make(make: &'static [&'static str], mend: &'static [&'static str]) -> Result<Self, String> {
        let made = tokio::task::spawn_blocking(move || {
            let fault = Self { mend };
            call(make)?;
            Ok(fault)
        });
        made.await.map_err(|error| error.to_string())?
    }

    async fn mend(self) -> Result<(), String> {
        tokio::task::spawn_blocking(move || drop(self)).await.map_err(|error| error.to_string())
    }

    async fn quota(at_most: &'static [&'static str]) -> Result<Self, String> {
        Self::make(at_most, &["quota", "-1"]).await
    }

    async fn no_compute() -> Result<Self, String> {
        Self::make(&["compute-stop"], &["compute-cont"]).await
    }

    async fn no_neutron() -> Result<Self, String> {
        Self::make(&["neutron-down"], &["neutron-up"]).await
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Err(error) = call(self.mend) {
            eprintln!("THE CLOUD STAYS BROKEN: {error}");
        }
    }
}

fn call(arguments: &[&str]) -> Result<(), String> {
    let program = program().ok_or("OPENSTACK_FAULT is not set")?;
    let status = Command::new(program).args(arguments).status().map_err(|error| error.to_string())?;
    expect(status.success(), || format!("the fault {arguments:?} failed: {status}"))
}

async fn is_not_created(site: &Site<By>, program: &Program, why: &str) -> Result<(), String> {
    let done = program.create()?.done().await?.exit(3)?;
    done.ends("rolled_back", Some("error"), why)?;
    is_in_error(site, program, why).await
}

/// Nothing is made but a record that says why, and it goes.
pub(crate) async fn quota_ends_in_the_middle_of_a_create(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        let fault = Fault::quota(&["quota", "2"]).await?;
        is_not_created(site, program, "Quota exceeded").await?;
        fault.mend().await?;
        program.delete()?.succeeds().await?;
        is_gone(site, program).await
    })
    .await
}

/// A scale that has no room comes back to what there was.
pub(crate) async fn quota_ends_in_the_middle_of_a_scale(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        program.create()?.succeeds().await?;
        let fault = Fault::quota(&["quota", "0"]).await?;
        let done = program.scale()?.done().await?.exit(3)?;
        done.ends("rolled_back", Some("active"), "Quota exceeded")?;
        // What was decommissioned and terminated stays away; what was to come did not.
        is_active(site, program, &[("edge", 1), ("workers", 1)]).await?;
        fault.mend().await
    })
    .await
}

/// Servers that stay in `BUILD` come to be when the compute service does, and those that are to go wait for it.
pub(crate) async fn compute_is_stopped_for_a_while(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        is_created_meanwhile(site, program, A_WHILE).await?;
        is_deleted_meanwhile(site, program, Fault::no_compute().await?).await
    })
    .await
}

/// So long that Nova takes the compute service for down.
pub(crate) async fn compute_is_stopped_for_over_a_minute(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| is_created_meanwhile(site, program, OVER_A_MINUTE).await).await
}

async fn is_created_meanwhile(site: &Site<By>, program: &Program, stopped: Duration) -> Result<(), String> {
    let fault = Fault::no_compute().await?;
    let creation = program.create()?;
    begun(site).await?;
    sleep(stopped).await;
    program.answers(Some("creating")).await?;
    fault.mend().await?;
    creation.succeeds().await?;
    is_as_created(site, program).await
}

/// The cluster is deleted while something is broken that is mended after a while.
async fn is_deleted_meanwhile(site: &Site<By>, program: &Program, fault: Fault) -> Result<(), String> {
    let deletion = program.delete()?;
    sleep(A_WHILE).await;
    program.answers(Some("deleting")).await?;
    fault.mend().await?;
    deletion.succeeds().await?;
    is_gone(site, program).await
}

/// Nova knows that its only compute service is down: what is there can be deleted without it, and nothing can be made.
pub(crate) async fn compute_is_known_to_be_down(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        program.create()?.succeeds().await?;
        let fault = Fault::no_compute().await?;
        sleep(OVER_A_MINUTE).await;
        program.delete()?.succeeds().await?;
        is_gone(site, program).await?;
        is_not_created(site, program, "No valid host").await?;
        fault.mend().await?;
        program.delete()?.succeeds().await?;
        is_gone(site, program).await
    })
    .await
}

/// The user need not wait for a compute service that is not coming back.
pub(crate) async fn compute_is_stopped_and_the_user_deletes(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        let fault = Fault::no_compute().await?;
        let creation = program.create()?;
        begun(site).await?;
        program.delete()?.succeeds().await?;
        creation.done().await?.exit(3)?;
        is_gone(site, program).await?;
        fault.mend().await
    })
    .await
}

/// Nova answers half, makes servers without a network, and deletes nothing. Heat asks Neutron for each server that it makes.
pub(crate) async fn neutron_is_down_for_a_while(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        let mut fault = Fault::no_neutron().await?;
        let creation = program.create()?;
        if let By::Heat = by {
            sleep(A_WHILE).await;
            program.answers(Some("creating")).await?;
            fault.mend().await?;
            creation.succeeds().await?;
            fault = Fault::no_neutron().await?;
        } else {
            creation.succeeds().await?;
        }
        program.answers(Some("active")).await?;
        is_deleted_meanwhile(site, program, fault).await
    })
    .await
}

/// The node that goes waits for Neutron, the one that comes does not.
pub(crate) async fn neutron_is_down_in_a_scale(by: By) -> Result<(), String> {
    on_a_site(by, async |site, program| {
        program.create()?.succeeds().await?;
        let fault = Fault::no_neutron().await?;
        let scale = program.scale()?;
        sleep(OVER_A_MINUTE).await;
        program.answers(Some("scaling")).await?;
        fault.mend().await?;
        scale.succeeds().await?;
        is_as_scaled(site, program).await
    })
    .await
}
