//! The verbs on runs, for whoever has the store: starting, finding, cancelling, watching, moving on.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::definition::{Definition, Saga};
use crate::id::{ExclusiveKey, RunId, WorkerId};
use crate::journal::Actor;
use crate::runtime::builder::by_name;
use crate::runtime::clock::Clock;
use crate::runtime::core::Core;
use crate::runtime::error::{CancelError, OutcomeError, RegisterError, StartError};
use crate::runtime::handle::RunHandle;
use crate::runtime::line::Following;
use crate::runtime::options::StartOptions;
use crate::store::{Page, Query, RunSummary, Store, StoreError};

/// For how long a client may be busy with a run that it moves on. If it dies meanwhile, a worker takes the run up then.
const LEASE: Duration = Duration::from_secs(30);

/// Starts, cancels, watches and moves on the runs of a store, and drives none of them: that is for the workers, the
/// [`Coordinator`](crate::Coordinator)s on the same store. A coordinator is a client too, one that drives what it starts.
///
/// A client of its own makes sense for stores that several processes can have open, such as PostgreSQL. It needs no
/// application (`App`), as it runs no action; it has the sagas for their types and their rules. Cloning it is cheap.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use saga_core::{store::MemoryStore, Client, Coordinator, Ctx, Saga, StepError};
///
/// struct Shop { stock: u64 }
/// async fn count(shop: Ctx<Shop>, _: String) -> Result<u64, StepError> { Ok(shop.stock) }
///
/// let mut saga = Saga::<Shop, String>::builder("count", 1);
/// let item = saga.input();
/// let counted = saga.step("count", item, count).nothing_to_undo();
/// let saga = saga.build(counted)?;
///
/// let store = MemoryStore::new(); // here: one for both
/// let client = Client::builder(store.clone()).register(&saga).build()?;
/// let run = client.start(&saga, "lamps".to_owned()).await?; // durable, and nobody's yet
///
/// let worker = Coordinator::builder(store, Shop { stock: 3 }).register(&saga).start().await?;
/// assert_eq!(run.outcome().await?.completed(), Some(3));
/// # drop(worker);
/// # Ok(()) }
/// ```
pub struct Client<App> {
    core: Arc<Core<App>>,
}

/// Builds a [`Client`].
#[must_use = "a client comes of it when `build` is called"]
pub struct ClientBuilder<App> {
    store: Arc<dyn Store>,
    sagas: Vec<Arc<Definition<App>>>,
}

impl<App: Send + Sync + 'static> ClientBuilder<App> {
    /// Makes a saga known: runs of it can be started, moved on, and cancelled while nobody drives them.
    pub fn register<In, Out>(mut self, saga: &Saga<App, In, Out>) -> Self {
        self.sagas.push(Arc::clone(saga.definition()));
        self
    }

    /// The client. To be called within a tokio runtime, on which it has a task that writes.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub fn build(self) -> Result<Client<App>, RegisterError> {
        let sagas = by_name(self.sagas)?;
        Ok(Client { core: Core::new(self.store, sagas, WorkerId::generate(), LEASE, Clock::new(), None) })
    }
}

impl<App: Send + Sync + 'static> Client<App> {
    /// A client of the runs in `store`.
    pub fn builder(store: impl Store) -> ClientBuilder<App> {
        Self::builder_shared(Arc::new(store))
    }

    /// As [`builder`](Self::builder), with a store that is used elsewhere too.
    pub fn builder_shared(store: Arc<dyn Store>) -> ClientBuilder<App> {
        ClientBuilder { store, sagas: Vec::new() }
    }

    pub(super) fn new(core: Arc<Core<App>>) -> Self {
        Self { core }
    }

    /// Starts a run. When this returns the run is durable: whatever happens, it comes to an end.
    ///
    /// A coordinator drives it; what a client starts is driven by whichever worker takes it up.
    ///
    /// If the store does not work for a while, this waits. Whoever stops waiting (by a timeout, say) does not call the
    /// start off: to learn what became of it, start it under an id of your own ([`StartOptions::id`]), again.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start<In, Out>(&self, saga: &Saga<App, In, Out>, input: In) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        self.start_with(saga, input, StartOptions::new()).await
    }

    /// Starts a run under an id, with an exclusive key, or with a deadline.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start_with<In, Out>(
        &self,
        saga: &Saga<App, In, Out>,
        input: In,
        options: StartOptions,
    ) -> Result<RunHandle<App, Out>, StartError>
    where
        In: Serialize,
        Out: DeserializeOwned,
    {
        self.core.start(saga, input, options).await
    }

    /// A handle to a run that was started before, here or in an earlier process. Its outcome is decoded as `Out`;
    /// [`Payload`](crate::Payload) takes any.
    ///
    /// # Errors
    ///
    /// [`OutcomeError::UnknownRun`], or what the store fails with.
    pub async fn attach<Out: DeserializeOwned>(&self, run: &RunId) -> Result<RunHandle<App, Out>, OutcomeError> {
        if let Some(line) = self.core.registry.get(run) {
            return Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), Some(Following::new(line))));
        }
        match self.core.store.get(run).await? {
            Some(_) => Ok(RunHandle::new(Arc::clone(&self.core), run.clone(), None)),
            None => Err(OutcomeError::UnknownRun(run.clone())),
        }
    }

    /// Cancels a run, and returns when that is durable; the run is then rolled back or halted as its saga says. To
    /// cancel a run that is being aborted already, or that has come to its end and only has yet to tell its finalizer,
    /// changes nothing, and is no error.
    ///
    /// If another worker drives the run it is asked, through the store. A run that nobody drives (its worker has died) is
    /// taken up for it by a coordinator; a client writes the cancellation itself, and leaves the rest to the next worker.
    /// A client that does not [know](ClientBuilder::register) the run's saga waits for a worker that does.
    ///
    /// # Errors
    ///
    /// [`CancelError`].
    pub async fn cancel(&self, run: &RunId, by: Actor) -> Result<(), CancelError> {
        self.core.cancel(run, by).await
    }

    /// The head of a run, if there is such a run.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.core.store.get(run).await
    }

    /// The heads of many runs, by page.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.core.store.list(query).await
    }

    /// The live or resting run that holds an exclusive key.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.core.store.holder(key).await
    }

    /// The store, for what there is no verb for: reading a journal, retention.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    pub(crate) fn core(&self) -> &Arc<Core<App>> {
        &self.core
    }
}

impl<App> Clone for Client<App> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<App> std::fmt::Debug for Client<App> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.core.worker).finish_non_exhaustive()
    }
}
