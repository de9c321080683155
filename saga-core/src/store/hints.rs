//! Hints: what a store tells workers of its own accord, so that they look before it is time to.

use tokio::sync::watch;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// There may be runs to [claim](super::Store::claim).
    Work,
    /// There may be [requests](super::Store::cancel_requests) for runs that are held.
    Requests,
}

/// Where a store tells its hints.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use saga_core::store::{Hint, HintSource};
///
/// let source = HintSource::default();
/// let mut hints = source.subscribe();
/// source.tell(Hint::Work);
/// source.tell(Hint::Work);
/// assert_eq!(hints.next().await, Some(Hint::Work)); // both at once
/// drop(source);
/// assert_eq!(hints.next().await, None);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct HintSource {
    work: watch::Sender<()>,
    requests: watch::Sender<()>,
}

impl HintSource {
    /// Tells all who have [subscribed](Self::subscribe).
    pub fn tell(&self, hint: Hint) {
        match hint {
            Hint::Work => self.work.send_replace(()),
            Hint::Requests => self.requests.send_replace(()),
        }
    }

    /// The hints from now on.
    #[must_use]
    pub fn subscribe(&self) -> Hints {
        Hints { work: self.work.subscribe(), requests: self.requests.subscribe() }
    }
}

/// The hints of a store, for one who listens. What is told between two calls of [`next`](Self::next) is heard by the second,
/// equal ones as one.
#[derive(Debug, Clone)]
pub struct Hints {
    work: watch::Receiver<()>,
    requests: watch::Receiver<()>,
}

impl Hints {
    /// The next hint; `None`, if there will be none because the store is gone. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Option<Hint> {
        tokio::select! {
            told = self.requests.changed() => told.ok().map(|()| Hint::Requests),
            told = self.work.changed() => told.ok().map(|()| Hint::Work),
        }
    }
}
