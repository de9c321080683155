//! A store whose process dies at a given append.

use std::sync::atomic::{AtomicU64, Ordering};

use saga_core::async_trait;
use saga_core::store::{Append, Layer, Refused, SledStore, Store, StoreError};
use serde::{Deserialize, Serialize};

/// When a process dies: as an append is about to be made, or when it has become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    Before,
    After,
}

/// A sled store whose process is killed right before or right after the k-th append.
pub(crate) struct DyingStore {
    inner: SledStore,
    dies_at: u64,
    moment: Moment,
    appends: AtomicU64,
}

impl DyingStore {
    pub(crate) fn new(inner: SledStore, dies_at: u64, moment: Moment) -> Self {
        Self { inner, dies_at, moment, appends: AtomicU64::new(0) }
    }

    fn die_if(&self, moment: Moment, append: u64) {
        if self.moment == moment && self.dies_at == append {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            // SIGKILL takes effect before the process gets to run any further code of its own; should it be late, nothing
            // may happen meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}

#[async_trait]
impl Layer for DyingStore {
    type Below = SledStore;

    fn below(&self) -> &SledStore {
        &self.inner
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let append = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        self.die_if(Moment::Before, append);
        let written = self.reach().await?.append(batch).await;
        self.die_if(Moment::After, append);
        written
    }
}
