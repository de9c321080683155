//! All servers of a cluster at once: asking them, and waiting until they agree.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::link::{Link, command};
use super::plan::Server;
use super::table::{Row, SlotSet, Table};
use super::wait::Wait;
use crate::model::Node;
use crate::plugin::{OpContext, PluginError};

/// How long a `MEET` has to lead to something before it is said again.
const MEET_AGAIN: u32 = 40;

/// Connects to the servers of these nodes, all of which must answer.
pub(super) async fn open(nodes: impl IntoIterator<Item = &Node>, patience: Duration) -> Result<Vec<Link>, PluginError> {
    try_join_all(nodes.into_iter().map(|node| Link::open(node, patience))).await
}

/// What each of them says of the cluster.
pub(super) async fn tables(links: &[Link]) -> Result<Vec<Table>, PluginError> {
    try_join_all(links.iter().map(Link::table)).await
}

/// Makes all know each other.
pub(super) async fn join(links: &[Link], context: &dyn OpContext, limit: Duration) -> Result<(), PluginError> {
    let wait = Wait::new(context, limit);
    for round in 0.. {
        let tables = tables(links).await?;
        let strange = strangers(links, &tables);
        let Some((who, whom)) = strange.first() else { return Ok(()) };
        if round % MEET_AGAIN == 0 {
            for (who, whom) in &strange {
                let other = whom.address;
                let mut meet = command("CLUSTER MEET");
                meet.arg(other.ip().to_string()).arg(other.port()).arg(whom.bus_port);
                who.call::<()>(&meet).await?;
            }
        }
        wait.again(&format!("{} does not know {}", who.name(), whom.name())).await?;
    }
    unreachable!("the wait ends it")
}

/// Who does not know whom. Of two that do not know each other one is enough.
fn strangers<'a>(links: &'a [Link], tables: &[Table]) -> Vec<(&'a Link, &'a Link)> {
    let knows = |i: usize, j: usize| tables[i].row(&links[j].id).is_some_and(|row| !row.is("handshake"));
    let mut strange = Vec::new();
    for i in 0..links.len() {
        for j in 0..links.len() {
            if i != j && !knows(i, j) && (i < j || knows(j, i)) {
                strange.push((&links[i], &links[j]));
            }
        }
    }
    strange
}

/// Waits until all of them agree on who owns what and who is whose replica, and returns what they say.
pub(super) async fn agreed(
    links: &[Link],
    context: &dyn OpContext,
    limit: Duration,
) -> Result<Vec<Table>, PluginError> {
    let wait = Wait::new(context, limit);
    loop {
        let tables = tables(links).await?;
        match quarrel(links, &tables) {
            None => return Ok(tables),
            Some(why) => wait.again(&why).await?,
        }
    }
}

/// Waits until all of them are ready to serve.
pub(super) async fn serving(links: &[Link], context: &dyn OpContext, limit: Duration) -> Result<(), PluginError> {
    let wait = Wait::new(context, limit);
    loop {
        let states = join_all(links.iter().map(|link| link.fact("CLUSTER INFO", "cluster_state"))).await;
        let mut unready = None;
        for (link, state) in links.iter().zip(states) {
            if state?.as_deref() != Some("ok") {
                unready = unready.or(Some(link));
            }
        }
        let Some(link) = unready else { return Ok(()) };
        wait.again(&format!("{} does not say `cluster_state:ok`", link.name())).await?;
    }
}

/// In what two servers differ, if any do. Slots that are being moved do not count: a server does not believe others
/// about a slot that it is being given.
fn quarrel(links: &[Link], tables: &[Table]) -> Option<String> {
    let open = open_slots(tables);
    let closed = |row: &Row| row.slots.difference(&open).copied().collect::<SlotSet>();
    for (table, who) in tables.iter().zip(links) {
        for (other, whom) in tables.iter().zip(links) {
            let (who, whom, own) = (who.name(), whom.name(), other.own());
            let Some(row) = table.row(&own.id) else { return Some(format!("{who} does not know {whom}")) };
            if !row.is_sound() {
                return Some(format!("{who} does not reach {whom}"));
            }
            if row.master != own.master {
                return Some(format!("{who} and {whom} do not agree on whose replica {whom} is"));
            }
            if closed(row) != closed(own) {
                return Some(format!("{who} and {whom} do not agree on the slots of {whom}"));
            }
        }
    }
    None
}

/// The slots that somebody is giving or being given.
pub(super) fn open_slots(tables: &[Table]) -> SlotSet {
    tables.iter().flat_map(|table| table.own().migrating.keys().chain(table.own().importing.keys())).copied().collect()
}

/// What there is to plan with: each server as it sees itself.
pub(super) fn servers(tables: &[Table], leaving: &BTreeSet<String>) -> Vec<Server> {
    let server = |table: &Table| {
        let own = table.own();
        let (id, slots, master) = (own.id.clone(), own.slots.clone(), own.master.clone());
        Server { leaves: leaving.contains(&id), id, slots, master }
    };
    tables.iter().map(server).collect()
}
