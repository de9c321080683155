//! What is done to the workers and to their database, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use saga_postgres::testing::Server;
use tokio::sync::watch;

use crate::Fail;
use crate::fleet::Fleet;

/// How long workers may take to end when they are told to.
pub(crate) const TO_END: Duration = Duration::from_secs(30);

/// How much of it there is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dose {
    pub(crate) kills: usize,
    pub(crate) farewells: usize,
    pub(crate) restarts: usize,
    pub(crate) stops: usize,
    pub(crate) lease: Duration,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) kills: AtomicUsize,
    /// Of these: within moments of the start of the process, so mostly while it was recovering.
    pub(crate) kills_of_newborns: AtomicUsize,
    /// Of the kills, those that processes did by themselves, at a chosen moment.
    pub(crate) suicides: AtomicUsize,
    pub(crate) farewells: AtomicUsize,
    pub(crate) restarts: AtomicUsize,
    pub(crate) stops: AtomicUsize,
}

/// The chaos of one trial.
pub(crate) struct Chaos {
    pub(crate) dose: Dose,
    pub(crate) seed: u64,
    /// How many times as long as usual everything takes here.
    pub(crate) stretch: u32,
    pub(crate) fleet: Arc<Fleet>,
    /// The database, if it is ours to restart.
    pub(crate) server: Option<Arc<Server>>,
    pub(crate) done: Arc<Done>,
    /// Which part of the dose was given, from 0 to 1: the load is started at the same pace.
    pub(crate) progress: watch::Sender<f64>,
    /// The place of the worker that sleeps.
    pub(crate) asleep: AtomicUsize,
}

/// No place.
pub(crate) const NOBODY: usize = usize::MAX;

impl Chaos {
    /// Kills, restarts and stops until the dose is spent. Answers what went wrong: workers that ended by themselves.
    pub(crate) async fn wreak(self) -> Result<Vec<String>, Fail> {
        let (killed, retired, (), ()) = futures::try_join!(self.kill(), self.retire(), self.restart(), self.stop())?;
        Ok([killed, retired].concat())
    }

    async fn kill(&self) -> Result<Vec<String>, Fail> {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let mut wrong = Vec::new();
        let mut place = 0;
        for kill in 0..self.dose.kills {
            // Every fourth time the one that has just come, while it is still taking up what the other had left.
            let newborn = kill > 0 && dice.u32(..4) == 0;
            if newborn {
                self.done.kills_of_newborns.fetch_add(1, Ordering::Relaxed);
            } else {
                place = dice.usize(..self.fleet.len());
            }
            let pause = if newborn { dice.u64(5..100) } else { dice.u64(50..300) };
            tokio::time::sleep(Duration::from_millis(pause) * self.stretch).await;
            // One that sleeps is to wake up, too late.
            if self.fleet.len() > 1 && self.asleep.load(Ordering::Relaxed) == place {
                place = (place + 1) % self.fleet.len();
            }
            let fleet = Arc::clone(&self.fleet);
            wrong.extend(blocking(move || fleet.kill(place)).await?.err());
            let kills = self.done.kills.fetch_add(1, Ordering::Relaxed) + 1;
            self.progress.send_replace(part(kills, self.dose.kills));
        }
        self.progress.send_replace(1.0);
        Ok(wrong)
    }

    /// Lets workers end in good order, and hand their runs over.
    async fn retire(&self) -> Result<Vec<String>, Fail> {
        let mut dice = fastrand::Rng::with_seed(self.seed.rotate_left(32));
        let mut wrong = Vec::new();
        for farewell in 0..self.dose.farewells {
            self.reached(part(farewell, self.dose.farewells)).await?;
            let place = dice.usize(..self.fleet.len());
            if self.asleep.load(Ordering::Relaxed) != place {
                let fleet = Arc::clone(&self.fleet);
                wrong.extend(blocking(move || fleet.retire(place, TO_END)).await?);
                self.done.farewells.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(wrong)
    }

    /// Restarts the database, evenly spread over the kills, in turn: without telling anybody, as an operator would, and by
    /// killing it.
    async fn restart(&self) -> Result<(), Fail> {
        let Some(server) = &self.server else { return Ok(()) };
        for restart in 0..self.dose.restarts {
            self.reached(part(restart + 1, self.dose.restarts + 1)).await?;
            let server = Arc::clone(server);
            blocking(move || {
                match restart % 3 {
                    0 => server.restart(),
                    1 => {
                        server.stop();
                        server.resume();
                    }
                    _ => {
                        server.kill();
                        server.resume();
                    }
                }
                Ok(())
            })
            .await?;
            self.done.restarts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts workers to sleep until their leases are over and others have taken their runs, and wakes them.
    async fn stop(&self) -> Result<(), Fail> {
        let mut dice = fastrand::Rng::with_seed(!self.seed);
        for stop in 0..self.dose.stops {
            self.reached(part(stop, self.dose.stops)).await?;
            let place = dice.usize(..self.fleet.len());
            self.asleep.store(place, Ordering::Relaxed);
            let generation = self.fleet.put_to_sleep(place)?;
            tokio::time::sleep(self.dose.lease * 2).await;
            self.fleet.wake(place, generation)?;
            self.asleep.store(NOBODY, Ordering::Relaxed);
            self.done.stops.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn reached(&self, part: f64) -> Result<(), Fail> {
        self.progress.subscribe().wait_for(|done| *done >= part).await?;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "these are counts of kills")]
fn part(of: usize, all: usize) -> f64 {
    of as f64 / all.max(1) as f64
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Fail> {
    Ok(tokio::task::spawn_blocking(call).await??)
}
