//! The servers of a project, found by their tags.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::future::try_join_all;
use serde::Deserialize;
use tracing::debug;

use super::settings::NetAddress;
use super::tags::Identity;
use super::{Nova, settings};
use crate::engine::openstack::call::{Call, Service};
use crate::engine::openstack::failure::CallError;

/// A server that is one of ours.
#[derive(Debug, Clone)]
pub(in crate::engine::openstack) struct Server {
    pub(in crate::engine::openstack) id: String,
    pub(in crate::engine::openstack) identity: Identity,
    /// When it was made, as Nova writes it: later is greater. None if its details cannot be had.
    pub(in crate::engine::openstack) created: Option<String>,
    pub(in crate::engine::openstack) state: State,
    /// Where its node answers, as far as that is known.
    pub(in crate::engine::openstack) address: Option<SocketAddr>,
}

/// What becomes of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::openstack) enum State {
    Active,
    Building,
    /// It failed, for that reason.
    Error(String),
    /// It is going.
    Deleting,
    /// It is something else, such as `SHUTOFF`, or it cannot be told.
    Other(String),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("ACTIVE"),
            Self::Building => f.write_str("BUILD"),
            Self::Error(fault) => write!(f, "ERROR ({fault})"),
            Self::Deleting => f.write_str("being deleted"),
            Self::Other(status) => f.write_str(status),
        }
    }
}

/// A server as Nova tells of it: in a list without details there is no more than its id.
#[derive(Debug, Deserialize)]
pub(in crate::engine::openstack) struct Detail {
    pub(in crate::engine::openstack) id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    addresses: BTreeMap<String, Vec<NetAddress>>,
    #[serde(default)]
    pub(in crate::engine::openstack) metadata: BTreeMap<String, String>,
    fault: Option<Fault>,
    #[serde(rename = "OS-EXT-STS:task_state")]
    task_state: Option<String>,
}

impl Detail {
    /// Whether there is no such server any more: it shows for a moment after its end.
    pub(in crate::engine::openstack) fn has_ended(&self) -> bool {
        self.status == "DELETED"
    }

    /// What it tells of the server that is this one of ours.
    pub(in crate::engine::openstack) fn server(self, identity: Identity) -> Server {
        let address = settings::address(&self.addresses, &self.metadata);
        let state = state(&self.status, self.task_state.as_deref(), self.fault);
        Server { id: self.id, identity, created: Some(self.created), state, address }
    }
}

#[derive(Debug, Deserialize)]
struct Fault {
    message: String,
}

#[derive(Debug, Deserialize)]
struct Link {
    rel: String,
}

fn state(status: &str, task_state: Option<&str>, fault: Option<Fault>) -> State {
    match (status, task_state) {
        // A server that was broken by its deletion says `ERROR`, and is not on its way any more.
        ("ERROR", _) => State::Error(fault.map_or_else(|| "no reason given".into(), |fault| fault.message)),
        ("DELETED" | "SOFT_DELETED", _) | (_, Some("deleting" | "soft-deleting")) => State::Deleting,
        ("ACTIVE", _) => State::Active,
        ("BUILD", _) => State::Building,
        (other, _) => State::Other(other.to_owned()),
    }
}

impl Nova {
    /// Every server that has all of these tags, and that there still is.
    ///
    /// While Neutron is down, the details of servers cannot be had; then it makes do with what Nova knows alone, which is
    /// who they are and whether they are active.
    pub(super) async fn servers(&self, tags: &[String]) -> Result<Vec<Server>, CallError> {
        match self.detailed(tags).await {
            Err(error) if error.status().is_some_and(|status| status >= 500) || is_silent(&error) => {
                debug!(%error, "no details of servers; asking for less");
                self.in_brief(tags).await
            }
            listed => listed,
        }
    }

    async fn detailed(&self, tags: &[String]) -> Result<Vec<Server>, CallError> {
        let mut servers = Vec::new();
        for detail in self.pages(tagged("/servers/detail", tags)).await? {
            if !detail.has_ended() {
                let identity = identity(&detail.id, &detail.tags)?;
                servers.push(detail.server(identity));
            }
        }
        Ok(servers)
    }

    async fn in_brief(&self, tags: &[String]) -> Result<Vec<Server>, CallError> {
        let all = self.pages(tagged("/servers", tags)).await?;
        let mut states = BTreeMap::new();
        for (status, state) in [
            ("ACTIVE", State::Active),
            ("BUILD", State::Building),
            ("ERROR", State::Error("its details cannot be had".into())),
        ] {
            if all.is_empty() {
                break;
            }
            let of_status = self.pages(tagged("/servers", tags).query("status", status)).await?;
            states.extend(of_status.into_iter().map(|server| (server.id, state.clone())));
        }
        let described = try_join_all(all.into_iter().map(|Detail { id, .. }| async {
            let call = Call::get(Service::Compute, format!("/servers/{id}/tags"));
            let tags: Vec<String> = match self.call(call).await {
                Ok(answer) => answer.read_at("tags")?,
                Err(error) if error.status() == Some(404) => return Ok(None),
                Err(error) => return Err(error),
            };
            let identity = identity(&id, &tags)?;
            let state = states.get(&id).cloned().unwrap_or_else(|| State::Other("of unknown state".into()));
            Ok(Some(Server { id, identity, created: None, state, address: None }))
        }));
        Ok(described.await?.into_iter().flatten().collect())
    }

    /// All pages of a list of servers.
    pub(in crate::engine::openstack) async fn pages(&self, list: Call) -> Result<Vec<Detail>, CallError> {
        let mut all: Vec<Detail> = Vec::new();
        loop {
            let call = match all.last() {
                Some(last) => list.clone().query("marker", last.id.as_str()),
                None => list.clone(),
            };
            let mut answer = self.call(call).await?;
            let links = answer.body.get_mut("servers_links").map(serde_json::Value::take).unwrap_or_default();
            let links: Vec<Link> = serde_json::from_value(links).unwrap_or_default();
            let page: Vec<Detail> = answer.read_at("servers")?;
            let more = !page.is_empty() && links.iter().any(|link| link.rel == "next");
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }
}

/// A list of the servers that have all of these tags.
fn tagged(path: &str, tags: &[String]) -> Call {
    Call::get(Service::Compute, path).query("tags", tags.join(","))
}

fn is_silent(error: &CallError) -> bool {
    matches!(error, CallError::NoAnswer { .. })
}

/// Who a server is that was found by a tag of ours. If the other tags were taken off it, nobody can say which node it is,
/// and nobody may say that it is not there.
fn identity(id: &str, tags: &[String]) -> Result<Identity, CallError> {
    Identity::read(tags.iter().map(String::as_str)).ok_or_else(|| CallError::Garbled {
        what: format!("GET /servers/{id}"),
        url: "Nova".into(),
        why: format!(
            "the server {id} has one of our tags and not the others: delete it by hand, or give it its tags back"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_a_state() {
        let fault = || Some(Fault { message: "No valid host was found.".into() });
        for (status, task, expected) in [
            ("ACTIVE", None, State::Active),
            ("ACTIVE", Some("deleting"), State::Deleting),
            ("BUILD", Some("scheduling"), State::Building),
            ("BUILD", Some("deleting"), State::Deleting),
            ("ERROR", None, State::Error("No valid host was found.".into())),
            ("ERROR", Some("deleting"), State::Error("No valid host was found.".into())),
            ("SOFT_DELETED", None, State::Deleting),
            ("SHUTOFF", None, State::Other("SHUTOFF".into())),
        ] {
            assert_eq!(state(status, task, fault()), expected, "{status} {task:?}");
        }
    }
}
