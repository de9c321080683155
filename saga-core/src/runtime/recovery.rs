//! Taking runs up: at the start of a coordinator, when another worker has died, when a place has become free, and when
//! an operator moves a run on. It is always the same: claim, read, fold, `Resumed`, decide.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::id::{Epoch, RunId, SagaName, Seq};
use crate::journal::JournalError;
use crate::machine::{Observation, State, replay};
use crate::runtime::coordinator::{Core, Lines, Taken};
use crate::runtime::driver::End;
use crate::runtime::error::{ParkReason, RecoverError};
use crate::runtime::metrics;
use crate::runtime::registry::{Mail, ParkedRun, Progress};
use crate::store::{Query, RunStatus, RunSummary, StoreError};

/// How many runs are claimed, and how many records are read, in one call to the store.
const PAGE: usize = 512;

impl<App: Send + Sync + 'static> Core<App> {
    /// Claims every live run that nobody holds, and drives them as places become free.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), RecoverError> {
        let claimed = self.claim_all().await?;
        if claimed > 0 {
            info!(runs = claimed, "took up unfinished runs");
        }
        self.park_unknown().await?;
        Ok(())
    }

    async fn claim_all(self: &Arc<Self>) -> Result<usize, StoreError> {
        let sagas: Vec<(SagaName, u32)> = self.sagas.keys().cloned().collect();
        let mut claimed = 0;
        loop {
            let claims = self.store.claim(&self.worker, &sagas, self.lease, PAGE).await?;
            for claim in &claims {
                let _following = self.drive_in_turn(claim.summary.run.clone(), claim.summary.epoch, Vec::new());
            }
            claimed += claims.len();
            if claims.len() < PAGE {
                return Ok(claimed);
            }
        }
    }

    /// Runs of sagas that are not registered are left as they are, but not passed over in silence.
    async fn park_unknown(&self) -> Result<(), StoreError> {
        let mut query = Query { statuses: vec![RunStatus::Running], limit: PAGE, ..Query::default() };
        loop {
            let page = self.store.list(&query).await?;
            for summary in &page.runs {
                if let Err(reason @ ParkReason::UnknownSaga { .. }) = self.definition_of(summary) {
                    warn!(run = %summary.run, %reason, "a run cannot be taken up");
                    metrics::run_parked();
                    let reason = Arc::new(reason);
                    self.registry.park(ParkedRun { run: summary.run.clone(), reason, epoch: None });
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Drives a run as soon as there is a place for it.
    pub(crate) fn drive_in_turn(
        self: &Arc<Self>,
        run: RunId,
        epoch: Epoch,
        seen: Vec<Observation>,
    ) -> watch::Receiver<Progress> {
        let lines = self.lines(&run, epoch);
        let following = lines.progress.subscribe();
        let core = Arc::clone(self);
        self.tasks.spawn(async move { core.wait_and_drive(run, epoch, seen, lines).await });
        following
    }

    async fn wait_and_drive(&self, run: RunId, epoch: Epoch, seen: Vec<Observation>, lines: Lines) {
        let slot = tokio::select! {
            biased;
            () = self.shared.killed.cancelled() => None,
            () = self.shared.parking.cancelled() => None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
        };
        let Some(slot) = slot else {
            return self.let_go(run, epoch, &lines.progress, End::Stopped);
        };
        let loaded = tokio::select! {
            biased;
            () = self.shared.killed.cancelled() => return self.let_go(run, epoch, &lines.progress, End::Stopped),
            loaded = self.load(&run) => loaded,
        };
        match loaded {
            Ok((definition, state)) => {
                let mut first = vec![Observation::Resumed { epoch, worker: self.worker.clone() }];
                first.extend(seen);
                let taken = Taken { definition, run, epoch, state, commands: Vec::new(), seen: first };
                self.drive_to_end(taken, lines, slot).await;
            }
            Err(reason) => self.let_go(run, epoch, &lines.progress, End::Parked(reason)),
        }
    }

    /// Reads and folds a run's journal.
    pub(crate) async fn load(
        &self,
        run: &RunId,
    ) -> Result<(Arc<crate::definition::Definition<App>>, State), ParkReason> {
        let summary = self.store.get(run).await.map_err(ParkReason::Store)?;
        let summary = summary.ok_or(ParkReason::Unreadable(JournalError::Empty))?;
        self.load_as(&summary).await
    }

    pub(crate) async fn load_as(
        &self,
        summary: &RunSummary,
    ) -> Result<(Arc<crate::definition::Definition<App>>, State), ParkReason> {
        let definition = self.definition_of(summary)?;
        let mut state = State::new(&definition.plan);
        loop {
            let page = self.store.read(&summary.run, state.seq(), PAGE).await.map_err(ParkReason::Store)?;
            let last = page.len() < PAGE;
            for encoded in page {
                let expected = state.seq().plus(1);
                if encoded.seq != expected {
                    return Err(JournalError::Gap { expected, found: encoded.seq }.into());
                }
                let record = encoded.decode()?;
                replay(&definition.plan, &mut state, [&record])?;
            }
            if last {
                break;
            }
        }
        if state.seq() == Seq::ZERO {
            return Err(JournalError::Empty.into());
        }
        if state.seq() < summary.seq {
            // The store lost the end of it: to go on from here would be to act on a past that is not the past.
            return Err(JournalError::Gap { expected: state.seq().plus(1), found: summary.seq }.into());
        }
        Ok((definition, state))
    }

    /// Renews the claims, lets go of runs that others have claimed, and claims those that others have lost.
    pub(crate) fn keep_claims(self: &Arc<Self>) {
        // Weak: this task must not keep a coordinator alive that nobody has any more.
        let core = Arc::downgrade(self);
        let (killed, every) = (self.shared.killed.clone(), self.lease / 3);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = killed.cancelled() => return,
                    () = tokio::time::sleep(every) => {}
                }
                let Some(core) = core.upgrade() else { return };
                if let Err(error) = core.renew_and_claim().await {
                    warn!(%error, "claims could not be renewed; tried again");
                }
            }
        });
    }

    async fn renew_and_claim(self: &Arc<Self>) -> Result<(), StoreError> {
        let held = self.registry.held();
        if !held.is_empty() {
            for run in self.store.renew(&self.worker, &held, self.lease).await? {
                self.registry.unpark(&run);
                if let Some(entry) = self.registry.get(&run) {
                    // A run that came to rest since has no claim to lose.
                    let _ = entry.mailbox.send(Mail::Lost);
                }
            }
        }
        if !self.is_closing() && !self.shared.parking.is_cancelled() {
            self.claim_all().await?;
        }
        Ok(())
    }
}
