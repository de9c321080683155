//! Callers who want something of one cluster's stack, and the one of them that acts for all.
//!
//! A stack can be changed by one update at a time, and its nodes are made and destroyed side by side. So each caller says
//! what it wants, and waits; whoever comes first looks and acts for everybody. There is no task in the background: if the
//! call that acts is dropped, it stops at once, and the next one takes over and looks anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::decide::{Answer, Decision, Look, Wish, decide};
use crate::model::ClusterName;

/// What is wanted of one cluster.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) cluster: ClusterName,
    /// Held by whoever acts.
    pub(super) lead: tokio::sync::Mutex<Pace>,
    callers: Mutex<Callers>,
}

#[derive(Debug, Default)]
struct Callers {
    next: u64,
    wishes: BTreeMap<u64, Wish>,
    told: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// How it was last seen, in words.
    seen: String,
}

/// When which server was last asked to go.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) asked: BTreeMap<String, Instant>,
}

/// A place in the queue. Whoever drops it wants nothing any more.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    id: u64,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Queue {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self { cluster, lead: tokio::sync::Mutex::default(), callers: Mutex::default() }
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    pub(super) fn enter(self: Arc<Self>, wish: Wish) -> Place {
        let (tell, answer) = oneshot::channel();
        let mut callers = self.callers();
        let id = callers.next;
        callers.next += 1;
        callers.wishes.insert(id, wish);
        callers.told.insert(id, tell);
        drop(callers);
        Place { queue: self, id, answer }
    }

    /// Decides by what was seen, and answers whom it can.
    pub(super) fn decide(&self, look: &Look) -> Decision {
        let mut callers = self.callers();
        callers.seen = look.to_string();
        let decision = decide(look, &mut callers.wishes);
        callers.tell(&decision.answers);
        decision
    }

    /// Changes all wishes.
    pub(super) fn change_all(&self, change: impl Fn(&mut Wish)) {
        self.callers().wishes.values_mut().for_each(change);
    }

    /// Goes through all wishes. Returns which of them the function has changed.
    pub(super) fn each(&self, change: impl Fn(&mut Wish) -> Option<()>) -> Vec<u64> {
        let mut callers = self.callers();
        callers.wishes.iter_mut().filter_map(|(id, wish)| change(wish).map(|()| *id)).collect()
    }

    /// Changes those of these wishes that there still are.
    pub(super) fn change(&self, ids: &[u64], change: impl Fn(&mut Wish)) {
        let mut callers = self.callers();
        callers.wishes.iter_mut().filter(|(id, _)| ids.contains(id)).for_each(|(_, wish)| change(wish));
    }

    /// Tells all who wait the same.
    pub(super) fn tell_all(&self, answer: &Answer) {
        let mut callers = self.callers();
        let answers = callers.wishes.keys().map(|id| (*id, answer.clone())).collect();
        callers.wishes.clear();
        callers.tell(&answers);
    }

    /// How the cluster was last seen, in words.
    pub(super) fn seen(&self) -> String {
        self.callers().seen.clone()
    }
}

impl Callers {
    fn tell(&mut self, answers: &BTreeMap<u64, Answer>) {
        for (id, answer) in answers {
            if let Some(tell) = self.told.remove(id) {
                // It may have gone away.
                let _ = tell.send(answer.clone());
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut callers = self.queue.callers();
        callers.wishes.remove(&self.id);
        callers.told.remove(&self.id);
    }
}
