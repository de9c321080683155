//! The finalizers: the one place where a cluster's status and reason are written when an operation comes to rest.
//!
//! Each can be called again with the same outcome. A record that is gone is not written to, and one that another
//! operation has taken over keeps that one's status: only which nodes there are is still told.

use std::collections::BTreeSet;

use saga_core::{Outcome, Payload, RunId};

use super::ClusterApp;
use super::order::{CreateOrder, DeleteOrder, ScaleOrder, Subject};
use super::phase;
use super::reason::reason;
use super::record;
use crate::model::{Cluster, ClusterId, ClusterName, NewNode, Node, Status};
use crate::repository::RepositoryError;

type End = Outcome<Payload>;

/// Tells the record how a create ended.
pub(crate) async fn create(
    app: &ClusterApp,
    order: &CreateOrder,
    run: &RunId,
    end: &End,
) -> Result<(), RepositoryError> {
    let status = if end.is_completed() { Status::Active } else { Status::Error };
    let Subject { name, id, .. } = &order.subject;
    write(app, (name, id), run, (status, end), |cluster| keep_what_stands(cluster, &order.nodes, end)).await
}

/// Tells the record how a scale ended.
pub(crate) async fn scale(app: &ClusterApp, order: &ScaleOrder, run: &RunId, end: &End) -> Result<(), RepositoryError> {
    let status = match end {
        Outcome::Completed(_) => Status::Active,
        // New nodes that the plugin has begun to set up stand, but nobody knows whether they serve.
        Outcome::RolledBack(_) if stands(end, phase::CONFIGURE, 0) => Status::Error,
        Outcome::RolledBack(_) => Status::Active,
        Outcome::Halted(_) | Outcome::Stuck(_) | Outcome::Abandoned(_) => Status::Error,
    };
    let Subject { name, id, .. } = &order.subject;
    write(app, (name, id), run, (status, end), |cluster| {
        keep_what_stands(cluster, order.plan.add(), end);
        let gone = (0u32..).zip(&order.leaving).filter(|(item, _)| stands(end, phase::TERMINATE, *item));
        cluster.forget(gone.map(|(_, node)| &node.name));
        if !cluster.names(run) {
            // How many there should be is what another operation says by now.
            return;
        }
        if end.is_completed() {
            cluster.take_over(&order.plan);
            return;
        }
        let added: BTreeSet<_> = order.plan.add().iter().map(|node| &node.name).collect();
        if cluster.nodes.iter().any(|node| added.contains(&node.name)) {
            // Nodes of a new group stand, so the spec must know the group.
            cluster.take_over(&order.plan);
        }
        cluster.take_stock();
    })
    .await
}

/// Tells the record, if there is one still, how a delete ended.
pub(crate) async fn delete(
    app: &ClusterApp,
    order: &DeleteOrder,
    run: &RunId,
    end: &End,
) -> Result<(), RepositoryError> {
    let Some(id) = &order.id else { return Ok(()) };
    write(app, (&order.name, id), run, (Status::Error, end), |_| {}).await
}

async fn write(
    app: &ClusterApp,
    (name, id): (&ClusterName, &ClusterId),
    run: &RunId,
    (status, end): (Status, &End),
    mut tell_nodes: impl FnMut(&mut Cluster) + Send,
) -> Result<(), RepositoryError> {
    let written = record::change(&*app.repository, name, id, |cluster| {
        tell_nodes(cluster);
        if cluster.names(run) {
            // A status that does not lead there was set by someone else, for a reason of theirs.
            if cluster.status.check(status).is_ok() {
                cluster.transition(status, reason(end))?;
            }
            if !end.is_resting() {
                cluster.let_go();
            }
        }
        Ok(())
    });
    written.await.map(drop)
}

/// Of the nodes that a run was to make, the record keeps exactly those that stand.
fn keep_what_stands(cluster: &mut Cluster, new: &[NewNode], end: &End) {
    for (item, node) in (0u32..).zip(new) {
        if !stands(end, phase::CREATE, item) {
            cluster.forget([&node.name]);
        } else if let Some(made) = made(end, item) {
            cluster.admit([made]);
        }
    }
}

/// Whether the effect of an item stands, or may. Of a `terminate` it means that the machine is gone.
fn stands(end: &End, step: &str, item: u32) -> bool {
    let is_it = |place: &saga_core::Place| place.step.as_str() == step && place.item.unwrap_or(0) == item;
    let left = || end.residue().iter().find(|left| is_it(&left.place));
    // A termination that is left behind was begun and not finished; something made that is left behind exists.
    let left_stands = || left().is_some_and(|left| step != phase::TERMINATE || left.why == saga_core::Left::Stands);
    match end {
        Outcome::Completed(_) => true,
        Outcome::RolledBack(end) => end.kept.iter().any(is_it),
        Outcome::Stuck(end) => end.kept.iter().any(is_it) || left_stands(),
        Outcome::Halted(_) | Outcome::Abandoned(_) => left_stands(),
    }
}

/// The node that an item made, if that is known.
fn made(end: &End, item: u32) -> Option<Node> {
    let is_it = |place: &saga_core::Place| place.step.as_str() == phase::CREATE && place.item == Some(item);
    end.residue().iter().find(|left| is_it(&left.place))?.output.as_ref()?.decode().ok()
}
