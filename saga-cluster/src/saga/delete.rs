//! Deleting a cluster. Nothing is ever undone here: whatever can go, goes, and what cannot is named.
//!
//! It has no guard, because the machines of a cluster whose record is gone are to go as well.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use saga_core::{BuildError, Ctx, Saga, StepError};

use super::order::{DeleteOrder, LeftNode, Swept, Target};
use super::{ClusterApp, nodes, phase, policy, record, settle};
use crate::engine::Machine;
use crate::model::{Cluster, Doomed, KindName, NodeToken};
use crate::repository::RepositoryError;

pub(crate) const NAME: &str = "delete-cluster";

pub(crate) type DeleteSaga = Saga<ClusterApp, DeleteOrder, Swept>;

pub(crate) fn saga() -> Result<DeleteSaga, BuildError> {
    let mut saga = Saga::<ClusterApp, DeleteOrder>::builder(NAME, 1);
    let order = saga.input();
    let targets = saga.step(phase::FIND, order, find).retry(policy::DELETE).nothing_to_undo();
    let tried = saga
        .for_each(phase::DESTROY, targets, destroy)
        .concurrency(policy::NODES_AT_ONCE)
        .retry(policy::DELETE)
        .nothing_to_undo();
    let swept = saga.step(phase::SWEEP, (order, targets, tried), sweep).retry(policy::DELETE).nothing_to_undo();
    let removed = saga
        .step(phase::REMOVE, (order, swept), remove)
        .retry(policy::RECORD)
        .timeout(policy::RECORD_WITHIN)
        .nothing_to_undo();
    saga.finally(|ctx: Ctx<ClusterApp>, order: DeleteOrder, end| async move {
        ctx.live.driven(ctx.run());
        Ok(settle::delete(ctx.app(), &order, ctx.run(), &end).await?)
    });
    saga.build(removed)
}

/// Every machine that bears the cluster's tag, and every node of its record: either may know more than the other.
async fn find(ctx: Ctx<ClusterApp>, order: DeleteOrder) -> Result<Vec<Target>, StepError> {
    begin(&ctx, &order).await?;
    let mut targets = Vec::new();
    for kind in &order.engines {
        match list(&ctx, kind, &order).await {
            Ok(machines) => targets.extend(machines.into_iter().map(|machine| target(kind, machine))),
            Err(error) if may_try_again(&ctx) => return Err(error),
            // What the record knows can be destroyed all the same; the sweep will say that there may be more.
            Err(_) => {}
        }
    }
    let known: BTreeSet<NodeToken> = targets.iter().map(|target| target.machine.token.clone()).collect();
    if let Some(cluster) = find_record(&ctx, &order).await? {
        let unlisted = cluster.nodes.iter().filter(|node| !known.contains(&node.token));
        targets.extend(unlisted.map(|node| Target {
            engine: cluster.spec.engine.clone(),
            machine: Machine {
                cluster: order.name.clone(),
                node: node.name.clone(),
                token: node.token.clone(),
                address: node.address,
                // It was once, and the engine does not list it.
                ready: false,
            },
        }));
    }
    Ok(targets)
}

/// Destroys one machine. That it cannot be done is an answer, not a failure: one bad machine must not save the others.
async fn destroy(ctx: Ctx<ClusterApp>, target: Target) -> Result<Option<LeftNode>, StepError> {
    match destroy_once(&ctx, &target).await {
        Ok(()) => Ok(None),
        Err(error) if may_try_again(&ctx) => Err(error),
        Err(error) => Ok(Some(left(&target, &error))),
    }
}

/// Looks again: a machine whose making was cut short may have appeared since. Then tells the record what is gone.
async fn sweep(
    ctx: Ctx<ClusterApp>,
    (order, targets, tried): (DeleteOrder, Vec<Target>, Vec<Option<LeftNode>>),
) -> Result<Swept, StepError> {
    let mut swept = Swept { left: tried.into_iter().flatten().collect(), unsure: Vec::new() };
    for kind in &order.engines {
        for round in 1..=policy::SWEEPS {
            let machines = match list(&ctx, kind, &order).await {
                Ok(machines) => machines,
                Err(error) if may_try_again(&ctx) => return Err(error),
                Err(error) => {
                    swept.unsure.push(error.message().to_owned());
                    break;
                }
            };
            let given_up: BTreeSet<NodeToken> = swept.left.iter().map(|left| left.token.clone()).collect();
            let late: Vec<Machine> = machines.into_iter().filter(|one| !given_up.contains(&one.token)).collect();
            if late.is_empty() {
                break;
            }
            for target in late.into_iter().map(|machine| target(kind, machine)) {
                let gone = destroy_once(&ctx, &target).await;
                if let (Err(error), true) = (gone, round == policy::SWEEPS) {
                    swept.left.push(left(&target, &error));
                }
            }
        }
    }
    if let Some(id) = &order.id {
        let left: BTreeSet<&NodeToken> = swept.left.iter().map(|left| &left.token).collect();
        let gone = targets.iter().map(|target| &target.machine).filter(|machine| !left.contains(&machine.token));
        let gone: Vec<_> = gone.map(|machine| machine.node.clone()).collect();
        let forgotten = record::change(&*ctx.repository, &order.name, id, |cluster| {
            cluster.forget(&gone);
            Ok(())
        });
        forgotten.await?;
    }
    Ok(swept)
}

/// Removes the record, last: as long as there is something left, there is a record that says so, unless it is by force.
async fn remove(ctx: Ctx<ClusterApp>, (order, swept): (DeleteOrder, Swept)) -> Result<Swept, StepError> {
    if !swept.is_clean() && !order.force {
        return Err(StepError::rejected(swept.in_words()));
    }
    match &order.id {
        Some(id) => {
            record::remove(&*ctx.repository, &order.name, id, |_| true).await?;
        }
        None if order.unreadable && is_unreadable(&ctx, &order).await => {
            ctx.repository.remove(&order.name).await?;
        }
        None => {}
    }
    Ok(swept)
}

/// Makes sure that this delete is still meant. It finds machines by the cluster's *name*: one that was called off, and is
/// started all the same by a process that was asleep, would destroy those of a later cluster.
///
/// Once it has begun, that name is its own: whatever makes machines for a later cluster needs the key that this run holds.
async fn begin(ctx: &Ctx<ClusterApp>, order: &DeleteOrder) -> Result<(), StepError> {
    ctx.live.driven(ctx.run());
    let meant = match (&order.id, ctx.repository.get(&order.name).await) {
        (Some(id), Ok(Some(_))) => record::begin(&*ctx.repository, &order.name, id, ctx.run()).await?,
        // Whoever removed the record did not remove the machines.
        (_, Ok(None)) => true,
        (None, Err(RepositoryError::Unreadable { .. })) if order.unreadable => true,
        (None, Ok(Some(_)) | Err(RepositoryError::Unreadable { .. })) => false,
        (_, Err(error)) => return Err(error.into()),
    };
    if meant { Ok(()) } else { Err(nodes::called_off()) }
}

async fn is_unreadable(ctx: &Ctx<ClusterApp>, order: &DeleteOrder) -> bool {
    matches!(ctx.repository.get(&order.name).await, Err(RepositoryError::Unreadable { .. }))
}

async fn find_record(ctx: &Ctx<ClusterApp>, order: &DeleteOrder) -> Result<Option<Cluster>, StepError> {
    let Some(id) = &order.id else { return Ok(None) };
    Ok(record::find(&*ctx.repository, &order.name, id).await?)
}

fn target(kind: &KindName, machine: Machine) -> Target {
    Target { engine: kind.clone(), machine }
}

fn left(target: &Target, error: &StepError) -> LeftNode {
    let Machine { node, token, .. } = &target.machine;
    let (engine, name, token) = (target.engine.clone(), node.clone(), token.clone());
    LeftNode { engine, name, token, why: error.message().to_owned() }
}

fn may_try_again(ctx: &Ctx<ClusterApp>) -> bool {
    ctx.attempt() < policy::DELETE_ATTEMPTS
}

async fn list(ctx: &Ctx<ClusterApp>, kind: &KindName, order: &DeleteOrder) -> Result<Vec<Machine>, StepError> {
    let listed = bounded(async { Ok(ctx.engine(kind)?.list(&order.name).await?) }).await;
    listed.map_err(|error| StepError::failed(format!("the engine `{kind}` cannot tell what it has: {error}")))
}

async fn destroy_once(ctx: &Ctx<ClusterApp>, target: &Target) -> Result<(), StepError> {
    let doomed = Doomed::with_its_cluster(&target.machine);
    bounded(async { nodes::destroy(ctx.engine(&target.engine)?, &doomed).await }).await
}

/// Whatever an engine does in there, it ends with an answer, within its time, so that a delete always goes on. The
/// saga's own timeouts and catching of panics would end the delete at its last attempt.
async fn bounded<T>(call: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
    let caught = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(policy::DESTROY_WITHIN, caught).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(StepError::failed("the engine panicked")),
        Err(_) => Err(StepError::failed(format!("not done after {:?}", policy::DESTROY_WITHIN))),
    }
}
