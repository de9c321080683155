//! Whether a cluster could be made now: all that its settings name, and room under the quota.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Nova;
use super::resolve::Kind;
use super::settings::{Described, Networks};
use crate::FailureKind;
use crate::engine::openstack::call::{Call, Service, segment};
use crate::engine::{EngineCheck, EngineError, Finding};
use crate::model::NodeGroup;

/// What is used and what is allowed, -1 for no limit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    max_total_instances: i64,
    total_instances_used: i64,
    max_total_cores: i64,
    total_cores_used: i64,
    #[serde(rename = "maxTotalRAMSize")]
    max_total_ram: i64,
    #[serde(rename = "totalRAMUsed")]
    total_ram_used: i64,
}

#[derive(Debug, Deserialize)]
struct Absolute {
    absolute: Limits,
}

/// Everything that was found for these groups.
///
/// # Errors
/// [`EngineError`], if there is no way in: then nothing can be looked at.
pub(super) async fn check(nova: &Nova, groups: &[(&NodeGroup, Described)]) -> Result<EngineCheck, EngineError> {
    let limits = nova.call(Call::get(Service::Compute, "/limits")).await;
    let limits = limits.map_err(|error| error.into_engine("Nova cannot be asked"))?;
    let mut findings = vec![Finding::ok("credentials", format!("{} lets us in", nova.session.origin()))];
    let mut looked = Looked { nova, sizes: BTreeMap::new(), done: BTreeMap::new() };
    // Instances, cores, MiB.
    let mut need = (0, 0, 0);
    for (group, wanted) in groups {
        looked.at(Kind::Flavor, &wanted.flavor).await;
        looked.at(Kind::Image, &wanted.image).await;
        if let Networks::These(names) = &wanted.networks {
            for name in names {
                looked.at(Kind::Network, name).await;
            }
        }
        if let Some(name) = &wanted.server_group {
            looked.at(Kind::ServerGroup, name).await;
        }
        if let Some(key) = &wanted.key_name {
            looked.at_key(key).await;
        }
        let (cores, ram) = looked.sizes.get(&wanted.flavor).copied().unwrap_or_default();
        let count = u64::from(group.count);
        need = (need.0 + count, need.1 + count * cores, need.2 + count * ram);
    }
    findings.extend(looked.done.into_values());
    match limits.read_at::<Absolute>("limits") {
        Ok(limits) => findings.extend(quota(&limits.absolute, need)),
        Err(_) => findings.push(Finding::warning("quota", "it cannot be told")),
    }
    Ok(EngineCheck { findings })
}

fn quota(limits: &Limits, need: (u64, u64, u64)) -> [Finding; 3] {
    let one = |what: &str, need: u64, max: i64, used: i64| {
        let about = format!("quota of {what}");
        let Ok(max) = u64::try_from(max) else { return Finding::ok(about, format!("{need} needed, no limit")) };
        let left = max.saturating_sub(u64::try_from(used).unwrap_or_default());
        let text = format!("{need} needed, {left} of {max} left");
        if need <= left { Finding::ok(about, text) } else { Finding::problem(about, text) }
    };
    [
        one("instances", need.0, limits.max_total_instances, limits.total_instances_used),
        one("cores", need.1, limits.max_total_cores, limits.total_cores_used),
        one("memory in MiB", need.2, limits.max_total_ram, limits.total_ram_used),
    ]
}

/// What was looked at, each thing once.
struct Looked<'a> {
    nova: &'a Nova,
    /// Cores and MiB of flavors.
    sizes: BTreeMap<String, (u64, u64)>,
    done: BTreeMap<String, Finding>,
}

impl Looked<'_> {
    async fn at(&mut self, kind: Kind, said: &str) {
        let about = format!("{} {said}", kind.as_str());
        if self.done.contains_key(&about) {
            return;
        }
        let finding = match self.nova.resolve(kind, said).await {
            Ok(found) => {
                if matches!(kind, Kind::Flavor) {
                    self.sizes.insert(said.to_owned(), (found.vcpus, found.ram));
                }
                Finding::ok(&about, format!("it is {}", found.id))
            }
            Err(error) if error.kind() == FailureKind::Rejected => Finding::problem(&about, error.message()),
            Err(error) => Finding::warning(&about, format!("it cannot be told: {}", crate::saga::chain(&error))),
        };
        self.done.insert(about, finding);
    }

    async fn at_key(&mut self, name: &str) {
        let about = format!("key {name}");
        let call = Call::get(Service::Compute, format!("/os-keypairs/{}", segment(name)));
        let finding = match self.nova.call(call).await {
            Ok(_) => Finding::ok(&about, "it is there"),
            Err(error) if error.status() == Some(404) => Finding::problem(&about, format!("there is no key `{name}`")),
            Err(error) => Finding::warning(&about, format!("it cannot be told: {error}")),
        };
        self.done.insert(about, finding);
    }
}
