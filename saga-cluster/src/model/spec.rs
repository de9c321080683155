//! What a user asks for, read from TOML with every mistake reported at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::{Table, Value};

use super::label::{ClusterName, GroupName, InvalidName, KindName};

/// How many nodes a cluster may have, over all of its groups.
pub const MAX_NODES: u32 = 1000;
/// How many groups a cluster may have.
pub const MAX_GROUPS: usize = 64;

/// Free-form settings. An engine and a plugin each say by which names they understand them.
pub type Settings = BTreeMap<String, serde_json::Value>;

/// A group of nodes of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeGroup {
    /// Its name, unique in the cluster.
    pub name: GroupName,
    /// How many nodes it should have.
    pub count: u32,
    /// What the engine and the plugin should know about its nodes.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

/// A cluster as its user wants it.
///
/// ```
/// let spec = saga_cluster::model::ClusterSpec::from_toml(
///     r#"
///     name = "demo"
///     plugin = "blocks"
///     engine = "process"
///
///     [[groups]]
///     name = "workers"
///     count = 3
///     "#,
/// )?;
/// assert_eq!(spec.node_count(), 3);
/// # Ok::<(), saga_cluster::model::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Its name, unique in the repository.
    pub name: ClusterName,
    /// The kind of plugin that makes its machines a cluster.
    pub plugin: KindName,
    /// The kind of engine that makes its machines.
    pub engine: KindName,
    /// What the engine and the plugin should know about all of it. A group may have another opinion.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// Its node groups, at least one.
    pub groups: Vec<NodeGroup>,
}

impl ClusterSpec {
    /// Reads and checks a spec.
    ///
    /// # Errors
    /// [`SpecError`] with *every* problem, so that its author can mend them all at once.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let table: Table =
            text.parse().map_err(|error| SpecError { problems: vec![SpecProblem::Syntax(format!("{error}"))] })?;
        let mut reader = Reader::default();
        let spec = reader.spec(&table);
        match spec {
            Some(spec) if reader.problems.is_empty() => {
                spec.check()?;
                Ok(spec)
            }
            Some(spec) => {
                reader.problems.extend(spec.problems());
                Err(SpecError { problems: reader.problems })
            }
            None => Err(SpecError { problems: reader.problems }),
        }
    }

    /// Checks what the types do not: groups there are, their names are unique, their counts are within bounds.
    ///
    /// # Errors
    /// [`SpecError`] with every problem.
    pub fn check(&self) -> Result<(), SpecError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(SpecError { problems }) }
    }

    /// How many nodes it asks for, over all groups.
    pub fn node_count(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.count)).sum()
    }

    /// The group with that name.
    pub fn group(&self, name: &GroupName) -> Option<&NodeGroup> {
        self.groups.iter().find(|group| group.name == *name)
    }

    /// What counts for the nodes of a group: its own settings, and those of the cluster that it does not have itself.
    pub fn settings_of(&self, group: &NodeGroup) -> Settings {
        let mut settings = self.settings.clone();
        settings.extend(group.settings.clone());
        settings
    }

    /// The groups, each with all the settings that count for it.
    pub fn resolved_groups(&self) -> Vec<NodeGroup> {
        let resolved = |group: &NodeGroup| NodeGroup { settings: self.settings_of(group), ..group.clone() };
        self.groups.iter().map(resolved).collect()
    }

    fn problems(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for group in &self.groups {
            if !seen.insert(&group.name) {
                problems.push(SpecProblem::DuplicateGroup(group.name.clone()));
            }
        }
        if self.groups.len() > MAX_GROUPS {
            problems.push(SpecProblem::TooManyGroups(self.groups.len()));
        }
        match self.node_count() {
            0 => problems.push(SpecProblem::NoNodes),
            total if total > u64::from(MAX_NODES) => problems.push(SpecProblem::TooManyNodes(total)),
            _ => {}
        }
        problems
    }
}

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecProblem {
    /// It is not TOML. Nothing else could be checked.
    Syntax(String),
    /// A field is missing.
    Missing {
        /// Where it should be.
        field: String,
    },
    /// A field that nobody knows: most likely a typing error, so it is not ignored.
    Unknown {
        /// Where it is.
        field: String,
        /// What may stand there.
        known: &'static [&'static str],
    },
    /// A field of another type.
    Type {
        /// Where it is.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A name that is not allowed.
    Name {
        /// Where it is.
        field: String,
        /// Why it is refused.
        reason: InvalidName,
    },
    /// A count that is negative or above [`MAX_NODES`].
    Count {
        /// Where it is.
        field: String,
        /// What it says.
        found: i64,
    },
    /// Two groups have one name.
    DuplicateGroup(GroupName),
    /// More groups than [`MAX_GROUPS`].
    TooManyGroups(usize),
    /// More nodes in all than [`MAX_NODES`].
    TooManyNodes(u64),
    /// No group, or none with a node.
    NoNodes,
    /// A setting that neither the engine nor the plugin understands: most likely a typing error, so it is not ignored.
    Setting {
        /// Where it is.
        field: String,
        /// The names that one of them understands.
        known: Vec<String>,
    },
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "this is not TOML: {}", error.trim_end()),
            Self::Missing { field } => write!(f, "`{field}` is missing"),
            Self::Unknown { field, known } => write!(f, "`{field}` is unknown; known here: {}", known.join(", ")),
            Self::Type { field, expected, found } => write!(f, "`{field}` should be {expected}, and is {found}"),
            Self::Name { field, reason } => write!(f, "`{field}`: {reason}"),
            Self::Count { field, found } => write!(f, "`{field}` is {found}; allowed: 0 to {MAX_NODES}"),
            Self::DuplicateGroup(name) => write!(f, "there is more than one group `{name}`"),
            Self::TooManyGroups(found) => write!(f, "there are {found} groups; the limit is {MAX_GROUPS}"),
            Self::TooManyNodes(found) => write!(f, "there are {found} nodes in all; the limit is {MAX_NODES}"),
            Self::NoNodes => write!(f, "the cluster needs at least one group with at least one node"),
            Self::Setting { field, known } if known.is_empty() => {
                write!(f, "`{field}` is unknown: neither the engine nor the plugin has settings")
            }
            Self::Setting { field, known } => {
                write!(f, "`{field}` is unknown to the engine and to the plugin; known here: {}", known.join(", "))
            }
        }
    }
}

/// A spec was refused. Nothing was touched; mend what it names and try again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the spec has {} problem(s):{}", .problems.len(), listed(.problems))]
pub struct SpecError {
    /// Everything that is wrong with it, never empty.
    pub problems: Vec<SpecProblem>,
}

/// One problem a line, for the errors that carry many.
pub(super) fn listed<T: fmt::Display>(problems: &[T]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

const SPEC_FIELDS: &[&str] = &["name", "plugin", "engine", "settings", "groups"];
const GROUP_FIELDS: &[&str] = &["name", "count", "settings"];

/// Walks the table and notes each problem, where a derived reader would stop at the first.
#[derive(Default)]
struct Reader {
    problems: Vec<SpecProblem>,
}

impl Reader {
    fn spec(&mut self, table: &Table) -> Option<ClusterSpec> {
        self.refuse_unknown("", table, SPEC_FIELDS);
        let name = self.name(table, "", "name", ClusterName::new);
        let plugin = self.name(table, "", "plugin", KindName::new);
        let engine = self.name(table, "", "engine", KindName::new);
        let settings = self.settings(table, "");
        let groups = match self.field(table, "", "groups")? {
            Value::Array(groups) => groups,
            other => return self.wrong_type("groups", "a list of groups, as in [[groups]]", other),
        };
        let read: Vec<_> = groups.iter().enumerate().map(|(i, group)| self.group(i, group)).collect();
        let groups: Vec<_> = read.into_iter().flatten().collect();
        // A group that could not be read is told of already; without any, "no nodes" would be a false second problem.
        if groups.is_empty() && !self.problems.is_empty() {
            return None;
        }
        Some(ClusterSpec { name: name?, plugin: plugin?, engine: engine?, settings: settings?, groups })
    }

    fn group(&mut self, index: usize, value: &Value) -> Option<NodeGroup> {
        let path = format!("groups[{index}]");
        let Value::Table(table) = value else { return self.wrong_type(&path, "a table", value) };
        let path = format!("{path}.");
        self.refuse_unknown(&path, table, GROUP_FIELDS);
        let name = self.name(table, &path, "name", GroupName::new);
        let count = self.count(table, &path);
        let settings = self.settings(table, &path);
        Some(NodeGroup { name: name?, count: count?, settings: settings? })
    }

    fn settings(&mut self, table: &Table, path: &str) -> Option<Settings> {
        match table.get("settings") {
            None => Some(Settings::new()),
            Some(Value::Table(settings)) => Some(settings_of(settings)),
            Some(other) => self.wrong_type(&format!("{path}settings"), "a table", other),
        }
    }

    fn count(&mut self, table: &Table, path: &str) -> Option<u32> {
        let value = self.field(table, path, "count")?;
        let field = format!("{path}count");
        let Value::Integer(found) = value else { return self.wrong_type(&field, "a whole number", value) };
        let count = u32::try_from(*found).ok().filter(|count| *count <= MAX_NODES);
        if count.is_none() {
            self.problems.push(SpecProblem::Count { field, found: *found });
        }
        count
    }

    fn name<N>(
        &mut self,
        table: &Table,
        path: &str,
        key: &str,
        check: fn(String) -> Result<N, InvalidName>,
    ) -> Option<N> {
        let value = self.field(table, path, key)?;
        let field = format!("{path}{key}");
        let Value::String(text) = value else { return self.wrong_type(&field, "a text", value) };
        check(text.clone()).map_err(|reason| self.problems.push(SpecProblem::Name { field, reason })).ok()
    }

    fn field<'t>(&mut self, table: &'t Table, path: &str, key: &str) -> Option<&'t Value> {
        let value = table.get(key);
        if value.is_none() {
            self.problems.push(SpecProblem::Missing { field: format!("{path}{key}") });
        }
        value
    }

    fn refuse_unknown(&mut self, path: &str, table: &Table, known: &'static [&'static str]) {
        let unknown = table.keys().filter(|key| !known.contains(&key.as_str()));
        self.problems.extend(unknown.map(|key| SpecProblem::Unknown { field: format!("{path}{key}"), known }));
    }

    fn wrong_type<T>(&mut self, field: &str, expected: &'static str, found: &Value) -> Option<T> {
        let found = found.type_str();
        self.problems.push(SpecProblem::Type { field: field.to_owned(), expected, found });
        None
    }
}

/// The settings that a table of TOML says.
pub(crate) fn settings_of(table: &Table) -> Settings {
    table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
}

/// Settings are journaled as JSON, which has no dates: they become their text.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Table(table) => table.iter().map(|(k, v)| (k.clone(), to_json(v))).collect(),
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
