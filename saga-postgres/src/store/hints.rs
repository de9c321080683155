//! Hints: one connection that listens for what is told by other workers, and by clients.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future;
use saga_core::store::{Hint, HintSource, Hints};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::AsyncMessage;
use tracing::debug;

use super::turns::{ANNOUNCED_EVERY, Heard, OFFER, Turns};
use crate::database::Database;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// For how long somebody who leaves tries to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// The channel of a schema's store. Channels belong to the database, and their names are cut like any other.
pub(super) fn channel(schema: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, schema.as_bytes());
    format!("saga_{}", id.simple())
}

/// Who wants hints, and the task that gets them.
#[derive(Debug, Default)]
pub(super) struct Listening {
    hints: HintSource,
    turns: Arc<Turns>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever says that the workers are gone: nobody else is to close the pool meanwhile.
    leaving: tokio::sync::Mutex<()>,
}

impl Listening {
    /// Hints from now on. The first who wants some makes the connection.
    pub(super) fn subscribe(&self, database: &Database, channel: &str) -> Hints {
        let subscribed = self.hints.subscribe();
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            let (hints, turns) = (self.hints.clone(), Arc::clone(&self.turns));
            let (database, channel) = (database.clone(), channel.to_owned());
            *task = Some(tokio::spawn(async move {
                future::join(listen(&hints, &turns, &database, &channel), announce(&turns, &database, &channel)).await;
            }));
        }
        subscribed
    }

    /// Whose turn it is to claim.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Listens no more, and says that the workers of this process are gone. As well as it goes: they are forgotten anyway.
    pub(super) async fn end(&self, database: &Database, channel: &str) {
        let _leaving = self.leaving.lock().await;
        let Some(task) = self.stop() else { return };
        let farewell = async {
            // What it is just telling would bring them back.
            let _ = task.await;
            for text in self.turns.leave() {
                tell(database, channel, &text).await;
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// The task, if anybody listened.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take().inspect(JoinHandle::abort)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn tell(database: &Database, channel: &str, text: &str) {
    let told = async { database.connection().await?.query("SELECT pg_notify($1, $2)", &[&channel, &text]).await };
    if let Err(error) = told.await {
        debug!(%error, "other workers could not be told who is here");
    }
}

/// Tells other workers who is here, every now and then, and whenever there is reason to.
async fn announce(turns: &Turns, database: &Database, channel: &str) {
    loop {
        for text in turns.announcements(Instant::now()) {
            tell(database, channel, &text).await;
        }
        let _ = timeout(ANNOUNCED_EVERY, turns.announce.notified()).await;
    }
}

async fn listen(hints: &HintSource, turns: &Turns, database: &Database, channel: &str) {
    let mut delay = FIRST_DELAY;
    loop {
        if let Err(error) = listen_once(hints, turns, database, channel, &mut delay).await {
            debug!(%error, retry_in = ?delay, "no hints: the connection that listens for them failed");
        }
        // Whoever polls does not depend on hints, so there is no hurry.
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Listens until the connection ends.
async fn listen_once(
    hints: &HintSource,
    turns: &Turns,
    database: &Database,
    channel: &str,
    delay: &mut Duration,
) -> Result<(), tokio_postgres::Error> {
    let (config, tls) = database.listener();
    let (client, mut connection) = config.connect(tls).await?;
    let begin = format!("LISTEN {channel}");
    let begin = client.batch_execute(&begin);
    let mut begin = std::pin::pin!(begin);
    let mut listening = false;
    let mut offers = Offers::default();
    loop {
        let next = offers.next();
        let heard = tokio::select! {
            begun = &mut begin, if !listening => {
                begun?;
                listening = true;
                *delay = FIRST_DELAY;
                turns.listens();
                // Something may have been told while nobody listened.
                Heard::ANYTHING
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                offers.has_passed(Instant::now());
                Heard { work: true, ..Heard::default() }
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(told))) => turns.hear(told.payload(), Instant::now()),
                Some(Ok(_)) => Heard::default(),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        };
        if heard.work {
            hints.tell(Hint::Work);
        }
        if heard.work_later {
            offers.begins(Instant::now());
        }
        if heard.requests {
            hints.tell(Hint::Requests);
        }
    }
}

/// Until when something is offered to others. All of the time in which there is something, it is looked for what is left,
/// but not more often than an offer takes.
#[derive(Debug, Default)]
struct Offers {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Offers {
    fn begins(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    fn next(&self) -> Option<Instant> {
        self.first.map(|began| began + OFFER)
    }

    /// Those that began later than that which has just passed have yet to pass.
    fn has_passed(&mut self, now: Instant) {
        self.first = self.last.take_if(|last| *last + OFFER > now);
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use saga_core::store::{KnownSaga, Store};
    use saga_core::{SagaName, WorkerId};

    use super::super::turns;
    use super::super::turns::REQUEST;
    use super::*;
    use crate::{PostgresStore, testing};

    /// However many offers there are: after each of them there is a look, and not many more looks than offers would fit in a row.
    #[tokio::test(start_paused = true)]
    async fn there_is_a_look_after_each_offer() {
        let began = Instant::now();
        let (mut offers, mut looks) = (Offers::default(), Vec::new());
        let begin: Vec<Duration> = [0, 1, 7, 20, 21, 90, 150, 171].map(Duration::from_millis).into();
        for millis in 0..300 {
            let now = began + Duration::from_millis(millis);
            if offers.next().is_some_and(|next| next <= now) {
                looks.push(now - began);
                offers.has_passed(now);
            }
            if begin.contains(&(now - began)) {
                offers.begins(now);
            }
        }
        assert_eq!(offers.next(), None);
        for offer in &begin {
            let seen = |look: &&Duration| **look >= *offer + OFFER && **look <= *offer + OFFER * 2;
            assert!(looks.iter().any(|look| seen(&look)), "{offer:?} of {looks:?}");
        }
        assert!(looks.len() <= 6, "{looks:?}");
    }

    /// One of two workers is never heard of but by name. Its turns are respected, but nobody waits for it in vain.
    #[tokio::test]
    async fn a_run_is_offered_to_one_worker_and_then_to_all() {
        let url = testing::database().await;
        let store = PostgresStore::connect(&url).await.expect("the server works");
        let mut hints = store.hints().expect("it gives hints");
        let fingerprint = "6ba7b812-9dad-11d1-80b4-00c04fd430c8";
        let known = KnownSaga {
            saga: SagaName::new("s").expect("a sound name"),
            version: 1,
            fingerprint: serde_json::from_value(fingerprint.into()).expect("a sound fingerprint"),
        };
        let claim = async || {
            let worker = WorkerId::new("a").expect("a sound id");
            store.claim(&worker, slice::from_ref(&known), Duration::from_secs(30), 9).await.expect("the server works")
        };
        let ask = async |sql: &str| {
            let connection = store.database.connection().await.expect("the server works");
            connection.query_one(sql, &[]).await.expect("the server works")
        };
        let start = turns::sql(&format!(
            "WITH r AS (
                INSERT INTO saga.runs
                    (run, no, saga, version, fingerprint, status, seq, epoch, lease_until, created_at, updated_at)
                SELECT n::text, n, 's', 1, '{fingerprint}', 0, 1, 1, now(), 1, 1 FROM nextval('saga.run_numbers') AS n
                RETURNING lease_until
            )
            SELECT pg_notify('{}', {{told}})::text, {{turn}} * 2 / 65536, now()::text FROM r",
            store.channel
        ));
        assert!(claim().await.is_empty());
        // It listens.
        until(&mut hints, Hint::Requests).await;
        let (mut own, mut passed_over) = (0, 0);
        // There is another turn every 250 ms; a slow machine may never be quick enough to see that a run is passed over.
        for _ in 0..2000 {
            // Heard in this order. The other worker is told of each time, so that it is not forgotten, however long this takes.
            for text in [format!("here\na\n{fingerprint}"), format!("here\nzombie\n{fingerprint}"), REQUEST.to_owned()]
            {
                tell(&store.database, &store.channel, &text).await;
            }
            until(&mut hints, Hint::Requests).await;
            let made = ask(&start).await;
            let (place, since): (i64, &str) = (made.get(1), made.get(2));
            let at_once = claim().await;
            let age = format!("SELECT clock_timestamp() - '{since}'::timestamptz >= {{offer}}");
            let was_old: bool = ask(&turns::sql(&age)).await.get(0);
            if place == 0 {
                assert_eq!(at_once.len(), 1, "it was the turn of this worker");
                own += 1;
            } else if at_once.is_empty() {
                while claim().await.is_empty() {
                    until(&mut hints, Hint::Work).await;
                }
                passed_over += 1;
            } else {
                assert!(was_old, "it was the turn of another worker");
            }
            if own >= 3 && passed_over >= 3 {
                return;
            }
        }
        assert!(own >= 3);
    }

    /// Waits for a hint, whatever else is told before.
    async fn until(hints: &mut Hints, hint: Hint) {
        let told = async { while hints.next().await.expect("the store is there") != hint {} };
        timeout(Duration::from_secs(60), told).await.expect("it is told");
    }
}
