//! Following a run: by the news of its driver while it is driven here, by looking at the store while it is not.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::id::RunId;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::core::Core;
use crate::runtime::error::OutcomeError;
use crate::runtime::line::{Following, Progress};
use crate::runtime::pace::{FIRST_LOOK, Left};
use crate::store::{Found, RunStatus, StoreError};

/// How soon a run is looked at again: at the earliest, and at the latest.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Waits until what is waited for has probably come, and from then on each time for a quarter of what it has waited so far:
/// what is soon done is soon seen, and what takes long costs little and is seen after a quarter as much time again, at most.
#[derive(Debug)]
pub(super) struct Patience {
    waited: Duration,
    expects: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { waited: Duration::ZERO, expects: FIRST_LOOK }
    }
}

impl Patience {
    pub(super) async fn wait(&mut self) {
        let ahead = self.expects.saturating_sub(self.waited);
        let wait = ahead.max(self.waited / 4).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self.waited += wait;
        tokio::time::sleep(wait).await;
    }
}

/// Where a run stands, to those who follow it.
pub(super) enum Standing {
    /// It goes on.
    Live,
    /// It is at rest, and this process has just driven it there.
    Settled(Arc<Outcome<Payload>>),
    /// It is at rest. The journal tells how.
    AtRest(Found),
}

/// One who follows a run.
pub(super) struct Follower<App> {
    pub(super) core: Arc<Core<App>>,
    pub(super) run: RunId,
    following: Option<Following>,
    /// Wants to know of every append, not only of the end.
    watches: bool,
    /// If this process left the run to the workers, and its end is all that is waited for.
    left: Option<Left>,
    /// Whether it was looked at before.
    has_looked: bool,
    /// The age at which it was last seen alive, if it is known how old it is.
    seen_alive_at: Option<Duration>,
    patience: Patience,
}

impl<App: Send + Sync + 'static> Follower<App> {
    /// `last` is what there was to follow when the run was last heard of.
    pub(super) fn new(core: Arc<Core<App>>, run: RunId, last: Option<Following>) -> Self {
        let following = match last {
            // If another claim has taken over, this one is told to stop, and the other is found then.
            Some(last) if last.is_live() => Some(last),
            last => {
                // A rest that was told then may be history: an operator may have moved the run on.
                // And a store that failed for good then may work now.
                let last = last.filter(|last| match last.clone().look() {
                    Progress::Settled(end) => !end.is_resting(),
                    told => !matches!(told, Progress::Failed(_)),
                });
                core.registry.get(&run).map(Following::new).or(last)
            }
        };
        Self {
            core,
            run,
            following,
            watches: false,
            left: None,
            has_looked: false,
            seen_alive_at: None,
            patience: Patience::default(),
        }
    }

    /// One who waits for the end of a run which this process may have left to the workers.
    pub(super) fn until_end_of(mut self, left: Option<Left>) -> Self {
        if let Some(left) = &left {
            self.patience = Patience { waited: left.age(), expects: left.expected() };
        }
        self.left = left;
        self
    }

    /// One who wants to know of every append that is made after a look, not only of the end.
    pub(super) fn watching(mut self) -> Self {
        self.watches = true;
        self
    }

    /// Where the run stands now.
    pub(super) async fn look(&mut self) -> Result<Standing, OutcomeError> {
        if let Some(following) = &mut self.following {
            if self.watches {
                following.watch();
            }
            let was_over = following.is_over();
            match following.look() {
                Progress::Live if !was_over => return Ok(Standing::Live),
                Progress::Settled(outcome) => return Ok(Standing::Settled(outcome)),
                Progress::Failed(error) => return Err(OutcomeError::Store(error)),
                Progress::Live | Progress::Parked | Progress::Stopped => {}
            }
            // Whoever drives it now, it is not whom we followed.
            self.following = None;
        }
        if let Some(line) = self.core.registry.get(&self.run) {
            let following = Following::new(line);
            if self.watches {
                following.watch();
            }
            self.following = Some(following);
            return Ok(Standing::Live);
        }
        // A run that has only just been left to the workers has not ended yet.
        if !std::mem::replace(&mut self.has_looked, true) && self.left.as_ref().is_some_and(Left::is_early) {
            return Ok(Standing::Live);
        }
        let age = self.left.as_ref().map(Left::age);
        let found = match self.core.heads.get(&self.run).await {
            Ok(found) => found.ok_or_else(|| OutcomeError::UnknownRun(self.run.clone()))?,
            // Whoever waits for a run for hours is not to be sent away for a moment's disturbance.
            Err(error) if error.is_transient() && !self.core.is_closing() => {
                warn!(run = %self.run, %error, "the run could not be looked at; tried again");
                return Ok(Standing::Live);
            }
            // By the coordinator, as it ended.
            Err(error) if matches!(*error, StoreError::Closed) => return Err(OutcomeError::Stopped(self.run.clone())),
            Err(error) => return Err(error.into()),
        };
        let summary = &found.summary;
        if summary.status != RunStatus::Running {
            if let Some(left) = self.left.take() {
                left.has_ended(summary, self.seen_alive_at);
            }
            return Ok(Standing::AtRest(found));
        }
        self.seen_alive_at = age;
        if let Some(parked) = self.core.parked(summary) {
            return Err(OutcomeError::Parked { run: self.run.clone(), reason: parked.reason });
        }
        if self.core.is_closing() {
            return Err(OutcomeError::Stopped(self.run.clone()));
        }
        Ok(Standing::Live)
    }

    /// Returns when it is time to look again.
    pub(super) async fn changed(&mut self) {
        match &self.following {
            // That there is nothing more to come is found by looking.
            Some(following) => following.changed().await,
            None => self.pause().await,
        }
    }

    /// Waits a little, as the store is looked at again and again.
    pub(super) async fn pause(&mut self) {
        let killed = &self.core.shared.killed;
        // Once only: a handle outlives its coordinator, and must not ask the store without end then.
        let was_killed = killed.is_given();
        tokio::select! {
            () = killed.given(), if !was_killed => {}
            () = self.patience.wait() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_looks_seldom_but_never_too_late() {
        let (mut patience, began, mut looks) = (Patience::default(), Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(10) {
            let before = began.elapsed();
            patience.wait().await;
            looks += 1;
            let longest = if before.is_zero() { FIRST_LOOK } else { (before / 4).clamp(SHORTEST_WAIT, LONGEST_WAIT) };
            // The clock of timers counts milliseconds, upwards.
            assert!(began.elapsed() - before <= longest + Duration::from_millis(1), "after {before:?}");
        }
        assert!((30..50).contains(&looks), "{looks} looks");
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_how_long_it_takes_looks_then() {
        let expects = Duration::from_millis(1200);
        let mut patience = Patience { waited: Duration::from_millis(100), expects };
        let (began, mut looks) = (Instant::now(), Vec::new());
        for _ in 0..4 {
            patience.wait().await;
            looks.push((began.elapsed() + Duration::from_millis(100)).as_millis());
        }
        assert_eq!(
            looks,
            [600, 1100, 1375, 1719],
            "not more seldom than the longest wait, and then when it is expected"
        );
    }
}
