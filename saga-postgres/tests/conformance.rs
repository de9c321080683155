//! The store passes the conformance suite, on a server that is shared, each property in a database of its own.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::Store;
use saga_core::store::conformance::Factory;
use saga_postgres::{PostgresStore, testing};

/// Stores in databases of their own, whose addresses are remembered to reopen them and to move their clocks.
#[derive(Default)]
struct OnPostgres {
    urls: Mutex<Vec<String>>,
}

#[async_trait]
impl Factory for OnPostgres {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        let url = testing::database().await;
        self.urls.lock().expect("nobody panicked").push(url.clone());
        PostgresStore::connect(&url).await.expect("the server works")
    }

    async fn reopen(&self, store: PostgresStore) -> Option<PostgresStore> {
        store.close().await.expect("it can be closed");
        let url = self.urls.lock().expect("nobody panicked").last().cloned().expect("it was opened");
        Some(PostgresStore::connect(&url).await.expect("the server works"))
    }

    /// Leases are measured by the server's clock, so it is they that are moved.
    async fn advance(&self, by: Duration) -> bool {
        let urls = self.urls.lock().expect("nobody panicked").clone();
        for url in urls {
            let sql = format!(
                "UPDATE saga.runs SET lease_until = lease_until - {} * interval '1 microsecond'",
                by.as_micros()
            );
            testing::execute(&url, &sql).await;
        }
        true
    }
}

mod conformance {
    saga_core::store_conformance!(super::OnPostgres::default());
}
