//! Emptying the nodes that leave.
//!
//! For each block: copy it to a node that stays, read it back from there, only then delete it where it was. At every
//! moment a block is somewhere, so this can be stopped anywhere and done again.

use std::collections::{BTreeSet, VecDeque};

use super::{BlocksPlugin, call_failed};
use crate::model::{Decommissioned, Leaving, Node, NodeName};
use crate::node::{BlockKey, Connection, Refusal};
use crate::plugin::context::stop_if_cancelled;
use crate::plugin::{ClusterView, OpContext, PluginError};

pub(super) async fn run(
    plugin: &BlocksPlugin,
    cluster: &ClusterView,
    leaving: Vec<Leaving>,
    context: &dyn OpContext,
) -> Result<Vec<Decommissioned>, PluginError> {
    stop_if_cancelled(context)?;
    let names: BTreeSet<&NodeName> = leaving.iter().map(|one| &one.node().name).collect();
    // Whatever the view has marked: a node must never be the target of its own blocks.
    let mut targets = Targets::new(cluster.staying().filter(|node| !names.contains(&node.name)));
    let mut sources = Vec::with_capacity(leaving.len());
    for one in &leaving {
        let node = one.node();
        let mut source = plugin.open(node).await?;
        // All of them before the first block is moved, so that none moves to a node that leaves too.
        source.retire().await.map_err(|error| call_failed(&format!("{} cannot be retired", node.name), error))?;
        sources.push(source);
    }
    let mut proofs = Vec::with_capacity(leaving.len());
    for (one, mut source) in leaving.into_iter().zip(sources) {
        empty(plugin, one.node(), &mut source, &mut targets, context).await?;
        proofs.push(one.drained());
    }
    Ok(proofs)
}

/// Moves all blocks away from a node. Returns only when the node itself has said that it has none any more.
async fn empty(
    plugin: &BlocksPlugin,
    node: &Node,
    source: &mut Connection,
    targets: &mut Targets<'_>,
    context: &dyn OpContext,
) -> Result<(), PluginError> {
    let name = &node.name;
    let at_source = |error| call_failed(&format!("the blocks of {name} cannot be moved"), error);
    let keys = source.list().await.map_err(at_source)?;
    let total = keys.len() as u64;
    for (done, key) in (1..).zip(&keys) {
        stop_if_cancelled(context)?;
        // A block that is gone was moved by an attempt before this one, whose answer was late.
        if let Some(bytes) = source.get(key).await.map_err(at_source)? {
            targets.take(plugin, key, &bytes).await?;
            source.delete(key).await.map_err(at_source)?;
        }
        context.report(name, done, total);
    }
    match source.list().await.map_err(at_source)?.len() {
        0 => Ok(()),
        left => Err(PluginError::failed(format!("{name} still holds {left} blocks"))),
    }
}

/// The nodes that stay, taking turns.
struct Targets<'a> {
    nodes: VecDeque<(&'a Node, Option<Connection>)>,
}

impl<'a> Targets<'a> {
    fn new(nodes: impl Iterator<Item = &'a Node>) -> Self {
        Self { nodes: nodes.map(|node| (node, None)).collect() }
    }

    /// Copies a block to the next node that accepts it, and makes sure that it is there.
    async fn take(&mut self, plugin: &BlocksPlugin, key: &BlockKey, bytes: &[u8]) -> Result<(), PluginError> {
        let mut refusals = String::new();
        for _ in 0..self.nodes.len() {
            let Some((node, connection)) = self.nodes.pop_front() else { break };
            let mut target = match connection {
                Some(open) => open,
                None => plugin.open(node).await?,
            };
            let at_target = |error| call_failed(&format!("block {key} cannot be copied to {}", node.name), error);
            match target.put(key, bytes).await {
                Ok(()) => {
                    // What counts is not what was sent but what would be read from there.
                    let copy = target.get(key).await.map_err(at_target)?;
                    if copy.as_deref() != Some(bytes) {
                        let message = format!("the copy of block {key} on {} differs from it", node.name);
                        return Err(PluginError::fatal(message));
                    }
                    self.nodes.push_back((node, Some(target)));
                    return Ok(());
                }
                Err(error) => match error.refusal() {
                    // Two different blocks under one key: whichever were dropped, data would be lost.
                    Some(Refusal::KeyTaken) => {
                        let message = format!("{} has another block under the key {key}", node.name);
                        return Err(PluginError::fatal(message).because(error));
                    }
                    Some(why) => {
                        refusals.push_str(&format!("; {}: {why}", node.name));
                        self.nodes.push_back((node, Some(target)));
                    }
                    None => return Err(at_target(error)),
                },
            }
        }
        Err(PluginError::failed(format!("no node takes block {key}{refusals}")))
    }
}
