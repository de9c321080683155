//! A memory store that several workers share, and that fails in ways that [`Faults`](saga_core::store::Faults) does not
//! know.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use saga_core::async_trait;
use saga_core::journal::EncodedRecord;
use saga_core::store::{Append, Claim, Found, KnownSaga, Layer, MemoryStore, Refused, Store, StoreError};
use saga_core::{Epoch, RunId, Seq, WorkerId};

/// To close it changes nothing: the other workers go on.
#[derive(Clone, Default)]
pub(crate) struct Wrapped {
    pub(crate) inner: MemoryStore,
    faults: Arc<Faults>,
    is_shared: bool,
    is_immediate: bool,
    /// Whether the line to the store is cut. Calls wait until it is mended.
    cut: watch::Sender<bool>,
}

#[derive(Default)]
struct Faults {
    panics: AtomicUsize,
    broken_reads: AtomicUsize,
    /// How many journals could have come along.
    along: AtomicUsize,
    unreadable: AtomicUsize,
    headless: AtomicUsize,
    hanging: AtomicUsize,
    cut_off: AtomicUsize,
    hidden: Mutex<Option<Seq>>,
    limit: Mutex<Option<usize>>,
    taken: AtomicUsize,
    pause_after: AtomicUsize,
    slow_reads: AtomicUsize,
    reads: AtomicUsize,
    heads: AtomicUsize,
    paused: watch::Sender<Option<bool>>,
}

impl Wrapped {
    /// The store as a new process would find it, without faults.
    pub(crate) fn reopen(&self) -> Self {
        Self { inner: self.inner.reopen(), ..Self::default() }
    }

    /// A store that says that other processes may have it open.
    pub(crate) fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// A store that answers at once.
    pub(crate) fn immediate() -> Self {
        Self { is_immediate: true, ..Self::default() }
    }

    /// The same store, by a line of its own.
    pub(crate) fn by_another_line(&self) -> Self {
        Self { cut: watch::Sender::new(false), ..self.clone() }
    }

    /// Cuts the line to the store, or mends it.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// The next reads panic.
    pub(crate) fn panic_reads(&self, times: usize) {
        self.faults.broken_reads.store(times, Ordering::SeqCst);
    }

    /// The next appends panic.
    pub(crate) fn panic(&self, times: usize) {
        self.faults.panics.store(times, Ordering::SeqCst);
    }

    /// The next reads find the store unavailable.
    pub(crate) fn fail_reads(&self, times: usize) {
        self.faults.unreadable.store(times, Ordering::SeqCst);
    }

    /// The next renewals get no answer, ever.
    pub(crate) fn hang_renewals(&self, times: usize) {
        self.faults.hanging.store(times, Ordering::SeqCst);
    }

    /// The next who ask for the heads of several runs find the store unavailable.
    pub(crate) fn fail_heads(&self, times: usize) {
        self.faults.headless.store(times, Ordering::SeqCst);
    }

    /// The next appends answer for none of the batch.
    pub(crate) fn cut_answers(&self, times: usize) {
        self.faults.cut_off.store(times, Ordering::SeqCst);
    }

    /// A record is missing from every journal.
    pub(crate) fn hide(&self, seq: Option<Seq>) {
        *self.faults.hidden.lock().unwrap() = seq;
    }

    /// Records of more bytes are refused.
    pub(crate) fn limit(&self, bytes: Option<usize>) {
        *self.faults.limit.lock().unwrap() = bytes;
    }

    /// The answer to append number `k` is held back until [`go_on`](Self::go_on).
    pub(crate) fn pause_after(&self, k: usize) {
        self.faults.pause_after.store(k, Ordering::SeqCst);
    }

    /// The next read is held up until [`go_on`](Self::go_on).
    pub(crate) fn pause_read(&self) {
        self.faults.slow_reads.store(1, Ordering::SeqCst);
    }

    /// How often a journal was asked for, with or without success.
    pub(crate) fn reads(&self) -> usize {
        self.faults.reads.load(Ordering::SeqCst)
    }

    /// How often the heads of several runs were asked for, with or without success.
    pub(crate) fn heads(&self) -> usize {
        self.faults.heads.load(Ordering::SeqCst)
    }

    /// Waits until a call is held up.
    pub(crate) async fn paused(&self) {
        self.faults.paused.subscribe().wait_for(|paused| *paused == Some(true)).await.unwrap();
    }

    pub(crate) fn go_on(&self) {
        self.faults.paused.send_replace(Some(false));
    }

    async fn pause(&self) {
        self.faults.paused.send_replace(Some(true));
        self.faults.paused.subscribe().wait_for(|paused| *paused == Some(false)).await.unwrap();
    }

    fn take(count: &AtomicUsize) -> bool {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn too_large(&self, append: &Append) -> Option<Refused> {
        let limit = (*self.faults.limit.lock().unwrap())?;
        let bytes = append.records.iter().map(|record| record.bytes.len()).max()?;
        (bytes > limit).then(|| Refused::TooLarge { run: append.run.clone(), bytes, limit })
    }
}

impl Wrapped {
    /// A journal that comes along with a claim or a look, in every other one: both ways are to lead to the same.
    async fn along(&self, run: &RunId) -> Result<Option<Vec<EncodedRecord>>, StoreError> {
        let along =
            self.faults.along.fetch_add(1, Ordering::SeqCst) % 2 == 1 && self.faults.hidden.lock().unwrap().is_none();
        if !along {
            return Ok(None);
        }
        self.inner.read(run, Seq::ZERO, usize::MAX).await.map(Some)
    }
}

#[async_trait]
impl Layer for Wrapped {
    type Below = MemoryStore;

    fn below(&self) -> &MemoryStore {
        &self.inner
    }

    async fn reach(&self) -> Result<&MemoryStore, StoreError> {
        self.cut.subscribe().wait_for(|cut| !cut).await.unwrap();
        Ok(&self.inner)
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        assert!(!Self::take(&self.faults.panics), "the store is broken");
        if Self::take(&self.faults.cut_off) {
            return Ok(Vec::new());
        }
        let mut answers = Vec::new();
        for append in batch {
            answers.push(match self.too_large(append) {
                Some(refused) => Err(refused),
                None => self.reach().await?.append(std::slice::from_ref(append)).await?.remove(0),
            });
            let taken = self.faults.taken.fetch_add(1, Ordering::SeqCst) + 1;
            if taken == self.faults.pause_after.load(Ordering::SeqCst) {
                self.pause().await;
            }
        }
        Ok(answers)
    }

    async fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        self.faults.reads.fetch_add(1, Ordering::SeqCst);
        assert!(!Self::take(&self.faults.broken_reads), "the store cannot read");
        if Self::take(&self.faults.unreadable) {
            return Err(StoreError::Unavailable { message: "injected".into(), source: None });
        }
        if Self::take(&self.faults.slow_reads) {
            self.pause().await;
        }
        let hidden = *self.faults.hidden.lock().unwrap();
        let records = self.reach().await?.read(run, after, limit).await?;
        Ok(records.into_iter().filter(|record| Some(record.seq) != hidden).collect())
    }

    async fn look(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        self.faults.heads.fetch_add(1, Ordering::SeqCst);
        if Self::take(&self.faults.headless) {
            return Err(StoreError::Unavailable { message: "injected".into(), source: None });
        }
        let mut found = self.reach().await?.look(runs).await?;
        for found in found.iter_mut().filter(|found| !found.summary.status.is_live()) {
            found.journal = self.along(&found.summary.run).await?;
        }
        Ok(found)
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut claims = self.reach().await?.claim(worker, sagas, lease, limit).await?;
        for claim in &mut claims {
            claim.journal = self.along(&claim.summary.run).await?;
        }
        Ok(claims)
    }

    async fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        if Self::take(&self.faults.hanging) {
            return std::future::pending().await;
        }
        self.reach().await?.renew(worker, held, lease).await
    }

    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        assert!(!Self::take(&self.faults.panics), "the store is broken");
        self.inner.append_now(append)
    }

    fn is_immediate(&self) -> bool {
        self.is_immediate
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
