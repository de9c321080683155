//! Holding on to claims, and claiming what nobody holds: runs of workers that have died or left, and those that a client
//! has started.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::definition::Definition;
use crate::id::{Epoch, RunId};
use crate::panics::panic_message;
use crate::runtime::core::{Core, Driving};
use crate::runtime::line::Mail;
use crate::runtime::registry::ParkedRun;
use crate::runtime::{error::ParkReason, error::RecoverError, metrics};
use crate::store::{Claim, Found, Hint, Hints, KnownSaga, Query, RunStatus, StoreError};

/// How many runs are claimed, or listed, in one call to the store.
const PAGE: usize = 512;
/// A lease is renewed so many times before it would run out.
const RENEWALS: u32 = 3;
/// Runs that nobody holds are looked for so many times in a lease, so that those of a dead worker are found soon after its
/// lease has run out; but not more seldom than `LONGEST_LOOK`.
const LOOKS: u32 = 10;
const LONGEST_LOOK: Duration = Duration::from_secs(3);
/// A run that has done nothing for so long makes itself small: what is read again for it when it goes on is little then
/// beside the time that it waited.
const IDLE: Duration = Duration::from_secs(1);
/// With a backlog, runs are claimed when so large a part of all places is free: not one by one.
const WORTH_CLAIMING: usize = 8;

/// A claim, and until when it holds at least.
pub(super) struct Claimed {
    claim: Claim,
    expires: Instant,
}

impl<App: Send + Sync + 'static> Core<App> {
    /// Claims the live runs that nobody holds, as many as there are places for, and drives them.
    pub(super) async fn recover(self: &Arc<Self>, driving: &Driving<App>) -> Result<(), RecoverError> {
        let mut claimed = Vec::new();
        if let Err(error) = self.claim_all(driving, &mut claimed).await {
            let claims: Vec<_> =
                claimed.into_iter().map(|one| one.claim.summary).map(|head| (head.run, head.epoch)).collect();
            // As well as it goes: the leases expire.
            let _ = self.store.release(&claims).await;
            return Err(error.into());
        }
        if !claimed.is_empty() {
            info!(runs = claimed.len(), "took up unfinished runs");
        }
        self.drive_all(claimed);
        Ok(())
    }

    async fn claim_all(&self, driving: &Driving<App>, claimed: &mut Vec<Claimed>) -> Result<(), StoreError> {
        loop {
            let (page, more) = self.claim_page(driving, claimed.len()).await?;
            claimed.extend(page);
            if !more {
                return self.set_strangers_aside().await;
            }
        }
    }

    /// Claims some of what nobody holds, if there is room besides `taken` runs, and says whether there may be more.
    async fn claim_page(&self, driving: &Driving<App>, taken: usize) -> Result<(Vec<Claimed>, bool), StoreError> {
        let mut sagas: Vec<KnownSaga> = self.sagas.values().map(|definition| known(definition)).collect();
        // In another order every time: where there are too many runs of one, the others must have their turn too.
        fastrand::shuffle(&mut sagas);
        let room = driving.most_in_flight.saturating_sub(self.registry.len() + taken);
        driving.backlog.store(room == 0, Ordering::SeqCst);
        if room == 0 {
            return Ok((Vec::new(), false));
        }
        let limit = room.min(PAGE);
        // Counted from before the store is asked, so that it never seems to hold for longer than it does.
        let expires = Instant::now() + self.lease;
        let claims = self.store.claim(&self.worker, &sagas, self.lease, limit).await?;
        let more = claims.len() == limit;
        Ok((claims.into_iter().map(|claim| Claimed { claim, expires }).collect(), more))
    }

    fn drive_all(self: &Arc<Self>, claimed: Vec<Claimed>) {
        for Claimed { claim: Claim { summary, journal, cancel }, expires } in claimed {
            let run = summary.run.clone();
            let _following = self.drive_in_turn(Found { summary, journal }, expires);
            if let Some(by) = cancel {
                self.pass_on_cancel(&run, by);
            }
        }
    }

    fn pass_on_cancel(&self, run: &RunId, by: crate::Actor) {
        if let Some(line) = self.registry.get(run) {
            // Whoever asked for it looks into the journal for what has become of it.
            let (reply, _) = oneshot::channel();
            let _ = line.send(Mail::Cancel(by, reply));
        }
    }

    /// Runs that nobody here can take up are left as they are, but not passed over in silence. In a store that others can
    /// have open, they are others' business.
    async fn set_strangers_aside(&self) -> Result<(), StoreError> {
        if self.store.is_shared() {
            return Ok(());
        }
        let mut query = Query { statuses: vec![RunStatus::Running], limit: PAGE, ..Query::default() };
        loop {
            let page = self.store.list(&query).await?;
            for summary in &page.runs {
                let strange =
                    |reason: &ParkReason| matches!(reason, ParkReason::UnknownSaga { .. } | ParkReason::Changed { .. });
                if let Some(reason) = self.definition_of(summary).err().filter(strange) {
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

    /// Keeps the claims of this worker alive, and claims what nobody holds, as long as the coordinator is there.
    pub(super) fn keep_claims(self: &Arc<Self>) {
        // Weak: these tasks must not keep a coordinator alive that nobody has any more.
        let core = Arc::downgrade(self);
        let (killed, every) = (self.shared.killed.token(), self.lease / RENEWALS);
        tokio::spawn(async move {
            let mut next = Instant::now() + every;
            loop {
                let Some(expiry) = core.upgrade().map(|core| core.first_to_run_out()) else { return };
                tokio::select! {
                    () = killed.cancelled() => return,
                    () = sleep_until(expiry.map_or(next, |expiry| expiry.min(next))) => {}
                }
                let Some(core) = core.upgrade() else { return };
                core.let_run_out();
                if Instant::now() < next {
                    continue;
                }
                // A shutdown waits for it, so that no renewal comes after the last release.
                let _under_way = core.tasks.token();
                let began = Instant::now();
                let renewed = tokio::select! {
                    () = killed.cancelled() => return,
                    renewed = done("claims could not be renewed", core.renew_in_time()) => renewed,
                };
                // Counted as the leases are. What has failed is tried again soon: there may yet be time before they run out.
                next = if renewed { began + every } else { Instant::now() + every / LOOKS };
            }
        });
        let core = Arc::downgrade(self);
        let (killed, every) = (self.shared.killed.token(), (self.lease / LOOKS).min(LONGEST_LOOK));
        let mut hints = self.store.hints();
        tokio::spawn(async move {
            let mut rests = Instant::now() + IDLE;
            // By the clock, not since the last hint: hints of one kind, however many, are no look for the other.
            let mut next = Instant::now() + every;
            loop {
                let Some(waiting) = core.upgrade() else { return };
                let Some(driving) = &waiting.driving else { return };
                // Not held on to while it waits, but for the place to wait at.
                let room = Arc::clone(&driving.room);
                drop(waiting);
                let hint = tokio::select! {
                    () = killed.cancelled() => return,
                    () = sleep_until(next) => None,
                    hint = hinted(&mut hints) => Some(hint),
                    () = room.notified() => Some(Hint::Work),
                };
                let Some(core) = core.upgrade() else { return };
                if Instant::now() >= rests {
                    core.registry.let_rest();
                    rests = Instant::now() + IDLE;
                }
                let _under_way = core.tasks.token();
                let done = tokio::select! {
                    () = killed.cancelled() => return,
                    done = done("what there is to do could not be looked for", core.look(hint)) => done,
                };
                if hint.is_none() {
                    next = Instant::now() + every;
                } else if !done {
                    // What was hinted at is not hinted at again.
                    next = Instant::now();
                }
            }
        });
    }

    /// Renews all claims, and gives those back that are of no use here any more. A call that hangs must not take up all
    /// the time that there is: the next one may go through at once.
    async fn renew_in_time(&self) -> Result<(), StoreError> {
        let late = |_| StoreError::Unavailable { message: "no answer in half a lease".into(), source: None };
        tokio::time::timeout(self.lease / 2, self.renew()).await.map_err(late)??;
        let given_back = self.registry.take_given_back();
        if !given_back.is_empty()
            && let Err(error) = self.store.release(&given_back).await
        {
            given_back.into_iter().for_each(|(run, epoch)| self.registry.give_back(run, epoch));
            return Err(error);
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let held = self.registry.held();
        if held.is_empty() {
            return Ok(());
        }
        let expires = Instant::now() + self.lease;
        let mut renewing = pin!(self.store.renew(&self.worker, &held, self.lease));
        let lost = loop {
            // A store that does not answer must not keep runs going whose claims run out meanwhile.
            let expiry = self.first_to_run_out();
            tokio::select! {
                lost = &mut renewing => break lost?,
                () = sleep_until(expiry.unwrap_or(expires)), if expiry.is_some() => self.let_run_out(),
            }
        };
        self.registry.renewed(&held, expires);
        let epochs: HashMap<&RunId, Epoch> = held.iter().map(|(run, epoch)| (run, *epoch)).collect();
        for run in lost {
            if let Some(epoch) = epochs.get(&run) {
                self.registry.lost(&run, *epoch);
            }
        }
        Ok(())
    }

    /// When the first claim runs out. Where no other process can have the store open, none does.
    fn first_to_run_out(&self) -> Option<Instant> {
        if self.store.is_shared() { self.registry.earliest_expiry() } else { None }
    }

    fn let_run_out(&self) {
        if self.store.is_shared() {
            self.registry.expire(Instant::now());
        }
    }

    /// Looks for what was hinted at, or for everything.
    async fn look(self: &Arc<Self>, hint: Option<Hint>) -> Result<(), StoreError> {
        if hint != Some(Hint::Work) {
            self.look_for_requests().await?;
        }
        if hint != Some(Hint::Requests) {
            self.look_for_work().await?;
        }
        Ok(())
    }

    async fn look_for_requests(&self) -> Result<(), StoreError> {
        // Also while the worker shuts down: what is being drained can still be cancelled.
        for (run, by) in self.store.cancel_requests(&self.worker).await? {
            self.pass_on_cancel(&run, by);
        }
        Ok(())
    }

    async fn look_for_work(self: &Arc<Self>) -> Result<(), StoreError> {
        let Some(driving) = self.driving.as_ref().filter(|_| !self.is_closing()) else { return Ok(()) };
        // After a long pause what this worker still holds has run out too: it must not take it away from itself.
        if self.registry.earliest_expiry().is_some_and(|expiry| expiry <= Instant::now()) {
            self.renew().await?;
        }
        // Page by page: what is claimed is driven, whatever becomes of the next page.
        loop {
            let (page, more) = self.claim_page(driving, 0).await?;
            self.drive_all(page);
            if !more {
                return Ok(());
            }
        }
    }

    /// Until when a claim holds for certain. If the store has kept the caller waiting for so long that this is over, it is
    /// renewed; `None` if it is lost, or may be.
    pub(super) async fn still_held(&self, run: &RunId, epoch: Epoch, expires: Instant) -> Option<Instant> {
        if !self.store.is_shared() || Instant::now() < expires {
            return Some(expires);
        }
        let expires = Instant::now() + self.lease;
        let lost = self.store.renew(&self.worker, &[(run.clone(), epoch)], self.lease).await;
        lost.is_ok_and(|lost| lost.is_empty()).then_some(expires)
    }

    /// To be called whenever a place has become free.
    pub(super) fn tell_of_room(&self) {
        let Some(driving) = &self.driving else { return };
        if driving.backlog.load(Ordering::SeqCst) {
            let room = driving.most_in_flight.saturating_sub(self.registry.len());
            if room >= (driving.most_in_flight / WORTH_CLAIMING).max(1) {
                driving.room.notify_one();
            }
        }
    }
}

fn known<App>(definition: &Definition<App>) -> KnownSaga {
    let plan = &definition.plan;
    KnownSaga { saga: plan.saga().clone(), version: plan.version(), fingerprint: plan.fingerprint() }
}

/// Whether a call to the store did what it should. It is repeated later anyway.
async fn done(what: &str, call: impl Future<Output = Result<(), StoreError>>) -> bool {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            warn!(%error, "{what}; tried again");
            false
        }
        Err(panic) => {
            warn!(error = panic_message(&*panic), "{what}, the store panicked; tried again");
            false
        }
    }
}

/// The store's next hint; none ever, if it gives none.
async fn hinted(hints: &mut Option<Hints>) -> Hint {
    if let Some(listening) = hints {
        if let Some(hint) = listening.next().await {
            return hint;
        }
        *hints = None;
    }
    std::future::pending().await
}
