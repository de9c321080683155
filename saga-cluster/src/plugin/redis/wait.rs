//! Waiting for servers, which agree when they have talked to each other.

use std::time::Duration;

use tokio::time::Instant;

use crate::plugin::context::cancelled;
use crate::plugin::{OpContext, PluginError};

const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A wait for something that is looked at again and again.
pub(super) struct Wait<'a> {
    context: &'a dyn OpContext,
    limit: Duration,
    started: Instant,
}

impl<'a> Wait<'a> {
    pub(super) fn new(context: &'a dyn OpContext, limit: Duration) -> Self {
        Self { context, limit, started: Instant::now() }
    }

    /// Lets some time pass. An error, if the operation is not wanted any more, or it takes too long; it says what it was
    /// waiting for.
    pub(super) async fn again(&self, not_yet: &str) -> Result<(), PluginError> {
        if self.started.elapsed() > self.limit {
            return Err(PluginError::failed(format!("after {:?}, {not_yet}", self.limit)));
        }
        tokio::select! {
            biased;
            () = self.context.cancelled() => Err(cancelled()),
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(()),
        }
    }
}
