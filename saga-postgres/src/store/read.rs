//! Reading journals and heads.

use std::fmt::Write as _;

use saga_core::journal::EncodedRecord;
use saga_core::store::{Page, Query, RunStatus, RunSummary, StoreError};
use saga_core::{ExclusiveKey, RunId, Seq};
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::rows::{self, SUMMARY, big, status_number};

/// How many rows of a journal are asked for at once.
const PAGE: usize = 1024;

/// At least one row, with nulls, for a run that is there.
const READ: &str = "
SELECT j.seq, j.records
FROM {schema}.runs AS r LEFT JOIN LATERAL (
    SELECT j.seq, j.records FROM {schema}.journal AS j
    WHERE j.run_no = r.no AND j.seq > $2 ORDER BY j.seq LIMIT $3
) AS j ON true
WHERE r.run = $1";

/// The statements of reading, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    read: String,
    get: String,
    runs: String,
}

impl Statements {
    pub(super) fn new(sql: impl Fn(&str) -> String) -> Self {
        Self {
            read: sql(READ),
            get: sql(&format!("SELECT {SUMMARY} FROM {{schema}}.runs AS r WHERE r.run = $1")),
            runs: sql("{schema}.runs"),
        }
    }
}

impl PostgresStore {
    pub(super) async fn read_journal(
        &self,
        run: &RunId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<EncodedRecord>, StoreError> {
        let mut records: Vec<EncodedRecord> = Vec::new();
        let mut after = after;
        loop {
            // A row has at least one record.
            let rows_wanted = (limit - records.len()).clamp(1, PAGE);
            let most = i64::try_from(rows_wanted).unwrap_or(i64::MAX);
            let connection = self.database.connection().await?;
            let rows = connection.query(&self.sql.read.read, &[&run.as_str(), &big(after.0), &most]).await?;
            drop(connection);
            if rows.is_empty() {
                return Err(StoreError::UnknownRun { run: run.clone() });
            }
            for row in &rows {
                let Some(last) = row.get::<_, Option<i64>>(0) else { return Ok(records) };
                let found = rows::unpack(Seq(rows::number(last)?), row.get(1))?;
                let wanted = found.into_iter().filter(|record| record.seq > after).take(limit - records.len());
                records.extend(wanted);
                after = Seq(rows::number(last)?);
            }
            if rows.len() < rows_wanted || records.len() >= limit {
                return Ok(records);
            }
        }
    }

    pub(super) async fn read_head(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        let connection = self.database.connection().await?;
        let row = connection.query_opt(&self.sql.read.get, &[&run.as_str()]).await?;
        row.as_ref().map(rows::summary).transpose()
    }

    pub(super) async fn read_holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        let connection = self.database.connection().await?;
        let keys = [key.as_str()];
        let row = connection.query_opt(&self.sql.append.holders, &[&&keys[..]]).await?;
        row.map(|row| rows::run(row.get(1))).transpose()
    }

    /// Each shape of a query has the index that gives it in order, so that a page costs what is on it:
    /// the primary key, `runs_by_key`, `runs_by_status` or `runs_by_saga`. The latter two are in order within one status,
    /// so the first runs of each status are merged.
    pub(super) async fn list_page(&self, query: &Query) -> Result<Page, StoreError> {
        let limit = query.limit.max(1);
        let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let after = query.after.as_ref().map_or("", RunId::as_str);
        let saga = query.saga.as_ref().map(saga_core::SagaName::as_str);
        let key = query.key.as_ref().map(ExclusiveKey::as_str);
        let wanted = if query.statuses.is_empty() { &RunStatus::ALL[..] } else { &query.statuses };
        let mut statuses: Vec<i16> = wanted.iter().copied().map(status_number).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let any_status = statuses.len() == RunStatus::ALL.len();

        // No id sorts before the empty text.
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&one_more, &after];
        let runs = &self.sql.read.runs;
        let mut found = String::new();
        if let Some(saga) = &saga {
            parameters.push(saga);
            let _ = write!(found, " AND r.saga = ${}", parameters.len());
        }
        if let Some(key) = &key {
            parameters.push(key);
            let _ = write!(found, " AND r.key COLLATE \"POSIX\" = ${} AND r.key <> ''", parameters.len());
        }
        let by_status = key.is_none() && (saga.is_some() || !any_status);
        let from = if by_status {
            parameters.push(&statuses);
            let each = parameters.len();
            let status = if saga.is_some() { "r.status + 0" } else { "r.status" };
            format!(
                "unnest(${each}::int2[]) AS wanted (status) CROSS JOIN LATERAL (SELECT * FROM {runs} AS r \
                 WHERE r.run COLLATE \"POSIX\" > $2 {found} AND {status} = wanted.status \
                 ORDER BY r.run COLLATE \"POSIX\" LIMIT $1) AS r"
            )
        } else {
            if !any_status {
                parameters.push(&statuses);
                let _ = write!(found, " AND r.status = ANY (${}::int2[])", parameters.len());
            }
            let order = if key.is_some() { "COLLATE \"POSIX\"" } else { "" };
            format!("{runs} AS r WHERE r.run {order} > $2 {found}")
        };
        let order = if key.is_some() { "COLLATE \"POSIX\"" } else { "" };
        let sql = format!("SELECT {SUMMARY} FROM {from} ORDER BY r.run {order} LIMIT $1");

        let connection = self.database.connection().await?;
        let rows = connection.query(&sql, &parameters).await?;
        let runs = rows.iter().take(limit).map(rows::summary).collect::<Result<Vec<_>, _>>()?;
        let next = if rows.len() > limit { runs.last().map(|last| last.run.clone()) } else { None };
        Ok(Page { runs, next })
    }
}
