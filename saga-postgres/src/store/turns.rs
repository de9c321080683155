//! Turns: what is nobody's is offered to one worker first, and to all of them a moment later.
//!
//! Were each start told to all workers alike, all would claim at once, most of them in vain; and each would drive a few runs
//! of every moment, in batches as much smaller as there are more workers, each of which costs the server nearly the same.
//! So the workers that know a saga take turns, each of [`TURN`]: the moment at which a run became nobody's says whose it is,
//! and the others pass it over until it is [`OFFER`] old. Then whoever has its turn is full, slow or dead, and it is
//! anybody's. Nobody knows which runs are long, so all that is started within one turn may end up with one worker.
//!
//! Workers learn of each other by the channel on which hints are told. That is all that it takes, because nothing depends on
//! it but time: who takes another one's turn has the runs, and the other one claims in vain; and what is nobody's turn is
//! claimed an offer later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use saga_core::WorkerId;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a turn takes: many times as long as a short saga, so that its appends share their batches with most of the
/// others that are under way; short enough that a few workers all have their share of what is started within seconds.
const TURN: Duration = Duration::from_millis(250);
/// For how long a run is offered to the worker whose turn it is, which claims it in a tenth of that if nothing is in its way.
pub(super) const OFFER: Duration = Duration::from_millis(20);
/// How often a worker says that it is there.
pub(super) const ANNOUNCED_EVERY: Duration = Duration::from_secs(5);
/// A worker of which nothing was heard for so long is not there; one that has claimed nothing for so long says nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);
/// What PostgreSQL tells has fewer than 8000 bytes. A worker of more sagas than fit, some two hundred, is not announced: it
/// knows of no turns, and takes all that it finds.
const MOST_BYTES: usize = 7999;

/// The order of turns. Of a number of turns that follow each other each worker has the same share, but not every second or
/// every fourth one: what is started in step with the turns would go to the same worker each time. (Fibonacci hashing: Knuth,
/// The Art of Computer Programming, volume 3, section 6.4. The number is 65536 by the golden ratio.)
const STEP: i64 = 40503;

/// Parts of statements over the table or alias `r`. `{turn}`: since when a run is nobody's, as a number of 16 bits, each
/// worker having its part of them. `{offer}`: for how long it is passed over by the others. `{told}`: what is told of
/// runs that are nobody's from the transaction's beginning on, `now()`, which is what their rows have to say too.
pub(super) fn sql(text: &str) -> String {
    let turn =
        format!("(floor(date_part('epoch', r.lease_until) * 1000)::int8 / {} * {STEP} & 65535)", TURN.as_millis());
    text.replace("{turn}", &turn)
        .replace("{offer}", &format!("interval '{} milliseconds'", OFFER.as_millis()))
        .replace("{told}", "'free ' || floor(date_part('epoch', now()) * 1000)::int8")
}

/// As `{turn}` in [`sql`].
fn turn(free_since_millis: i64) -> i64 {
    (free_since_millis / TURN.as_millis() as i64).wrapping_mul(STEP) & 0xffff
}

/// What workers tell each other, and stores tell workers.
#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    /// There is something to claim, which is nobody's since then, in milliseconds since 1970 by the server's clock.
    Free(i64),
    /// Somebody asked for a cancellation.
    Request,
    /// Who is there?
    Who,
    /// A worker is there, and knows these sagas.
    Here(&'a str, BTreeSet<Uuid>),
    /// A worker has left.
    Gone(&'a str),
}

/// What is told of a request.
pub(super) const REQUEST: &str = "request";
const WHO: &str = "who";

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // Names may have spaces, but no line breaks.
        let mut lines = text.split('\n');
        let first = lines.next()?;
        Some(match (first, first.strip_prefix("free ")) {
            (_, Some(since)) => Self::Free(since.parse().ok()?),
            (REQUEST, _) => Self::Request,
            (WHO, _) => Self::Who,
            ("here", _) => Self::Here(lines.next()?, lines.map(str::parse).collect::<Result<_, _>>().ok()?),
            ("gone", _) => Self::Gone(lines.next()?),
            _ => return None,
        })
    }

    fn here(worker: &WorkerId, sagas: &BTreeSet<Uuid>) -> String {
        let mut text = format!("here\n{worker}");
        for saga in sagas {
            // Writing to a text cannot fail.
            let _ = write!(text, "\n{saga}");
        }
        text
    }

    fn gone(worker: &WorkerId) -> String {
        format!("gone\n{worker}")
    }
}

/// What follows for this process from something that was told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// There is something to claim now.
    pub(super) work: bool,
    /// There may be something to claim when it has been offered to somebody else.
    pub(super) work_later: bool,
    /// There may be requests.
    pub(super) requests: bool,
}

impl Heard {
    /// What follows if something was told that is not understood, or may have been missed.
    pub(super) const ANYTHING: Self = Self { work: true, work_later: true, requests: true };
}

/// Which part of the turns is a worker's, for one saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    workers: i64,
    place: i64,
}

impl Share {
    /// As the statement that claims has it.
    fn has(self, turn: i64) -> bool {
        turn * self.workers / 65536 == self.place
    }
}

/// Who takes turns, as far as this process has heard.
#[derive(Debug, Default)]
pub(super) struct Turns {
    present: Mutex<Present>,
    /// There is something to announce.
    pub(super) announce: Notify,
}

#[derive(Debug, Default)]
struct Present {
    /// The workers of this process, with the sagas that they know, and when they last claimed.
    here: BTreeMap<WorkerId, (BTreeSet<Uuid>, Instant)>,
    /// All workers that were heard of, those of this process included, and until when they are taken to be there.
    heard: BTreeMap<String, (BTreeSet<Uuid>, Instant)>,
    /// The others are to be asked who they are.
    asks: bool,
}

impl Turns {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker of this process claims: for each of its sagas, how many take turns, and which place is its own.
    pub(super) fn shares(&self, worker: &WorkerId, sagas: &[Uuid], now: Instant) -> (Vec<i64>, Vec<i64>) {
        let mut present = self.present();
        match present.here.get_mut(worker) {
            Some((known, claimed)) if known.len() == sagas.len() && sagas.iter().all(|saga| known.contains(saga)) => {
                *claimed = now;
            }
            _ => {
                present.here.insert(worker.clone(), (sagas.iter().copied().collect(), now));
                self.announce.notify_one();
            }
        }
        let shares = sagas.iter().map(|saga| present.share(worker, saga, now));
        shares.map(|share| (share.workers, share.place)).unzip()
    }

    /// This process listens from now on: whatever others told before, it has missed.
    pub(super) fn listens(&self) {
        self.present().asks = true;
        self.announce.notify_one();
    }

    /// Something was told on the channel.
    pub(super) fn hear(&self, text: &str, now: Instant) -> Heard {
        let mut present = self.present();
        match Message::parse(text) {
            Some(Message::Free(since)) => return present.whose(turn(since), now),
            Some(Message::Request) => return Heard { requests: true, ..Heard::default() },
            Some(Message::Who) => self.announce.notify_one(),
            Some(Message::Here(worker, sagas)) => {
                present.heard.insert(worker.to_owned(), (sagas, now + FORGOTTEN_AFTER));
            }
            Some(Message::Gone(worker)) => {
                present.heard.remove(worker);
            }
            None => return Heard::ANYTHING,
        }
        Heard::default()
    }

    /// What is to be announced now.
    pub(super) fn announcements(&self, now: Instant) -> Vec<String> {
        let mut present = self.present();
        present.here.retain(|_, (_, claimed)| now < *claimed + FORGOTTEN_AFTER);
        present.heard.retain(|_, (_, until)| now < *until);
        let who = std::mem::take(&mut present.asks).then(|| WHO.to_owned());
        let here = present.here.iter().map(|(worker, (sagas, _))| Message::here(worker, sagas));
        who.into_iter().chain(here.filter(|text| text.len() <= MOST_BYTES)).collect()
    }

    /// The workers of this process leave: what is to be announced of that.
    pub(super) fn leave(&self) -> Vec<String> {
        std::mem::take(&mut self.present().here).keys().map(Message::gone).collect()
    }
}

impl Present {
    /// A worker that has not heard itself is not heard by others either, and has no turns to take.
    fn share(&self, worker: &WorkerId, saga: &Uuid, now: Instant) -> Share {
        let knows = |(sagas, until): &(BTreeSet<Uuid>, Instant)| now < *until && sagas.contains(saga);
        let names = self.heard.iter().filter(|(_, one)| knows(one)).map(|(name, _)| name.as_str());
        let (mut workers, mut own) = (0, None);
        for name in names {
            if name == worker.as_str() {
                own = Some(workers);
            }
            workers += 1;
        }
        own.map_or(Share { workers: 1, place: 0 }, |place| Share { workers, place })
    }

    /// Which saga it is about is not told: most workers know the same ones. Where nobody has claimed lately there is somebody
    /// who is about to. Whosever turn it is: the claim goes by what is known then, which may not be the same.
    fn whose(&self, turn: i64, now: Instant) -> Heard {
        let mut heard = Heard { work: self.here.is_empty(), ..Heard::default() };
        for (worker, (sagas, _)) in &self.here {
            for saga in sagas {
                let share = self.share(worker, saga, now);
                heard.work |= share.has(turn);
                heard.work_later |= share.workers > 1;
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name).expect("a sound id")
    }

    fn saga(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    const NOW: Heard = Heard { work: true, work_later: false, requests: false };
    const LATER: Heard = Heard { work: false, work_later: true, requests: false };
    const BOTH: Heard = Heard { work: true, work_later: true, requests: false };

    fn free_in_turn(number: i64) -> String {
        format!("free {}", number * TURN.as_millis() as i64 + 17)
    }

    fn here(name: &str) -> String {
        Message::here(&worker(name), &BTreeSet::from([saga(1)]))
    }

    /// Has all processes hear what one of them has to announce, until there is no more of it.
    fn talk(all: &[&Turns], now: Instant) {
        loop {
            let told: Vec<String> = all
                .iter()
                .filter(|one| futures::FutureExt::now_or_never(one.announce.notified()).is_some())
                .flat_map(|one| one.announcements(now))
                .collect();
            if told.is_empty() {
                return;
            }
            for (text, one) in told.iter().flat_map(|text| all.iter().map(move |one| (text, one))) {
                assert_eq!(one.hear(text, now), Heard::default());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_turn_is_exactly_one_workers() {
        let now = Instant::now();
        let processes = [Turns::default(), Turns::default(), Turns::default()];
        let all: Vec<&Turns> = processes.iter().collect();
        for (one, name) in all.iter().zip(["a", "b b", "c"]) {
            one.listens();
            one.shares(&worker(name), &[saga(1)], now);
            talk(&all, now);
        }
        let mut turns = [0; 3];
        for number in 7_000..7_300 {
            let told = free_in_turn(number);
            let heard: Vec<Heard> = all.iter().map(|one| one.hear(&told, now)).collect();
            assert_eq!(heard.iter().filter(|heard| **heard == BOTH).count(), 1, "{heard:?}");
            assert_eq!(heard.iter().filter(|heard| **heard == LATER).count(), 2, "{heard:?}");
            turns[heard.iter().position(|heard| heard.work).expect("somebody's")] += 1;
        }
        assert!(turns.iter().all(|turns| (98..=102).contains(turns)), "{turns:?}");
        assert_eq!(all[1].shares(&worker("b b"), &[saga(1), saga(2)], now), (vec![3, 1], vec![1, 0]));
    }

    /// Nobody waits for a worker that cannot drive the run.
    #[tokio::test(start_paused = true)]
    async fn only_those_who_know_a_saga_take_turns_at_it() {
        let now = Instant::now();
        let (one, other) = (Turns::default(), Turns::default());
        one.shares(&worker("a"), &[saga(1), saga(2)], now);
        other.shares(&worker("b"), &[saga(2), saga(3)], now);
        talk(&[&one, &other], now);
        assert_eq!(one.shares(&worker("a"), &[saga(1), saga(2)], now), (vec![1, 2], vec![0, 0]));
        assert_eq!(other.shares(&worker("b"), &[saga(2), saga(3)], now), (vec![2, 1], vec![1, 0]));
        let told = free_in_turn(7);
        assert_eq!((one.hear(&told, now), other.hear(&told, now)), (BOTH, BOTH), "each has a saga of its own");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hears_of_nobody_takes_everything() {
        let now = Instant::now();
        let alone = Turns::default();
        assert_eq!(alone.hear(&free_in_turn(3), now), NOW);
        assert_eq!(alone.shares(&worker("a"), &[saga(1)], now), (vec![1], vec![0]));
        // It was heard of others, but they have not heard of it.
        alone.hear(&here("b"), now);
        assert_eq!(alone.shares(&worker("a"), &[saga(1)], now), (vec![1], vec![0]));
        assert_eq!(alone.hear(&free_in_turn(3), now), NOW);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_or_falls_silent_has_no_turns() {
        let began = Instant::now();
        let (one, other, third) = (Turns::default(), Turns::default(), Turns::default());
        for (one, name) in [(&one, "a"), (&other, "b"), (&third, "c")] {
            one.shares(&worker(name), &[saga(1)], began);
        }
        talk(&[&one, &other, &third], began);
        assert_eq!(one.shares(&worker("a"), &[saga(1)], began).0, [3]);
        for text in third.leave() {
            one.hear(&text, began);
        }
        assert_eq!(one.shares(&worker("a"), &[saga(1)], began).0, [2]);
        assert_eq!(third.announcements(began), [""; 0], "it is gone for good");

        let later = began + FORGOTTEN_AFTER;
        one.hear(&here("a"), later);
        assert_eq!(one.shares(&worker("a"), &[saga(1)], later), (vec![1], vec![0]));
        assert_eq!(other.announcements(later), [""; 0], "a worker that claims nothing is no worker");
        assert_eq!(one.announcements(later), [here("a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_understood_or_taken_for_anything() {
        let now = Instant::now();
        let turns = Turns::default();
        turns.shares(&worker("a"), &[saga(1)], now);
        assert_eq!(turns.hear(REQUEST, now), Heard { requests: true, ..Heard::default() });
        for text in ["", "free", "free x", "here", "here\na\nnonsense", "gone", "something else"] {
            assert_eq!(turns.hear(text, now), Heard::ANYTHING, "{text:?}");
        }
        let many: Vec<Uuid> = (0..400).map(saga).collect();
        turns.shares(&worker("b"), &many, now);
        assert_eq!(turns.announcements(now).len(), 1, "what is too long to be told is not told");
    }

    /// Starts in step with the turns, as those of a timer may be, are not all one worker's.
    #[test]
    fn no_rhythm_favours_a_worker() {
        for workers in 2..=5 {
            for every in 1..=8 {
                let mut turns = vec![0; workers];
                for number in 0..200 {
                    let turn = turn(number * every * TURN.as_millis() as i64);
                    let share = |place: usize| Share { workers: workers as i64, place: place as i64 };
                    turns[(0..workers).find(|place| share(*place).has(turn)).expect("somebody's")] += 1;
                }
                let fair = 200 / workers;
                assert!(turns.iter().all(|turns| (fair / 2..=fair * 2).contains(turns)), "every {every}: {turns:?}");
            }
        }
    }
}
