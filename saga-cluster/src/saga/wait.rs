//! Calls to the outside world: waited for as long as the cluster exists and the run goes on, and their errors told as
//! the saga understands them.

use std::error::Error;

use saga_core::{Ctx, PollError, StepError};

use super::ClusterApp;
use super::live::CallContext;
use super::policy::{GUARD_EVERY, STOP_WITHIN, UNLIMITED};
use crate::engine::EngineError;
use crate::failure::FailureKind;
use crate::plugin::PluginError;

/// Returns, with the reason, when the run is aborted or its cluster is gone. Never as a success.
async fn given_up(ctx: &Ctx<ClusterApp>) -> PollError {
    match ctx.poll(GUARD_EVERY, UNLIMITED, async || Ok(None::<std::convert::Infallible>)).await {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

/// Waits for an engine. A call that is not wanted any more is dropped: what it did until then is found by token.
pub(super) async fn for_engine<T>(
    ctx: &Ctx<ClusterApp>,
    call: impl Future<Output = Result<T, StepError>> + Send,
) -> Result<T, StepError> {
    tokio::select! {
        biased;
        done = call => done,
        why = given_up(ctx) => Err(why.into()),
    }
}

/// Waits for a plugin. A call that is not wanted any more is told so, through the context that it was given, and has
/// some time to come to a safe point.
pub(super) async fn for_plugin<T>(
    ctx: &Ctx<ClusterApp>,
    context: &CallContext,
    call: impl Future<Output = Result<T, PluginError>> + Send,
) -> Result<T, PluginError> {
    let mut call = std::pin::pin!(call);
    let why = tokio::select! {
        biased;
        done = &mut call => return done,
        why = given_up(ctx) => why,
    };
    match context.stop(call, STOP_WITHIN).await {
        Some(done) => done,
        None => Err(PluginError::failed(format!("{why}; the plugin did not stop in time"))),
    }
}

/// An error as it was meant.
pub(super) fn as_told(kind: FailureKind, error: &(dyn Error + 'static), doing: impl std::fmt::Display) -> StepError {
    let message = format!("{doing}: {}", chain(error));
    match kind {
        FailureKind::Failed => StepError::failed(message),
        FailureKind::Fatal => StepError::fatal(message),
        FailureKind::Rejected => StepError::rejected(message),
    }
}

/// The error of a call that may have touched data. Whatever it says of itself, nobody may conclude that it did nothing:
/// one node of many may have refused after others had moved half of what they hold.
pub(super) fn of_unknown_effect(error: &PluginError, doing: &str) -> StepError {
    let kind = if error.kind() == FailureKind::Failed { FailureKind::Failed } else { FailureKind::Fatal };
    as_told(kind, error, doing)
}

/// The error of a destruction, which is always worth another attempt: the machine may be half gone.
pub(super) fn worth_another(error: &EngineError, doing: impl std::fmt::Display) -> StepError {
    as_told(FailureKind::Failed, error, doing)
}

/// An error with all that caused it, each said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
