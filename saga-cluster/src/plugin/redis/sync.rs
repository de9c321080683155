//! Waiting until what servers were given is on their disks.
//!
//! A server that keeps an append-only file answers when it has written to it, and syncs it once a second. Until then a
//! host that loses power takes with it what was moved last.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::link::Link;
use super::wait::Wait;
use crate::plugin::{OpContext, PluginError};

/// Within this a server that syncs every second has begun to sync what it has. It counts in whole seconds of its own.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);

/// Waits until what these servers have now is on their disks, as far as they are told to sync it at all.
pub(super) async fn synced(links: &[Link], context: &dyn OpContext, limit: Duration) -> Result<(), PluginError> {
    try_join_all(links.iter().map(|link| one_synced(link, context, limit))).await?;
    Ok(())
}

async fn one_synced(link: &Link, context: &dyn OpContext, limit: Duration) -> Result<(), PluginError> {
    let wait = Wait::new(context, limit);
    let mut syncing = Syncing::default();
    loop {
        let facts = link.facts("INFO persistence").await?;
        let is_on = |fact: &str| facts.get(fact).is_some_and(|value| value != "0");
        if !is_on("aof_enabled") || syncing.is_over(is_on("aof_pending_bio_fsync"), Instant::now()) {
            return Ok(());
        }
        wait.again(&format!("{} has not synced what it was given", link.name())).await?;
    }
}

/// What was seen of a server's syncs.
#[derive(Debug, Default)]
struct Syncing {
    idle_since: Option<Instant>,
}

impl Syncing {
    /// Whether all is synced that the server had when this was asked first. Not if no sync goes on just now: one may be
    /// about to begin. And not if none goes on after a while: it may be one that began before, and held up the one that
    /// counts. But from a moment at which none went on, the next one begins in time, and once again none goes on, it is over.
    fn is_over(&mut self, is_syncing: bool, now: Instant) -> bool {
        !is_syncing && now.duration_since(*self.idle_since.get_or_insert(now)) >= BEGINS_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sync_that_began_after_a_quiet_moment_counts() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut syncing = Syncing::default();
        // One that began before, and takes long.
        assert!(!syncing.is_over(true, at(0)));
        assert!(!syncing.is_over(true, at(3000)));
        assert!(!syncing.is_over(false, at(3500)));
        assert!(!syncing.is_over(false, at(5499)));
        assert!(!syncing.is_over(true, at(5500)));
        assert!(!syncing.is_over(true, at(9000)));
        assert!(syncing.is_over(false, at(9001)));
    }
}
