//! Emptying the nodes that leave, and letting the others forget them.
//!
//! The proof that a node may be destroyed is that it owns no slot in the view of *every* server that stays. How many keys
//! it has says nothing: a master that was emptied may have become a replica, which has all the keys of its new master.
//! Nor is it proved before the masters that stay have on their disks what they were given.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use redis::RedisError;

use super::RedisPlugin;
use super::arrange::Arrangement;
use super::link::{Link, command};
use super::servers::{join, open, serving, tables};
use super::settings;
use super::sync::synced;
use super::table::{SLOTS, SlotSet, Table};
use super::wait::Wait;
use crate::model::{Decommissioned, Leaving, NodeName};
use crate::plugin::context::stop_if_cancelled;
use crate::plugin::{ClusterView, OpContext, PluginError};

pub(super) async fn run(
    plugin: &RedisPlugin,
    cluster: &ClusterView,
    leaving: Vec<Leaving>,
    context: &dyn OpContext,
) -> Result<Vec<Decommissioned>, PluginError> {
    stop_if_cancelled(context)?;
    let names: BTreeSet<&NodeName> = leaving.iter().map(|one| &one.node().name).collect();
    // Whatever the view has marked: a node must never be given its own slots.
    let staying = open(cluster.staying().filter(|node| !names.contains(&node.name)), plugin.patience).await?;
    let going = open(leaving.iter().map(Leaving::node), plugin.patience).await?;
    if staying.is_empty() {
        return Err(PluginError::rejected("no node would stay to take the slots of those that leave"));
    }
    join(&staying, context, plugin.settle_within).await?;

    // An attempt before this one may have got as far as to let some servers forget some nodes; it emptied these before.
    let (views, own_views) = (tables(&staying).await?, tables(&going).await?);
    let mut links = staying.clone();
    let members = going.iter().zip(&own_views).filter(|(link, own)| {
        let known = views.iter().all(|view| view.row(&link.id).is_some());
        known && !own.is_alone()
    });
    links.extend(members.map(|(link, _)| link.clone()));
    let arrangement = Arrangement {
        links: &links,
        leaving: going.iter().map(|link| link.id.clone()).collect(),
        replicas: settings::replicas_of(cluster.spec()),
        is_new: false,
        slots_at_once: plugin.slots_at_once,
        settle_within: plugin.settle_within,
        context,
    };
    arrangement.make().await?;
    is_empty(&staying, &going).await?;
    for link in &going {
        context.checkpoint(link.name(), "emptied").await?;
    }

    // Each forgets within a minute of the first: until then nobody learns of the node again from somebody who has not.
    try_join_all(staying.iter().map(|link| forget(link, &going))).await?;
    for link in &going {
        // A server that is alone, and empty, or holds only what it copied. It refuses if it is a master with keys.
        link.call::<()>(&command("CLUSTER RESET SOFT")).await?;
    }
    forgotten(plugin, &staying, &going, context).await?;
    serving(&staying, context, plugin.settle_within).await?;
    // Those who leave had all of it on their disks, and the proof lets somebody remove these.
    let views = tables(&staying).await?;
    let masters = staying.iter().zip(&views).filter(|(_, view)| view.own().master.is_none());
    let masters: Vec<Link> = masters.map(|(link, _)| link.clone()).collect();
    synced(&masters, context, plugin.settle_within).await?;
    is_empty(&staying, &going).await?;
    Ok(leaving.into_iter().map(Leaving::drained).collect())
}

/// Makes sure that those who leave own nothing, as everybody sees it, and that those who stay own everything.
async fn is_empty(staying: &[Link], going: &[Link]) -> Result<(), PluginError> {
    for (view, link) in tables(staying).await?.iter().zip(staying) {
        let owned_by = |links: &[Link]| slots_of(view, links);
        if let Some(slot) = owned_by(going).first() {
            let message = format!("{} says that slot {slot} is owned by a node that leaves", link.name());
            return Err(PluginError::failed(message));
        }
        let kept = owned_by(staying).len();
        if kept != usize::from(SLOTS) {
            let message = format!("{} says that those who stay own {kept} slots, not {SLOTS}", link.name());
            return Err(PluginError::failed(message));
        }
    }
    for (view, link) in tables(going).await?.iter().zip(going) {
        if let Some(slot) = view.own().slots.first() {
            return Err(PluginError::failed(format!("{} owns slot {slot}", link.name())));
        }
    }
    Ok(())
}

fn slots_of(view: &Table, links: &[Link]) -> SlotSet {
    let rows = view.rows().iter().filter(|row| links.iter().any(|link| link.id == row.id));
    rows.flat_map(|row| row.slots.iter().copied()).collect()
}

/// Lets a server forget those who leave.
async fn forget(link: &Link, going: &[Link]) -> Result<(), PluginError> {
    for gone in going {
        let forget = link.try_call::<()>(command("CLUSTER FORGET").arg(&gone.id)).await;
        match forget {
            Err(error) if is_unknown(&error) => {}
            Err(error) => {
                let message = format!("{} cannot forget {}: {error}", link.name(), gone.name());
                return Err(PluginError::failed(message).because(error));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn is_unknown(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("Unknown node"))
}

/// Waits until nobody knows those who leave any more, nor they anybody.
async fn forgotten(
    plugin: &RedisPlugin,
    staying: &[Link],
    going: &[Link],
    context: &dyn OpContext,
) -> Result<(), PluginError> {
    let wait = Wait::new(context, plugin.settle_within);
    loop {
        let views = tables(staying).await?;
        let known = staying.iter().zip(&views).find_map(|(link, view)| {
            let gone = going.iter().find(|gone| view.row(&gone.id).is_some())?;
            Some((link, gone))
        });
        let Some((link, gone)) = known else { return Ok(()) };
        forget(link, std::slice::from_ref(gone)).await?;
        wait.again(&format!("{} still knows {}", link.name(), gone.name())).await?;
    }
}
