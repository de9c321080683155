//! Bringing a cluster from how it is to how it should be: who is a master, who owns what, who is whose replica.
//!
//! It looks, plans and acts, in this order, and looks again before each kind of act. Nothing is remembered between two
//! attempts but what the servers themselves know.

use std::collections::BTreeSet;
use std::time::Duration;

use super::link::{Link, command};
use super::migrate::{self, Progress, Route};
use super::plan::{choose_masters, plan_moves, plan_replicas};
use super::servers::{agreed, join, open_slots, servers, serving};
use super::table::{SlotSet, Table};
use super::wait::Wait;
use crate::plugin::context::stop_if_cancelled;
use crate::plugin::{OpContext, PluginError};

/// A move that was left in the middle may hide another one, but not for ever.
const FINISHING_ROUNDS: usize = 4;
/// How long a replica may take to copy what its master has.
const COPIED_WITHIN: Duration = Duration::from_secs(3600);

/// What a cluster should become.
pub(super) struct Arrangement<'a> {
    /// All servers that know each other.
    pub(super) links: &'a [Link],
    /// Those that are to end with nothing, by their names among the servers.
    pub(super) leaving: BTreeSet<String>,
    /// How many replicas each master is to have.
    pub(super) replicas: usize,
    /// Whether nobody has been using it: then slots that nobody owns are given out. Later they would be a loss.
    pub(super) is_new: bool,
    pub(super) slots_at_once: usize,
    pub(super) settle_within: Duration,
    pub(super) context: &'a dyn OpContext,
}

impl Arrangement<'_> {
    /// Makes it so.
    pub(super) async fn make(&self) -> Result<(), PluginError> {
        let mut progress = Progress::new(self.context);
        self.finish_moves(&mut progress).await?;
        let masters = self.appoint().await?;
        self.move_slots(&masters, &mut progress).await?;
        self.place_replicas(&masters).await?;
        self.agreed().await?;
        let staying: Vec<Link> = self.links.iter().filter(|link| !self.leaving.contains(&link.id)).cloned().collect();
        serving(&staying, self.context, self.settle_within).await
    }

    async fn agreed(&self) -> Result<Vec<Table>, PluginError> {
        agreed(self.links, self.context, self.settle_within).await
    }

    async fn all_serve(&self) -> Result<(), PluginError> {
        serving(self.links, self.context, self.settle_within).await
    }

    async fn finish_moves(&self, progress: &mut Progress<'_>) -> Result<(), PluginError> {
        for _ in 0..FINISHING_ROUNDS {
            let tables = self.agreed().await?;
            if open_slots(&tables).is_empty() {
                return Ok(());
            }
            self.all_serve().await?;
            migrate::finish(self.links, &tables, self.slots_at_once, progress).await?;
        }
        let open = open_slots(&self.agreed().await?);
        match open.first() {
            None => Ok(()),
            Some(slot) => Err(PluginError::failed(format!("slot {slot} is still being moved by somebody"))),
        }
    }

    /// Chooses the masters, and makes those masters that are replicas now.
    async fn appoint(&self) -> Result<Vec<String>, PluginError> {
        let servers = servers(&self.agreed().await?, &self.leaving);
        let masters = choose_masters(&servers, self.replicas);
        let is_replica = |link: &&Link| servers.iter().any(|server| server.id == link.id && server.master.is_some());
        let promoted: Vec<&Link> =
            self.links.iter().filter(|link| masters.contains(&link.id)).filter(is_replica).collect();
        for link in &promoted {
            stop_if_cancelled(self.context)?;
            // What it has is a copy. It forgets everybody, and is made to know them again.
            link.call::<()>(&command("CLUSTER RESET SOFT")).await?;
            join(self.links, self.context, self.settle_within).await?;
        }
        if !promoted.is_empty() {
            self.agreed().await?;
        }
        Ok(masters)
    }

    async fn move_slots(&self, masters: &[String], progress: &mut Progress<'_>) -> Result<(), PluginError> {
        let tables = self.agreed().await?;
        let servers = servers(&tables, &self.leaving);
        let moves = plan_moves(&servers, masters);
        let find = |id: &String| self.links.iter().position(|link| link.id == *id);
        let mut routes = Vec::new();
        for one in &moves {
            let Some(to) = find(&one.to) else { continue };
            match one.from.as_ref().and_then(find) {
                None if self.is_new => add_slots(&self.links[to], &one.slots).await?,
                None => {
                    let (some, slot) = (one.slots.len(), one.slots.first().copied().unwrap_or(0));
                    return Err(PluginError::failed(format!(
                        "nobody owns slot {slot} ({some} in all): what was in them is lost; give them to somebody by hand"
                    )));
                }
                Some(from) => {
                    let leaves = self.leaving.contains(&self.links[from].id);
                    let node = self.links[if leaves { from } else { to }].name();
                    progress.expect(node, one.slots.len());
                    routes.push((from, to, node, &one.slots));
                }
            }
        }
        if !routes.is_empty() {
            // A server takes no keys before it thinks that the cluster is whole, which one that is new does after a while.
            self.all_serve().await?;
        }
        for (from, to, on_behalf_of, slots) in routes {
            let others = migrate::others(self.links, &tables, &BTreeSet::from([from, to]));
            let route = Route { from: &self.links[from], to: &self.links[to], others, on_behalf_of };
            migrate::slots(&route, slots, self.slots_at_once, progress).await?;
        }
        Ok(())
    }

    async fn place_replicas(&self, masters: &[String]) -> Result<(), PluginError> {
        let servers = servers(&self.agreed().await?, &self.leaving);
        let homes = plan_replicas(&servers, masters);
        for server in &servers {
            let (Some(home), Some(link)) = (homes.get(&server.id), self.links.iter().find(|link| link.id == server.id))
            else {
                continue;
            };
            if server.master.as_ref() != Some(home) {
                stop_if_cancelled(self.context)?;
                link.call::<()>(command("CLUSTER REPLICATE").arg(home)).await?;
            }
        }
        let wait = Wait::new(self.context, COPIED_WITHIN);
        for link in self.links.iter().filter(|link| homes.contains_key(&link.id)) {
            while link.fact("INFO replication", "master_link_status").await?.as_deref() != Some("up") {
                wait.again(&format!("{} has not copied what its master has", link.name())).await?;
            }
        }
        Ok(())
    }
}

/// Gives slots that nobody owns to a server.
async fn add_slots(link: &Link, slots: &SlotSet) -> Result<(), PluginError> {
    let mut add = command("CLUSTER ADDSLOTSRANGE");
    let mut slots = slots.iter().copied().peekable();
    while let Some(first) = slots.next() {
        let mut last = first;
        while let Some(next) = slots.next_if(|next| *next == last + 1) {
            last = next;
        }
        add.arg(first).arg(last);
    }
    link.call(&add).await
}
