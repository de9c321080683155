//! Making machines, killing those that are not kept, and setting up those that are.

use saga_core::{Builder, Ctx, Handle, StepError, Undo};
use serde::de::DeserializeOwned;

use super::live::CallContext;
use super::order::{NodeTask, Subject};
use super::wait::{as_told, for_engine, for_plugin, worth_another};
use super::{ClusterApp, phase, policy, record};
use crate::engine::Engine;
use crate::model::{Doomed, Node, NodeName, NodeToken};
use crate::plugin::{ClusterView, PluginError};

/// The step that makes a machine for each task, and kills them if it is undone: the same whenever machines are made.
pub(super) fn are_made<In>(saga: &mut Builder<ClusterApp, In>, tasks: Handle<Vec<NodeTask>>) -> Handle<Vec<Node>>
where
    In: DeserializeOwned + Send + 'static,
{
    saga.for_each(phase::CREATE, tasks, make)
        .concurrency(policy::NODES_AT_ONCE)
        .retry(policy::CREATE)
        .timeout(policy::CREATE_WITHIN)
        .undo_retry(policy::KILL)
        .undo_timeout(policy::DESTROY_WITHIN)
        .compensate(kill)
}

/// Makes one machine. Its token is journaled before the engine hears of it, so that whatever happens then, it is known
/// under which one to look.
async fn make(ctx: Ctx<ClusterApp>, task: NodeTask) -> Result<Node, StepError> {
    let order = task.order(&ctx.idempotency_key());
    if ctx.checkpoints().is_empty() {
        ctx.checkpoint(&order.token).await?;
    }
    let engine = ctx.engine(&task.engine)?;
    let made = async {
        let made = engine.create(&order).await;
        made.map_err(|error| as_told(error.kind(), &error, format!("{} could not be made", order.name)))
    };
    for_engine(&ctx, made).await
}

/// Undoes [`make`], whether or not that knew what it had made.
async fn kill(ctx: Ctx<ClusterApp>, undo: Undo<NodeTask, Node>) -> Result<(), StepError> {
    let order = undo.input.order(&ctx.idempotency_key());
    destroy(ctx.engine(&undo.input.engine)?, &Doomed::of_own_making(&order)).await
}

/// Destroys one machine, and makes sure that it is gone: what is not there any more is what the engine does not find,
/// not what it says to have destroyed.
pub(super) async fn destroy(engine: &dyn Engine, doomed: &Doomed) -> Result<(), StepError> {
    let name = doomed.name();
    engine.destroy(doomed).await.map_err(|error| worth_another(&error, format!("{name} could not be destroyed")))?;
    match is_there(engine, name, doomed.token()).await? {
        true => Err(StepError::failed(format!("{name} is still there after it was destroyed"))),
        false => Ok(()),
    }
}

async fn is_there(engine: &dyn Engine, name: &NodeName, token: &NodeToken) -> Result<bool, StepError> {
    let found = engine.find(token).await;
    Ok(found.map_err(|error| worth_another(&error, format!("it cannot be told whether {name} is gone")))?.is_some())
}

/// Every run's first act: it makes sure that it is still meant. An error changed nothing.
pub(super) async fn begin(ctx: &Ctx<ClusterApp>, subject: &Subject) -> Result<(), StepError> {
    ctx.live.driven(ctx.run());
    let mut delay = policy::FIRST_LOOK_AGAIN;
    for attempt in 1.. {
        match record::begin(&*ctx.repository, &subject.name, &subject.id, ctx.run()).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(called_off()),
            Err(error) if attempt == policy::LOOKS => {
                let why = super::chain(&error);
                return Err(StepError::rejected(format!("it did not begin, and nothing was touched: {why}")));
            }
            Err(_) => tokio::time::sleep(delay).await,
        }
        delay *= 2;
    }
    unreachable!("the last look returns");
}

/// What ends a run that is not meant any more.
pub(super) fn called_off() -> StepError {
    StepError::rejected(
        "the cluster's record does not name this operation any more; it did not begin, and nothing was touched",
    )
}

/// Adds the new nodes to the record.
pub(super) async fn admit(ctx: &Ctx<ClusterApp>, subject: &Subject, nodes: Vec<Node>) -> Result<Vec<Node>, StepError> {
    let admitted = record::change(&*ctx.repository, &subject.name, &subject.id, |cluster| {
        cluster.admit(nodes.clone());
        Ok(())
    });
    match admitted.await? {
        Some(_) => Ok(nodes),
        None => Err(StepError::failed("the cluster's record is gone")),
    }
}

/// How the plugin sees the cluster with its new nodes.
pub(super) async fn view(
    ctx: &Ctx<ClusterApp>,
    subject: &Subject,
    new: &[Node],
    leaving: &[NodeName],
) -> Result<ClusterView, StepError> {
    let cluster = record::find(&*ctx.repository, &subject.name, &subject.id).await?;
    let cluster = cluster.ok_or_else(|| StepError::failed("the cluster's record is gone"))?;
    Ok(ClusterView::of(&cluster).without(leaving).with(new.iter().cloned()))
}

/// What the plugin does to new nodes.
#[derive(Debug, Clone, Copy)]
pub(super) enum SetUp {
    Configure,
    Start,
}

/// Configures or starts the new nodes. `told` says what an error of the plugin means to this saga.
pub(super) async fn set_up(
    ctx: &Ctx<ClusterApp>,
    what: SetUp,
    (subject, new, leaving): (&Subject, &[Node], &[NodeName]),
    told: fn(&PluginError, &str) -> StepError,
) -> Result<(), StepError> {
    if new.is_empty() {
        return Ok(());
    }
    let plugin = ctx.plugin(&subject.plugin)?;
    let view = view(ctx, subject, new, leaving).await?;
    let context = CallContext::of(ctx);
    let call = match what {
        SetUp::Configure => plugin.configure(&view, new, &context),
        SetUp::Start => plugin.start(&view, new, &context),
    };
    let doing = match what {
        SetUp::Configure => "the new nodes could not be configured",
        SetUp::Start => "the new nodes could not be started",
    };
    for_plugin(ctx, &context, call).await.map_err(|error| told(&error, doing))
}

/// For a saga that can still take all of it back.
pub(super) fn reversible(error: &PluginError, doing: &str) -> StepError {
    as_told(error.kind(), error, doing)
}
