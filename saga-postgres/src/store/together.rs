//! Reading journals together: who reads while another read is under way is answered with all others who came meanwhile.
//!
//! A run is read when it is claimed, and again by whoever waits for its end. One by one these were two of the three
//! transactions that a run cost besides its share of the batches. As with appends, groups are formed by load: a lone reader
//! waits for nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use saga_core::store::StoreError;
use saga_core::{RunId, Seq};
use tokio::sync::oneshot;

use super::rows::{self, big};
use crate::database::Database;
use crate::error;

/// How many journals are read by one statement, and how many rows of each: so that neither the first of a large group nor a
/// small read behind a large one waits for long.
const MOST_RUNS: usize = 128;
pub(super) const MOST_ROWS: usize = 32;

/// At least one row, with nulls, for a run that is there.
pub(super) const READ: &str = "
SELECT wanted.place, j.seq, j.records
FROM unnest($1::text[], $2::int8[], $3::int8[]) WITH ORDINALITY AS wanted (run, after, rows, place)
JOIN {schema}.runs AS r ON r.run = ANY (ARRAY[wanted.run])
LEFT JOIN LATERAL (
    SELECT j.seq, j.records FROM {schema}.journal AS j
    WHERE j.run_no = r.no AND j.seq > wanted.after ORDER BY j.seq LIMIT wanted.rows
) AS j ON true";

/// Rows of a journal, from one place on: the place of the last record of each, and its records.
pub(super) type Rows = Vec<(i64, Vec<u8>)>;

/// `None`: there is no such run.
type Answer = Result<Option<Rows>, StoreError>;

/// What somebody wants to read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) run: RunId,
    pub(super) after: Seq,
    /// At most so many rows; a long journal is read by itself.
    pub(super) rows: usize,
}

impl Wanted {
    fn is_little(&self) -> bool {
        self.rows <= MOST_ROWS
    }
}

struct Request {
    wanted: Wanted,
    /// Dropped without an answer if the statement failed that was to answer several: then each asks for itself.
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    /// Whether there is somebody who answers.
    served: bool,
}

/// Where those who read meet.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Mutex<Queue>>);

impl Together {
    /// Reads what is wanted, with `sql`, which is [`READ`] for a schema.
    pub(super) async fn read(&self, database: &Database, sql: &Arc<str>, wanted: Wanted) -> Answer {
        if !wanted.is_little() {
            return read_one(database, sql, &wanted).await;
        }
        let (reply, answer) = oneshot::channel();
        if self.enter(Request { wanted: wanted.clone(), reply }) {
            // A task of its own: a caller may stop waiting, or looking, at any time.
            tokio::spawn(serve(Serving { together: self.clone(), over: false }, database.clone(), Arc::clone(sql)));
        }
        let limit = database.call_timeout();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => read_one(database, sql, &wanted).await,
            Err(_) => Err(error::timed_out("no turn to read", limit)),
        }
    }

    /// Has the request wait, and says whether somebody has to serve it.
    fn enter(&self, request: Request) -> bool {
        let mut queue = self.queue();
        queue.waiting.push(request);
        !std::mem::replace(&mut queue.served, true)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next who are answered together; `None`, and nobody serves any more, if nobody waits.
    fn next(&self) -> Option<Vec<Request>> {
        let mut queue = self.queue();
        let most = queue.waiting.len().min(MOST_RUNS);
        queue.served = most > 0;
        queue.served.then(|| queue.waiting.drain(..most).collect())
    }
}

/// While it lives somebody serves. However that ends, nobody waits for it in vain.
struct Serving {
    together: Together,
    over: bool,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.over {
            let mut queue = self.together.queue();
            queue.waiting.clear();
            queue.served = false;
        }
    }
}

/// Answers those who wait, group by group, until nobody waits.
async fn serve(mut serving: Serving, database: Database, sql: Arc<str>) {
    loop {
        let together = &serving.together;
        // Those who are about to ask have their turn first: whose runs were claimed together, say.
        let mut gathered = 0;
        while together.queue().waiting.len() > gathered && gathered < MOST_RUNS {
            gathered = together.queue().waiting.len();
            tokio::task::yield_now().await;
        }
        let Some(group) = together.next() else {
            serving.over = true;
            return;
        };
        let (wanted, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.wanted, one.reply)).unzip();
        match read_all(&database, &sql, &wanted).await {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    // Nobody may be waiting any more.
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                if let [_] = &*wanted
                    && let Some(reply) = replies.into_iter().next()
                {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

async fn read_one(database: &Database, sql: &str, wanted: &Wanted) -> Answer {
    Ok(read_all(database, sql, std::slice::from_ref(wanted)).await?.pop().flatten())
}

/// One answer for each, in their order.
async fn read_all(database: &Database, sql: &str, wanted: &[Wanted]) -> Result<Vec<Option<Rows>>, StoreError> {
    let runs: Vec<&str> = wanted.iter().map(|one| one.run.as_str()).collect();
    let after: Vec<i64> = wanted.iter().map(|one| big(one.after.0)).collect();
    let most: Vec<i64> = wanted.iter().map(|one| i64::try_from(one.rows).unwrap_or(i64::MAX)).collect();
    let rows = database.connection().await?.query(sql, &[&runs, &after, &most]).await?;
    let mut answers: Vec<Option<Rows>> = wanted.iter().map(|_| None).collect();
    for row in rows {
        let place = usize::try_from(row.get::<_, i64>(0) - 1).ok();
        let answer = place.and_then(|place| answers.get_mut(place));
        let answer = answer.ok_or_else(|| rows::corrupt("an answer to what was not asked".into()))?;
        let rows = answer.get_or_insert_default();
        if let Some(last) = row.get::<_, Option<i64>>(1) {
            rows.push((last, row.get(2)));
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::future::join_all;
    use futures::{join, poll};
    use saga_core::store::Store;

    use super::*;
    use crate::{PostgresStore, testing};

    fn run(number: u64) -> RunId {
        RunId::new(format!("run-{number}")).expect("a sound id")
    }

    /// A store with the runs 10 to 59, each with as many records as its number says, in a row each.
    async fn store() -> (PostgresStore, String) {
        let url = testing::database().await;
        let store = PostgresStore::connect(&url).await.expect("the server works");
        let fill = r"INSERT INTO saga.runs SELECT 'run-' || i, i, 's', 1, '6ba7b812-9dad-11d1-80b4-00c04fd430c8',
                NULL, 0, i, 1, NULL, '-infinity', NULL, i, i FROM generate_series(10, 59) AS i;
            INSERT INTO saga.journal
                SELECT i, seq, '\x0000000178' FROM generate_series(10, 59) AS i, generate_series(1, i) AS seq";
        testing::execute(&url, fill).await;
        (store, url)
    }

    #[tokio::test]
    async fn each_who_reads_gets_what_it_asked_for() {
        let (store, _) = store().await;
        let reads = (5..65).map(|number| {
            let store = &store;
            async move { (number, store.read(&run(number), Seq(number / 3), 45).await) }
        });
        for (number, read) in join_all(reads).await {
            if (10..60).contains(&number) {
                let found: Vec<u64> = read.expect("it is there").into_iter().map(|record| record.seq.0).collect();
                let wanted: Vec<u64> = (number / 3 + 1..=number).take(45).collect();
                assert_eq!(found, wanted, "run-{number}");
            } else {
                assert!(matches!(read, Err(StoreError::UnknownRun { .. })), "run-{number}: {read:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_journal_that_is_damaged_is_told_to_its_own_reader_only() {
        let (store, url) = store().await;
        testing::execute(&url, r"UPDATE saga.journal SET records = '\x00' WHERE run_no = 11 AND seq = 3").await;
        let (ten, eleven, twelve) = (run(10), run(11), run(12));
        let read = |run| store.read(run, Seq::ZERO, 100);
        let (ten, eleven, twelve) = join!(read(&ten), read(&eleven), read(&twelve));
        assert_eq!((ten.expect("it is whole").len(), twelve.expect("it is whole").len()), (10, 12));
        assert!(matches!(eleven, Err(StoreError::Corrupt { .. })), "{eleven:?}");
    }

    #[tokio::test]
    async fn who_stops_waiting_keeps_nobody_waiting() {
        let (store, _) = store().await;
        let (ten, eleven) = (run(10), run(11));
        {
            let first = pin!(store.read(&ten, Seq::ZERO, 100));
            assert!(poll!(first).is_pending());
        }
        assert_eq!(store.read(&eleven, Seq::ZERO, 100).await.expect("it is there").len(), 11);
    }

    /// What failed for all may work for each; here it does not, and nobody is left without an answer.
    #[tokio::test]
    async fn a_statement_that_fails_is_answered_to_all() {
        let (store, _) = store().await;
        let (together, sql) = (Together::default(), Arc::from("SELECT $1::text[], $2::int8[], $3::int8[], 1 / 0"));
        let reads = (10..13)
            .map(|number| together.read(&store.database, &sql, Wanted { run: run(number), after: Seq::ZERO, rows: 1 }));
        assert!(join_all(reads).await.iter().all(Result::is_err));
    }

    #[test]
    fn all_who_wait_are_answered_together_and_one_serves() {
        let together = Together::default();
        let enter = || {
            let wanted = Wanted { run: run(1), after: Seq::ZERO, rows: 1 };
            together.enter(Request { wanted, reply: oneshot::channel().0 })
        };
        assert!(enter());
        assert!((0..MOST_RUNS).all(|_| !enter()));
        assert_eq!(together.next().map(|group| group.len()), Some(MOST_RUNS));
        assert_eq!(together.next().map(|group| group.len()), Some(1));
        assert!(together.next().is_none());
        assert!(enter(), "nobody serves any more");
    }
}
