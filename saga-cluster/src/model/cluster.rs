//! The record of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use saga_core::RunId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::intent::Intent;
use super::label::{ClusterName, GroupName};
use super::node::{NewNode, Node, NodeName};
use super::spec::ClusterSpec;
use super::status::{IllegalTransition, Status};
use super::timestamp::Timestamp;

/// Tells one cluster from another that had the same name before it. A name can be used again, an id cannot: whoever
/// works on a cluster that was deleted must not write into its successor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(String);

impl ClusterId {
    fn fresh() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is known about a cluster. A repository keeps it, and changes it by compare-and-set on `version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Tells it from other clusters of the same name, before and after.
    pub id: ClusterId,
    /// What it should be. Counts follow a scale once that has taken effect.
    pub spec: ClusterSpec,
    /// Where it is in its life. Change it with [`transition`](Self::transition), or let the repository refuse the mistake.
    pub status: Status,
    /// Why it is so, for a person: the reason of an error, or what an operation is doing.
    #[serde(default)]
    pub status_description: String,
    /// Its nodes, sorted by name.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The next ordinal of each group. It only grows, so that no name is given twice.
    #[serde(default)]
    pub next_ordinals: BTreeMap<GroupName, u32>,
    /// The run that works on it, if one does.
    #[serde(default)]
    pub live_run: Option<String>,
    /// What that run is to do, until it begins. Whoever takes this away before that has called it off, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// When the record was made.
    pub created: Timestamp,
    /// When it was last changed. Set by the repository.
    pub updated: Timestamp,
    /// How often it was changed. Set by the repository: what [`update`](crate::repository::ClusterRepository::update)
    /// compares.
    pub version: u64,
}

impl Cluster {
    /// The record of a cluster that is about to be created: no node yet, status [`Status::Creating`], version 1.
    pub fn new(spec: ClusterSpec) -> Self {
        let now = Timestamp::now();
        Self {
            id: ClusterId::fresh(),
            spec,
            status: Status::Creating,
            status_description: String::new(),
            nodes: Vec::new(),
            next_ordinals: BTreeMap::new(),
            live_run: None,
            intent: None,
            created: now,
            updated: now,
            version: 1,
        }
    }

    /// Its name.
    pub fn name(&self) -> &ClusterName {
        &self.spec.name
    }

    /// The node with that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The nodes of one group, lowest ordinal first.
    pub fn nodes_in<'a>(&'a self, group: &'a GroupName) -> impl DoubleEndedIterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.group() == group)
    }

    /// Changes status and description together, along a drawn transition.
    ///
    /// # Errors
    /// [`IllegalTransition`], and nothing is changed.
    pub fn transition(&mut self, next: Status, why: impl Into<String>) -> Result<(), IllegalTransition> {
        self.status.check(next)?;
        self.status = next;
        self.status_description = why.into();
        Ok(())
    }

    /// Names the run that is to work on it, and what that is to do.
    pub(crate) fn promise(&mut self, run: &RunId, intent: Intent) {
        self.live_run = Some(run.to_string());
        self.intent = Some(intent);
    }

    /// Whether that run is the one that works on it, or is about to.
    pub(crate) fn names(&self, run: &RunId) -> bool {
        self.live_run.as_deref() == Some(run.as_str())
    }

    /// Whether that run was asked for, has not begun, and can still be called off.
    pub(crate) fn promises(&self, run: &RunId) -> bool {
        self.names(run) && self.intent.is_some()
    }

    /// No run works on it any more.
    pub(crate) fn let_go(&mut self) {
        self.live_run = None;
        self.intent = None;
    }

    /// The nodes that its spec asks for and that it does not have yet. Pure; [`reserve`](Self::reserve) their names in
    /// the update that starts the operation.
    pub fn missing_nodes(&self) -> Vec<NewNode> {
        let missing = |group: &GroupName, wanted: u32| wanted.saturating_sub(count(self.nodes_in(group)));
        self.spec
            .groups
            .iter()
            .flat_map(|group| {
                let names = self.next_names(&group.name, missing(&group.name, group.count));
                let settings = self.spec.settings_of(group);
                names.into_iter().map(move |name| NewNode { name, settings: settings.clone() })
            })
            .collect()
    }

    /// The next `count` names in a group, none of which was ever reserved or borne by a node.
    pub fn next_names(&self, group: &GroupName, count: u32) -> Vec<NodeName> {
        let reserved = self.next_ordinals.get(group).copied().unwrap_or(1);
        // A record that lost its counters must still never name a second node like a living one.
        let borne = self.nodes_in(group).map(|node| node.name.ordinal().saturating_add(1)).max().unwrap_or(1);
        let first = reserved.max(borne);
        (0..count).map(|i| NodeName::new(group.clone(), first.saturating_add(i))).collect()
    }

    /// Marks names as given, for ever: even if the operation that wanted them is undone.
    pub fn reserve<'a>(&mut self, names: impl IntoIterator<Item = &'a NodeName>) {
        for name in names {
            let next = self.next_ordinals.entry(name.group().clone()).or_insert(1);
            *next = (*next).max(name.ordinal().saturating_add(1));
        }
    }

    /// Adds nodes, or replaces what is known of those that it has already, so that it can be done again after a crash.
    pub fn admit(&mut self, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            self.reserve([&node.name]);
            self.nodes.retain(|known| known.name != node.name);
            self.nodes.push(node);
        }
        self.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Removes nodes. Names that it does not have are passed over, so that it can be done again after a crash.
    pub fn forget<'a>(&mut self, names: impl IntoIterator<Item = &'a NodeName>) {
        let gone: BTreeSet<&NodeName> = names.into_iter().collect();
        self.nodes.retain(|node| !gone.contains(&node.name));
    }

    /// Makes the spec say how many nodes there really are, group by group: after a scale that was undone in part.
    pub fn take_stock(&mut self) {
        let mut counts: BTreeMap<GroupName, u32> = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.group().clone()).or_default() += 1;
        }
        for group in &mut self.spec.groups {
            group.count = counts.get(&group.name).copied().unwrap_or(0);
        }
    }
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::scale::tests::{cluster, name};
    use super::*;

    #[test]
    fn a_new_cluster_misses_all_that_its_spec_asks_for() {
        let mut cluster = cluster(&[("a", 2), ("b", 1)]);
        cluster.nodes.clear();
        cluster.next_ordinals.clear();
        let missing: Vec<_> = cluster.missing_nodes().into_iter().map(|node| node.name.to_string()).collect();
        assert_eq!(missing, ["a-1", "a-2", "b-1"]);
    }

    #[test]
    fn a_name_is_never_given_twice() {
        let mut cluster = cluster(&[("a", 2)]);
        cluster.reserve(&[name("a-3"), name("a-4")]);
        cluster.forget(&[name("a-1"), name("a-2"), name("a-9")]);
        assert_eq!(cluster.next_names(&GroupName::new("a").unwrap(), 1), [name("a-5")]);
    }

    #[test]
    fn lost_counters_do_not_give_a_living_nodes_name() {
        let mut cluster = cluster(&[("a", 12)]);
        cluster.next_ordinals.clear();
        assert_eq!(cluster.next_names(&GroupName::new("a").unwrap(), 1), [name("a-13")]);
    }

    #[test]
    fn admitting_again_replaces() {
        let mut cluster = cluster(&[("a", 2)]);
        let mut moved = cluster.nodes[0].clone();
        moved.address = None;
        cluster.admit([moved.clone()]);
        assert_eq!(cluster.nodes.len(), 2);
        assert_eq!(cluster.node(&moved.name), Some(&moved));
    }

    #[test]
    fn status_and_reason_change_together_or_not_at_all() {
        let mut cluster = cluster(&[("a", 1)]);
        cluster.transition(Status::Deleting, "asked").unwrap();
        assert!(cluster.transition(Status::Active, "no").is_err());
        assert_eq!((cluster.status, cluster.status_description.as_str()), (Status::Deleting, "asked"));
    }

    #[test]
    fn taking_stock_counts_what_is_there() {
        let mut cluster = cluster(&[("a", 2), ("b", 1)]);
        cluster.forget(&[name("a-2"), name("b-1")]);
        cluster.take_stock();
        assert_eq!(cluster.spec.groups.iter().map(|g| g.count).collect::<Vec<_>>(), [1, 0]);
    }
}
