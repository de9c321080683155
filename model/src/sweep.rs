//! Through all sagas, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bounds::{Bounds, Policies};
use crate::explore::{Found, Tally, explore};
use crate::model::Model;
use crate::saga::Saga;
use crate::system::System;

/// What is visited, and how.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// How often things are tried.
    pub policies: Policies,
    /// How much may go wrong in one run.
    pub bounds: Bounds,
    /// Threads.
    pub threads: usize,
}

impl Sweep {
    /// Visits all states of all of the sagas: each thread takes the next saga that nobody has taken. `progress` is told after
    /// each saga what was visited so far, and that of how many sagas.
    ///
    /// # Errors
    ///
    /// A violation. If there are several, that in the saga that comes first among those that were begun.
    ///
    /// # Panics
    ///
    /// If the system under check panics, which is a fault of it; the message names the saga.
    pub fn run(
        &self,
        sagas: &[Saga],
        system: &dyn System,
        progress: &(dyn Fn(&Tally, usize) + Sync),
    ) -> Result<Tally, Box<Found>> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let total = Mutex::new(Tally::default());
        let first = Mutex::new(None::<(usize, Box<Found>)>);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(saga) = sagas.get(at) else { break };
                let _named = Named(saga);
                match explore(&Model::new(saga, self.policies, self.bounds, system)) {
                    Ok(tally) => {
                        let mut total = total.lock().expect("nobody panics with the tally in hand");
                        total.add(&tally);
                        progress(&total, sagas.len());
                    }
                    Err(found) => {
                        stop.store(true, Ordering::Relaxed);
                        let mut first = first.lock().expect("nobody panics with a finding in hand");
                        if first.as_ref().is_none_or(|(before, _)| at < *before) {
                            *first = Some((at, found));
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        match first.into_inner().expect("all threads have ended") {
            Some((_, found)) => Err(found),
            None => Ok(total.into_inner().expect("all threads have ended")),
        }
    }
}

/// Names the saga in whose states something panicked.
struct Named<'a>(&'a Saga);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this happened in a state of the saga '{}'", self.0);
        }
    }
}
