//! A ledger of what was done to the outside world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::outcome::{Outcome, Place};

/// A record of effects, for the pretended outside world of a test: what was made and unmade, under which key.
///
/// The keys are those of [`Ctx::idempotency_key`](crate::Ctx::idempotency_key), as they are or with something after them
/// (`{key}/volume`), so that the record can tell which step made what. Clones share one record: the world keeps one, and
/// what it lends to the application has another.
///
/// ```
/// use saga_core::testkit::Effects;
///
/// let effects = Effects::new();
/// assert!(effects.make("run/disk/0"));
/// assert!(!effects.make("run/disk/0"), "it is there already: an idempotent system makes no second one");
/// effects.add("run/mail/0");
/// effects.add("run/mail/0"); // a system without idempotency does
/// assert_eq!(effects.doubled(), ["run/mail/0"]);
/// assert_eq!(effects.unmake("run/mail/0"), 2);
/// assert_eq!(effects.standing(), ["run/disk/0"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Effects {
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    by_key: BTreeMap<String, Entry>,
    in_order: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    standing: usize,
    made: usize,
    asked: usize,
}

impl Effects {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Whoever panicked in between has changed nothing by half.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something under a key, as a system does that knows idempotency keys: if it is there already, it is not made
    /// again. Says whether it was made.
    pub fn make(&self, key: impl AsRef<str>) -> bool {
        let mut ledger = self.ledger();
        let standing = ledger.by_key.get(key.as_ref()).is_some_and(|entry| entry.standing > 0);
        ledger.ask(key.as_ref(), usize::from(!standing));
        !standing
    }

    /// Makes something under a key, as a system does that knows no idempotency keys: each time another one.
    pub fn add(&self, key: impl AsRef<str>) {
        self.ledger().ask(key.as_ref(), 1);
    }

    /// Takes away all that was made under a key, and says how many that were.
    pub fn unmake(&self, key: impl AsRef<str>) -> usize {
        let mut ledger = self.ledger();
        let gone = ledger.by_key.get_mut(key.as_ref()).map_or(0, |entry| std::mem::take(&mut entry.standing));
        if gone > 0 {
            ledger.in_order.push(format!("- {}", key.as_ref()));
        }
        gone
    }

    /// Whether something that was made under this key stands.
    #[must_use]
    pub fn stands(&self, key: impl AsRef<str>) -> bool {
        self.ledger().by_key.get(key.as_ref()).is_some_and(|entry| entry.standing > 0)
    }

    /// The keys under which something stands, sorted.
    #[must_use]
    pub fn standing(&self) -> Vec<String> {
        self.keys(|entry| entry.standing > 0)
    }

    /// The keys under which more than one thing stands: a second call has made a second one.
    #[must_use]
    pub fn doubled(&self) -> Vec<String> {
        self.keys(|entry| entry.standing > 1)
    }

    /// The keys under which something was asked for more than once, whether or not it was made again.
    #[must_use]
    pub fn repeated(&self) -> Vec<String> {
        self.keys(|entry| entry.asked > 1)
    }

    /// How many things were made under a key, those that are gone included.
    #[must_use]
    pub fn made(&self, key: impl AsRef<str>) -> usize {
        self.ledger().by_key.get(key.as_ref()).map_or(0, |entry| entry.made)
    }

    /// What was made (`+`) and unmade (`-`), in order.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        self.ledger().in_order.clone()
    }

    /// The keys under which something stands that the outcome does not account for: nothing of it is said to be kept, or
    /// to be left behind.
    #[must_use]
    pub fn leaked<Out>(&self, outcome: &Outcome<Out>) -> Vec<String> {
        let mut standing = self.standing();
        match outcome {
            Outcome::Completed(_) => standing.clear(),
            Outcome::RolledBack(end) => standing.retain(|key| !end.kept.iter().any(|place| is_of(key, place))),
            Outcome::Stuck(end) => standing.retain(|key| !end.kept.iter().any(|place| is_of(key, place))),
            Outcome::Halted(_) | Outcome::Abandoned(_) => {}
        }
        standing.retain(|key| !outcome.residue().iter().any(|left| is_of(key, &left.place)));
        standing
    }

    /// Whether the world is as the outcome says: nothing leaked, and nothing is there twice. What [`Kit::check`] needs,
    /// in most cases.
    ///
    /// [`Kit::check`]: super::Kit::check
    ///
    /// # Errors
    ///
    /// What is not so, with the history of effects.
    pub fn agree_with<Out>(&self, outcome: &Outcome<Out>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (what, keys) in [("leaked", self.leaked(outcome)), ("there more than once", self.doubled())] {
            if !keys.is_empty() {
                wrong.push(format!("{what}: {}", keys.join(", ")));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{}\nin order: {}", wrong.join("\n"), self.history().join(", ")))
    }

    fn keys(&self, which: impl Fn(&Entry) -> bool) -> Vec<String> {
        self.ledger().by_key.iter().filter(|(_, entry)| which(entry)).map(|(key, _)| key.clone()).collect()
    }
}

impl Ledger {
    fn ask(&mut self, key: &str, made: usize) {
        let entry = self.by_key.entry(key.to_owned()).or_default();
        entry.asked += 1;
        entry.made += made;
        entry.standing += made;
        self.in_order.push(if made > 0 { format!("+ {key}") } else { format!("= {key}") });
    }
}

/// Whether a key is that of a place, or begins with it. The run, up to the first slash, is any.
fn is_of(key: &str, place: &Place) -> bool {
    let of_place = format!("{}/{}", place.step, place.item.unwrap_or(0));
    let rest = key.split_once('/').and_then(|(_, of_run)| of_run.strip_prefix(&of_place));
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Cause;
    use crate::outcome::RolledBack;

    fn rolled_back(kept: &[(&str, Option<u32>)]) -> Outcome<()> {
        let place = |(step, item): &(&str, Option<u32>)| Place { step: step.parse().unwrap(), item: *item };
        Outcome::RolledBack(RolledBack { cause: Cause::DeadlinePassed, kept: kept.iter().map(place).collect() })
    }

    #[test]
    fn what_stands_and_is_not_kept_is_leaked() {
        let effects = Effects::new();
        for key in ["r/a/0", "r/a/0/part", "r/each/1", "r/each/10", "r/sub/a/0"] {
            assert!(effects.make(key));
        }
        assert_eq!(effects.leaked(&rolled_back(&[("a", None), ("each", Some(1))])), ["r/each/10", "r/sub/a/0"]);
        assert!(effects.leaked(&Outcome::Completed(())).is_empty());
        assert!(effects.agree_with(&rolled_back(&[])).unwrap_err().contains("leaked: r/a/0, "));
    }

    #[test]
    fn what_is_made_twice_is_noticed() {
        let effects = Effects::new();
        effects.add("r/a/0");
        assert!(effects.agree_with(&Outcome::Completed(())).is_ok());
        effects.add("r/a/0");
        let wrong = effects.agree_with(&Outcome::Completed(())).unwrap_err();
        assert_eq!(wrong, "there more than once: r/a/0\nin order: + r/a/0, + r/a/0");
        assert_eq!((effects.unmake("r/a/0"), effects.made("r/a/0"), effects.unmake("r/a/0")), (2, 2, 0));
        assert_eq!(effects.repeated(), ["r/a/0"]);
    }
}
