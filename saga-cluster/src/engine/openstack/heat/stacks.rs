//! The calls to Heat and Nova: looking, and acting.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::{Look, Phase, Resource, Stack};
use super::template::{Document, META_CLUSTER, META_NODE, META_TOKEN, Sent};
use crate::engine::openstack::call::{Call, Service};
use crate::engine::openstack::failure::CallError;
use crate::engine::openstack::nova::Nova;
use crate::engine::openstack::nova::servers::{Detail, Server};
use crate::engine::openstack::nova::tags::Identity;
use crate::model::{ClusterName, NodeName, NodeToken};

/// What the name of each stack begins with.
const PREFIX: &str = "sc-";
/// What each stack is tagged with.
const TAG: &str = "saga-cluster";
/// How long Heat has to accept a template: it holds each of its resources against what there is in the cloud.
const TAKES_WITHIN: Duration = Duration::from_secs(120);
/// How long Heat works on one update, in minutes. Longer than anybody waits for it.
const WORKS_WITHIN: u32 = 15;

/// The way to the stacks of a project, and to their servers.
#[derive(Debug, Clone)]
pub(super) struct Cloud {
    pub(super) nova: Nova,
}

#[derive(Debug, Deserialize)]
struct Brief {
    id: String,
    stack_name: String,
    #[serde(default)]
    stack_status: String,
    #[serde(default)]
    stack_status_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct BriefResource {
    resource_name: String,
    #[serde(default)]
    resource_status: String,
    #[serde(default)]
    resource_status_reason: Option<String>,
    #[serde(default)]
    physical_resource_id: Option<String>,
}

/// The server that Nova tells of, if it is one of ours, and still there.
fn read(detail: Detail) -> Option<Server> {
    let said = |key| detail.metadata.get(key);
    let identity = Identity {
        cluster: said(META_CLUSTER)?.parse().ok()?,
        node: said(META_NODE)?.parse().ok()?,
        token: NodeToken::new(said(META_TOKEN)?).ok()?,
    };
    (!detail.has_ended()).then(|| detail.server(identity))
}

/// The name of a cluster's stack.
pub(super) fn stack_name(cluster: &ClusterName) -> String {
    format!("{PREFIX}{cluster}")
}

impl Cloud {
    async fn heat(&self, call: Call) -> Result<Value, CallError> {
        Ok(self.nova.session.call(call).await?.body)
    }

    /// All that there is of a cluster.
    pub(super) async fn look(&self, cluster: &ClusterName) -> Result<Look, CallError> {
        // The servers come last: of what Heat says it has made, there is a server then, or it is gone.
        let stack = self.stack(cluster).await?;
        let servers = self.servers(Some(cluster)).await?;
        Ok(Look { stack, servers })
    }

    /// The stack of a cluster, if there is one.
    pub(super) async fn stack(&self, cluster: &ClusterName) -> Result<Option<Stack>, CallError> {
        let name = stack_name(cluster);
        let call = Call::get(Service::Orchestration, "/stacks").query("name", &name);
        let all: Vec<Brief> = self.nova.session.call(call).await?.read_at("stacks")?;
        let Some(brief) = all.into_iter().find(|one| one.stack_name == name && !is_gone(&one.stack_status)) else {
            return Ok(None);
        };
        match self.stack_of(cluster, &brief.id).await {
            // It has ended meanwhile.
            Err(error) if error.status() == Some(404) => Ok(None),
            stack => stack,
        }
    }

    async fn stack_of(&self, cluster: &ClusterName, id: &str) -> Result<Option<Stack>, CallError> {
        let path = place(cluster, id);
        let get = |what: &str| self.nova.session.call(Call::get(Service::Orchestration, format!("{path}{what}")));
        // The template first: how far Heat is said to be is then true of this one, or of a later one.
        let template: Value = get("/template").await?.read()?;
        let Brief { id, stack_status: status, stack_status_reason: reason, .. } = get("").await?.read_at("stack")?;
        if is_gone(&status) {
            return Ok(None);
        }
        let listed: Vec<BriefResource> = get("/resources").await?.read_at("resources")?;
        let resources = listed.into_iter().filter_map(|one| {
            let name: NodeName = one.resource_name.parse().ok()?;
            let phase = Phase::read(&one.resource_status);
            let condemned = phase == Phase::Failed && !one.resource_status.starts_with("CREATE_");
            let server = one.physical_resource_id.filter(|id| !id.is_empty());
            let reason = one.resource_status_reason.unwrap_or_default();
            Some((name, Resource { phase, condemned, reason, server }))
        });
        Ok(Some(Stack {
            id,
            deleting: status.starts_with("DELETE_"),
            phase: Phase::read(&status),
            reason: reason.unwrap_or_default(),
            document: Document::read(cluster, &template),
            resources: resources.collect(),
            status,
        }))
    }

    /// The servers of a cluster, or those of all clusters, that there still are.
    async fn servers(&self, cluster: Option<&ClusterName>) -> Result<Vec<Server>, CallError> {
        let mut list = Call::get(Service::Compute, "/servers/detail");
        if let Some(cluster) = cluster {
            // Tags come only when a server is active. A name is what it has from the beginning.
            list = list.query("name", format!("^{cluster}\\."));
        }
        let ours = self.nova.pages(list).await?.into_iter().filter_map(read);
        Ok(ours.filter(|one| cluster.is_none_or(|cluster| one.identity.cluster == *cluster)).collect())
    }

    /// The cluster that has a machine, whichever it is.
    pub(super) async fn cluster_of(&self, token: &NodeToken) -> Result<Option<ClusterName>, CallError> {
        if let Some(server) = self.servers(None).await?.into_iter().find(|one| one.identity.token == *token) {
            return Ok(Some(server.identity.cluster));
        }
        let call = Call::get(Service::Orchestration, "/stacks").query("tags", TAG);
        let stacks: Vec<Brief> = self.nova.session.call(call).await?.read_at("stacks")?;
        for cluster in stacks.iter().filter_map(|one| one.stack_name.strip_prefix(PREFIX)?.parse().ok()) {
            let document = self.stack(&cluster).await?.and_then(|stack| stack.document);
            if document.is_some_and(|document| document.by_token(token).is_some()) {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// Makes a stack.
    pub(super) async fn make(&self, cluster: &ClusterName) -> Result<(), CallError> {
        let Sent { template, parameters } = Document::first(cluster).to_make();
        let body = json!({
            "stack_name": stack_name(cluster), "template": template, "parameters": parameters, "tags": TAG,
            "timeout_mins": WORKS_WITHIN,
        });
        self.heat(Call::post(Service::Orchestration, "/stacks", body).within(TAKES_WITHIN)).await.map(drop)
    }

    /// Has Heat make that of a stack, on the condition that is in it.
    pub(super) async fn update(&self, cluster: &ClusterName, id: &str, document: &Document) -> Result<(), CallError> {
        let Sent { template, parameters } = document.to_update();
        let body = json!({ "template": template, "parameters": parameters, "timeout_mins": WORKS_WITHIN });
        let call = Call::patch(Service::Orchestration, place(cluster, id), body);
        self.heat(call.within(TAKES_WITHIN)).await.map(drop)
    }

    /// Deletes a stack. One that is gone is fine.
    pub(super) async fn delete(&self, cluster: &ClusterName, id: &str) -> Result<(), CallError> {
        match self.heat(Call::delete(Service::Orchestration, place(cluster, id))).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            answer => answer.map(drop),
        }
    }
}

fn place(cluster: &ClusterName, id: &str) -> String {
    format!("/stacks/{}/{id}", stack_name(cluster))
}

/// It shows for a moment after its end.
fn is_gone(status: &str) -> bool {
    status == "DELETE_COMPLETE"
}
