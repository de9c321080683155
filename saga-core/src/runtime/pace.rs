//! How long the runs of a saga take when workers drive them, as seen by a client that waits for their ends: so that each is
//! looked at when it has probably ended, not long after, and not again and again before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RunSummary;

/// Of how many runs it is known how long they took: enough for a middle, few enough to follow when it changes.
const REMEMBERED: usize = 32;
/// What a saga is taken to need of which no run has ended yet.
const AT_FIRST: Duration = Duration::from_millis(10);
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
        self.newest().usual.unwrap_or(AT_FIRST)
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

    /// The run was seen at its end. Its times are those of two clocks, so they are believed no further than this process
    /// can tell itself: at worst runs are looked at too early, and then somewhat more often.
    pub(crate) fn has_ended(&self, head: &RunSummary) {
        self.pace.has_taken(head.updated_at.since(head.created_at).min(self.at.elapsed()));
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
        assert_eq!(pace.usual(), AT_FIRST);
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
}
