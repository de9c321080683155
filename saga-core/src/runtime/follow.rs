//! Following a run: by the news of its driver while it is driven here, by looking at the store while it is not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::id::RunId;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::core::Core;
use crate::runtime::error::OutcomeError;
use crate::runtime::line::{Following, Progress};
use crate::store::{RunStatus, RunSummary, StoreError};

/// How soon a run is looked at again that another worker drives: at first, and at last.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// Waits each time for half as long as it has waited so far: what is soon done is soon seen, and what takes long costs little
/// and is seen after half as much time again, at most.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waited: Duration,
}

impl Patience {
    pub(super) async fn wait(&mut self) {
        let wait = if self.waited.is_zero() { FIRST_LOOK } else { (self.waited / 2).min(LONGEST_LOOK) };
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
    AtRest(RunSummary),
}

/// One who follows a run.
pub(super) struct Follower<App> {
    pub(super) core: Arc<Core<App>>,
    pub(super) run: RunId,
    following: Option<Following>,
    /// Wants to know of every append, not only of the end.
    watches: bool,
    /// When the run was left to the workers, if that was this process's doing, and it has not been looked at since.
    started: Option<Instant>,
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
        Self { core, run, following, watches: false, started: None, patience: Patience::default() }
    }

    /// One who follows a run that was left to the workers then.
    pub(super) fn since(mut self, started: Option<Instant>) -> Self {
        self.started = started;
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
        // Nobody could have driven a run to its end that has only just been left to whoever claims it.
        if self.started.take().is_some_and(|at| at.elapsed() < FIRST_LOOK) {
            return Ok(Standing::Live);
        }
        let summary = match self.core.heads.get(&self.run).await {
            Ok(summary) => summary.ok_or_else(|| OutcomeError::UnknownRun(self.run.clone()))?,
            // Whoever waits for a run for hours is not to be sent away for a moment's disturbance.
            Err(error) if error.is_transient() && !self.core.is_closing() => {
                warn!(run = %self.run, %error, "the run could not be looked at; tried again");
                return Ok(Standing::Live);
            }
            // By the coordinator, as it ended.
            Err(error) if matches!(*error, StoreError::Closed) => return Err(OutcomeError::Stopped(self.run.clone())),
            Err(error) => return Err(error.into()),
        };
        if summary.status != RunStatus::Running {
            return Ok(Standing::AtRest(summary));
        }
        if let Some(parked) = self.core.parked(&summary) {
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_long_looks_seldom_but_never_too_late() {
        let (mut patience, began, mut looks) = (Patience::default(), Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(10) {
            let before = began.elapsed();
            patience.wait().await;
            looks += 1;
            let longest = (before / 2).clamp(FIRST_LOOK, LONGEST_LOOK);
            // The clock of timers counts milliseconds, upwards.
            assert!(began.elapsed() - before <= longest + Duration::from_millis(1), "after {before:?}");
        }
        assert!((20..40).contains(&looks), "{looks} looks");
    }
}
