//! The tables of a store.

/// Under which name the store's migrations are remembered.
pub(super) const PART: &str = "store";

/// Every version of the tables, as what makes it of the version before. Never changed once released, only added to.
pub(super) const MIGRATIONS: &[&str] = &[FIRST, SECOND];

/// `runs` has one row for each run, `journal` one for each append.
///
/// Ordinary appends change `seq` and `updated_at` and nothing that is indexed, so that PostgreSQL can put the new version of
/// the row into the same page without touching an index ("HOT"); the fill factor leaves room for it. That is why pruning
/// has `ended_at`, which is set once, and why the index that names a status leads to runs whose status stays for long.
/// For a key or an id to be looked up there is exactly one index, so that there is nothing to choose, not even with a table
/// that looks empty (see the `PLANS` of a session). The indexes that list runs have their id last, and could be taken for
/// others; so they have it under another name of the same order (`POSIX` is `C`), or hide a column in an expression, and
/// the statements that list say the same. For the same reason statements ask for `ended_at IS NULL` instead of a status,
/// hide a column that they only filter by (in `coalesce`, or behind `|| ''`), and join by `= ANY (ARRAY[..])`, for which
/// PostgreSQL knows nothing but a look-up for each row.
///
/// Ids sort by byte, as everywhere else, which is what the collation is for. There are no foreign keys: a journal is
/// written only in the statement that moves or makes its run, and they would cost a look at the run's row for each append.
const FIRST: &str = r#"
CREATE SEQUENCE {schema}.run_numbers AS bigint;

CREATE TABLE {schema}.runs (
    run text COLLATE "C" PRIMARY KEY,
    no bigint NOT NULL,
    saga text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    fingerprint uuid NOT NULL,
    key text COLLATE "C",
    status smallint NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    owner text COLLATE "C",
    lease_until timestamptz,
    cancel text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    ended_at bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX runs_held_keys ON {schema}.runs (key) WHERE key IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_by_key ON {schema}.runs (key COLLATE "POSIX", run COLLATE "POSIX") WHERE key <> '';
CREATE INDEX runs_by_status ON {schema}.runs (status, run COLLATE "POSIX");
CREATE INDEX runs_by_saga ON {schema}.runs (saga, (status + 0), run COLLATE "POSIX");
CREATE INDEX runs_to_claim ON {schema}.runs (fingerprint, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX runs_to_cancel ON {schema}.runs (owner) WHERE cancel IS NOT NULL;
CREATE INDEX runs_to_prune ON {schema}.runs (ended_at, run) WHERE ended_at IS NOT NULL;

CREATE TABLE {schema}.journal (
    run_no bigint NOT NULL,
    seq bigint NOT NULL,
    records bytea NOT NULL,
    PRIMARY KEY (run_no, seq)
);

COMMENT ON TABLE {schema}.runs IS 'The head of each run. Status: 0 running, 1 halted, 2 stuck, 3 completed, 4 rolled back, 5 abandoned. Times in milliseconds since 1970.';
COMMENT ON TABLE {schema}.journal IS 'One row for each append: seq is the place of its last record; each record is its length in 4 bytes, big endian, and its bytes.';
"#;

/// Less to write for each run.
///
/// A batch moves most runs of a page in one transaction, and no version that it replaces can go before it has ended. So a
/// page needs room for a second version of everything on it; with the 30 % of before, up to a fifth of all ordinary appends
/// found no room, and wrote to every index. Nothing is kept that can do without: runs of a status are found saga by saga, by
/// `runs_by_saga`, and what is pruned needs no order among runs that ended in the same millisecond.
///
/// What is dropped comes last, because nobody can so much as read the table from then on until all is done.
const SECOND: &str = r#"
ALTER TABLE {schema}.runs SET (fillfactor = 45);

CREATE INDEX runs_by_end ON {schema}.runs (ended_at) WHERE ended_at IS NOT NULL;

DROP INDEX {schema}.runs_by_status;
DROP INDEX {schema}.runs_to_prune;
"#;

#[cfg(test)]
mod tests {
    use saga_core::RunId;
    use saga_core::store::{Query, RunStatus, Store};

    use super::*;
    use crate::{Database, PostgresStore, testing};

    /// Runs of an older release are all there afterwards, in the order in which pages want them.
    #[tokio::test]
    async fn tables_of_the_first_version_are_brought_up_to_date() {
        let url = testing::database().await;
        let database = Database::connect(&url).await.expect("the server works");
        database.migrate(PART, &MIGRATIONS[..1]).await.expect("it can be made");
        let fill = "INSERT INTO saga.runs SELECT 'run-' || i, i, 's' || i % 3, 1,
                '6ba7b812-9dad-11d1-80b4-00c04fd430c8', NULL, CASE i % 2 WHEN 0 THEN 0 ELSE 3 END, 5, 1, NULL,
                CASE i % 2 WHEN 0 THEN '-infinity'::timestamptz END, NULL, i, i, CASE i % 2 WHEN 1 THEN i END
            FROM generate_series(10, 39) AS i";
        testing::execute(&url, fill).await;

        let store = PostgresStore::open(&database).await.expect("it can be brought up to date");
        let mut query = Query { statuses: vec![RunStatus::Completed], limit: 4, ..Query::default() };
        let mut listed = Vec::new();
        loop {
            let page = store.list(&query).await.expect("the server works");
            listed.extend(page.runs.into_iter().map(|summary| summary.run));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let completed: Vec<RunId> =
            (11..40).step_by(2).map(|i| RunId::new(format!("run-{i}")).expect("a sound id")).collect();
        assert_eq!(listed, completed);
        let live = Query { statuses: vec![RunStatus::Running, RunStatus::Stuck], ..Query::default() };
        assert_eq!(store.list(&live).await.expect("the server works").runs.len(), 15);
        assert_eq!(store.prune(saga_core::Timestamp(21), 100).await.expect("the server works"), 5);
    }
}
