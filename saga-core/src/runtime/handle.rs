//! A run, as those who wait for it see it.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::id::{RunId, Seq};
use crate::journal::{Actor, JournalError, Record};
use crate::machine::outcome;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::coordinator::Core;
use crate::runtime::error::{CancelError, OutcomeError, ParkReason};
use crate::runtime::registry::Progress;
use crate::store::{RunStatus, RunSummary};

/// How often a run is looked at that another worker drives.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PAGE: usize = 256;

/// A run that was started, to be waited for, watched or cancelled. Dropping it changes nothing of the run.
pub struct RunHandle<App, Out> {
    core: Arc<Core<App>>,
    run: RunId,
    following: Option<watch::Receiver<Progress>>,
    output: PhantomData<fn() -> Out>,
}

impl<App: Send + Sync + 'static, Out: DeserializeOwned> RunHandle<App, Out> {
    pub(crate) fn new(core: Arc<Core<App>>, run: RunId, following: Option<watch::Receiver<Progress>>) -> Self {
        Self { core, run, following, output: PhantomData }
    }

    /// The run's id, under which it can be found again ([`Coordinator::attach`](crate::Coordinator::attach)).
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// Waits until the run comes to rest, and tells how. May be called again, also after an operator has moved the run
    /// on.
    ///
    /// # Errors
    ///
    /// [`OutcomeError`].
    pub async fn outcome(&self) -> Result<Outcome<Out>, OutcomeError> {
        let untyped = self.rest().await?;
        Ok(untyped.decode()?)
    }

    async fn rest(&self) -> Result<Outcome<Payload>, OutcomeError> {
        let mut following = self.core.registry.get(&self.run).map(|entry| entry.progress);
        if following.is_none() {
            // What this handle saw last is the end, unless an operator has moved the run on since.
            following = self.following.clone().filter(|seen| match &*seen.borrow() {
                Progress::Settled(end) => !end.is_resting(),
                _ => true,
            });
        }
        if let Some(following) = &mut following {
            loop {
                match following.borrow_and_update().clone() {
                    Progress::Live => {}
                    Progress::Settled(outcome) => return Ok(Outcome::clone(&outcome)),
                    Progress::Parked(reason) => return Err(OutcomeError::Parked { run: self.run.clone(), reason }),
                    Progress::Failed(error) => return Err(OutcomeError::Store(error)),
                    Progress::Stopped if self.core.is_closing() => return Err(OutcomeError::Stopped(self.run.clone())),
                    // Another worker has it now.
                    Progress::Stopped => break,
                }
                if following.changed().await.is_err() {
                    break;
                }
            }
        }
        self.rest_by_looking().await
    }

    /// Nobody here drives the run: its journal tells.
    async fn rest_by_looking(&self) -> Result<Outcome<Payload>, OutcomeError> {
        loop {
            let summary = self.summary().await?;
            if summary.status != RunStatus::Running {
                let parked =
                    |reason: ParkReason| OutcomeError::Parked { run: self.run.clone(), reason: Arc::new(reason) };
                let (definition, state) = self.core.load_as(&summary).await.map_err(parked)?;
                return outcome(&definition.plan, &state)
                    .ok_or_else(|| parked(ParkReason::Unreadable(JournalError::Empty)));
            }
            if let Some(parked) = self.core.registry.parked(&self.run) {
                return Err(OutcomeError::Parked { run: self.run.clone(), reason: parked.reason });
            }
            if self.core.is_closing() {
                return Err(OutcomeError::Stopped(self.run.clone()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Where the run stands.
    ///
    /// # Errors
    ///
    /// [`OutcomeError::UnknownRun`] if it has been deleted since, or what the store fails with.
    pub async fn summary(&self) -> Result<RunSummary, OutcomeError> {
        let summary = self.core.store.get(&self.run).await?;
        summary.ok_or_else(|| OutcomeError::UnknownRun(self.run.clone()))
    }

    /// Cancels the run, and returns when that is durable.
    ///
    /// # Errors
    ///
    /// [`CancelError`].
    pub async fn cancel(&self, by: Actor) -> Result<(), CancelError> {
        crate::runtime::coordinator::Core::cancel(&self.core, &self.run, by).await
    }

    /// The run's durable events, from the first one on, those to come included; it ends when the run is at rest.
    ///
    /// It reads the journal, so a slow reader misses nothing and holds nobody up.
    ///
    /// ```no_run
    /// # async fn watch<App: Send + Sync + 'static>(run: saga_core::RunHandle<App, ()>) -> Result<(), saga_core::OutcomeError> {
    /// use futures::TryStreamExt;
    ///
    /// let mut events = std::pin::pin!(run.events());
    /// while let Some(record) = events.try_next().await? {
    ///     println!("{:?}", record.event);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The stream ends after an [`OutcomeError`].
    pub fn events(&self) -> impl Stream<Item = Result<Record, OutcomeError>> + Send + 'static {
        let reading = Reading {
            core: Arc::clone(&self.core),
            run: self.run.clone(),
            following: self.core.registry.get(&self.run).map(|entry| entry.progress).or(self.following.clone()),
            read: Seq::ZERO,
            page: VecDeque::new(),
            over: false,
        };
        futures::stream::unfold(reading, |mut reading| async move {
            let next = reading.next().await.transpose()?;
            reading.over |= next.is_err();
            Some((next, reading))
        })
    }
}

/// A reader of a journal that is still being written.
struct Reading<App> {
    core: Arc<Core<App>>,
    run: RunId,
    following: Option<watch::Receiver<Progress>>,
    read: Seq,
    page: VecDeque<Record>,
    over: bool,
}

impl<App: Send + Sync + 'static> Reading<App> {
    async fn next(&mut self) -> Result<Option<Record>, OutcomeError> {
        loop {
            if let Some(record) = self.page.pop_front() {
                self.read = record.seq;
                return Ok(Some(record));
            }
            if self.over {
                return Ok(None);
            }
            // Looked at before reading: what is written after it is read by the next turn.
            let at_rest = self.is_at_rest().await?;
            let unreadable =
                |error| OutcomeError::Parked { run: self.run.clone(), reason: Arc::new(ParkReason::Unreadable(error)) };
            for encoded in self.core.store.read(&self.run, self.read, PAGE).await? {
                self.page.push_back(encoded.decode().map_err(unreadable)?);
            }
            if self.page.is_empty() {
                if at_rest {
                    return Ok(None);
                }
                self.wait().await;
            }
        }
    }

    async fn is_at_rest(&mut self) -> Result<bool, OutcomeError> {
        if let Some(following) = &mut self.following {
            match &*following.borrow_and_update() {
                Progress::Live => return Ok(false),
                Progress::Settled(..) => return Ok(true),
                Progress::Stopped | Progress::Parked(_) | Progress::Failed(_) if self.core.is_closing() => {
                    return Err(OutcomeError::Stopped(self.run.clone()));
                }
                Progress::Stopped | Progress::Parked(_) | Progress::Failed(_) => {}
            }
        }
        let summary = self.core.store.get(&self.run).await?;
        Ok(summary.ok_or_else(|| OutcomeError::UnknownRun(self.run.clone()))?.status != RunStatus::Running)
    }

    async fn wait(&mut self) {
        if let Some(following) = &mut self.following
            && following.changed().await.is_ok()
        {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl<App, Out> Clone for RunHandle<App, Out> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            run: self.run.clone(),
            following: self.following.clone(),
            output: PhantomData,
        }
    }
}

impl<App, Out> std::fmt::Debug for RunHandle<App, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunHandle").field("run", &self.run).finish_non_exhaustive()
    }
}
