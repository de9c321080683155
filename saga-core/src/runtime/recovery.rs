//! Taking runs up: at the start of a coordinator, when another worker has died, when a place has become free, and when
//! an operator moves a run on. It is always the same: claim, read, fold, `Resumed`, decide.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tracing::{info, warn};

use crate::definition::Definition;
use crate::id::{Epoch, RunId, Seq};
use crate::journal::JournalError;
use crate::machine::{Observation, State, replay};
use crate::runtime::core::{Core, Lines, Taken};
use crate::runtime::driver::End;
use crate::runtime::error::{ParkReason, RecoverError};
use crate::runtime::metrics;
use crate::runtime::panics::panic_message;
use crate::runtime::registry::{Mail, ParkedRun, Progress};
use crate::store::{Claim, KnownSaga, Query, RunStatus, RunSummary, StoreError};

/// How many runs are claimed, and how many records are read, in one call to the store.
const PAGE: usize = 512;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

fn known<App>(definition: &Definition<App>) -> KnownSaga {
    let plan = &definition.plan;
    KnownSaga { saga: plan.saga().clone(), version: plan.version(), fingerprint: plan.fingerprint() }
}

impl<App: Send + Sync + 'static> Core<App> {
    /// Claims every live run that nobody holds, and drives them as places become free.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), RecoverError> {
        let claims = self.claim_all().await?;
        if let Err(error) = self.park_unknown().await {
            let claims: Vec<_> = claims.into_iter().map(|claim| (claim.summary.run, claim.summary.epoch)).collect();
            // As well as it goes: the leases expire.
            let _ = self.store.release(&claims).await;
            return Err(error.into());
        }
        if !claims.is_empty() {
            info!(runs = claims.len(), "took up unfinished runs");
        }
        self.drive_all(claims);
        Ok(())
    }

    async fn claim_all(&self) -> Result<Vec<Claim>, StoreError> {
        let sagas: Vec<KnownSaga> = self.sagas.values().map(|definition| known(definition)).collect();
        let mut claimed = Vec::new();
        loop {
            let claims = self.store.claim(&self.worker, &sagas, self.lease, PAGE).await?;
            let last = claims.len() < PAGE;
            claimed.extend(claims);
            if last {
                return Ok(claimed);
            }
        }
    }

    fn drive_all(self: &Arc<Self>, claims: Vec<Claim>) {
        for claim in claims {
            let _following = self.drive_in_turn(claim.summary.run, claim.summary.epoch);
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
    pub(crate) fn drive_in_turn(self: &Arc<Self>, run: RunId, epoch: Epoch) -> watch::Receiver<Progress> {
        let lines = self.lines(&run, epoch);
        let following = lines.progress.subscribe();
        let core = Arc::clone(self);
        self.tasks.spawn(async move { core.wait_and_drive(run, epoch, lines).await });
        following
    }

    pub(crate) async fn wait_and_drive(&self, run: RunId, epoch: Epoch, mut lines: Lines) {
        // The store's code runs in here; if it panics, that is no reason to leave those who wait for the run in the dark.
        let taking_up = AssertUnwindSafe(self.take_up_in_turn(&run, epoch, &mut lines.mail)).catch_unwind();
        let taken_up = tokio::select! {
            biased;
            () = self.shared.killed.cancelled() => Err(End::Stopped),
            taken_up = taking_up => taken_up.unwrap_or_else(|panic| {
                Err(End::Parked(ParkReason::Internal(panic_message(&*panic).to_owned())))
            }),
        };
        match taken_up {
            Ok((taken, slot)) => self.drive_to_end(taken, lines, slot).await,
            Err(end) => self.let_go(run, epoch, &lines.progress, end),
        }
    }

    async fn take_up_in_turn(
        &self,
        run: &RunId,
        epoch: Epoch,
        mail: &mut mpsc::UnboundedReceiver<Mail>,
    ) -> Result<(Taken<App>, OwnedSemaphorePermit), End> {
        let slot = self.wait_for_place(run, epoch, mail).await?;
        let (definition, state) = tokio::select! {
            biased;
            () = self.shared.parking.cancelled() => return Err(End::Stopped),
            loaded = self.load(run) => loaded?,
        };
        // A run that waited for its first place, or that an operator has just moved on, was taken up under this claim
        // already, and nothing of it has been in flight since.
        let seen = if state.epoch() == epoch {
            Vec::new()
        } else {
            vec![Observation::Resumed { epoch, worker: self.worker.clone() }]
        };
        Ok((Taken { definition, run: run.clone(), epoch, state, commands: Vec::new(), seen }, slot))
    }

    /// Waits for a place, and meanwhile answers what does not have to wait for one.
    async fn wait_for_place(
        &self,
        run: &RunId,
        epoch: Epoch,
        mail: &mut mpsc::UnboundedReceiver<Mail>,
    ) -> Result<OwnedSemaphorePermit, End> {
        let mut place = std::pin::pin!(Arc::clone(&self.slots).acquire_owned());
        loop {
            let mail = tokio::select! {
                biased;
                () = self.shared.parking.cancelled() => return Err(End::Stopped),
                place = &mut place => return place.map_err(|_| End::Stopped),
                Some(mail) = mail.recv() => mail,
            };
            match mail {
                Mail::Cancel(by, reply) => {
                    self.cancel_waiting(run, epoch, by).await?;
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(());
                }
                Mail::Lost => return Err(End::Stopped),
                // Only actions send these, and none of this run is in flight.
                Mail::Checkpoint(..) | Mail::SubjectGone => {}
            }
        }
    }

    /// Reads and folds a run's journal. A store that fails for a while is waited for.
    pub(crate) async fn load(&self, run: &RunId) -> Result<(Arc<Definition<App>>, State), End> {
        let mut delay = FIRST_DELAY;
        loop {
            let loaded = match self.store.get(run).await {
                Ok(Some(summary)) => self.load_as(&summary).await,
                Ok(None) => Err(JournalError::Empty.into()),
                Err(error) => Err(ParkReason::Store(error)),
            };
            match loaded {
                Ok(loaded) => return Ok(loaded),
                Err(ParkReason::Store(error)) if error.is_transient() => {
                    warn!(%run, %error, retry_in = ?delay, "the journal could not be read; tried again");
                }
                // Nothing is wrong with the run itself.
                Err(ParkReason::Store(error @ (StoreError::Poisoned { .. } | StoreError::Closed))) => {
                    return Err(End::Failed(Arc::new(error)));
                }
                Err(reason) => return Err(End::Parked(reason)),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    pub(crate) async fn load_as(&self, summary: &RunSummary) -> Result<(Arc<Definition<App>>, State), ParkReason> {
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
                // Whatever a journal holds, it takes no other run down with it.
                catch_unwind(AssertUnwindSafe(|| replay(&definition.plan, &mut state, [&record])))
                    .map_err(|panic| ParkReason::Internal(panic_message(&*panic).to_owned()))??;
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
                // A shutdown waits for it, so that no claim comes after the last release.
                let _under_way = core.tasks.token();
                let renewed = tokio::select! {
                    () = killed.cancelled() => return,
                    renewed = AssertUnwindSafe(core.renew_and_claim()).catch_unwind() => renewed,
                };
                match renewed {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => warn!(%error, "claims could not be renewed; tried again"),
                    Err(panic) => warn!(error = panic_message(&*panic), "the store panicked; tried again"),
                }
            }
        });
    }

    async fn renew_and_claim(self: &Arc<Self>) -> Result<(), StoreError> {
        let held = self.registry.held();
        if !held.is_empty() {
            let lost = self.store.renew(&self.worker, &held, self.lease).await?;
            if !lost.is_empty() {
                let held: HashMap<RunId, Epoch> = held.into_iter().collect();
                for run in lost {
                    if let Some(epoch) = held.get(&run) {
                        self.registry.lost(&run, *epoch);
                    }
                }
            }
        }
        if !self.is_closing() {
            let claims = self.claim_all().await?;
            self.drive_all(claims);
        }
        Ok(())
    }
}
