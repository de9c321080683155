//! Creating a cluster. Until it serves it holds nothing, so any failure takes all of it back.

use saga_core::{BuildError, Ctx, Saga, StepError};

use super::nodes::{self, SetUp};
use super::order::{CreateOrder, NodeTask, Subject};
use super::{ClusterApp, phase, policy, record, settle};
use crate::model::Node;

pub(crate) const NAME: &str = "create-cluster";

pub(crate) type CreateSaga = Saga<ClusterApp, CreateOrder, Vec<Node>>;

pub(crate) fn saga() -> Result<CreateSaga, BuildError> {
    let mut saga = Saga::<ClusterApp, CreateOrder>::builder(NAME, 1);
    let order = saga.input();
    let tasks = saga.step(phase::PREPARE, order, prepare).nothing_to_undo();
    let made = nodes::are_made(&mut saga, tasks);
    // Nothing to undo in the record either: the finalizer tells it which nodes are left. An undo of its own would keep
    // machines alive for as long as the repository cannot be written to.
    let admitted = saga
        .step(phase::ADMIT, (order, made), admit)
        .retry(policy::RECORD)
        .timeout(policy::RECORD_WITHIN)
        .nothing_to_undo();
    let configured = saga
        .step(phase::CONFIGURE, (order, admitted), configure)
        .retry(policy::SET_UP)
        .timeout(policy::SET_UP_WITHIN)
        .nothing_to_undo();
    let started = saga
        .step(phase::START, (order, configured), start)
        .retry(policy::SET_UP)
        .timeout(policy::START_WITHIN)
        .nothing_to_undo();
    saga.guard(|ctx: Ctx<ClusterApp>, order: CreateOrder| async move {
        let Subject { name, id, .. } = &order.subject;
        record::is_there(&*ctx.repository, name, id).await
    });
    saga.finally(|ctx: Ctx<ClusterApp>, order: CreateOrder, end| async move {
        ctx.live.driven(ctx.run());
        Ok(settle::create(ctx.app(), &order, ctx.run(), &end).await?)
    });
    saga.build(started)
}

async fn prepare(ctx: Ctx<ClusterApp>, order: CreateOrder) -> Result<Vec<NodeTask>, StepError> {
    nodes::begin(&ctx, &order.subject).await?;
    Ok(order.subject.tasks(&order.nodes))
}

async fn admit(ctx: Ctx<ClusterApp>, (order, made): (CreateOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    nodes::admit(&ctx, &order.subject, made).await
}

async fn configure(ctx: Ctx<ClusterApp>, (order, new): (CreateOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    nodes::set_up(&ctx, SetUp::Configure, (&order.subject, &new, &[]), nodes::reversible).await?;
    Ok(new)
}

async fn start(ctx: Ctx<ClusterApp>, (order, new): (CreateOrder, Vec<Node>)) -> Result<Vec<Node>, StepError> {
    nodes::set_up(&ctx, SetUp::Start, (&order.subject, &new, &[]), nodes::reversible).await?;
    Ok(new)
}
