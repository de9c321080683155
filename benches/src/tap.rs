//! A store that counts what passes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use saga_core::async_trait;
use saga_core::store::{Append, Layer, Refused, Store, StoreError};
use serde::{Deserialize, Serialize};

/// What was written so far.
#[derive(Debug, Default)]
pub struct Written {
    groups: AtomicU64,
    appends: AtomicU64,
    bytes: AtomicU64,
}

/// What was written up to some moment, or between two of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writes {
    /// Calls to the store: group commits.
    pub groups: u64,
    /// Appends, of which a group commit holds one or more.
    pub appends: u64,
    /// Bytes of the journals' records, as they were handed to the store.
    pub bytes: u64,
}

impl Written {
    /// What was written up to now.
    #[must_use]
    pub fn now(&self) -> Writes {
        Writes {
            groups: self.groups.load(Ordering::Relaxed),
            appends: self.appends.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn add(&self, appends: usize, bytes: usize) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.appends.fetch_add(appends as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn bytes_of(batch: &[Append]) -> usize {
    batch.iter().flat_map(|append| &append.records).map(|record| record.bytes.len()).sum()
}

impl std::ops::AddAssign for Writes {
    fn add_assign(&mut self, more: Self) {
        self.groups += more.groups;
        self.appends += more.appends;
        self.bytes += more.bytes;
    }
}

impl Writes {
    /// What was written since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            groups: self.groups - earlier.groups,
            appends: self.appends - earlier.appends,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// A store that counts what is appended to another one.
#[derive(Clone)]
pub struct Tap {
    store: Arc<dyn Store>,
    written: Arc<Written>,
}

impl Tap {
    /// Counts what is appended to this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, written: Arc::default() }
    }

    /// The count.
    #[must_use]
    pub fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }
}

#[async_trait]
impl Layer for Tap {
    type Below = dyn Store;

    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        self.written.add(batch.len(), bytes_of(batch));
        self.reach().await?.append(batch).await
    }

    fn append_now(&self, append: &mut Append) -> Option<Result<(), Refused>> {
        // Before it is asked: the records may be taken out of it.
        let bytes = bytes_of(std::slice::from_ref(append));
        let answer = self.store.append_now(append)?;
        self.written.add(1, bytes);
        Some(answer)
    }

    fn is_immediate(&self) -> bool {
        self.store.is_immediate()
    }
}
