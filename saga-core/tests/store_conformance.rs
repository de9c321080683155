//! The stores of this crate, put through the conformance suite.
#![cfg(feature = "conformance")]

use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::MemoryStore;
use saga_core::store::conformance::Factory;

async fn pass_time(by: Duration) -> bool {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
    true
}

struct Memory;

#[async_trait]
impl Factory for Memory {
    type Store = MemoryStore;

    async fn open(&self) -> MemoryStore {
        MemoryStore::new()
    }

    async fn reopen(&self, store: MemoryStore) -> Option<MemoryStore> {
        Some(store.reopen())
    }

    async fn advance(&self, by: Duration) -> bool {
        pass_time(by).await
    }
}

mod memory {
    saga_core::store_conformance!(super::Memory);
}

/// Nothing but what passes things on, twice.
mod layer {
    use std::time::Duration;

    use async_trait::async_trait;
    use saga_core::store::conformance::Factory;
    use saga_core::store::{Layer, MemoryStore, Store};

    pub(crate) struct Through<S>(S);

    impl<S: Store> Layer for Through<S> {
        type Below = S;

        fn below(&self) -> &S {
            &self.0
        }
    }

    struct Layered;

    #[async_trait]
    impl Factory for Layered {
        type Store = Through<Through<MemoryStore>>;

        async fn open(&self) -> Self::Store {
            Through(Through(MemoryStore::new()))
        }

        async fn reopen(&self, store: Self::Store) -> Option<Self::Store> {
            Some(Through(Through(store.0.0.reopen())))
        }

        async fn advance(&self, by: Duration) -> bool {
            super::pass_time(by).await
        }
    }

    saga_core::store_conformance!(Layered);
}

#[cfg(feature = "sled")]
mod sled {
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;
    use saga_core::store::conformance::Factory;
    use saga_core::store::{SledStore, Store};
    use tempfile::TempDir;

    /// Keeps the directories until the test is over.
    #[derive(Default)]
    struct Sled {
        directories: Mutex<Vec<TempDir>>,
    }

    impl Sled {
        fn newest(&self) -> PathBuf {
            self.directories.lock().unwrap().last().unwrap().path().join("store")
        }
    }

    #[async_trait]
    impl Factory for Sled {
        type Store = SledStore;

        async fn open(&self) -> SledStore {
            self.directories.lock().unwrap().push(TempDir::new().unwrap());
            SledStore::open(self.newest()).unwrap()
        }

        async fn reopen(&self, store: SledStore) -> Option<SledStore> {
            store.close().await.unwrap();
            Some(SledStore::open(self.newest()).unwrap())
        }

        async fn advance(&self, by: Duration) -> bool {
            super::pass_time(by).await
        }
    }

    saga_core::store_conformance!(Sled::default());
}
