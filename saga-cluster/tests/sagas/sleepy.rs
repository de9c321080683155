//! A store as a process has it that falls asleep, for as long as others like, or for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use saga_core::async_trait;
use saga_core::store::{Append, Layer, MemoryStore, Refused, Store, StoreError};
use tokio::sync::watch;

/// Shares a store with others. What happens to this one's calls does not happen to theirs.
#[derive(Clone)]
pub(crate) struct Sleepy {
    inner: MemoryStore,
    appends: Arc<AtomicU64>,
    /// The append at which it falls asleep, and whether that is before or after its effect.
    at: Arc<watch::Sender<Option<(u64, When)>>>,
    asleep: Arc<watch::Sender<bool>>,
}

/// On which side of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

impl Sleepy {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self { inner, appends: Arc::default(), at: Arc::default(), asleep: Arc::default() }
    }

    /// Falls asleep at the append that comes after so many others from now on.
    pub(crate) fn sleep_at(&self, nth: u64, when: When) {
        self.at.send_replace(Some((self.appends.load(Ordering::SeqCst) + nth, when)));
    }

    pub(crate) async fn fell_asleep(&self) {
        let _ = self.asleep.subscribe().wait_for(|asleep| *asleep).await;
    }

    pub(crate) fn is_asleep(&self) -> bool {
        *self.asleep.borrow()
    }

    pub(crate) fn wake(&self) {
        self.at.send_replace(None);
        self.asleep.send_replace(false);
    }

    async fn awake(&self) {
        let _ = self.asleep.subscribe().wait_for(|asleep| !asleep).await;
    }

    async fn pass(&self, nth: u64, when: When) {
        if *self.at.borrow() == Some((nth, when)) {
            self.asleep.send_replace(true);
        }
        self.awake().await;
    }
}

#[async_trait]
impl Layer for Sleepy {
    type Below = MemoryStore;

    fn below(&self) -> &MemoryStore {
        &self.inner
    }

    async fn reach(&self) -> Result<&MemoryStore, StoreError> {
        self.awake().await;
        Ok(&self.inner)
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let nth = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        self.pass(nth, When::Before).await;
        let done = self.inner.append(batch).await;
        self.pass(nth, When::After).await;
        done
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// The others go on.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
