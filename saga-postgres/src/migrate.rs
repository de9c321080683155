//! Making tables, and changing them from release to release.

use std::time::Duration;

use saga_core::store::StoreError;
use tracing::{info, warn};

use crate::connection::Connection;
use crate::database::Database;
use crate::error::is_locked;

/// Any number would do; this one nobody else is likely to use.
const LOCK: i64 = 0x5a6a_0001_d1ce_5afe;

/// How long a change waits for a table that others use. All who come later wait behind it, workers too, so it is less than
/// what any of them minds.
const LOCK_TIMEOUT: &str = "2s";
/// How long it then lets the others go on; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const MAKE_TABLE: &str = "CREATE TABLE IF NOT EXISTS {schema}.migrations (
    part text NOT NULL,
    version int NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (part, version)
)";

impl Database {
    /// Brings one part's tables up to date: runs those of its migrations that have not been run yet, in order, in one
    /// transaction, and makes the schema if it is not there. Each migration is SQL with `{schema}` for the schema's name;
    /// the n-th makes version n. Once released, migrations are never changed, only added to.
    ///
    /// Any number of workers may do this at once: one migrates, and the others find it done. A user who may change no
    /// tables can do it as long as there is nothing to change. If somebody keeps a table that is to be changed (a dump, or a
    /// transaction that was left open), this waits for as long as that takes, and tells so in a warning; those who use
    /// the table go on meanwhile.
    ///
    /// # Errors
    ///
    /// - [`StoreError::NewerFormat`]: a newer release has been here. Nothing was changed; run that release.
    /// - [`StoreError::Denied`]: the user may not make the schema or its tables. Let one who may run this once.
    /// - What else the server can fail with. Nothing was changed then.
    pub async fn migrate(&self, part: &str, migrations: &[&str]) -> Result<(), StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.migrate_once(part, migrations).await {
                Err(error) if is_locked(&error) => {
                    warn!(schema = self.schema_name(), part, %error, "somebody uses a table that is to be changed: waiting");
                }
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn migrate_once(&self, part: &str, migrations: &[&str]) -> Result<(), StoreError> {
        let latest = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
        let mut connection = self.connection().await?;
        match self.version(&connection, part).await? {
            Some(found) if found == latest => return Ok(()),
            Some(found) if found > latest => return Err(StoreError::NewerFormat { found, supported: latest }),
            _ => {}
        }
        connection.take_your_time();
        connection.begin().await?;
        connection.batch(&format!("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})")).await?;
        // From here on: whoever migrates may be waited for as long as that takes.
        connection.batch(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await?;
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
        // `IF NOT EXISTS` asks for the permission to make one even where it is there.
        if connection.query_one(schemas, &[&self.schema_name()]).await?.get::<_, i64>(0) == 0 {
            connection.batch(&self.sql("CREATE SCHEMA {schema}")).await?;
        }
        if !self.has_table(&connection).await? {
            connection.batch(&self.sql(MAKE_TABLE)).await?;
        }
        let from = self.version(&connection, part).await?.unwrap_or(0);
        if from > latest {
            return Err(StoreError::NewerFormat { found: from, supported: latest });
        }
        for (version, migration) in (1_i32..).zip(migrations).skip(from as usize) {
            connection.batch(&self.sql(migration)).await?;
            let done = self.sql("INSERT INTO {schema}.migrations (part, version) VALUES ($1, $2)");
            connection.execute(&done, &[&part, &version]).await?;
        }
        connection.commit().await?;
        if from < latest {
            info!(schema = self.schema_name(), part, from, to = latest, "made or migrated tables");
        }
        Ok(())
    }

    /// The version of a part's tables; `None` if nothing was ever migrated here.
    async fn version(&self, connection: &Connection, part: &str) -> Result<Option<u32>, StoreError> {
        if !self.has_table(connection).await? {
            return Ok(None);
        }
        let sql = self.sql("SELECT coalesce(max(version), 0) FROM {schema}.migrations WHERE part = $1");
        let version: i32 = connection.query_one(&sql, &[&part]).await?.get(0);
        Ok(Some(u32::try_from(version).unwrap_or(0)))
    }

    async fn has_table(&self, connection: &Connection) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations'";
        Ok(connection.query_one(sql, &[&self.schema_name()]).await?.get::<_, i64>(0) > 0)
    }
}
