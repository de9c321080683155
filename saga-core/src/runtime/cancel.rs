//! Cancelling runs, wherever they are: driven, waiting for their turn, or left behind by a worker that died.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::id::{Epoch, RunId};
use crate::journal::Actor;
use crate::machine::{Observation, evolve, observe};
use crate::runtime::committer::CommitError;
use crate::runtime::core::Core;
use crate::runtime::driver::{End, encode};
use crate::runtime::error::{CancelError, ParkReason};
use crate::runtime::registry::Mail;
use crate::store::{Append, ClaimError, Refused, RunStatus};

/// How long a change is waited for before the run is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl<App: Send + Sync + 'static> Core<App> {
    pub(crate) async fn cancel(self: &Arc<Self>, run: &RunId, by: Actor) -> Result<(), CancelError> {
        loop {
            // Registered before looking, so that no change falls between.
            let changed = self.registry.changed.notified();
            if let Some(entry) = self.registry.get(run) {
                let (reply, done) = oneshot::channel();
                if entry.mailbox.send(Mail::Cancel(by.clone(), reply)).is_ok() && done.await.is_ok() {
                    return Ok(());
                }
                // Its driver has ended: look again when that is known.
                if self.registry.get(run).is_some_and(|now| now.epoch == entry.epoch) {
                    let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
                }
                continue;
            }
            if let Some(parked) = self.registry.parked(run) {
                return Err(CancelError::Parked { run: run.clone(), reason: parked.reason });
            }
            let Some(summary) = self.store.get(run).await? else {
                return Err(CancelError::UnknownRun(run.clone()));
            };
            if summary.status != RunStatus::Running {
                return Err(CancelError::NotLive { run: run.clone(), status: summary.status });
            }
            if self.is_closing() {
                return Err(CancelError::Stopped(run.clone()));
            }
            match summary.owner {
                Some(owner) if owner == self.worker => {
                    // It is about to be driven, or has just been let go of.
                    let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
                }
                None if self.sagas.contains_key(&(summary.saga.clone(), summary.version)) => self.take_up(run).await?,
                owner => return Err(CancelError::Elsewhere { run: run.clone(), owner }),
            }
        }
    }

    /// Takes up a run that nobody drives, unless somebody does by now.
    async fn take_up(self: &Arc<Self>, run: &RunId) -> Result<(), CancelError> {
        let _reserved = self.registry.reserve_in_turn(run).await;
        if self.registry.get(run).is_some() {
            return Ok(());
        }
        match self.store.claim_run(&self.worker, run, self.lease).await {
            Ok(claim) if claim.summary.status == RunStatus::Running => {
                let _following = self.drive_in_turn(run.clone(), claim.summary.epoch);
                Ok(())
            }
            Ok(claim) => Ok(self.store.release(&[(run.clone(), claim.summary.epoch)]).await?),
            Err(ClaimError::Store(error)) => Err(error.into()),
            // It has changed since: what has become of it is found by looking again.
            Err(_) => Ok(()),
        }
    }

    /// Writes down that a run is cancelled that still waits for its turn. What follows from it is decided in its turn.
    pub(super) async fn cancel_waiting(&self, run: &RunId, epoch: Epoch, by: Actor) -> Result<(), End> {
        let (definition, mut state) = self.load(run).await?;
        let (expected, now) = (state.seq(), self.shared.clock.now());
        let Some(event) = observe(&definition.plan, &state, Observation::Cancel { by }, now, 0.0) else {
            return Ok(());
        };
        evolve(&definition.plan, &mut state, now, &event).map_err(|illegal| End::Parked(illegal.into()))?;
        let append = Append {
            run: run.clone(),
            epoch,
            expected,
            records: encode(expected, now, vec![event]),
            status: state.status(),
            at: now,
            start: None,
        };
        self.shared.committer.commit(append).await.map_err(|error| match error {
            CommitError::Refused(refused @ Refused::TooLarge { .. }) => End::Parked(ParkReason::TooLarge(refused)),
            CommitError::Refused(_) | CommitError::Closed => End::Stopped,
            CommitError::Store(error) => End::Failed(error),
        })
    }
}
