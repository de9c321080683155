//! Forgetting what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use saga_core::Timestamp;
use saga_core::store::StoreError;
use tracing::{info, warn};

use super::inner::Inner;
use crate::model;

/// How often a worker looks for what can be forgotten.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// An operation is remembered so long at least, so that whoever waits for its end finds it.
const SHORTEST: Duration = Duration::from_secs(3600);
/// How many runs are deleted in one call to the store, so that what is urgent comes in between.
const AT_ONCE: usize = 200;

impl Inner {
    /// Forgets runs that ended longer ago than that: now, and every day.
    pub(super) async fn keep_runs_for(self: Arc<Self>, long: Duration) {
        loop {
            match self.forget_runs(long.max(SHORTEST)).await {
                Ok(0) => {}
                Ok(forgotten) => info!(forgotten, "operations that ended long ago were forgotten"),
                // Tomorrow is soon enough.
                Err(error) => warn!(%error, "operations that ended long ago could not be forgotten"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn forget_runs(&self, long: Duration) -> Result<usize, StoreError> {
        let long = u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(model::Timestamp::now().as_millis().saturating_sub(long));
        let mut forgotten = 0;
        loop {
            match self.runs.store().prune(before, AT_ONCE).await? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::fixture::with_a_cluster;

    #[tokio::test]
    async fn only_what_ended_longer_ago_is_forgotten() {
        let (service, made) = with_a_cluster().await;
        let inner = &service.inner;
        assert_eq!(inner.forget_runs(Duration::from_secs(3600)).await.unwrap(), 0);
        assert!(!service.history(&made.cluster).await.unwrap().is_empty());
        // The end of a run is before a moment that comes after it.
        while model::Timestamp::now() <= model::Timestamp::from_millis(ended_at(inner, &made.run).await) {
            tokio::task::yield_now().await;
        }
        assert_eq!(inner.forget_runs(Duration::ZERO).await.unwrap(), 1);
        assert!(service.history(&made.cluster).await.unwrap().is_empty());
        assert_eq!(service.list().await.unwrap().clusters.len(), 1, "the cluster itself is not forgotten");
    }

    async fn ended_at(inner: &Inner, run: &saga_core::RunId) -> u64 {
        inner.runs.summary(run).await.unwrap().unwrap().updated_at.0
    }
}
