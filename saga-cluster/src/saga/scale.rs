//! Scaling a cluster that holds data, by the failure table.
//!
//! `decommission` comes first, alone. Then nodes are destroyed and made side by side. Setting up waits for both: if a
//! destruction fails, the new nodes are killed, and that is only right as long as none of them may hold data; and when
//! setting up halts the run, nothing else is in flight.

use std::collections::BTreeMap;

use saga_core::{BuildError, Ctx, Probe, Saga, StepError};

use super::live::CallContext;
use super::nodes::{self, SetUp};
use super::order::{NodeTask, ScaleOrder, Subject, TerminateTask};
use super::wait::{for_engine, for_plugin, of_unknown_effect};
use super::{ClusterApp, phase, policy, record, settle};
use crate::model::{Decommissioned, Doomed, Leaving, Node, NodeName, ProofRecord};

pub(crate) const NAME: &str = "scale-cluster";

pub(crate) type ScaleSaga = Saga<ClusterApp, ScaleOrder, Vec<Node>>;

pub(crate) fn saga() -> Result<ScaleSaga, BuildError> {
    let mut saga = Saga::<ClusterApp, ScaleOrder>::builder(NAME, 1);
    let order = saga.input();
    let proofs = saga
        .step(phase::DECOMMISSION, order, decommission)
        .retry(policy::DECOMMISSION)
        .timeout(policy::DECOMMISSION_WITHIN)
        .probe(nothing_to_decommission)
        .non_compensable();
    let gone = saga
        .for_each(phase::TERMINATE, proofs, terminate)
        .concurrency(policy::NODES_AT_ONCE)
        .retry(policy::TERMINATE)
        .timeout(policy::DESTROY_WITHIN)
        .finish_forward(policy::TERMINATE_PATIENCE);
    let tasks = saga.step(phase::PREPARE, order, prepare).after(proofs).nothing_to_undo();
    let made = nodes::are_made(&mut saga, tasks);
    let admitted = saga
        .step(phase::ADMIT, (order, made), admit)
        .retry(policy::RECORD)
        .timeout(policy::RECORD_WITHIN)
        .nothing_to_undo();
    let configured = saga
        .step(phase::CONFIGURE, (order, admitted), configure)
        .after(gone)
        .retry(policy::SET_UP)
        .timeout(policy::SET_UP_WITHIN)
        .non_compensable();
    let started = saga
        .step(phase::START, (order, configured), start)
        .retry(policy::SET_UP)
        .timeout(policy::START_WITHIN)
        .non_compensable();
    saga.guard(|ctx: Ctx<ClusterApp>, order: ScaleOrder| async move {
        let Subject { name, id, .. } = &order.subject;
        record::is_there(&*ctx.repository, name, id).await
    });
    saga.finally(|ctx: Ctx<ClusterApp>, order: ScaleOrder, end| async move {
        ctx.live.driven(ctx.run());
        Ok(settle::scale(ctx.app(), &order, ctx.run(), &end).await?)
    });
    saga.build(started)
}

/// Has the plugin empty the leaving nodes. Whatever goes wrong in here leaves the effect unknown.
async fn decommission(ctx: Ctx<ClusterApp>, order: ScaleOrder) -> Result<Vec<TerminateTask>, StepError> {
    nodes::begin(&ctx, &order.subject).await?;
    if order.leaving.is_empty() {
        return Ok(Vec::new());
    }
    let subject = &order.subject;
    let plugin = ctx.plugin(&subject.plugin)?;
    let view = nodes::view(&ctx, subject, &[], order.plan.remove()).await?;
    let leaving = order.leaving.iter().map(|node| Leaving::new(subject.name.clone(), node.clone())).collect();
    let context = CallContext::of(&ctx);
    let proofs = for_plugin(&ctx, &context, plugin.decommission(&view, leaving, &context)).await;
    let proofs = proofs.map_err(|error| of_unknown_effect(&error, "nodes could not be decommissioned"))?;
    let proofs = in_order(&order, proofs)?;
    Ok(proofs.into_iter().map(|proof| TerminateTask { engine: subject.engine.clone(), proof }).collect())
}

/// Where nothing leaves, or the run did not even begin, nothing can have happened.
async fn nothing_to_decommission(
    ctx: Ctx<ClusterApp>,
    order: ScaleOrder,
) -> Result<Probe<Vec<TerminateTask>>, StepError> {
    let Subject { name, id, .. } = &order.subject;
    if order.leaving.is_empty() {
        let meant = record::begin(&*ctx.repository, name, id, ctx.run()).await?;
        return Ok(if meant { Probe::Done(Vec::new()) } else { Probe::NotDone });
    }
    let record = record::find(&*ctx.repository, name, id).await?;
    Ok(if record.is_some_and(|record| record.promises(ctx.run())) { Probe::NotDone } else { Probe::Unknown })
}

/// A proof for each leaving node, in the order of the plan: the node that is destroyed is the node that was chosen.
fn in_order(order: &ScaleOrder, proofs: Vec<Decommissioned>) -> Result<Vec<ProofRecord>, StepError> {
    let proofs = proofs.into_iter().map(|proof| (proof.node().name.clone(), ProofRecord::from(proof)));
    let mut proofs: BTreeMap<NodeName, ProofRecord> = proofs.collect();
    let proof = |node: &Node| {
        let proof = proofs.remove(&node.name).filter(|proof| proof.node() == node);
        proof.ok_or_else(|| StepError::fatal(format!("the plugin did not prove that {} is decommissioned", node.name)))
    };
    order.leaving.iter().map(proof).collect()
}

async fn terminate(ctx: Ctx<ClusterApp>, task: TerminateTask) -> Result<NodeName, StepError> {
    let name = task.proof.node().name.clone();
    // Waited for like the rest, so that a record that vanishes is noticed. Once the run turns back this is finished all
    // the same: it is shielded, and the guard is not asked again.
    for_engine(&ctx, nodes::destroy(ctx.engine(&task.engine)?, &Doomed::from(task.proof.restore()))).await?;
    Ok(name)
}

async fn prepare(_: Ctx<ClusterApp>, order: ScaleOrder) -> Result<Vec<NodeTask>, StepError> {
    Ok(order.subject.tasks(order.plan.add()))
}

async fn admit(ctx: Ctx<ClusterApp>, (order, made): (ScaleOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    // Nothing to write is no reason to fail.
    if made.is_empty() { Ok(made) } else { nodes::admit(&ctx, &order.subject, made).await }
}

async fn configure(ctx: Ctx<ClusterApp>, (order, new): (ScaleOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    nodes::set_up(&ctx, SetUp::Configure, (&order.subject, &new, order.plan.remove()), of_unknown_effect).await?;
    Ok(new)
}

async fn start(ctx: Ctx<ClusterApp>, (order, new): (ScaleOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    nodes::set_up(&ctx, SetUp::Start, (&order.subject, &new, order.plan.remove()), of_unknown_effect).await?;
    Ok(new)
}
