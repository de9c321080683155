//! Reading journals and heads.

use std::sync::Arc;

use saga_core::journal::EncodedRecord;
use saga_core::store::{Found, Page, Query, RunStatus, RunSummary, StoreError};
use saga_core::{ExclusiveKey, RunId, SagaName, Seq};
use tokio_postgres::Row;

use super::PostgresStore;
use super::rows::{self, MOST_BYTES_ALONG, MOST_ROWS_ALONG, SUMMARY, status_number};
use super::together::{self, MOST_ROWS, Wanted};

/// How many rows of a journal are asked for at once.
const PAGE: usize = 1024;

/// The listings, after their columns. Each has the index that gives it in order, so that a page costs what is on it: the
/// primary key, `runs_by_saga`, `runs_by_key`. Within the second, runs are in order for one saga and one status only, so the
/// first ones of each are merged; which sagas there are is found by stepping from one to the next.
const ALL: &str = "FROM {schema}.runs AS r WHERE r.run > $2 ORDER BY r.run LIMIT $1";

const OF_STATUS: &str = "
FROM (
    WITH RECURSIVE sagas AS (
        (SELECT r.saga FROM {schema}.runs AS r WHERE r.saga >= '' ORDER BY r.saga LIMIT 1)
        UNION ALL
        SELECT (SELECT r.saga FROM {schema}.runs AS r WHERE r.saga > sagas.saga ORDER BY r.saga LIMIT 1)
        FROM sagas WHERE sagas.saga IS NOT NULL
    )
    SELECT saga FROM sagas WHERE saga IS NOT NULL
) AS sagas CROSS JOIN unnest($3::int2[]) AS wanted (status) CROSS JOIN LATERAL (
    SELECT * FROM {schema}.runs AS r
    WHERE r.saga = sagas.saga AND r.status + 0 = wanted.status AND r.run COLLATE \"POSIX\" > $2
    ORDER BY r.run COLLATE \"POSIX\" LIMIT $1
) AS r
ORDER BY r.run LIMIT $1";

const OF_SAGA: &str = "
FROM unnest($3::int2[]) AS wanted (status) CROSS JOIN LATERAL (
    SELECT * FROM {schema}.runs AS r
    WHERE r.saga = $4 AND r.status + 0 = wanted.status AND r.run COLLATE \"POSIX\" > $2
    ORDER BY r.run COLLATE \"POSIX\" LIMIT $1
) AS r
ORDER BY r.run LIMIT $1";

const OF_KEY: &str = "
FROM {schema}.runs AS r
WHERE r.key COLLATE \"POSIX\" = $4 AND r.key <> '' AND r.run COLLATE \"POSIX\" > $2
    AND coalesce(r.status, 0) = ANY ($3::int2[]) AND ($5::text IS NULL OR r.saga || '' = $5)
ORDER BY r.run COLLATE \"POSIX\" LIMIT $1";

/// Of a run at rest its journal comes along, row by row, if that is not much: who looks at many runs waits for their ends.
const LOOK: &str = "
    CASE WHEN r.status <> 0 THEN ARRAY(
        SELECT CASE WHEN octet_length(j.records) <= {bytes} THEN j.records END
        FROM {schema}.journal AS j WHERE j.run_no = r.no ORDER BY j.seq LIMIT {rows}
    ) END
FROM {schema}.runs AS r WHERE r.run = ANY ($1)";

/// The statements of reading, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) read: Arc<str>,
    get: String,
    look: String,
    all: String,
    of_status: String,
    of_saga: String,
    of_key: String,
}

impl Statements {
    pub(super) fn new(sql: impl Fn(&str) -> String) -> Self {
        let look =
            LOOK.replace("{bytes}", &MOST_BYTES_ALONG.to_string()).replace("{rows}", &MOST_ROWS_ALONG.to_string());
        let summaries = |from: &str| sql(&format!("SELECT {SUMMARY} {from}"));
        Self {
            read: sql(together::READ).into(),
            get: summaries("FROM {schema}.runs AS r WHERE r.run = $1"),
            look: sql(&format!("SELECT {SUMMARY}, {look}")),
            all: summaries(ALL),
            of_status: summaries(OF_STATUS),
            of_saga: summaries(OF_SAGA),
            of_key: summaries(OF_KEY),
        }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        let Self { read, get, look, all, of_status, of_saga, of_key } = self;
        let read = &read.to_string();
        [
            ("read", read),
            ("get", get),
            ("look", look),
            ("all", all),
            ("of_status", of_status),
            ("of_saga", of_saga),
            ("of_key", of_key),
        ]
        .map(|(name, sql)| (name, sql.clone()))
        .into()
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
        // Most journals are short; of a long one the rest is read by itself.
        let mut page = MOST_ROWS;
        loop {
            // A row has at least one record.
            let rows_wanted = (limit - records.len()).clamp(1, page);
            page = PAGE;
            let wanted = Wanted { run: run.clone(), after, rows: rows_wanted };
            let rows = self.reading.read(&self.database, &self.sql.read.read, wanted).await?;
            let rows = rows.ok_or_else(|| StoreError::UnknownRun { run: run.clone() })?;
            for (last, packed) in &rows {
                let last = Seq(rows::number(*last)?);
                let found = rows::unpack(last, packed)?;
                let wanted = found.into_iter().filter(|record| record.seq > after).take(limit - records.len());
                records.extend(wanted);
                after = last;
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

    pub(super) async fn look_at(&self, runs: &[RunId]) -> Result<Vec<Found>, StoreError> {
        let runs: Vec<&str> = runs.iter().map(RunId::as_str).collect();
        let connection = self.database.connection().await?;
        let rows = connection.query(&self.sql.read.look, &[&runs]).await?;
        let found = |row: &Row| -> Result<Found, StoreError> {
            let summary = rows::summary(row)?;
            let journal: Option<Vec<Option<&[u8]>>> = row.get(11);
            let journal = journal.and_then(|rows| rows::whole_journal(&rows, summary.seq));
            Ok(Found { summary, journal })
        };
        rows.iter().map(found).collect()
    }

    pub(super) async fn read_holder(&self, key: &ExclusiveKey) -> Result<Option<RunId>, StoreError> {
        let connection = self.database.connection().await?;
        let keys = [key.as_str()];
        let row = connection.query_opt(&self.sql.append.holders, &[&&keys[..]]).await?;
        row.map(|row| rows::run(row.get(1))).transpose()
    }

    pub(super) async fn list_page(&self, query: &Query) -> Result<Page, StoreError> {
        let limit = query.limit.max(1);
        let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        // No id sorts before the empty text.
        let after = query.after.as_ref().map_or("", RunId::as_str);
        let saga = query.saga.as_ref().map(SagaName::as_str);
        let key = query.key.as_ref().map(ExclusiveKey::as_str);
        let wanted = if query.statuses.is_empty() { &RunStatus::ALL[..] } else { &query.statuses };
        let mut statuses: Vec<i16> = wanted.iter().copied().map(status_number).collect();
        statuses.sort_unstable();
        statuses.dedup();

        let sql = &self.sql.read;
        let connection = self.database.connection().await?;
        let rows = match (key, saga) {
            (Some(key), saga) => connection.query(&sql.of_key, &[&one_more, &after, &statuses, &key, &saga]).await?,
            (None, Some(saga)) => connection.query(&sql.of_saga, &[&one_more, &after, &statuses, &saga]).await?,
            (None, None) if statuses.len() < RunStatus::ALL.len() => {
                connection.query(&sql.of_status, &[&one_more, &after, &statuses]).await?
            }
            (None, None) => connection.query(&sql.all, &[&one_more, &after]).await?,
        };
        let runs = rows.iter().take(limit).map(rows::summary).collect::<Result<Vec<_>, _>>()?;
        let next = if rows.len() > limit { runs.last().map(|last| last.run.clone()) } else { None };
        Ok(Page { runs, next })
    }
}
