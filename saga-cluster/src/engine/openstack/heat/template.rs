//! The template of a cluster's stack: what machines there are to be, and the marks that make a change of it conditional.
//!
//! Heat replaces a template as a whole, and knows no "only if it is still the one that I read". But it checks the
//! parameters of a stack against the constraints of the template that comes with an update, and keeps the values of those
//! that the update does not name. So a template has two parameters, each with one value allowed:
//!
//! | | `saga_sealed` | `saga_change` |
//! |---|---|---|
//! | a *change* | not sent: must still be what was read | sent: the change's own, new mark |
//! | the *seal* of it | sent: the change's mark | not sent: must still be that change's |
//!
//! A change is refused once another one was sealed after it was read. A seal is refused if another change came in
//! between. Nothing is told to be made before it is sealed, and from then on nobody removes it by an older template.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::model::{ClusterName, NodeName, NodeToken};

const VERSION: &str = "2018-08-31";
const SEALED: &str = "saga_sealed";
const CHANGE: &str = "saga_change";
/// The output that says whose template it is.
const ABOUT: &str = "saga_cluster";

/// The metadata of a server that say which machine it is.
pub(super) const META_CLUSTER: &str = "saga_cluster";
pub(super) const META_NODE: &str = "saga_node";
pub(super) const META_TOKEN: &str = "saga_token";

/// One machine of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) name: NodeName,
    pub(super) token: NodeToken,
    /// Its resource, as it stands in the template.
    pub(super) resource: Value,
}

impl Member {
    /// The machine that these properties of a server make, with what it is to be found by.
    pub(super) fn new(
        cluster: &ClusterName,
        name: NodeName,
        token: NodeToken,
        mut properties: Map<String, Value>,
    ) -> Self {
        properties.insert("name".into(), server_name(cluster, &name).into());
        let metadata = properties.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(META_CLUSTER.into(), cluster.as_str().into());
            metadata.insert(META_NODE.into(), name.to_string().into());
            metadata.insert(META_TOKEN.into(), token.as_str().into());
        }
        Self { name, token, resource: json!({"type": "OS::Nova::Server", "properties": properties}) }
    }

    fn read(name: &str, resource: &Value) -> Option<Self> {
        let token = resource.pointer("/properties/metadata")?.get(META_TOKEN)?.as_str()?;
        Some(Self { name: name.parse().ok()?, token: NodeToken::new(token).ok()?, resource: resource.clone() })
    }
}

/// The name of a machine's server. No name of a cluster or a node has a dot, so it belongs to one machine only.
pub(super) fn server_name(cluster: &ClusterName, node: &NodeName) -> String {
    format!("{cluster}.{node}")
}

/// A template that was read, or is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    cluster: ClusterName,
    /// The mark of the last change that was sealed.
    sealed: String,
    /// The mark of the last change.
    change: String,
    /// The stack is to be deleted. Nothing is added to it any more, by anyone.
    closed: bool,
    members: BTreeMap<NodeName, Member>,
}

/// What is sent: a template, and the parameters that change with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    pub(super) template: Value,
    pub(super) parameters: Value,
}

impl Document {
    /// The first one of a stack, without a machine.
    pub(super) fn first(cluster: &ClusterName) -> Self {
        let mark = new_mark();
        Self { cluster: cluster.clone(), sealed: mark.clone(), change: mark, closed: false, members: BTreeMap::new() }
    }

    /// Reads one back. None, if nobody of us wrote it.
    pub(super) fn read(cluster: &ClusterName, template: &Value) -> Option<Self> {
        let about = template.get("outputs")?.get(ABOUT)?.get("value")?;
        if about.get("cluster")?.as_str()? != cluster.as_str() {
            return None;
        }
        let mark = |name: &str| -> Option<String> {
            let allowed = template.get("parameters")?.get(name)?.pointer("/constraints/0/allowed_values/0")?;
            Some(allowed.as_str()?.to_owned())
        };
        let no_resources = Map::new();
        let resources = template.get("resources").map_or(Some(&no_resources), Value::as_object)?;
        let members = resources.iter().map(|(name, resource)| Member::read(name, resource));
        let members: Option<Vec<Member>> = members.collect();
        Some(Self {
            cluster: cluster.clone(),
            sealed: mark(SEALED)?,
            change: mark(CHANGE)?,
            closed: about.get("closed")?.as_bool()?,
            members: members?.into_iter().map(|member| (member.name.clone(), member)).collect(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The mark of the last change that was sealed.
    pub(super) fn sealed_mark(&self) -> &str {
        &self.sealed
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed == self.change
    }

    /// Its machines, by name.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The machine with that token.
    pub(super) fn by_token(&self, token: &NodeToken) -> Option<&Member> {
        self.members.values().find(|member| member.token == *token)
    }

    pub(super) fn by_name(&self, name: &NodeName) -> Option<&Member> {
        self.members.get(name)
    }

    /// The next template: a change of this one, and of no other.
    pub(super) fn changed(&self, change: &Change) -> Self {
        let mut members = self.members.clone();
        members.retain(|_, member| !change.remove.contains(&member.token));
        members.extend(change.add.iter().map(|member| (member.name.clone(), member.clone())));
        Self { change: new_mark(), closed: change.close, members, ..self.clone() }
    }

    /// The seal of this one.
    pub(super) fn seal(&self) -> Self {
        Self { sealed: self.change.clone(), ..self.clone() }
    }

    /// As the first template of a stack.
    pub(super) fn to_make(&self) -> Sent {
        Sent { template: self.render(), parameters: json!({SEALED: self.sealed, CHANGE: self.change}) }
    }

    /// As an update: it names the one parameter that it changes, and Heat holds the other one against it.
    pub(super) fn to_update(&self) -> Sent {
        let parameters = if self.is_sealed() { json!({SEALED: self.sealed}) } else { json!({CHANGE: self.change}) };
        Sent { template: self.render(), parameters }
    }

    fn render(&self) -> Value {
        let mark = |value: &str| json!({"type": "string", "constraints": [{"allowed_values": [value]}]});
        let resources = self.members.values().map(|member| (member.name.to_string(), member.resource.clone()));
        json!({
            "heat_template_version": VERSION,
            "description": format!("The machines of the cluster {}, kept by saga-cluster", self.cluster),
            "parameters": {SEALED: mark(&self.sealed), CHANGE: mark(&self.change)},
            "resources": Value::Object(resources.collect()),
            "outputs": {ABOUT: {"value": {"cluster": self.cluster.as_str(), "closed": self.closed}}},
        })
    }
}

/// Whether Heat's words refuse a template because of its marks: another one came in between.
pub(super) fn is_refusal_of_marks(message: &str) -> bool {
    message.contains(SEALED) || message.contains(CHANGE)
}

fn new_mark() -> String {
    Uuid::now_v7().to_string()
}

/// What one update changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    pub(super) remove: Vec<NodeToken>,
    pub(super) add: Vec<Member>,
    /// Nothing is to be added any more.
    pub(super) close: bool,
}

#[cfg(test)]
#[path = "template_tests.rs"]
pub(super) mod tests;
