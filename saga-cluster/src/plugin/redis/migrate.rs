//! Moving slots, with all their keys, from one master to another, under the eyes of those who read and write.
//!
//! For some slots at a time: the target is told that it is being given them, the source that it is giving them away; then
//! keys are moved until the source has none, and last the target, the source and everybody else are told who the owner is
//! now. At every moment a key is at the source, or at the target to which the source sends whoever asks for it.
//!
//! This can be stopped anywhere. What it leaves are slots that are marked as being moved, and these marks say all that is
//! needed to finish: see [`finish`]. A key that is at both after a move that broke off is right at the source, which
//! serves it for as long as it has it.
//!
//! Two limits, both of `MIGRATE` itself:
//! - If it broke off after the target restored a key, and somebody deletes that key at the source before it is moved
//!   again, the target answers its old value: the key is back. What is left over at the target cannot be told from what
//!   was written there by those whom the source sent, so nothing here removes it.
//! - A replica does not know of the marks of its master. If the source fails over in the middle of a move, its replica
//!   sends nobody to the target: a key that has moved is not there, and what is written in its place is moved over what
//!   was written at the target. So a move does nothing that lets the others take a source for dead: see [`within`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use redis::{Cmd, Pipeline, RedisError, Value, from_redis_value};
use tokio::time::Instant;

use super::link::{Link, command};
use super::servers::open_slots;
use super::table::{SlotSet, Table};
use crate::model::NodeName;
use crate::plugin::context::stop_if_cancelled;
use crate::plugin::{OpContext, PluginError};

/// How many keys one `MIGRATE` moves. The source answers nobody meanwhile, its fellow servers neither; for the same reason
/// it is given the next one when it is done with the one before, as it does in one go what it was sent in one go.
const KEYS_AT_ONCE: usize = 10;
/// How often in a row these may break off, half as many keys each time: the last is one with a single key.
const ATTEMPTS: u32 = 4;

/// Tells how far the moves for each node are.
pub(super) struct Progress<'a> {
    context: &'a dyn OpContext,
    nodes: BTreeMap<NodeName, (u64, u64)>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(context: &'a dyn OpContext) -> Self {
        Self { context, nodes: BTreeMap::new() }
    }

    /// So many more slots are to be moved for a node.
    pub(super) fn expect(&mut self, node: &NodeName, slots: usize) {
        self.nodes.entry(node.clone()).or_default().1 += slots as u64;
    }

    fn moved(&mut self, node: &NodeName) {
        if let Some((done, total)) = self.nodes.get_mut(node) {
            *done += 1;
            self.context.report(node, *done, *total);
        }
    }
}

/// From whom to whom, and who else is to know.
pub(super) struct Route<'a> {
    pub(super) from: &'a Link,
    pub(super) to: &'a Link,
    pub(super) others: Vec<&'a Link>,
    /// The node that it is done for.
    pub(super) on_behalf_of: &'a NodeName,
}

/// Moves slots, so many at a time.
pub(super) async fn slots(
    route: &Route<'_>,
    slots: &SlotSet,
    at_once: usize,
    progress: &mut Progress<'_>,
) -> Result<(), PluginError> {
    let Route { from, to, .. } = route;
    let slots: Vec<u16> = slots.iter().copied().collect();
    for batch in slots.chunks(at_once) {
        stop_if_cancelled(progress.context)?;
        to.all(&mut set_slots(batch, "IMPORTING", &from.id)).await?;
        from.all(&mut set_slots(batch, "MIGRATING", &to.id)).await?;
        keys(from, to, batch).await?;
        // The target first: if it were the source, and the target died before it heard, nobody would own the slots.
        to.all(&mut set_slots(batch, "NODE", &to.id)).await?;
        from.all(&mut set_slots(batch, "NODE", &to.id)).await?;
        // Others hear of it in any case, by what servers tell each other; so they learn it sooner.
        let told = route.others.iter().map(|other| async { other.each(&mut set_slots(batch, "NODE", &to.id)).await });
        join_all(told).await;
        batch.iter().for_each(|_| progress.moved(route.on_behalf_of));
    }
    Ok(())
}

fn set_slots(slots: &[u16], what: &str, id: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(slots.len());
    for slot in slots {
        pipeline.add_command(set_slot(*slot, what, id));
    }
    pipeline
}

fn set_slot(slot: u16, what: &str, id: &str) -> Cmd {
    let mut set = command("CLUSTER SETSLOT");
    set.arg(slot).arg(what).arg(id);
    set
}

/// Moves the keys of slots that are marked, until the source has none of them. No new ones come: it sends everybody who
/// asks for a key that it does not have to the target.
async fn keys(from: &Link, to: &Link, slots: &[u16]) -> Result<(), PluginError> {
    let mut left = slots.to_vec();
    let (mut at_once, mut attempts) = (KEYS_AT_ONCE, 1);
    loop {
        let mut asking = Pipeline::with_capacity(left.len());
        for slot in &left {
            asking.add_command(command("CLUSTER GETKEYSINSLOT")).arg(*slot).arg(KEYS_AT_ONCE);
        }
        let answers = from.all(&mut asking).await?;
        let mut found: Vec<(u16, Vec<Vec<u8>>)> = Vec::new();
        for (slot, answer) in left.iter().zip(answers) {
            let keys: Vec<Vec<u8>> = from_redis_value(answer).map_err(|error| {
                PluginError::failed(format!("the keys of {} cannot be listed: {error}", from.name())).because(error)
            })?;
            if !keys.is_empty() {
                found.push((*slot, keys));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        for (_, keys) in &found {
            let some = &keys[..keys.len().min(at_once)];
            let migrate = migrate(to, some, within(from));
            let began = Instant::now();
            let moved = from.try_call::<Value>(&migrate).await;
            let took_long = began.elapsed() > within(from);
            match moved {
                Err(error) if !broke_off(&error) || attempts == ATTEMPTS => return Err(from.failed(&migrate, error)),
                // What it did not move is found again.
                Err(_) => attempts += 1,
                Ok(_) => attempts = 1,
            }
            if took_long || attempts > 1 {
                at_once = (at_once / 2).max(1);
            }
        }
        left = found.into_iter().map(|(slot, _)| slot).collect();
    }
}

/// How long a `MIGRATE` waits for its target: it gives up before whoever waits for it does, and long before the others take
/// the source for dead, which says nothing to them until it has.
fn within(from: &Link) -> Duration {
    (from.patience() / 2).min(from.node_timeout() / 4).max(Duration::from_millis(1))
}

fn migrate(to: &Link, keys: &[Vec<u8>], within: Duration) -> Cmd {
    let address = to.address;
    let mut migrate = command("MIGRATE");
    migrate.arg(address.ip().to_string()).arg(address.port()).arg("").arg(0).arg(within.as_millis().to_string());
    migrate.arg("REPLACE").arg("KEYS").arg(keys);
    migrate
}

/// Whether a `MIGRATE` could not talk to its target, or not in time.
fn broke_off(error: &RedisError) -> bool {
    error.code() == Some("IOERR")
}

/// Finishes the moves that were left in the middle: each slot goes where its marks say, with the keys that are not there
/// yet.
pub(super) async fn finish(
    links: &[Link],
    tables: &[Table],
    at_once: usize,
    progress: &mut Progress<'_>,
) -> Result<(), PluginError> {
    let mut routes: BTreeMap<(usize, usize), SlotSet> = BTreeMap::new();
    for slot in open_slots(tables) {
        let target = target_of(slot, links, tables)?;
        let owners = (0..links.len()).filter(|i| tables[*i].own().slots.contains(&slot));
        // Two own it for as long as one has not heard of the other: the later epoch counts.
        let owner = owners.max_by_key(|i| tables[*i].own().epoch);
        let owner =
            owner.ok_or_else(|| PluginError::failed(format!("nobody owns slot {slot}, which is being moved")))?;
        if owner == target {
            close(slot, target, links, tables).await?;
        } else {
            routes.entry((owner, target)).or_default().insert(slot);
        }
    }
    for ((owner, target), slots) in routes {
        let (from, to) = (&links[owner], &links[target]);
        let others = others(links, tables, &BTreeSet::from([owner, target]));
        progress.expect(from.name(), slots.len());
        self::slots(&Route { from, to, others, on_behalf_of: from.name() }, &slots, at_once, progress).await?;
    }
    Ok(())
}

/// Where a slot is to go that is marked as being moved: as its owner says, or if that forgot it in a failover, as the
/// target does.
fn target_of(slot: u16, links: &[Link], tables: &[Table]) -> Result<usize, PluginError> {
    let migrating = tables.iter().find_map(|table| table.own().migrating.get(&slot));
    let importing =
        || tables.iter().find(|table| table.own().importing.contains_key(&slot)).map(|table| &table.own().id);
    let id = migrating.or_else(importing);
    let find = |id: &String| links.iter().position(|link| link.id == *id);
    let target = id.and_then(find);
    // It may have become a replica meanwhile, and have left all to its new master.
    let target = target.and_then(|i| tables[i].own().master.as_ref().map_or(Some(i), find));
    target.ok_or_else(|| {
        PluginError::failed(format!("slot {slot} is being moved to a server that is not one of this cluster"))
    })
}

/// Removes the marks of a slot that has arrived.
async fn close(slot: u16, target: usize, links: &[Link], tables: &[Table]) -> Result<(), PluginError> {
    let id = &links[target].id;
    let marked = |table: &Table| table.own().migrating.contains_key(&slot) || table.own().importing.contains_key(&slot);
    let marked: Vec<&Link> =
        links.iter().zip(tables).filter(|(_, table)| marked(table)).map(|(link, _)| link).collect();
    try_join_all(marked.into_iter().map(|link| async move { link.call::<Value>(&set_slot(slot, "NODE", id)).await }))
        .await?;
    Ok(())
}

/// The masters that are not these.
pub(super) fn others<'a>(links: &'a [Link], tables: &[Table], except: &BTreeSet<usize>) -> Vec<&'a Link> {
    let is_master = |i: &usize| tables[*i].own().master.is_none() && !except.contains(i);
    (0..links.len()).filter(is_master).map(|i| &links[i]).collect()
}
