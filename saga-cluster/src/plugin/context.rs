//! What a long operation has from whoever asked for it.

use std::future::pending;

use async_trait::async_trait;

use super::PluginError;
use crate::model::NodeName;

/// Lets a long operation tell how far it is, and see that it is no longer wanted.
///
/// An operation that sees a cancellation stops at the next safe point and returns an error.
#[async_trait]
pub trait OpContext: Send + Sync {
    /// Tells that `done` of `total` parts of the work on a node are done. For people; nothing hangs on it.
    fn report(&self, node: &NodeName, done: u64, total: u64);

    /// Notes durably that the work on a node has come that far: it is shown with what the operation leaves, should it
    /// come to rest. What an attempt finds done it finds by looking, not here.
    ///
    /// # Errors
    /// [`PluginError`], if it could not be noted: then the operation is to end with it.
    async fn checkpoint(&self, _node: &NodeName, _done: &str) -> Result<(), PluginError> {
        Ok(())
    }

    /// Whether the operation is no longer wanted.
    fn is_cancelled(&self) -> bool;

    /// Waits until the operation is no longer wanted.
    async fn cancelled(&self);
}

/// Stops a call that is no longer wanted.
pub(super) fn stop_if_cancelled(context: &dyn OpContext) -> Result<(), PluginError> {
    if context.is_cancelled() { Err(cancelled()) } else { Ok(()) }
}

/// The error of a call that was no longer wanted.
pub(super) fn cancelled() -> PluginError {
    PluginError::failed("the operation was cancelled")
}

/// A context that tells nobody, and is never cancelled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

#[async_trait]
impl OpContext for Quiet {
    fn report(&self, _: &NodeName, _: u64, _: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }

    async fn cancelled(&self) {
        pending().await
    }
}
