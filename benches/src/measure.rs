//! A closed loop of clients, and what it takes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Failure;

/// When clients begin nothing new any more. What they have begun is awaited and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// After this time.
    After(Duration),
    /// After so many sagas, of all clients together.
    Sagas(u64),
}

/// What a closed loop took.
#[derive(Debug, Clone)]
pub struct Figures {
    /// From the first start to the last end.
    pub elapsed: Duration,
    /// The CPU time of this process meanwhile, of all its threads, clients included.
    pub cpu: Duration,
    /// From start to known end, of each saga, in ascending order.
    latencies: Vec<Duration>,
}

impl Stop {
    /// The same in so many parts, as even as it goes, each of which runs something.
    #[must_use]
    pub fn parts(self, parts: u32) -> Vec<Self> {
        match self {
            Self::After(time) => (0..parts).map(|_| Self::After(time / parts)).collect(),
            Self::Sagas(sagas) => {
                let (even, rest) = (sagas / u64::from(parts), sagas % u64::from(parts));
                let sizes = (0..u64::from(parts)).map(|part| even + u64::from(part < rest));
                sizes.filter(|size| *size > 0).map(Self::Sagas).collect()
            }
        }
    }
}

impl Figures {
    /// All of these as one.
    ///
    /// # Errors
    ///
    /// That there are none.
    pub fn sum(parts: impl IntoIterator<Item = Self>) -> Result<Self, Failure> {
        let mut parts = parts.into_iter();
        let mut sum = parts.next().ok_or("nothing was measured")?;
        for part in parts {
            sum.elapsed += part.elapsed;
            sum.cpu += part.cpu;
            sum.latencies.extend(part.latencies);
        }
        sum.latencies.sort_unstable();
        Ok(sum)
    }

    /// How many sagas were run.
    #[must_use]
    pub fn sagas(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Sagas per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share (of 100) of the sagas did not exceed.
    ///
    /// # Panics
    ///
    /// If no saga was run, which [`closed_loop`] does not give out.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies[rank.clamp(1, self.latencies.len()) - 1]
    }
}

/// Runs sagas from as many clients at the same time, each of which starts its next one when its last one has ended.
///
/// `saga` runs one saga to its end; it is given a number that no other one has. The first one that fails ends the loop.
///
/// The time is that of *all* sagas, from the first start to the last end, because sagas that share group commits may well
/// end in waves: to cut off in the middle of a wave would count it or not, by chance.
///
/// # Errors
///
/// What a saga fails with, or that there was none.
pub async fn closed_loop<S, Running>(clients: usize, stop: Stop, saga: S) -> Result<Figures, Failure>
where
    S: Fn(u64) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send,
{
    let saga = Arc::new(saga);
    let begun = Arc::new(AtomicU64::new(0));
    let cpu = cpu_time();
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (saga, begun) = (Arc::clone(&saga), Arc::clone(&begun));
        running.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                let stopped = match stop {
                    // Each client runs one at least, however slow the start of thousands of them is.
                    Stop::After(time) => !latencies.is_empty() && start.elapsed() >= time,
                    Stop::Sagas(sagas) => number >= sagas,
                };
                if stopped {
                    return Ok(latencies);
                }
                let started = Instant::now();
                saga(number).await?;
                latencies.push(started.elapsed());
            }
        });
    }
    let mut latencies: Vec<Duration> = Vec::new();
    while let Some(client) = running.join_next().await {
        let client: Result<Vec<Duration>, Failure> = client?;
        latencies.extend(client?);
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
    if latencies.is_empty() {
        return Err("no saga was run".into());
    }
    latencies.sort_unstable();
    Ok(Figures { elapsed, cpu, latencies })
}

/// The CPU time of this process so far, of all its threads.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The most memory that this process ever had in use (its resident set), in bytes; `None` where the system does not say.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    of_status(&status()?, "VmHWM:")
}

/// The memory that this process has in use now (its resident set), in bytes; `None` where the system does not say.
#[must_use]
pub fn memory() -> Option<u64> {
    of_status(&status()?, "VmRSS:")
}

fn status() -> Option<String> {
    std::fs::read_to_string("/proc/self/status").ok()
}

fn of_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_runs_as_many_sagas_as_it_is_told() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let saga = {
            let seen = Arc::clone(&seen);
            move |number| {
                seen.lock().unwrap().push(number);
                std::future::ready(Ok(()))
            }
        };
        let figures = closed_loop(3, Stop::Sagas(100), saga).await.unwrap();
        assert_eq!(figures.sagas(), 100);
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn every_client_runs_one_saga_at_least() {
        let figures = closed_loop(5, Stop::After(Duration::ZERO), |_| std::future::ready(Ok(()))).await.unwrap();
        assert_eq!(figures.sagas(), 5);
    }

    #[tokio::test]
    async fn a_saga_that_fails_is_no_figure() {
        let saga = |number| std::future::ready(if number == 3 { Err("it failed".into()) } else { Ok(()) });
        assert_eq!(closed_loop(2, Stop::Sagas(10), saga).await.unwrap_err().to_string(), "it failed");
        assert!(closed_loop(2, Stop::Sagas(0), |_| std::future::ready(Ok(()))).await.is_err());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latencies = (1..=200).map(Duration::from_millis).collect();
        let figures = Figures { elapsed: Duration::from_secs(2), cpu: Duration::ZERO, latencies };
        assert_eq!(figures.percentile(50), Duration::from_millis(100));
        assert_eq!(figures.percentile(99), Duration::from_millis(198));
        assert_eq!(figures.percentile(100), Duration::from_millis(200));
        assert!((figures.throughput() - 100.0).abs() < 1e-9);
        let one = Figures { latencies: vec![Duration::from_millis(7)], ..figures };
        assert_eq!((one.percentile(1), one.percentile(99)), (Duration::from_millis(7), Duration::from_millis(7)));
    }

    #[test]
    fn parts_make_the_whole() {
        assert_eq!(Stop::Sagas(7).parts(3), [3, 2, 2].map(Stop::Sagas));
        assert_eq!(Stop::Sagas(1).parts(3), [Stop::Sagas(1)]);
        assert_eq!(Stop::After(Duration::from_secs(3)).parts(3), [Stop::After(Duration::from_secs(1)); 3]);
        let part = |millis| Figures {
            elapsed: Duration::from_secs(1),
            cpu: Duration::from_millis(10),
            latencies: vec![Duration::from_millis(millis)],
        };
        let sum = Figures::sum([part(3), part(1), part(2)]).unwrap();
        assert_eq!((sum.sagas(), sum.elapsed, sum.cpu), (3, Duration::from_secs(3), Duration::from_millis(30)));
        assert_eq!((sum.percentile(1), sum.percentile(100)), (Duration::from_millis(1), Duration::from_millis(3)));
        assert!(Figures::sum([]).is_err());
    }

    #[test]
    fn what_the_process_uses_is_known() {
        let before = cpu_time();
        let mut sum = 0_u64;
        while cpu_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time() > before);
        if cfg!(target_os = "linux") {
            // Other tests of this process take memory meanwhile: only figures of one moment can be compared.
            let now = status().unwrap();
            assert!(of_status(&now, "VmHWM:") >= of_status(&now, "VmRSS:"));
            assert!(memory().unwrap() > 100_000 && peak_memory().unwrap() > 100_000);
        }
    }
}
