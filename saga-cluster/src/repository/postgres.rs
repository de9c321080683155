//! Records in PostgreSQL, which many processes share.
//!
//! A record is a row: its JSON, and beside it what a compare-and-set compares. The statement that changes a row names its
//! id and version, so whatever was decided upon the record that was read, it is written only if that is still the record.

use async_trait::async_trait;
use saga_core::store::StoreError;
use saga_postgres::{Connection, Database};

use super::{ClusterRepository, Listing, RepositoryError, check_update, check_version, envelope};
use crate::model::{Cluster, ClusterId, ClusterName};

const PART: &str = "clusters";

const MIGRATIONS: &[&str] = &["CREATE TABLE {schema}.clusters (
    name text COLLATE \"C\" PRIMARY KEY,
    id text NOT NULL,
    version int8 NOT NULL,
    record json NOT NULL
)"];

const INSERT: &str = "INSERT INTO {schema}.clusters (name, id, version, record) VALUES ($1, $2, $3, $4::text::json)
    ON CONFLICT DO NOTHING";
const GET: &str = "SELECT record::text FROM {schema}.clusters WHERE name = $1";
const LIST: &str = "SELECT name, record::text FROM {schema}.clusters ORDER BY name";
const UPDATE: &str = "UPDATE {schema}.clusters SET version = $4, record = $5::text::json
    WHERE name = $1 AND id = $2 AND version = $3";
const REMOVE_VERSION: &str = "DELETE FROM {schema}.clusters WHERE name = $1 AND id = $2 AND version = $3";
const REMOVE: &str = "DELETE FROM {schema}.clusters WHERE name = $1";

/// Keeps records in a PostgreSQL database, beside the runs that work on them. Clones are handles on one repository.
#[derive(Debug, Clone)]
pub struct PostgresRepository {
    database: Database,
}

impl PostgresRepository {
    /// Opens the repository in a database, and makes its table if it is not there.
    ///
    /// # Errors
    /// [`RepositoryError::Store`] with what [`Database::migrate`] fails with.
    pub async fn open(database: &Database) -> Result<Self, RepositoryError> {
        database.migrate(PART, MIGRATIONS).await.map_err(failed("making the table"))?;
        Ok(Self { database: database.clone() })
    }

    async fn connection(&self) -> Result<Connection, RepositoryError> {
        self.database.connection().await.map_err(failed("connecting"))
    }

    async fn read(&self, connection: &Connection, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        let row = connection.query_opt(&self.database.sql(GET), &[&name.as_str()]).await;
        let row = row.map_err(failed("reading a record"))?;
        row.map(|row| envelope::decode(name.as_str(), row.get::<_, &str>(0).as_bytes())).transpose()
    }
}

/// What the server could not do.
fn failed(doing: &'static str) -> impl FnOnce(StoreError) -> RepositoryError {
    move |error| RepositoryError::store(doing, error)
}

fn text(cluster: &Cluster) -> Result<String, RepositoryError> {
    String::from_utf8(envelope::encode(cluster)?).map_err(|error| RepositoryError::store("encoding a record", error))
}

/// As the server counts. No record is changed so often that it makes a difference.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[async_trait]
impl ClusterRepository for PostgresRepository {
    async fn insert(&self, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        let (name, record) = (cluster.name().as_str(), text(&cluster)?);
        let parameters = (cluster.id.as_str(), number(cluster.version));
        let inserted = self
            .connection()
            .await?
            .execute(&self.database.sql(INSERT), &[&name, &parameters.0, &parameters.1, &record])
            .await;
        match inserted.map_err(failed("adding a record"))? {
            0 => Err(RepositoryError::AlreadyExists { name: cluster.name().clone() }),
            _ => Ok(cluster),
        }
    }

    async fn get(&self, name: &ClusterName) -> Result<Option<Cluster>, RepositoryError> {
        self.read(&self.connection().await?, name).await
    }

    async fn list(&self) -> Result<Listing, RepositoryError> {
        let rows = self.connection().await?.query(&self.database.sql(LIST), &[]).await;
        let mut listing = Listing::default();
        for row in rows.map_err(failed("listing the records"))? {
            match envelope::decode(row.get(0), row.get::<_, &str>(1).as_bytes()) {
                Ok(cluster) => listing.clusters.push(cluster),
                Err(unreadable) => listing.unreadable.push(unreadable),
            }
        }
        Ok(listing)
    }

    async fn update(&self, expected_version: u64, cluster: Cluster) -> Result<Cluster, RepositoryError> {
        let name = cluster.name().clone();
        let connection = self.connection().await?;
        let update = self.database.sql(UPDATE);
        loop {
            let found = self.read(&connection, &name).await?;
            let found = found.ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
            let next = check_update(&found, expected_version, cluster.clone())?;
            let (id, record) = (next.id.as_str(), text(&next)?);
            let (from, to) = (number(expected_version), number(next.version));
            let updated = connection.execute(&update, &[&name.as_str(), &id, &from, &to, &record]).await;
            if updated.map_err(failed("changing a record"))? == 1 {
                return Ok(next);
            }
            // It is not what was read any more: the next look tells what it is.
        }
    }

    async fn remove_version(
        &self,
        name: &ClusterName,
        id: &ClusterId,
        expected_version: u64,
    ) -> Result<(), RepositoryError> {
        let connection = self.connection().await?;
        let remove = self.database.sql(REMOVE_VERSION);
        loop {
            let removed = connection.execute(&remove, &[&name.as_str(), &id.as_str(), &number(expected_version)]).await;
            if removed.map_err(failed("removing a record"))? == 1 {
                return Ok(());
            }
            let found = self.read(&connection, name).await?;
            let found = found.ok_or_else(|| RepositoryError::NotFound { name: name.clone() })?;
            check_version(&found, id, expected_version)?;
        }
    }

    async fn remove(&self, name: &ClusterName) -> Result<bool, RepositoryError> {
        let removed = self.connection().await?.execute(&self.database.sql(REMOVE), &[&name.as_str()]).await;
        Ok(removed.map_err(failed("removing a record"))? > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use saga_postgres::testing;

    use super::*;
    use crate::model::ClusterSpec;
    use crate::repository::suite;

    async fn repository() -> (PostgresRepository, Database, String) {
        let url = testing::database().await;
        let database = Database::connect(&url).await.unwrap();
        (PostgresRepository::open(&database).await.unwrap(), database, url)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_passes_the_suite() {
        suite::run(Arc::new(repository().await.0)).await;
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_keeps_its_name_and_hides_no_other() {
        let (repository, _, url) = repository().await;
        let text = "name='demo'\nplugin='blocks'\nengine='process'\n[[groups]]\nname='w'\ncount=2";
        let mut odd = Cluster::new(ClusterSpec::from_toml(text).unwrap());
        odd.status_description = "a NUL \0, \"quotes\" and ü".into();
        let odd = repository.insert(odd).await.unwrap();
        assert_eq!(repository.get(odd.name()).await.unwrap(), Some(odd.clone()));
        testing::execute(&url, "INSERT INTO saga.clusters VALUES ('other', 'x', 1, '{\"format\": 99}')").await;
        let listing = repository.list().await.unwrap();
        assert_eq!((listing.clusters, listing.unreadable.len()), (vec![odd], 1));
        let other: ClusterName = "other".parse().unwrap();
        assert!(matches!(repository.get(&other).await, Err(RepositoryError::Unreadable { .. })));
        assert!(repository.remove(&other).await.unwrap());
    }

    #[tokio::test]
    async fn a_database_that_is_gone_is_an_error_and_not_an_absence() {
        let (repository, database, _) = repository().await;
        database.close();
        let failed = repository.get(&"demo".parse().unwrap()).await;
        assert!(matches!(failed, Err(RepositoryError::Store { .. })), "{failed:?}");
    }
}
