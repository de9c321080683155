//! Runs that come from another store, and runs that go.

use saga_core::journal::EncodedRecord;
use saga_core::store::{Refused, RunSummary, StoreError};
use saga_core::{ExclusiveKey, RunId, Timestamp};

use super::rows::{self, big, status_number};
use super::{PostgresStore, form};

/// How often a run is tried to be added that is refused for what is no longer so a moment later.
const MOST_TRIES: usize = 8;
/// How many runs are pruned by one transaction: few enough to be over soon.
const PRUNED_AT_ONCE: usize = 500;
/// About how many bytes of records are put into one row, and sent with one statement.
const ROW_BYTES: usize = 64 * 1024;
const STATEMENT_BYTES: usize = 16 * 1024 * 1024;

const RESTORE: &str = "
INSERT INTO {schema}.runs
    (run, no, saga, version, fingerprint, key, status, seq, epoch, lease_until, created_at, updated_at, ended_at)
VALUES ($1, nextval('{schema}.run_numbers'), $2, $3, $4, $5, $6, $7, $8,
    CASE WHEN $6::int2 = 0 THEN clock_timestamp() END, $9, $10, CASE WHEN $6::int2 >= 3 THEN $10::int8 END)
ON CONFLICT DO NOTHING
RETURNING no";

const WRITE: &str = "
INSERT INTO {schema}.journal (run_no, seq, records)
SELECT $1::int8, a.seq, a.records FROM unnest($2::int8[], $3::bytea[]) AS a (seq, records)";

const DELETE: &str = "
WITH gone AS (
    DELETE FROM {schema}.runs AS r WHERE r.run = $1 AND coalesce(r.ended_at, -1) >= 0 RETURNING r.no
), journals AS (
    DELETE FROM {schema}.journal AS j USING gone WHERE j.run_no = ANY (ARRAY[gone.no])
)
SELECT no FROM gone";

/// By the index `runs_by_end`. Workers that prune at the same time take different runs.
const PRUNE: &str = "
WITH picked AS MATERIALIZED (
    SELECT r.run FROM {schema}.runs AS r
    WHERE r.ended_at < $1 ORDER BY r.ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {schema}.runs AS r USING picked WHERE r.run = ANY (ARRAY[picked.run]) RETURNING r.no
), journals AS (
    DELETE FROM {schema}.journal AS j USING gone WHERE j.run_no = ANY (ARRAY[gone.no])
)
SELECT count(*) FROM gone";

/// The statements for what comes and goes, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    restore: String,
    write: String,
    delete: String,
    prune: String,
    notify: String,
}

impl Statements {
    pub(super) fn new(sql: impl Fn(&str) -> String) -> Self {
        let notify = "SELECT pg_notify($1, '')".to_owned();
        Self { restore: sql(RESTORE), write: sql(WRITE), delete: sql(DELETE), prune: sql(PRUNE), notify }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        vec![
            ("restore", self.restore.clone()),
            ("write", self.write.clone()),
            ("delete", self.delete.clone()),
            ("prune", self.prune.clone()),
        ]
    }
}

impl PostgresStore {
    pub(super) async fn restore_run(
        &self,
        summary: &RunSummary,
        records: &[EncodedRecord],
    ) -> Result<Result<(), Refused>, StoreError> {
        if let Err(refused) = form::check_restored(summary, records) {
            return Ok(Err(refused));
        }
        for _ in 0..MOST_TRIES {
            if self.try_restore(summary, records).await? {
                return Ok(Ok(()));
            }
            let run = summary.run.clone();
            if self.read_head(&run).await?.is_some() {
                return Ok(Err(Refused::Exists { run }));
            }
            if let Some(key) = &summary.key
                && let Some(holder) = self.read_holder(key).await?
            {
                return Ok(Err(Refused::KeyHeld { key: key.clone(), holder }));
            }
        }
        let message = format!("what is in the way of run {} comes and goes", summary.run);
        Err(StoreError::Unavailable { message, source: None })
    }

    /// Adds the run in one transaction, unless something is in its way.
    async fn try_restore(&self, summary: &RunSummary, records: &[EncodedRecord]) -> Result<bool, StoreError> {
        let connection = self.database.connection().await?;
        connection.begin().await?;
        let RunSummary { run, saga, version, fingerprint, key, status, seq, epoch, created_at, updated_at, .. } =
            summary;
        let row = connection
            .query_opt(
                &self.sql.retention.restore,
                &[
                    &run.as_str(),
                    &saga.as_str(),
                    &i64::from(*version),
                    &rows::uuid(*fingerprint)?,
                    &key.as_ref().map(ExclusiveKey::as_str),
                    &status_number(*status),
                    &big(seq.0),
                    &big(epoch.0),
                    &big(created_at.0),
                    &big(updated_at.0),
                ],
            )
            .await?;
        let Some(row) = row else {
            connection.rollback().await?;
            return Ok(false);
        };
        let number: i64 = row.get(0);
        for rows_of_one in chunks(rows_of(records)) {
            let (seqs, packed): (Vec<i64>, Vec<Vec<u8>>) = rows_of_one.into_iter().unzip();
            connection.execute(&self.sql.retention.write, &[&number, &seqs, &packed]).await?;
        }
        if status.is_live() {
            connection.query(&self.sql.retention.notify, &[&self.channel]).await?;
        }
        connection.commit().await?;
        Ok(true)
    }

    pub(super) async fn delete_run(&self, run: &RunId) -> Result<(), StoreError> {
        let connection = self.database.connection().await?;
        if connection.query_opt(&self.sql.retention.delete, &[&run.as_str()]).await?.is_some() {
            return Ok(());
        }
        drop(connection);
        let run = run.clone();
        match self.read_head(&run).await? {
            None => Err(StoreError::UnknownRun { run }),
            Some(_) => Err(StoreError::NotEnded { run }),
        }
    }

    pub(super) async fn prune_runs(&self, ended_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut pruned = 0;
        while pruned < limit {
            let at_once = (limit - pruned).min(PRUNED_AT_ONCE);
            let most = i64::try_from(at_once).unwrap_or(i64::MAX);
            let connection = self.database.connection().await?;
            let row = connection.query_one(&self.sql.retention.prune, &[&big(ended_before.0), &most]).await?;
            let gone = usize::try_from(row.get::<_, i64>(0)).unwrap_or(0);
            pruned += gone;
            if gone < at_once {
                break;
            }
        }
        Ok(pruned)
    }
}

/// A journal as rows, each with the place of its last record.
fn rows_of(records: &[EncodedRecord]) -> Vec<(i64, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut from = 0;
    let mut bytes = 0;
    for (at, record) in records.iter().enumerate() {
        bytes += record.bytes.len();
        if bytes >= ROW_BYTES || at + 1 == records.len() {
            rows.push((big(record.seq.0), rows::pack(&records[from..=at])));
            (from, bytes) = (at + 1, 0);
        }
    }
    rows
}

/// Rows in portions of a size that is fit to be sent.
fn chunks(rows: Vec<(i64, Vec<u8>)>) -> Vec<Vec<(i64, Vec<u8>)>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for row in rows {
        bytes += row.1.len();
        if bytes > STATEMENT_BYTES {
            bytes = row.1.len();
            chunks.push(Vec::new());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(row);
        }
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}
