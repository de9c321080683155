//! Who is to be a master, which slots move from whom to whom, who is to be whose replica. Pure: nothing is asked here.

use std::collections::BTreeMap;

use super::table::{SLOTS, SlotSet};

/// The fewest masters that a cluster can do with: the election of a master needs a majority.
pub(super) const FEWEST_MASTERS: usize = 3;

/// How many of that many nodes are masters, with so many replicas each. What is left over are further replicas.
pub(super) fn masters_among(nodes: usize, replicas: usize) -> usize {
    (nodes / (replicas + 1)).max(FEWEST_MASTERS).min(nodes)
}

/// A server as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Server {
    pub(super) id: String,
    pub(super) slots: SlotSet,
    /// Whose replica it is.
    pub(super) master: Option<String>,
    /// Whether it is to end with nothing.
    pub(super) leaves: bool,
}

/// Chooses the masters among those that stay: first who owns most, so that little moves; then who is a master already;
/// then replicas of those that leave, who are about to lose their master.
pub(super) fn choose_masters(servers: &[Server], replicas: usize) -> Vec<String> {
    let leaves = |id: &String| servers.iter().any(|server| server.id == *id && server.leaves);
    let mut staying: Vec<&Server> = servers.iter().filter(|server| !server.leaves).collect();
    staying.sort_by_key(|server| {
        let standing = match &server.master {
            None => 0,
            Some(master) if leaves(master) => 1,
            Some(_) => 2,
        };
        (std::cmp::Reverse(server.slots.len()), standing)
    });
    let masters = masters_among(staying.len(), replicas);
    staying.into_iter().take(masters).map(|server| server.id.clone()).collect()
}

/// Slots that change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    /// The owner; none if nobody owns them.
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) slots: SlotSet,
}

/// The fewest moves of slots after which only these masters own some, and no two of them differ by more than one slot.
/// Slots that nobody owns are given out too.
pub(super) fn plan_moves(servers: &[Server], masters: &[String]) -> Vec<Move> {
    if masters.is_empty() {
        return Vec::new();
    }
    let shares = shares(servers, masters);
    let mut free: SlotSet = (0..SLOTS).collect();
    // What each has to give away, in the order of the servers, and what nobody has, last.
    let mut offers: Vec<(Option<String>, Vec<u16>)> = Vec::new();
    let mut wants: Vec<(&String, usize)> = Vec::new();
    for server in servers {
        free.retain(|slot| !server.slots.contains(slot));
        let share = shares.get(&server.id).copied().unwrap_or(0);
        let surplus: Vec<u16> = server.slots.iter().copied().skip(share).collect();
        if !surplus.is_empty() {
            offers.push((Some(server.id.clone()), surplus));
        }
    }
    offers.push((None, free.into_iter().collect()));
    for master in masters {
        let has = servers.iter().find(|server| server.id == *master).map_or(0, |server| server.slots.len());
        wants.push((master, shares[master].saturating_sub(has)));
    }
    let mut moves = Vec::new();
    let mut wants = wants.into_iter().filter(|(_, wanted)| *wanted > 0).peekable();
    for (from, offered) in offers {
        let mut offered = offered.as_slice();
        while let (false, Some((to, wanted))) = (offered.is_empty(), wants.peek_mut()) {
            let (slots, rest) = offered.split_at(offered.len().min(*wanted));
            moves.push(Move { from: from.clone(), to: to.clone(), slots: slots.iter().copied().collect() });
            offered = rest;
            *wanted -= slots.len();
            if *wanted == 0 {
                wants.next();
            }
        }
    }
    moves
}

/// How many slots each master is to own. Who has most now gets what cannot be divided.
fn shares(servers: &[Server], masters: &[String]) -> BTreeMap<String, usize> {
    let owned = |id: &String| servers.iter().find(|server| server.id == *id).map_or(0, |server| server.slots.len());
    let mut order: Vec<&String> = masters.iter().collect();
    order.sort_by_key(|id| std::cmp::Reverse(owned(id)));
    let (each, over) = (usize::from(SLOTS) / masters.len(), usize::from(SLOTS) % masters.len());
    order.into_iter().enumerate().map(|(i, id)| (id.clone(), each + usize::from(i < over))).collect()
}

/// Whose replica each server is to be that stays and is no master: spread evenly, and left where it is if that is even.
pub(super) fn plan_replicas(servers: &[Server], masters: &[String]) -> BTreeMap<String, String> {
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    if masters.is_empty() {
        return homes;
    }
    let mut counts: BTreeMap<&String, usize> = masters.iter().map(|id| (id, 0)).collect();
    let replicas: Vec<&Server> =
        servers.iter().filter(|server| !server.leaves && !masters.contains(&server.id)).collect();
    let (each, mut over) = (replicas.len() / masters.len(), replicas.len() % masters.len());
    for replica in &replicas {
        let Some((master, count)) = replica.master.as_ref().and_then(|id| counts.get_key_value(id)) else { continue };
        let (master, count) = (*master, *count);
        if count < each || (count == each && over > 0) {
            over -= usize::from(count == each);
            counts.insert(master, count + 1);
            homes.insert(replica.id.clone(), master.clone());
        }
    }
    for replica in replicas {
        if !homes.contains_key(&replica.id)
            && let Some(master) = masters.iter().min_by_key(|id| counts[id])
        {
            *counts.entry(master).or_default() += 1;
            homes.insert(replica.id.clone(), master.clone());
        }
    }
    homes
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
