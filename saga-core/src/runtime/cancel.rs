//! Cancelling runs, wherever they are: driven here or by another worker, waiting for their turn, or left behind by a worker
//! that died.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::id::{RunId, Seq};
use crate::journal::{Actor, Event};
use crate::machine::{Observation, evolve, observe};
use crate::runtime::committer::CommitError;
use crate::runtime::core::Core;
use crate::runtime::draft::encode;
use crate::runtime::driver::End;
use crate::runtime::error::{CancelError, ParkReason};
use crate::runtime::follow::Patience;
use crate::runtime::line::Mail;
use crate::store::{Append, ClaimError, Refused, RunStatus, RunSummary, Store, StoreError};

/// How long a change in this process is waited for before the run is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const PAGE: usize = 256;

impl<App: Send + Sync + 'static> Core<App> {
    pub(crate) async fn cancel(self: &Arc<Self>, run: &RunId, by: Actor) -> Result<(), CancelError> {
        let mut elsewhere: Option<Elsewhere> = None;
        loop {
            // Registered before looking, so that no change falls between.
            let changed = self.registry.changed.notified();
            if let Some(line) = self.registry.get(run) {
                let (reply, done) = oneshot::channel();
                if line.send(Mail::Cancel(by.clone(), reply)).is_ok() && done.await.is_ok() {
                    return Ok(());
                }
                // Its driver has ended: look again when that is known.
                if self.registry.get(run).is_some_and(|now| now.epoch() == line.epoch()) {
                    let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
                }
                continue;
            }
            let Some(summary) = self.store.get(run).await? else {
                return Err(CancelError::UnknownRun(run.clone()));
            };
            if let Some(asked) = &mut elsewhere
                && asked.is_done(&*self.store, &summary).await?
            {
                return Ok(());
            }
            if summary.status != RunStatus::Running {
                return Err(CancelError::NotLive { run: run.clone(), status: summary.status });
            }
            if let Some(parked) = self.parked(&summary) {
                return Err(CancelError::Parked { run: run.clone(), reason: parked.reason });
            }
            if self.is_closing() {
                return Err(CancelError::Stopped(run.clone()));
            }
            let known = self.definition_of(&summary).is_ok();
            match summary.owner {
                Some(owner) if owner == self.worker => {
                    // It is about to be driven, or has just been let go of.
                    let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
                }
                None if known && self.driving.is_some() => self.take_up(run).await?,
                None if known => {
                    if self.cancel_unclaimed(run, &by).await? {
                        return Ok(());
                    }
                }
                // Whoever has it, or takes it up next, is asked.
                _ => match &mut elsewhere {
                    Some(asked) if asked.is_asked => asked.patience.wait().await,
                    Some(asked) => {
                        self.store.request_cancel(run, &by).await?;
                        asked.is_asked = true;
                    }
                    None => {
                        let mut asked = Elsewhere::default();
                        if asked.is_done(&*self.store, &summary).await? {
                            return Ok(());
                        }
                        elsewhere = Some(asked);
                    }
                },
            }
        }
    }

    /// Takes up a run that nobody drives, unless somebody does by now.
    async fn take_up(self: &Arc<Self>, run: &RunId) -> Result<(), CancelError> {
        let _reserved = self.registry.reserve_in_turn(run).await;
        if self.registry.get(run).is_some() {
            return Ok(());
        }
        let expires = Instant::now() + self.lease;
        match self.store.claim_run(&self.worker, run, self.lease).await {
            Ok(claim) if claim.summary.status == RunStatus::Running => {
                let _following = self.drive_in_turn(claim.summary.into(), expires);
                Ok(())
            }
            Ok(claim) => Ok(self.store.release(&[(run.clone(), claim.summary.epoch)]).await?),
            Err(ClaimError::Store(error)) => Err(error.into()),
            // It has changed since: what has become of it is found by looking again.
            Err(_) => Ok(()),
        }
    }

    /// Writes the cancellation of a run that nobody drives, and leaves the run to a worker. Says whether it is written: if
    /// not, the run has changed hands.
    async fn cancel_unclaimed(&self, run: &RunId, by: &Actor) -> Result<bool, CancelError> {
        let claim = match self.store.claim_run(&self.worker, run, self.lease).await {
            Ok(claim) => claim.summary,
            Err(ClaimError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let written = match claim.status {
            RunStatus::Running => self.write_cancel(&claim, by.clone()).await.map(|()| true),
            _ => Ok(false),
        };
        // As well as it goes: the claim expires.
        let released = self.store.release(&[(run.clone(), claim.epoch)]).await;
        match written {
            Ok(written) => released.map(|()| written).map_err(CancelError::from),
            Err(End::Parked(reason)) => Err(CancelError::Parked { run: run.clone(), reason: Arc::new(reason) }),
            Err(End::Failed(error)) => Err(CancelError::Store(error)),
            Err(End::Stopped | End::Lost | End::Settled(_)) => Ok(false),
        }
    }

    /// Writes down that a claimed run is cancelled which nobody drives yet. What follows from it is decided by its driver.
    pub(super) async fn write_cancel(&self, claimed: &RunSummary, by: Actor) -> Result<(), End> {
        let (definition, mut state) = self.load(claimed, None).await?;
        let (expected, now) = (state.seq(), self.shared.clock.now());
        let Some(event) = observe(&definition.plan, &state, Observation::Cancel { by }, now, 0.0) else {
            return Ok(());
        };
        evolve(&definition.plan, &mut state, now, &event).map_err(|illegal| End::Parked(illegal.into()))?;
        let append = Append {
            run: claimed.run.clone(),
            epoch: claimed.epoch,
            expected,
            records: encode(expected, now, vec![event]),
            status: state.status(),
            at: now,
            start: None,
        };
        self.shared.committer.commit(append).await.map_err(|error| match error {
            CommitError::Refused(refused @ Refused::TooLarge { .. }) => End::Parked(ParkReason::TooLarge(refused)),
            CommitError::Refused(_) => End::Lost,
            CommitError::Closed => End::Stopped,
            CommitError::Store(error) => End::Failed(error),
        })
    }
}

/// A run that another worker was asked to cancel, as its journal tells what has become of that. The journal is not folded:
/// the run's saga may be unknown here.
#[derive(Default)]
struct Elsewhere {
    read: Seq,
    /// A request was left with the run, and it has not come to rest since, where requests end.
    is_asked: bool,
    /// The run is being aborted, or was.
    aborted: bool,
    /// It has come to rest.
    rested: bool,
    patience: Patience,
}

impl Elsewhere {
    /// Whether the run does not go forward: it is being aborted, or has come to its end and has yet to tell its finalizer.
    /// The head is one that was read since the last call.
    async fn is_done(&mut self, store: &dyn Store, head: &RunSummary) -> Result<bool, CancelError> {
        let run = &head.run;
        // If it had come to rest before the head was read and is live there, it is the finalizer that it waits for. If it
        // has come to rest since, it may have ended since, and there was nothing to cancel: the next head tells.
        let tells_finalizer = self.rested && head.status == RunStatus::Running;
        loop {
            let page = store.read(run, self.read, PAGE).await?;
            for encoded in &page {
                self.read = encoded.seq;
                let unreadable = |error| StoreError::Corrupt { what: format!("the journal of run {run}: {error}") };
                match encoded.decode().map_err(unreadable)?.event {
                    Event::AbortBegan { .. } => self.aborted = true,
                    Event::Rested { .. } => self.rested = true,
                    Event::Operated { .. } => (self.aborted, self.rested, self.is_asked) = (false, false, false),
                    _ => {}
                }
            }
            if page.len() < PAGE {
                return Ok(self.aborted || self.rested && tells_finalizer);
            }
        }
    }
}
