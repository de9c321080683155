//! How long the runs of a saga take when workers drive them, as seen by a client that waits for their ends: so that each is
//! looked at when it has probably ended, not long after, and not again and again before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RunSummary;

/// Of how many runs it is known how long they took: enough for a middle, few enough to follow when it changes.
const REMEMBERED: usize = 32;
/// When a run is looked at of which nothing is known: not before a short saga can have ended.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(10);
/// From when the last event of a run is decided until it can be seen: the append takes about so long.
const UNTIL_SEEN: Duration = Duration::from_millis(1);

/// How long the newest runs of a saga took.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    /// In the order in which they ended, but for where it wraps around.
    took: Vec<Duration>,
    next: usize,
    /// The middle one.
    usual: Option<Duration>,
}

impl Pace {
    /// How long after its start a run has ended, as often as not.
    pub(crate) fn usual(&self) -> Duration {
        self.newest().usual.unwrap_or(FIRST_LOOK)
    }

    fn has_taken(&self, took: Duration) {
        let mut newest = self.newest();
        let next = newest.next;
        match newest.took.get_mut(next) {
            Some(oldest) => *oldest = took,
            None => newest.took.push(took),
        }
        newest.next = (next + 1) % REMEMBERED;
        let mut all = newest.took.clone();
        let middle = all.len() / 2;
        newest.usual = Some(*all.select_nth_unstable(middle).1 + UNTIL_SEEN);
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that this process started, and left to the workers.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    at: Instant,
    pace: Arc<Pace>,
}

impl Left {
    pub(crate) fn new(at: Instant, pace: Arc<Pace>) -> Self {
        Self { at, pace }
    }

    /// For how long the run has been there.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// At which age it has probably ended.
    pub(crate) fn expected(&self) -> Duration {
        self.pace.usual()
    }

    /// Whether that is yet to come.
    pub(crate) fn is_early(&self) -> bool {
        self.age() < self.expected()
    }

    /// The run was seen at its end, having been seen alive at that age, if at all. Its own times are those of two clocks, and
    /// believed only between what this process has seen itself. Where that is nothing but the end, which was found by the
    /// first look, looks come earlier from one run to the next, until one of them is too early.
    pub(crate) fn has_ended(&self, head: &RunSummary, seen_alive_at: Option<Duration>) {
        let (took, age) = (head.updated_at.since(head.created_at), self.age());
        self.pace.has_taken(match seen_alive_at {
            Some(alive) => took.clamp(alive.min(age), age),
            None if took < age => took,
            None => age - age / 8,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_usual_time_is_that_of_the_middle_one_of_the_newest() {
        let pace = Pace::default();
        assert_eq!(pace.usual(), FIRST_LOOK);
        pace.has_taken(millis(300));
        assert_eq!(pace.usual(), millis(300) + UNTIL_SEEN);
        for took in 1..=REMEMBERED as u64 {
            pace.has_taken(millis(took));
        }
        assert_eq!(pace.usual(), millis(REMEMBERED as u64 / 2 + 1) + UNTIL_SEEN, "the first one is forgotten");
        // One that is odd changes nothing.
        pace.has_taken(Duration::from_secs(3600));
        assert!(pace.usual() < millis(20), "{:?}", pace.usual());
    }

    fn head(created_at: u64, updated_at: u64) -> RunSummary {
        let json = serde_json::json!({
            "run": "r", "saga": "s", "version": 1, "fingerprint": "6ba7b812-9dad-11d1-80b4-00c04fd430c8", "key": null,
            "status": "completed", "seq": 1, "epoch": 1, "owner": null, "created_at": created_at, "updated_at": updated_at
        });
        serde_json::from_value(json).expect("it is a head")
    }

    /// Runs that take 40 ms, as this process sees them, whatever the worker's clock says.
    #[tokio::test(start_paused = true)]
    async fn clocks_that_differ_mislead_nobody() {
        const TAKES: Duration = millis(40);
        for ahead in [-10_000, -60, -7, 0, 7, 60, 10_000] {
            let pace = Arc::new(Pace::default());
            let (mut looks, mut late) = (0, Duration::ZERO);
            for _ in 0..400 {
                let left = Left::new(Instant::now(), Arc::clone(&pace));
                let (mut alive, mut wait) = (None, left.expected());
                (looks, late) = (0, Duration::ZERO);
                loop {
                    tokio::time::sleep(wait).await;
                    looks += 1;
                    if left.age() >= TAKES {
                        late += left.age() - TAKES;
                        let ended = u64::try_from(20_000 + 40 + ahead).expect("it is later than 1970");
                        left.has_ended(&head(20_000, ended), alive);
                        break;
                    }
                    alive = Some(left.age());
                    wait = (left.age() / 4).max(millis(1));
                }
            }
            assert!(looks <= 6 && late <= TAKES / 2, "{ahead} ms ahead: {looks} looks, {late:?} late");
        }
    }
}
