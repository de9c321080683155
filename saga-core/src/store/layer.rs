//! A store in front of another one.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::{Epoch, ExclusiveKey, RunId, Seq, Timestamp, WorkerId};
use crate::journal::{Actor, EncodedRecord};
use crate::store::{
    Append, Claim, ClaimError, Found, Hints, KnownSaga, Page, Query, Refused, RunStatus, RunSummary, Store, StoreError,
};

/// A store that changes some calls to another store, and passes on all others.
///
/// Whatever implements this is a [`Store`]: say what is [below](Self::below), and write only the calls that are different.
/// It is for stores that count, log, slow down or fail; of course they have to keep what [`Store`] promises wherever they
/// are used for real work.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), saga_core::store::StoreError> {
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use saga_core::async_trait;
/// use saga_core::store::{Append, Layer, MemoryStore, Query, Refused, Store, StoreError};
///
/// /// Counts commits.
/// struct Counting {
///     store: MemoryStore,
///     commits: AtomicU64,
/// }
///
/// #[async_trait]
/// impl Layer for Counting {
///     type Below = MemoryStore;
///
///     fn below(&self) -> &MemoryStore {
///         &self.store
///     }
///
///     async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
///         self.commits.fetch_add(1, Ordering::Relaxed);
///         self.reach().await?.append(batch).await
///     }
/// }
///
/// let counting = Counting { store: MemoryStore::new(), commits: AtomicU64::new(0) };
/// assert!(Store::list(&counting, &Query::default()).await?.runs.is_empty()); // passed on
/// # Ok(()) }
/// ```
///
/// Its calls have the names of those of [`Store`], so code that has both traits in scope has to say which one it means when
/// it calls a layer: `Store::append(&layer, …)`.
#[async_trait]
pub trait Layer: Send + Sync + 'static {
    /// The store below. `dyn Store`, if it can be any.
    type Below: Store + ?Sized;

    /// The store below.
    fn below(&self) -> &Self::Below;

    /// The way down of every call that is passed on: the place to hold all of them up, or to refuse them. [`is_shared`] and
    /// [`hints`] do not come by here.
    ///
    /// [`is_shared`]: Self::is_shared
    /// [`hints`]: Self::hints
    ///
    /// # Errors
    ///
    /// What the call is to fail with instead of being passed on.
    async fn reach(&self) -> Result<&Self::Below, StoreError> {
        Ok(self.below())
    }

    /// [`Store::append`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        self.reach().await?.append(batch).await
    }

    /// [`Store::read`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.reach().await?.read(run, after, limit).await
    }

    /// [`Store::get`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.reach().await?.get(run).await
    }

    /// [`Store::look`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn look(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        self.reach().await?.look(runs).await
    }

    /// [`Store::holder`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        self.reach().await?.holder(key).await
    }

    /// [`Store::list`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.reach().await?.list(query).await
    }

    /// [`Store::claim`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.reach().await?.claim(worker, sagas, lease, limit).await
    }

    /// [`Store::claim_run`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        self.reach().await?.claim_run(worker, run, lease).await
    }

    /// [`Store::renew`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        self.reach().await?.renew(worker, held, lease).await
    }

    /// [`Store::release`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        self.reach().await?.release(held).await
    }

    /// [`Store::request_cancel`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        self.reach().await?.request_cancel(run, by).await
    }

    /// [`Store::cancel_requests`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        self.reach().await?.cancel_requests(worker).await
    }

    /// [`Store::is_shared`].
    fn is_shared(&self) -> bool {
        self.below().is_shared()
    }

    /// [`Store::append_now`]; never, unless the layer has one of its own.
    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        let _ = append;
        None
    }

    /// [`Store::is_immediate`]; not unless the layer says so, for it may wait for something.
    fn is_immediate(&self) -> bool {
        false
    }

    /// [`Store::hints`].
    fn hints(&self) -> Option<Hints> {
        self.below().hints()
    }

    /// [`Store::restore`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        self.reach().await?.restore(summary, records).await
    }

    /// [`Store::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.reach().await?.delete(run).await
    }

    /// [`Store::prune`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.reach().await?.prune(ended_before, limit).await
    }

    /// [`Store::close`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn close(&self) -> Result<(), StoreError> {
        self.reach().await?.close().await
    }
}

#[async_trait]
impl<L: Layer> Store for L {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        Layer::append(self, batch).await
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        Layer::read(self, run, after, limit).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        Layer::get(self, run).await
    }

    async fn look(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        Layer::look(self, runs).await
    }

    async fn holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        Layer::holder(self, key).await
    }

    async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        Layer::list(self, query).await
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        Layer::claim(self, worker, sagas, lease, limit).await
    }

    async fn claim_run(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        Layer::claim_run(self, worker, run, lease).await
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        Layer::renew(self, worker, held, lease).await
    }

    async fn release(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        Layer::release(self, held).await
    }

    async fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        Layer::request_cancel(self, run, by).await
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        Layer::cancel_requests(self, worker).await
    }

    fn is_shared(&self) -> bool {
        Layer::is_shared(self)
    }

    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        Layer::append_now(self, append)
    }

    fn is_immediate(&self) -> bool {
        Layer::is_immediate(self)
    }

    fn hints(&self) -> Option<Hints> {
        Layer::hints(self)
    }

    async fn restore(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        Layer::restore(self, summary, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        Layer::delete(self, run).await
    }

    async fn prune(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Layer::prune(self, ended_before, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        Layer::close(self).await
    }
}
