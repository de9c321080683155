//! Opening the stores, wherever they are.

use std::sync::Arc;

use saga_core::store::{SledStore, Store, StoreError};
use tokio::task::spawn_blocking;

use super::paths::DataDir;
use super::place::StoreUrl;
use super::trouble::{Trouble, chain};
use crate::repository::{ClusterRepository, RepositoryError, SledRepository};

/// What a process does with a database. The server lists its connections under this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It asks, and watches.
    Client,
    /// It does the work.
    Worker,
}

/// The journals and the records.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) journals: Arc<dyn Store>,
    pub(super) records: Arc<dyn ClusterRepository>,
    #[cfg(feature = "postgres")]
    database: Option<saga_postgres::Database>,
}

impl Stores {
    /// Opens those of a data directory. The caller holds its lock.
    pub(super) async fn of_directory(data: &DataDir) -> Result<Self, Trouble> {
        let (journal, records) = (data.journal(), data.records());
        let opened = spawn_blocking(move || {
            let store = SledStore::open(journal).map_err(|error| store_trouble(&error))?;
            let repository = SledRepository::open(records).map_err(|error| repository_trouble(&error))?;
            Ok((store, repository))
        });
        let (store, repository) = opened.await.map_err(|error| Trouble::new(error.to_string()))??;
        Ok(Self {
            journals: Arc::new(store),
            records: Arc::new(repository),
            #[cfg(feature = "postgres")]
            database: None,
        })
    }

    /// Opens those of a database, and makes the tables if they are not there.
    #[cfg(feature = "postgres")]
    pub(super) async fn of_database(url: &StoreUrl, role: Role) -> Result<Self, Trouble> {
        let open = async |address: &str| -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
            let options = saga_postgres::Database::options().application_name(role.name());
            let options = if role == Role::Client { options.pool_size(CLIENT_CONNECTIONS) } else { options };
            let database = options.database(address).await?;
            Ok(Self {
                journals: Arc::new(saga_postgres::PostgresStore::open(&database).await?),
                records: Arc::new(crate::repository::PostgresRepository::open(&database).await?),
                database: Some(database),
            })
        };
        open(url.reveal()?).await.map_err(|error| {
            Trouble::new(format!("the store {url} cannot be opened: {}", chain(&*error)))
                .untouched()
                .next("look whether the server runs and lets you in, and try again")
        })
    }

    /// This build cannot.
    #[cfg(not(feature = "postgres"))]
    pub(super) async fn of_database(url: &StoreUrl, _: Role) -> Result<Self, Trouble> {
        url.reveal()?;
        let trouble = Trouble::usage(format!("the store {url} cannot be opened: this build knows no PostgreSQL"));
        Err(trouble.next("use one that was built with the feature `postgres`"))
    }

    /// How many connections of workers the database has, as far as it tells.
    #[cfg(feature = "postgres")]
    pub(super) async fn workers(&self) -> Result<i64, Trouble> {
        let Some(database) = &self.database else { return Ok(0) };
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1";
        let counted = async { database.connection().await?.query_one(sql, &[&Role::Worker.name()]).await };
        Ok(counted.await.map_err(|error| store_trouble(&error))?.get(0))
    }

    /// There is no such database.
    #[cfg(not(feature = "postgres"))]
    pub(super) async fn workers(&self) -> Result<i64, Trouble> {
        Ok(0)
    }

    /// Finishes what is under way. What was written is durable without it.
    pub(super) async fn close(&self) {
        let _ = self.journals.close().await;
    }
}

/// A command asks one thing after the other.
#[cfg(feature = "postgres")]
const CLIENT_CONNECTIONS: usize = 3;

#[cfg(feature = "postgres")]
impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "saga-cluster",
            Self::Worker => "saga-cluster worker",
        }
    }
}

fn store_trouble(error: &StoreError) -> Trouble {
    Trouble::new(format!("the journal cannot be opened: {}", chain(error)))
        .untouched()
        .next("if another program uses it, end that; otherwise look at the disk, and try again")
}

fn repository_trouble(error: &RepositoryError) -> Trouble {
    Trouble::new(format!("the records cannot be opened: {}", chain(error)))
        .untouched()
        .next("if another program uses them, end that; otherwise look at the disk, and try again")
}
