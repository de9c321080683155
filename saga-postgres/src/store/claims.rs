//! Claims: who holds a run, until when by the server's clock, and what is asked of the holder.

use std::collections::HashSet;
use std::time::Duration;

use saga_core::store::{Claim, ClaimError, KnownSaga, RunStatus, StoreError};
use saga_core::{Actor, Epoch, RunId, WorkerId};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::rows::{self, SUMMARY, big, micros};
use super::{PostgresStore, turns};
use crate::error::is_conflict;

/// How often a call is tried that lost to another one.
const MOST_TRIES: usize = 8;

/// For each saga the runs whose lease ended first (of what nobody holds: which was let go of, or started, first), by the index
/// `runs_to_claim`. What another worker is claiming is passed over instead of waited for, and so is what is offered to
/// another one (see [`turns`]). The clock is asked once, so that the index can be searched by it.
///
/// `CASE` and not `OR`, which may be evaluated in any order: a run may be nobody's since `-infinity`, which is no number.
///
/// The journal of a run that was only just started is one row, and comes along: it is what the worker wants next.
const CLAIM: &str = "
WITH picked AS MATERIALIZED (
    SELECT p.run, p.records
    FROM unnest($1::uuid[], $2::text[], $3::int8[], $7::int8[], $8::int8[])
        AS known (fingerprint, saga, version, workers, place)
    CROSS JOIN LATERAL (
        SELECT r.run, CASE WHEN r.epoch = 1 THEN (
            SELECT j.records FROM {schema}.journal AS j
            WHERE j.run_no = r.no AND j.seq = r.seq AND octet_length(j.records) <= {along}
        ) END AS records
        FROM {schema}.runs AS r
        WHERE r.fingerprint = known.fingerprint AND r.lease_until <= (SELECT clock_timestamp())
            AND coalesce(r.status, 0) = 0 AND r.saga || '' = known.saga AND r.version = known.version
            AND CASE WHEN r.lease_until <= (SELECT clock_timestamp() - {offer}) THEN true
                ELSE {turn} * known.workers / 65536 = known.place END
        ORDER BY r.lease_until
        LIMIT $4
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS p
    LIMIT $4
)
UPDATE {schema}.runs AS r
SET epoch = r.epoch + 1, owner = $5, lease_until = clock_timestamp() + $6::int8 * interval '1 microsecond'
FROM picked
WHERE r.run = ANY (ARRAY[picked.run])
RETURNING ";

const CLAIM_RUN: &str = "
UPDATE {schema}.runs AS r
SET epoch = r.epoch + 1, owner = $2, lease_until = clock_timestamp() + $3::int8 * interval '1 microsecond'
WHERE r.run = $1 AND r.ended_at IS NULL AND (r.owner IS NULL OR r.owner = $2 OR r.lease_until <= clock_timestamp())
RETURNING ";

/// Runs come sorted, as for appends.
const RENEW: &str = "
UPDATE {schema}.runs AS r
SET lease_until = clock_timestamp() + $4::int8 * interval '1 microsecond'
FROM unnest($1::text[], $2::int8[]) AS held (run, epoch)
WHERE r.run = ANY (ARRAY[held.run]) AND r.epoch = held.epoch AND r.owner = $3
RETURNING r.run, r.epoch";

const RELEASE: &str = "
WITH released AS (
    UPDATE {schema}.runs AS r SET owner = NULL, lease_until = CASE WHEN r.status = 0 THEN now() END
    FROM unnest($1::text[], $2::int8[]) AS held (run, epoch)
    WHERE r.run = ANY (ARRAY[held.run]) AND r.epoch = held.epoch AND r.owner IS NOT NULL
    RETURNING r.run
)
SELECT pg_notify($3, {told}) FROM released LIMIT 1";

/// A run that is not live is written as it is, which is how its status is asked for under its lock.
const REQUEST_CANCEL: &str = "
WITH asked AS (
    UPDATE {schema}.runs AS r SET cancel = CASE WHEN r.status = 0 THEN coalesce(r.cancel, $2) END
    WHERE r.run = $1
    RETURNING r.status
)
SELECT status, CASE WHEN status = 0 THEN pg_notify($3, '{request}')::text END FROM asked";

/// By the index `runs_to_cancel`, in which there is next to nothing.
const REQUESTS: &str = "
SELECT r.run, r.cancel FROM {schema}.runs AS r
WHERE r.owner = $1 AND r.cancel IS NOT NULL AND r.lease_until > clock_timestamp()";

/// The statements of claiming, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    claim: String,
    claim_run: String,
    renew: String,
    release: String,
    request_cancel: String,
    requests: String,
}

impl Statements {
    pub(super) fn new(sql: impl Fn(&str) -> String) -> Self {
        let sql = |text: &str| sql(&turns::sql(text).replace("{request}", turns::REQUEST));
        let claiming = |text: &str, records: &str| {
            let text = text.replace("{along}", &rows::MOST_BYTES_ALONG.to_string());
            sql(&format!("{text}{SUMMARY}, r.cancel, {records}"))
        };
        Self {
            claim: claiming(CLAIM, "picked.records"),
            claim_run: claiming(CLAIM_RUN, "NULL::bytea"),
            renew: sql(RENEW),
            release: sql(RELEASE),
            request_cancel: sql(REQUEST_CANCEL),
            requests: sql(REQUESTS),
        }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        vec![
            ("claim", self.claim.clone()),
            ("claim_run", self.claim_run.clone()),
            ("renew", self.renew.clone()),
            ("release", self.release.clone()),
            ("request_cancel", self.request_cancel.clone()),
            ("requests", self.requests.clone()),
        ]
    }
}

/// The claim in a row of a summary and a request.
fn claim(row: &Row) -> Result<Claim, StoreError> {
    let cancel: Option<&str> = row.get(11);
    let summary = rows::summary(row)?;
    let journal = rows::whole_journal(&[row.get(12)], summary.seq);
    Ok(Claim { summary, journal, cancel: cancel.map(rows::actor).transpose()? })
}

/// Held runs as two columns, sorted by run.
fn columns(held: &[(RunId, Epoch)]) -> (Vec<&str>, Vec<i64>) {
    let mut sorted: Vec<_> = held.iter().map(|(run, epoch)| (run.as_str(), big(epoch.0))).collect();
    sorted.sort_unstable();
    sorted.into_iter().unzip()
}

impl PostgresStore {
    pub(super) async fn claim_some(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut fingerprints = Vec::with_capacity(sagas.len());
        for known in sagas {
            fingerprints.push(rows::uuid(known.fingerprint)?);
        }
        let names: Vec<&str> = sagas.iter().map(|known| known.saga.as_str()).collect();
        let versions: Vec<i64> = sagas.iter().map(|known| known.version.into()).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (workers, places) = self.listening.turns().shares(worker, &fingerprints, Instant::now());
        let (worker, lease) = (worker.as_str(), micros(lease));
        let connection = self.database.connection().await?;
        let rows = connection
            .query(
                &self.sql.claims.claim,
                &[&fingerprints, &names, &versions, &limit, &worker, &lease, &workers, &places],
            )
            .await?;
        rows.iter().map(claim).collect()
    }

    pub(super) async fn claim_one(&self, worker: &WorkerId, run: &RunId, lease: Duration) -> Result<Claim, ClaimError> {
        let (by, lease) = (worker.as_str(), micros(lease));
        for _ in 0..MOST_TRIES {
            let connection = self.database.connection().await?;
            if let Some(row) = connection.query_opt(&self.sql.claims.claim_run, &[&run.as_str(), &by, &lease]).await? {
                return Ok(claim(&row)?);
            }
            drop(connection);
            let run = run.clone();
            match self.read_head(&run).await? {
                None => return Err(ClaimError::UnknownRun { run }),
                Some(head) if head.status.is_ended() => return Err(ClaimError::Ended { run }),
                Some(head) => {
                    // Who held it may have let go of it since; then it is tried again.
                    if let Some(owner) = head.owner.filter(|owner| owner != worker) {
                        return Err(ClaimError::Held { run, owner });
                    }
                }
            }
        }
        let message = format!("run {run} changed hands again and again while it was claimed");
        Err(StoreError::Unavailable { message, source: None }.into())
    }

    pub(super) async fn renew_claims(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
    ) -> Result<Vec<RunId>, StoreError> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let (runs, epochs) = columns(held);
        let (by, lease) = (worker.as_str(), micros(lease));
        let rows = self.query_until_done(&self.sql.claims.renew, &[&runs, &epochs, &by, &lease]).await?;
        let renewed: HashSet<(&str, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let lost = held.iter().filter(|(run, epoch)| !renewed.contains(&(run.as_str(), big(epoch.0))));
        Ok(lost.map(|(run, _)| run.clone()).collect())
    }

    pub(super) async fn requests_for(&self, worker: &WorkerId) -> Result<Vec<(RunId, Actor)>, StoreError> {
        let connection = self.database.connection().await?;
        let rows = connection.query(&self.sql.claims.requests, &[&worker.as_str()]).await?;
        rows.iter().map(|row| Ok((rows::run(row.get(0))?, rows::actor(row.get(1))?))).collect()
    }

    pub(super) async fn release_claims(&self, held: &[(RunId, Epoch)]) -> Result<(), StoreError> {
        let (runs, epochs) = columns(held);
        self.query_until_done(&self.sql.claims.release, &[&runs, &epochs, &self.channel]).await?;
        Ok(())
    }

    pub(super) async fn leave_request(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        let actor = rows::actor_to_text(by)?;
        let connection = self.database.connection().await?;
        let row =
            connection.query_opt(&self.sql.claims.request_cancel, &[&run.as_str(), &actor, &self.channel]).await?;
        match row {
            Some(row) => rows::status(row.get(0)),
            None => Err(StoreError::UnknownRun { run: run.clone() }),
        }
    }

    /// Runs a statement, again where it was undone because it was in the way of another one.
    async fn query_until_done(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        for _ in 1..MOST_TRIES {
            match self.database.connection().await?.query(sql, parameters).await {
                Err(error) if is_conflict(&error) => {}
                done => return done,
            }
        }
        self.database.connection().await?.query(sql, parameters).await
    }
}
