//! When something that failed is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often, and after what delay, an action or compensation is tried again.
///
/// A policy is a value: it is written where the step is composed and is part of the saga's definition.
///
/// ```
/// use saga_core::Retry;
/// use std::time::Duration;
///
/// let three_quick = Retry::fixed(3, Duration::from_millis(50));
/// let patient = Retry::exponential(10)
///     .initial(Duration::from_secs(1))
///     .cap(Duration::from_secs(60))
///     .max_elapsed(Duration::from_secs(15 * 60));
/// assert_eq!(three_quick.delay_after(1, Duration::ZERO, 0.0), Some(Duration::from_millis(50)));
/// assert_eq!(three_quick.delay_after(3, Duration::ZERO, 0.0), None, "three attempts, then no more");
/// # let _ = patient;
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    max_attempts: Option<u32>,
    initial: Duration,
    factor: f64,
    cap: Duration,
    jitter: f64,
    max_elapsed: Option<Duration>,
}

impl Retry {
    /// One attempt, never a second: the default for actions.
    #[must_use]
    pub const fn never() -> Self {
        Self::shape(Some(1), Duration::ZERO, 1.0, 0.0)
    }

    /// `attempts` in all, `delay` apart.
    #[must_use]
    pub const fn fixed(attempts: u32, delay: Duration) -> Self {
        Self::shape(Some(attempts), delay, 1.0, 0.0)
    }

    /// `attempts` in all; the delay starts at 100 ms, doubles each time, is capped at 30 s, and half of it is random.
    #[must_use]
    pub const fn exponential(attempts: u32) -> Self {
        Self::shape(Some(attempts), Duration::from_millis(100), 2.0, 0.5)
    }

    /// As [`exponential`](Self::exponential), without a limit on the number of attempts. Bound it with
    /// [`max_elapsed`](Self::max_elapsed), or be sure that somebody is told.
    #[must_use]
    pub const fn forever() -> Self {
        Self::shape(None, Duration::from_millis(100), 2.0, 0.5)
    }

    const fn shape(max_attempts: Option<u32>, initial: Duration, factor: f64, jitter: f64) -> Self {
        Self { max_attempts, initial, factor, cap: Duration::from_secs(30), jitter, max_elapsed: None }
    }

    /// The delay after the first failure.
    #[must_use]
    pub const fn initial(mut self, delay: Duration) -> Self {
        self.initial = delay;
        self
    }

    /// The longest delay between two attempts.
    #[must_use]
    pub const fn cap(mut self, delay: Duration) -> Self {
        self.cap = delay;
        self
    }

    /// Which part of each delay is random, from 0 (none) to 1 (all of it). Values outside are clamped.
    ///
    /// Jitter keeps many runs that failed together from trying again together; see *Exponential Backoff And Jitter*,
    /// AWS Architecture Blog, 2015.
    #[must_use]
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// No attempt starts later than this after the first one started.
    #[must_use]
    pub const fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// The delay before the next attempt, or `None` when the policy is spent.
    ///
    /// `failures` counts the attempts that failed so far, `elapsed` is the time since the first attempt started, and
    /// `sample` is a random number in `[0, 1)` (an argument, so that the same history always gives the same answer).
    #[must_use]
    pub fn delay_after(&self, failures: u32, elapsed: Duration, sample: f64) -> Option<Duration> {
        if self.max_attempts.is_some_and(|most| failures >= most.max(1)) {
            return None;
        }
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = match self.initial.as_secs_f64() * self.factor.powi(exponent) {
            // No delay stays none, however often it is doubled: 0 · ∞ is no number.
            full if full.is_nan() => 0.0,
            full => full.min(self.cap.as_secs_f64()),
        };
        let delay = full * (1.0 - self.jitter * sample.clamp(0.0, 1.0));
        // The longest duration is no longer one after it was rounded to a float.
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(self.cap);
        self.allows_after(elapsed.saturating_add(delay)).then_some(delay)
    }

    /// Whether an attempt may start so long after the first one.
    #[must_use]
    pub fn allows_after(&self, elapsed: Duration) -> bool {
        self.max_elapsed.is_none_or(|most| elapsed <= most)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::never()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_doubles_up_to_its_cap() {
        let policy = Retry::exponential(100).jitter(0.0);
        let delays: Vec<_> =
            (1..=12).map(|n| policy.delay_after(n, Duration::ZERO, 0.9).unwrap().as_millis()).collect();
        assert_eq!(&delays[..4], &[100, 200, 400, 800]);
        assert_eq!(delays[11], 30_000);
        assert_eq!(policy.delay_after(100, Duration::ZERO, 0.0), None);
    }

    #[test]
    fn a_huge_number_of_failures_neither_overflows_nor_panics() {
        assert_eq!(
            Retry::forever().jitter(0.0).delay_after(u32::MAX, Duration::ZERO, 0.0),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn the_longest_and_the_shortest_delays_neither_overflow_nor_turn_into_each_other() {
        let patient = Retry::forever().jitter(0.0).cap(Duration::MAX).max_elapsed(Duration::MAX);
        assert_eq!(patient.delay_after(500, Duration::MAX, 0.0), Some(Duration::MAX));
        let hasty = Retry::forever().initial(Duration::ZERO);
        assert_eq!(hasty.delay_after(5_000, Duration::ZERO, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn jitter_only_ever_shortens() {
        let policy = Retry::fixed(2, Duration::from_secs(10)).jitter(0.5);
        assert_eq!(policy.delay_after(1, Duration::ZERO, 0.0), Some(Duration::from_secs(10)));
        assert_eq!(policy.delay_after(1, Duration::ZERO, 1.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn elapsed_time_ends_it() {
        let policy = Retry::fixed(9, Duration::from_secs(10)).max_elapsed(Duration::from_secs(25));
        assert!(policy.delay_after(1, Duration::from_secs(15), 0.0).is_some());
        assert!(policy.delay_after(2, Duration::from_secs(16), 0.0).is_none());
    }
}
