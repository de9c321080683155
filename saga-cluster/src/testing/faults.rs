//! The script of what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::NodeName;

/// Which call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum On {
    /// [`Engine::create`](crate::engine::Engine::create)
    Create,
    /// [`Engine::find`](crate::engine::Engine::find)
    Find,
    /// [`Engine::destroy`](crate::engine::Engine::destroy)
    Destroy,
    /// [`Engine::list`](crate::engine::Engine::list)
    List,
    /// [`Plugin::validate`](crate::plugin::Plugin::validate)
    Validate,
    /// [`Plugin::validate_scale`](crate::plugin::Plugin::validate_scale)
    ValidateScale,
    /// [`Plugin::configure`](crate::plugin::Plugin::configure)
    Configure,
    /// [`Plugin::start`](crate::plugin::Plugin::start)
    Start,
    /// [`Plugin::decommission`](crate::plugin::Plugin::decommission)
    Decommission,
    /// [`Plugin::health`](crate::plugin::Plugin::health)
    Health,
    /// [`ClusterRepository::insert`](crate::repository::ClusterRepository::insert)
    InsertRecord,
    /// [`ClusterRepository::get`](crate::repository::ClusterRepository::get)
    GetRecord,
    /// [`ClusterRepository::list`](crate::repository::ClusterRepository::list)
    ListRecords,
    /// [`ClusterRepository::update`](crate::repository::ClusterRepository::update)
    UpdateRecord,
    /// [`ClusterRepository::remove`](crate::repository::ClusterRepository::remove) and
    /// [`remove_version`](crate::repository::ClusterRepository::remove_version)
    RemoveRecord,
}

/// At which of the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// Every one.
    Always,
    /// Only the one with that number, counted from 1 over all calls of the operation.
    Nth(u64),
    /// The first so many.
    First(u64),
    /// Every one that is about that node, or that it is among the nodes of.
    Node(NodeName),
    /// The first so many that are about that node.
    NodeFirst(NodeName, u64),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// Nothing is done, and the caller learns only that it failed.
    FailBefore,
    /// It is done, and the caller learns only that it failed.
    FailAfter,
    /// Nothing is done, and the caller learns that trying again does not help, but not that nothing was done.
    FatalBefore,
    /// It is done, and the caller learns that it failed, and that trying again does not help.
    FatalAfter,
    /// Nothing is done, and the caller learns that.
    Reject,
    /// Nothing is done and nothing is returned, until the operation is cancelled (by its context, by being dropped, or
    /// by [`Faults::release`]). Then it fails.
    HangBefore,
    /// It is done, and nothing is returned until the operation is cancelled. Then it fails.
    HangAfter,
    /// It panics, with nothing done.
    Panic,
}

#[derive(Debug)]
struct Rule {
    on: On,
    when: When,
    how: How,
    hits: u64,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    calls: BTreeMap<On, u64>,
    hit: u64,
}

/// A script of failures, shared by the wrappers that act it out and the test that writes it. Rules can be added and
/// cleared at any time; of several that fit a call, the first that was added counts.
#[derive(Debug, Clone)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
    /// Counts the releases, so that one which comes before anyone hangs does not let a later one go.
    releases: watch::Sender<u64>,
    hanging: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { script: Arc::default(), releases: watch::Sender::new(0), hanging: watch::Sender::new(0) }
    }
}

impl Faults {
    /// An empty script: nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    pub fn inject(&self, on: On, when: When, how: How) -> &Self {
        self.script().rules.push(Rule { on, when, how, hits: 0 });
        self
    }

    /// Removes all rules. The counts of calls go on.
    pub fn clear(&self) {
        self.script().rules.clear();
    }

    /// How many calls of an operation there were, whatever came of them.
    pub fn calls(&self, on: On) -> u64 {
        self.script().calls.get(&on).copied().unwrap_or(0)
    }

    /// How many calls went wrong by a rule.
    pub fn hit(&self) -> u64 {
        self.script().hit
    }

    /// Lets all go that hang now. They fail.
    pub fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    /// Waits until something hangs.
    pub async fn until_something_hangs(&self) {
        // It cannot be closed: this very value holds a sender.
        let _ = self.hanging.subscribe().wait_for(|hanging| *hanging > 0).await;
    }

    /// Counts a call, and says what is to go wrong with it.
    pub(super) fn strike(&self, on: On, nodes: &[&NodeName]) -> Option<How> {
        let mut script = self.script();
        let script = &mut *script;
        let nth = script.calls.entry(on).or_default();
        *nth += 1;
        let fits = |rule: &&mut Rule| {
            rule.on == on
                && match &rule.when {
                    When::Always => true,
                    When::Nth(n) => n == nth,
                    When::First(n) => *nth <= *n,
                    When::Node(node) => nodes.contains(&node),
                    When::NodeFirst(node, times) => nodes.contains(&node) && rule.hits < *times,
                }
        };
        let rule = script.rules.iter_mut().find(fits)?;
        rule.hits += 1;
        script.hit += 1;
        Some(rule.how)
    }

    /// Hangs until released.
    pub(super) async fn hang(&self) {
        let mut releases = self.releases.subscribe();
        let _hanging = Hanging::new(&self.hanging);
        let _ = releases.changed().await;
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one call that hangs, until it is dropped, however that comes about.
struct Hanging<'a>(&'a watch::Sender<u64>);

impl<'a> Hanging<'a> {
    fn new(count: &'a watch::Sender<u64>) -> Self {
        count.send_modify(|hanging| *hanging += 1);
        Self(count)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|hanging| *hanging -= 1);
    }
}
