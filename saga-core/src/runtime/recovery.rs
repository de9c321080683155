//! Taking runs up that were claimed: at the start of a coordinator, when another worker has died, and when an operator
//! moves a run on. It is always the same: claim, read, fold, `Resumed`, decide.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::warn;

use crate::definition::Definition;
use crate::id::{RunId, Seq};
use crate::journal::{EncodedRecord, JournalError};
use crate::machine::{Observation, State, replay};
use crate::panics::panic_message;
use crate::plan::Plan;
use crate::runtime::core::{Core, Taken};
use crate::runtime::driver::End;
use crate::runtime::error::ParkReason;
use crate::runtime::line::{Following, Mail, Receiver};
use crate::store::{Found, RunSummary, Store, StoreError};

/// How many records are read in one call to the store.
const PAGE: usize = 512;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

impl<App: Send + Sync + 'static> Core<App> {
    /// Drives a run as soon as there is a place for it.
    pub(crate) fn drive_in_turn(self: &Arc<Self>, claimed: Found, expires: Instant) -> Following {
        let line = self.enter(&claimed.summary.run, claimed.summary.epoch, &claimed.summary.saga, expires);
        let following = Following::new(Arc::clone(line.line()));
        self.tasks.spawn(Arc::clone(self).wait_and_drive(claimed, line));
        following
    }

    pub(crate) async fn wait_and_drive(self: Arc<Self>, claimed: Found, line: Receiver) {
        // Both are boxed: neither is to take room in the other, nor the first one when it is over.
        match Box::pin(self.take_up_or_stop(claimed, &line)).await {
            Ok((taken, slot)) => Box::pin(self.drive_to_end(taken, line, slot)).await,
            Err(end) => self.let_go(&line, end),
        }
    }

    async fn take_up_or_stop(
        &self,
        mut claimed: Found,
        line: &Receiver,
    ) -> Result<(Taken<App>, OwnedSemaphorePermit), End> {
        // The store's code runs in here; if it panics, that is no reason to leave those who wait for the run in the dark.
        let taking_up = AssertUnwindSafe(self.take_up_in_turn(&mut claimed, line)).catch_unwind();
        tokio::select! {
            biased;
            () = self.shared.killed.given() => Err(End::Stopped),
            () = line.line().scope.stopped(true) => Err(End::Lost),
            taken_up = taking_up => taken_up.unwrap_or_else(|panic| {
                Err(End::Parked(ParkReason::Internal(panic_message(&*panic).to_owned())))
            }),
        }
    }

    async fn take_up_in_turn(
        &self,
        claimed: &mut Found,
        line: &Receiver,
    ) -> Result<(Taken<App>, OwnedSemaphorePermit), End> {
        let slot = self.wait_for_place(claimed, line).await?;
        let (definition, state) = tokio::select! {
            biased;
            () = self.shared.parking.given() => return Err(End::Stopped),
            loaded = self.load(&claimed.summary, claimed.journal.as_deref()) => loaded?,
        };
        let epoch = claimed.summary.epoch;
        // A run that waited for its first place, or that an operator has just moved on, was taken up under this claim
        // already, and nothing of it has been in flight since.
        let seen = if state.epoch() == epoch {
            Vec::new()
        } else {
            vec![Observation::Resumed { epoch, worker: self.worker.clone() }]
        };
        Ok((Taken { definition, state: Box::new(state), commands: Vec::new(), seen }, slot))
    }

    /// Waits for a place, and meanwhile answers what does not have to wait for one.
    async fn wait_for_place(&self, claimed: &mut Found, line: &Receiver) -> Result<OwnedSemaphorePermit, End> {
        let Some(driving) = &self.driving else { return Err(End::Stopped) };
        let mut place = std::pin::pin!(Arc::clone(&driving.slots).acquire_owned());
        loop {
            let mail = tokio::select! {
                biased;
                () = self.shared.parking.given() => return Err(End::Stopped),
                place = &mut place => return place.map_err(|_| End::Stopped),
                mail = line.recv() => mail,
            };
            match mail {
                Mail::Cancel(by, reply) => {
                    // What is at hand of the journal is not all of it then.
                    claimed.journal = None;
                    self.write_cancel(&claimed.summary, by).await?;
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(());
                }
                // Only actions send these, and none of this run is in flight.
                Mail::Checkpoint(..) | Mail::SubjectGone => {}
            }
        }
    }

    /// Reads and folds the journal of a run that was claimed, so that nobody else writes to it. A store that fails for a
    /// while is waited for.
    pub(crate) async fn load(
        &self,
        claimed: &RunSummary,
        at_hand: Option<&[EncodedRecord]>,
    ) -> Result<(Arc<Definition<App>>, State), End> {
        patiently(&claimed.run, || self.load_as(claimed, at_hand)).await
    }

    pub(crate) async fn load_as(
        &self,
        summary: &RunSummary,
        at_hand: Option<&[EncodedRecord]>,
    ) -> Result<(Arc<Definition<App>>, State), ParkReason> {
        let definition = self.definition_of(summary)?;
        let state = fold(&*self.store, &definition.plan, &summary.run, summary.seq, at_hand).await?;
        Ok((definition, state))
    }
}

/// Reads something of a run, as often as it takes: a store that fails for a while is waited for.
pub(super) async fn patiently<T, Reading>(run: &RunId, read: impl Fn() -> Reading) -> Result<T, End>
where
    Reading: Future<Output = Result<T, ParkReason>>,
{
    let mut delay = FIRST_DELAY;
    loop {
        match read().await {
            Ok(read) => return Ok(read),
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

/// Folds the journal of a run, which is known to reach to `newest` at least; reads it, if it is not at hand.
pub(super) async fn fold(
    store: &dyn Store,
    plan: &Plan,
    run: &RunId,
    newest: Seq,
    at_hand: Option<&[EncodedRecord]>,
) -> Result<State, ParkReason> {
    let mut state = State::new(plan);
    if let Some(journal) = at_hand {
        fold_on(plan, &mut state, journal)?;
    } else {
        loop {
            let page = store.read(run, state.seq(), PAGE).await.map_err(ParkReason::Store)?;
            fold_on(plan, &mut state, &page)?;
            if page.len() < PAGE {
                break;
            }
        }
    }
    if state.seq() == Seq::ZERO {
        return Err(JournalError::Empty.into());
    }
    if state.seq() < newest {
        // The store lost the end of it: to go on from here would be to act on a past that is not the past.
        return Err(JournalError::Gap { expected: state.seq().plus(1), found: newest }.into());
    }
    Ok(state)
}

fn fold_on(plan: &Plan, state: &mut State, records: &[EncodedRecord]) -> Result<(), ParkReason> {
    for encoded in records {
        let expected = state.seq().plus(1);
        if encoded.seq != expected {
            return Err(JournalError::Gap { expected, found: encoded.seq }.into());
        }
        let record = encoded.decode()?;
        // Whatever a journal holds, it takes no other run down with it.
        catch_unwind(AssertUnwindSafe(|| replay(plan, state, [&record])))
            .map_err(|panic| ParkReason::Internal(panic_message(&*panic).to_owned()))??;
    }
    Ok(())
}
