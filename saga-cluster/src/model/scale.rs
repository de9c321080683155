//! Which nodes go and which come: decided once, by name, before anything is touched.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cluster::{Cluster, count};
use super::label::GroupName;
use super::node::{NewNode, NodeName};
use super::spec::{ClusterSpec, MAX_GROUPS, MAX_NODES, NodeGroup, listed};

/// What a user wants a cluster to become: some groups larger, others smaller, others new.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleRequest {
    /// The wanted number of nodes of groups that there are. Groups that are not named stay as they are.
    #[serde(default)]
    pub counts: BTreeMap<GroupName, u32>,
    /// Groups to add.
    #[serde(default)]
    pub new_groups: Vec<NodeGroup>,
}

impl ScaleRequest {
    /// Asks for that many nodes in a group.
    #[must_use]
    pub fn group(mut self, group: GroupName, count: u32) -> Self {
        self.counts.insert(group, count);
        self
    }

    /// Asks for another group.
    #[must_use]
    pub fn new_group(mut self, group: NodeGroup) -> Self {
        self.new_groups.push(group);
        self
    }
}

/// Exactly which nodes are removed and added. Made by [`plan_scale`] only, journaled, and never computed again: the
/// nodes that are decommissioned are those that are destroyed, because both are taken from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalePlan {
    remove: Vec<NodeName>,
    add: Vec<NewNode>,
    counts: BTreeMap<GroupName, u32>,
    new_groups: Vec<NodeGroup>,
}

impl ScalePlan {
    /// The nodes that go, highest ordinal of each group first.
    pub fn remove(&self) -> &[NodeName] {
        &self.remove
    }

    /// The nodes that come, under names that were never used in this cluster.
    pub fn add(&self) -> &[NewNode] {
        &self.add
    }

    /// The number of nodes that each group has afterwards, for the groups that were asked about.
    pub fn counts(&self) -> &BTreeMap<GroupName, u32> {
        &self.counts
    }

    /// The groups that come.
    pub fn new_groups(&self) -> &[NodeGroup] {
        &self.new_groups
    }
}

/// One thing that is wrong with a scale request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScaleProblem {
    /// The cluster has no such group.
    UnknownGroup(GroupName),
    /// A group to add is there already, or is asked for twice.
    GroupExists(GroupName),
    /// More groups than [`MAX_GROUPS`].
    TooManyGroups(usize),
    /// More nodes in all than [`MAX_NODES`].
    TooManyNodes(u64),
    /// No node would be left. Delete the cluster instead.
    NoNodesLeft,
    /// The cluster is like that already.
    NothingToDo,
    /// The names of a group are used up.
    OutOfNames(GroupName),
}

impl fmt::Display for ScaleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownGroup(name) => write!(f, "there is no group `{name}`"),
            Self::GroupExists(name) => write!(f, "a group `{name}` cannot be added: it is there already"),
            Self::TooManyGroups(found) => write!(f, "there would be {found} groups; the limit is {MAX_GROUPS}"),
            Self::TooManyNodes(found) => write!(f, "there would be {found} nodes; the limit is {MAX_NODES}"),
            Self::NoNodesLeft => write!(f, "no node would be left; to be rid of the cluster, delete it"),
            Self::NothingToDo => write!(f, "the cluster is like that already"),
            Self::OutOfNames(name) => write!(f, "the names of group `{name}` are used up"),
        }
    }
}

/// A scale request was refused. Nothing was touched; mend what it names and ask again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the cluster cannot be scaled like that:{}", listed(.problems))]
pub struct ScaleError {
    /// Everything that is wrong with it, never empty.
    pub problems: Vec<ScaleProblem>,
}

/// Decides which nodes a scale removes and which it adds, from the nodes that the record has, not from what its spec
/// once asked for. Pure: the same cluster and request give the same plan.
///
/// # Errors
/// [`ScaleError`] with every problem.
pub fn plan_scale(cluster: &Cluster, request: &ScaleRequest) -> Result<ScalePlan, ScaleError> {
    let problems = problems_of(cluster, request);
    if !problems.is_empty() {
        return Err(ScaleError { problems });
    }
    let mut plan = ScalePlan {
        remove: Vec::new(),
        add: Vec::new(),
        counts: request.counts.clone(),
        new_groups: request.new_groups.clone(),
    };
    for group in cluster.spec.groups.iter().chain(&request.new_groups) {
        let has = count(cluster.nodes_in(&group.name));
        let wanted = request.counts.get(&group.name).copied();
        let wanted = wanted.unwrap_or(if cluster.spec.group(&group.name).is_some() { has } else { group.count });
        let surplus = has.saturating_sub(wanted) as usize;
        plan.remove.extend(cluster.nodes_in(&group.name).rev().take(surplus).map(|node| node.name.clone()));
        let names = cluster.next_names(&group.name, wanted.saturating_sub(has));
        let settings = cluster.spec.settings_of(group);
        plan.add.extend(names.into_iter().map(|name| NewNode { name, settings: settings.clone() }));
    }
    if plan.remove.is_empty() && plan.add.is_empty() && plan.new_groups.is_empty() {
        return Err(ScaleError { problems: vec![ScaleProblem::NothingToDo] });
    }
    Ok(plan)
}

fn problems_of(cluster: &Cluster, request: &ScaleRequest) -> Vec<ScaleProblem> {
    let mut problems = Vec::new();
    let unknown = request.counts.keys().filter(|name| cluster.spec.group(name).is_none());
    problems.extend(unknown.cloned().map(ScaleProblem::UnknownGroup));
    for (i, group) in request.new_groups.iter().enumerate() {
        let asked_before = request.new_groups[..i].iter().any(|other| other.name == group.name);
        if asked_before || cluster.spec.group(&group.name).is_some() {
            problems.push(ScaleProblem::GroupExists(group.name.clone()));
        }
    }
    let groups = cluster.spec.groups.len() + request.new_groups.len();
    if groups > MAX_GROUPS {
        problems.push(ScaleProblem::TooManyGroups(groups));
    }
    let mut total: u64 = request.new_groups.iter().map(|group| u64::from(group.count)).sum();
    for group in &cluster.spec.groups {
        let has = count(cluster.nodes_in(&group.name));
        let wanted = request.counts.get(&group.name).copied().unwrap_or(has);
        total += u64::from(wanted);
        let last = cluster.next_names(&group.name, 1).first().map_or(0, NodeName::ordinal);
        if last.checked_add(wanted.saturating_sub(has)).is_none() {
            problems.push(ScaleProblem::OutOfNames(group.name.clone()));
        }
    }
    match total {
        0 => problems.push(ScaleProblem::NoNodesLeft),
        total if total > u64::from(MAX_NODES) => problems.push(ScaleProblem::TooManyNodes(total)),
        _ => {}
    }
    problems
}

impl Cluster {
    /// What the spec will say once a scale is done.
    pub fn spec_after(&self, plan: &ScalePlan) -> ClusterSpec {
        let mut after = self.clone();
        after.take_over(plan);
        after.spec
    }

    /// Makes the spec say what a finished scale made true: new groups and new counts. Can be done again after a crash.
    pub fn take_over(&mut self, plan: &ScalePlan) {
        for group in plan.new_groups() {
            if self.spec.group(&group.name).is_none() {
                self.spec.groups.push(group.clone());
            }
        }
        for group in &mut self.spec.groups {
            if let Some(count) = plan.counts().get(&group.name) {
                group.count = *count;
            }
        }
    }
}

#[cfg(test)]
#[path = "scale_tests.rs"]
pub(super) mod tests;
