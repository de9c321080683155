//! Appending: one statement, and so one round trip and one commit, for a whole batch.

use std::collections::HashMap;

use futures::future;
use saga_core::store::{Append, NewRun, Refused, StoreError};
use saga_core::{Epoch, ExclusiveKey, RunId, Seq};
use tokio_postgres::types::ToSql;
use tracing::debug;
use uuid::Uuid;

use super::rows::{self, FIRST_ENDED, big, micros, status_number};
use super::{PostgresStore, form, waves};
use crate::connection::Connection;
use crate::error::is_conflict;

/// How often a batch is tried that lost to another one, or that was refused for what was no longer so a moment later.
const MOST_TRIES: usize = 8;

/// Moves runs, makes runs, writes journals; in this order, by what depends on what.
///
/// It is right under READ COMMITTED. Where another transaction has changed a run since the snapshot was taken, the update
/// waits for its end and compares epoch, place and status again, with the row as it is then and under its lock. Where
/// another one inserts the same run or key, the insert waits, and then does nothing. A run that came after the snapshot is
/// not seen at all; it is looked for afterwards, when the refusal is explained.
///
/// Runs come sorted, so that whoever changes many takes their locks in the same order and none waits for the other.
/// `kept` are starts that want a key whose holder ends only later in the batch: they are too early. A run that ends with its
/// first append never holds its key, but somebody else may; the unique index does not see it, so it is looked for.
///
/// Only columns of text and bytes are unnested: each costs a copy of its own for every row, where an element of an array of
/// fixed width is found by its place.
const APPEND: &str = "
WITH moved AS (
    UPDATE {schema}.runs AS r SET
        seq = ($5::int8[])[a.i::int4], status = ($6::int2[])[a.i::int4], updated_at = ($7::int8[])[a.i::int4],
        ended_at = CASE WHEN ($6::int2[])[a.i::int4] >= 3 THEN ($7::int8[])[a.i::int4] END,
        owner = CASE WHEN ($6::int2[])[a.i::int4] = 0 THEN r.owner END,
        lease_until = CASE WHEN ($6::int2[])[a.i::int4] = 0 THEN coalesce(r.lease_until, '-infinity') END,
        cancel = CASE WHEN ($6::int2[])[a.i::int4] = 0 THEN r.cancel END
    FROM unnest($2::text[], $8::bytea[]) WITH ORDINALITY AS a (run, records, i)
    WHERE r.run = ANY (ARRAY[a.run]) AND r.epoch = ($3::int8[])[a.i::int4] AND r.seq = ($4::int8[])[a.i::int4]
        AND r.ended_at IS NULL
    RETURNING ($1::int4[])[a.i::int4] AS place, r.no, r.run, r.key, r.seq, r.status, a.records
), new AS MATERIALIZED (
    SELECT nextval('{schema}.run_numbers') AS no, a.run, a.saga, a.key, a.owner, a.records, ($9::int4[])[a.i::int4] AS place,
        ($12::int8[])[a.i::int4] AS version, ($13::uuid[])[a.i::int4] AS fingerprint, ($15::int2[])[a.i::int4] AS status,
        ($16::int8[])[a.i::int4] AS seq, ($17::int8[])[a.i::int4] AS at, ($19::int8[])[a.i::int4] AS lease
    FROM unnest($10::text[], $11::text[], $14::text[], $18::text[], $20::bytea[]) WITH ORDINALITY
        AS a (run, saga, key, owner, records, i)
), kept AS MATERIALIZED (
    SELECT n.place, m.run AS holder
    FROM new AS n JOIN moved AS m ON m.key = n.key AND m.status >= 3 AND m.place > n.place
), made AS (
    INSERT INTO {schema}.runs
        (run, no, saga, version, fingerprint, key, status, seq, epoch, owner, lease_until, created_at, updated_at, ended_at)
    SELECT n.run, n.no, n.saga, n.version, n.fingerprint, n.key, n.status, n.seq, 1,
        CASE WHEN n.status = 0 THEN n.owner END,
        CASE WHEN n.status <> 0 THEN NULL WHEN n.owner IS NULL THEN now()
            ELSE clock_timestamp() + n.lease * interval '1 microsecond' END,
        n.at, n.at, CASE WHEN n.status >= 3 THEN n.at END
    FROM new AS n
    WHERE NOT EXISTS (SELECT FROM kept AS k WHERE k.place = n.place)
        AND (n.key IS NULL OR n.status < 3
            OR NOT EXISTS (SELECT FROM {schema}.runs AS h WHERE h.key = n.key AND h.ended_at IS NULL))
    ON CONFLICT DO NOTHING
    RETURNING no, owner, status
), written AS (
    INSERT INTO {schema}.journal (run_no, seq, records)
    SELECT m.no, m.seq, m.records FROM moved AS m
    UNION ALL
    SELECT n.no, n.seq, n.records FROM new AS n WHERE (n.no IN (SELECT no FROM made)) IS TRUE
)
SELECT
    ARRAY(SELECT place FROM moved),
    ARRAY(SELECT n.place FROM new AS n WHERE (n.no IN (SELECT no FROM made)) IS TRUE),
    ARRAY(SELECT place FROM kept), ARRAY(SELECT holder FROM kept),
    (SELECT pg_notify($21, {told})::text FROM made WHERE owner IS NULL AND status = 0 LIMIT 1)";

const HEADS: &str = "SELECT r.run, r.epoch, r.seq, r.status FROM {schema}.runs AS r WHERE r.run = ANY ($1)";
const HOLDERS: &str = "SELECT r.key, r.run FROM {schema}.runs AS r WHERE r.key = ANY ($1) AND r.ended_at IS NULL";

/// The statements of appending, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    append: String,
    heads: String,
    pub(super) holders: String,
}

impl Statements {
    pub(super) fn new(sql: impl Fn(&str) -> String) -> Self {
        Self { append: sql(&super::turns::sql(APPEND)), heads: sql(HEADS), holders: sql(HOLDERS) }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        vec![("append", self.append.clone()), ("heads", self.heads.clone()), ("holders", self.holders.clone())]
    }
}

type Answer = Result<(), Refused>;

/// What became of one append of a wave.
enum Fate {
    Taken,
    Refused(Refused),
    /// It was refused, but there is no reason for it any more.
    Again,
}

impl PostgresStore {
    pub(super) async fn append_batch(&self, batch: &[Append]) -> Result<Vec<Answer>, StoreError> {
        let mut answers: Vec<Answer> = batch.iter().map(form::check_append).collect();
        let mut left: Vec<usize> = (0..batch.len()).filter(|place| answers[*place].is_ok()).collect();
        let mut failure = None;
        for _ in 0..MOST_TRIES {
            if left.is_empty() {
                return Ok(answers);
            }
            let waves = waves::cut(batch, left.iter().copied());
            match self.append_waves(batch, &waves, &mut answers).await {
                Ok(again) => left = again,
                Err(error) if is_conflict(&error) => {
                    debug!(%error, "a batch made way for another one; tried again");
                    failure = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::Unavailable {
            message: "runs were changed by others again and again while they were written".into(),
            source: None,
        }))
    }

    /// Writes the waves as one transaction, and answers which appends are to be tried again.
    async fn append_waves(
        &self,
        batch: &[Append],
        waves: &[Vec<usize>],
        answers: &mut [Answer],
    ) -> Result<Vec<usize>, StoreError> {
        let connection = self.database.connection().await?;
        let alone = waves.len() == 1;
        if !alone {
            connection.begin().await?;
        }
        let mut again = Vec::new();
        for wave in waves {
            for (place, fate) in self.append_wave(&connection, batch, wave).await? {
                match fate {
                    Fate::Taken => answers[place] = Ok(()),
                    Fate::Refused(refused) => answers[place] = Err(refused),
                    Fate::Again => again.push(place),
                }
            }
            if !alone && !again.is_empty() {
                // What follows may build on it, so all of it is tried again.
                connection.rollback().await?;
                let mut all = waves.concat();
                all.sort_unstable();
                return Ok(all);
            }
        }
        if !alone {
            connection.commit().await?;
        }
        again.sort_unstable();
        Ok(again)
    }

    async fn append_wave(
        &self,
        connection: &Connection,
        batch: &[Append],
        wave: &[usize],
    ) -> Result<Vec<(usize, Fate)>, StoreError> {
        let columns = Columns::of(batch, wave)?;
        let row = connection.query_one(&self.sql.append.append, &columns.parameters(&self.channel)).await?;
        let (moved, made): (Vec<i32>, Vec<i32>) = (row.get(0), row.get(1));
        let mut fates: Vec<_> = moved.into_iter().chain(made).map(|place| (place as usize, Fate::Taken)).collect();
        if fates.len() < wave.len() {
            let kept: Vec<(i32, String)> =
                row.get::<_, Vec<i32>>(2).into_iter().zip(row.get::<_, Vec<String>>(3)).collect();
            let taken: HashMap<usize, ()> = fates.iter().map(|(place, _)| (*place, ())).collect();
            let refused: Vec<usize> = wave.iter().copied().filter(|place| !taken.contains_key(place)).collect();
            let found = self.look(connection, batch, &refused).await?;
            for place in refused {
                let holder =
                    kept.iter().find(|(start, _)| *start as usize == place).map(|(_, holder)| rows::run(holder));
                fates.push((place, found.explain(&batch[place], holder.transpose()?)));
            }
        }
        Ok(fates)
    }

    /// What is to be known to explain why appends were refused.
    async fn look(&self, connection: &Connection, batch: &[Append], places: &[usize]) -> Result<Found, StoreError> {
        let runs: Vec<&str> = places.iter().map(|place| batch[*place].run.as_str()).collect();
        let keys: Vec<&str> = places.iter().filter_map(|place| key(&batch[*place])).map(ExclusiveKey::as_str).collect();
        let (runs, keys): (&(dyn ToSql + Sync), &(dyn ToSql + Sync)) = (&runs, &keys);
        let (runs, keys) = ([runs], [keys]);
        // Sent together, answered in order.
        let (heads, holders) = future::try_join(
            connection.query(&self.sql.append.heads, &runs),
            connection.query(&self.sql.append.holders, &keys),
        )
        .await?;
        let mut found = Found::default();
        for row in heads {
            let head = Head {
                epoch: Epoch(rows::number(row.get(1))?),
                seq: Seq(rows::number(row.get(2))?),
                ended: row.get::<_, i16>(3) >= FIRST_ENDED,
            };
            found.heads.insert(rows::run(row.get(0))?, head);
        }
        for row in holders {
            found.holders.insert(row.get(0), rows::run(row.get(1))?);
        }
        Ok(found)
    }
}

fn key(append: &Append) -> Option<&ExclusiveKey> {
    append.start.as_ref()?.key.as_ref()
}

struct Head {
    epoch: Epoch,
    seq: Seq,
    ended: bool,
}

#[derive(Default)]
struct Found {
    heads: HashMap<RunId, Head>,
    holders: HashMap<String, RunId>,
}

impl Found {
    /// Why an append was refused. A stale writer is told so before anything else, because it must stop; one whose append
    /// was taken but whose answer was lost is told `OutOfSequence` even if that append ended the run, because it looks for
    /// its records then.
    fn explain(&self, append: &Append, keeper: Option<RunId>) -> Fate {
        let run = append.run.clone();
        let refused = match (&append.start, self.heads.get(&append.run)) {
            (Some(_), Some(_)) => Refused::Exists { run },
            (Some(new), None) => return self.explain_start(new, keeper),
            (None, None) => Refused::UnknownRun { run },
            (None, Some(Head { epoch, .. })) if append.epoch != *epoch => {
                Refused::Stale { run, current: *epoch, found: append.epoch }
            }
            (None, Some(Head { seq, .. })) if append.expected != *seq => {
                Refused::OutOfSequence { run, current: *seq, expected: append.expected }
            }
            (None, Some(Head { ended: true, .. })) => Refused::Ended { run },
            (None, Some(_)) => return Fate::Again,
        };
        Fate::Refused(refused)
    }

    fn explain_start(&self, new: &NewRun, keeper: Option<RunId>) -> Fate {
        let holder = |key: &ExclusiveKey| keeper.or_else(|| self.holders.get(key.as_str()).cloned());
        match new.key.as_ref().and_then(|key| Some((key.clone(), holder(key)?))) {
            Some((key, holder)) => Fate::Refused(Refused::KeyHeld { key, holder }),
            None => Fate::Again,
        }
    }
}

/// The parameters of [`APPEND`], column by column.
#[derive(Default)]
struct Columns<'a> {
    moves: Moves<'a>,
    starts: Starts<'a>,
}

#[derive(Default)]
struct Moves<'a> {
    place: Vec<i32>,
    run: Vec<&'a str>,
    epoch: Vec<i64>,
    expected: Vec<i64>,
    seq: Vec<i64>,
    status: Vec<i16>,
    at: Vec<i64>,
    records: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Starts<'a> {
    place: Vec<i32>,
    run: Vec<&'a str>,
    saga: Vec<&'a str>,
    version: Vec<i64>,
    fingerprint: Vec<Uuid>,
    key: Vec<Option<&'a str>>,
    status: Vec<i16>,
    seq: Vec<i64>,
    at: Vec<i64>,
    owner: Vec<Option<&'a str>>,
    lease: Vec<i64>,
    records: Vec<Vec<u8>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Append], wave: &[usize]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        let mut sorted = wave.to_vec();
        sorted.sort_unstable_by(|one, other| batch[*one].run.cmp(&batch[*other].run));
        for place in sorted {
            let append = &batch[place];
            let number = i32::try_from(place).unwrap_or(i32::MAX);
            match &append.start {
                None => columns.moves.push(number, append),
                Some(new) => columns.starts.push(number, append, new)?,
            }
        }
        Ok(columns)
    }

    fn parameters<'p>(&'p self, channel: &'p String) -> [&'p (dyn ToSql + Sync); 21] {
        let Self { moves, starts } = self;
        [
            &moves.place,
            &moves.run,
            &moves.epoch,
            &moves.expected,
            &moves.seq,
            &moves.status,
            &moves.at,
            &moves.records,
            &starts.place,
            &starts.run,
            &starts.saga,
            &starts.version,
            &starts.fingerprint,
            &starts.key,
            &starts.status,
            &starts.seq,
            &starts.at,
            &starts.owner,
            &starts.lease,
            &starts.records,
            channel,
        ]
    }
}

fn last(append: &Append) -> i64 {
    big(append.expected.plus(append.records.len()).0)
}

impl<'a> Moves<'a> {
    fn push(&mut self, place: i32, append: &'a Append) {
        self.place.push(place);
        self.run.push(append.run.as_str());
        self.epoch.push(big(append.epoch.0));
        self.expected.push(big(append.expected.0));
        self.seq.push(last(append));
        self.status.push(status_number(append.status));
        self.at.push(big(append.at.0));
        self.records.push(rows::pack(&append.records));
    }
}

impl<'a> Starts<'a> {
    fn push(&mut self, place: i32, append: &'a Append, new: &'a NewRun) -> Result<(), StoreError> {
        self.place.push(place);
        self.run.push(append.run.as_str());
        self.saga.push(new.saga.as_str());
        self.version.push(new.version.into());
        self.fingerprint.push(rows::uuid(new.fingerprint)?);
        self.key.push(new.key.as_ref().map(ExclusiveKey::as_str));
        self.status.push(status_number(append.status));
        self.seq.push(last(append));
        self.at.push(big(append.at.0));
        self.owner.push(new.claim.as_ref().map(|claim| claim.worker.as_str()));
        self.lease.push(new.claim.as_ref().map_or(0, |claim| micros(claim.lease)));
        self.records.push(rows::pack(&append.records));
        Ok(())
    }
}
