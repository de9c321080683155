//! A run, as those who wait for it see it.

use std::marker::PhantomData;
use std::sync::Arc;

use futures::Stream;
use serde::de::DeserializeOwned;

use crate::id::RunId;
use crate::journal::{Actor, Record};
use crate::machine::outcome;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::runtime::core::Core;
use crate::runtime::error::{CancelError, OutcomeError, ParkReason};
use crate::runtime::events::events;
use crate::runtime::follow::{Follower, Standing};
use crate::runtime::line::Following;
use crate::runtime::pace::Left;
use crate::store::{Found, RunSummary, StoreError};

/// A run that was started, to be waited for, watched or cancelled. Dropping it changes nothing of the run.
pub struct RunHandle<App, Out> {
    core: Arc<Core<App>>,
    run: RunId,
    following: Option<Following>,
    /// If this process started the run and left it to the workers.
    left: Option<Left>,
    output: PhantomData<fn() -> Out>,
}

impl<App: Send + Sync + 'static, Out: DeserializeOwned> RunHandle<App, Out> {
    pub(crate) fn new(core: Arc<Core<App>>, run: RunId, following: Option<Following>) -> Self {
        Self { core, run, following, left: None, output: PhantomData }
    }

    /// The run has just been left to the workers.
    pub(crate) fn left_to_workers(mut self, left: Left) -> Self {
        self.left = Some(left);
        self
    }

    /// The run's id, under which it can be found again ([`Client::attach`](crate::Client::attach)).
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// Waits until the run comes to rest, and tells how. May be called again, also after an operator has moved the run
    /// on. A store that does not work for a while is waited for.
    ///
    /// # Errors
    ///
    /// [`OutcomeError`].
    pub async fn outcome(&self) -> Result<Outcome<Out>, OutcomeError> {
        let untyped = self.rest().await?;
        Ok(untyped.decode()?)
    }

    async fn rest(&self) -> Result<Outcome<Payload>, OutcomeError> {
        let mut follower = self.follower().until_end_of(self.left.clone());
        loop {
            match follower.look().await? {
                Standing::Live => follower.changed().await,
                Standing::Settled(outcome) => return Ok(Outcome::clone(&outcome)),
                Standing::AtRest(found) => match self.read_outcome(&found).await {
                    Ok(Some(outcome)) => return Ok(outcome),
                    Ok(None) => {}
                    Err(OutcomeError::Store(error)) if error.is_transient() => follower.pause().await,
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// What the journal says, or `None` if the run was moved on since it was seen at rest.
    async fn read_outcome(&self, found: &Found) -> Result<Option<Outcome<Payload>>, OutcomeError> {
        let parked = |reason: ParkReason| OutcomeError::Parked { run: self.run.clone(), reason: Arc::new(reason) };
        let Found { summary, journal } = found;
        let (definition, state) = match self.core.load_as(summary, journal.as_deref()).await {
            Ok(loaded) => loaded,
            Err(ParkReason::Store(error)) => return Err(error.into()),
            Err(reason) => return Err(parked(reason)),
        };
        match outcome(&definition.plan, &state) {
            None if state.seq() == summary.seq && !summary.status.is_live() => {
                let what = format!("run {} is {}, but its journal does not say so", self.run, summary.status);
                Err(StoreError::Corrupt { what }.into())
            }
            outcome => Ok(outcome),
        }
    }

    fn follower(&self) -> Follower<App> {
        Follower::new(Arc::clone(&self.core), self.run.clone(), self.following.clone())
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
        self.core.cancel(&self.run, by).await
    }

    /// The run's durable events, from the first one on, those to come included; it ends when the run is at rest.
    ///
    /// It reads the journal, so a slow reader misses nothing and holds nobody up, and a late one is told of everything
    /// that came before.
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
        events(self.follower())
    }
}

impl<App, Out> Clone for RunHandle<App, Out> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            run: self.run.clone(),
            following: self.following.clone(),
            left: self.left.clone(),
            output: PhantomData,
        }
    }
}

impl<App, Out> std::fmt::Debug for RunHandle<App, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunHandle").field("run", &self.run).finish_non_exhaustive()
    }
}
