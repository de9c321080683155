//! Who drives the sagas of a row: the process of the row itself, or workers beside it, which share its store.

use std::io::BufRead;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use saga_core::{Client, Coordinator, Saga, Shutdown};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Failure;
use crate::measure::{cpu_time, peak_memory};
use crate::stores::{Opened, Place, StoreKind};
use crate::tap::{Tap, Writes, Written};
use crate::workload::{Nothing, Workload};

/// What a process, or several of them, used so far, or between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// What was appended to the store.
    pub writes: Writes,
    /// The most memory that was ever in use, in bytes: the sum of the processes' peaks. It does not become less.
    pub peak_memory: Option<u64>,
}

impl Usage {
    fn here(written: &Written) -> Self {
        Self { cpu: cpu_time(), writes: written.now(), peak_memory: peak_memory() }
    }

    /// Another process's usage too.
    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.writes += other.writes;
        self.peak_memory = self.peak_memory.zip(other.peak_memory).map(|(one, other)| one + other);
    }

    /// What was used since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            writes: self.writes.since(earlier.writes),
            peak_memory: self.peak_memory,
        }
    }
}

/// What a worker has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// The sagas that it drives.
    pub workload: Workload,
    /// The store.
    pub store: StoreKind,
    /// Where that is.
    pub place: Place,
}

/// Those who drive the sagas of a row, and the client that starts them.
pub struct Crew {
    client: Client<Nothing>,
    /// Of this process, if there are no workers.
    coordinator: Option<Coordinator<Nothing>>,
    workers: Vec<Worker>,
    written: Arc<Written>,
}

impl Crew {
    /// This process drives what it starts.
    ///
    /// # Errors
    ///
    /// What the coordinator fails with.
    pub async fn alone(opened: &Opened, saga: &Saga<Nothing, u64, u64>) -> Result<Self, Failure> {
        let tap = Tap::new(Arc::clone(&opened.store));
        let written = tap.written();
        let coordinator = Coordinator::builder(tap, Nothing).register(saga).start().await?;
        Ok(Self { client: coordinator.client().clone(), coordinator: Some(coordinator), workers: Vec::new(), written })
    }

    /// This process starts the sagas, and so many others drive them.
    ///
    /// # Errors
    ///
    /// What a worker fails with.
    pub async fn with_workers(
        opened: &Opened,
        saga: &Saga<Nothing, u64, u64>,
        spec: &WorkerSpec,
        count: usize,
    ) -> Result<Self, Failure> {
        let tap = Tap::new(Arc::clone(&opened.store));
        let written = tap.written();
        let client = Client::builder(tap).register(saga).build()?;
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(Worker::start(spec).await?);
        }
        Ok(Self { client, coordinator: None, workers, written })
    }

    /// The client that starts sagas.
    #[must_use]
    pub fn client(&self) -> &Client<Nothing> {
        &self.client
    }

    /// What all of them used so far.
    ///
    /// # Errors
    ///
    /// That a worker does not answer.
    pub async fn usage(&mut self) -> Result<Usage, Failure> {
        let mut usage = Usage::here(&self.written);
        for worker in &mut self.workers {
            usage.add(worker.usage().await?);
        }
        Ok(usage)
    }

    /// Ends in good order.
    ///
    /// # Errors
    ///
    /// What somebody fails with meanwhile.
    pub async fn stop(self) -> Result<(), Failure> {
        for worker in self.workers {
            worker.stop().await?;
        }
        match self.coordinator {
            Some(coordinator) => Ok(coordinator.shutdown(Shutdown::Drain).await?),
            None => Ok(self.client.store().close().await?),
        }
    }
}

/// A worker, seen from the process that started it. It tells its usage for every line that it is sent, and ends when
/// there are no more.
struct Worker {
    process: Child,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    async fn start(spec: &WorkerSpec) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .arg(serde_json::to_string(spec)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let asked = process.stdin.take().ok_or("a worker without an input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("a worker without an output")?).lines();
        let mut worker = Self { process, asked, answers };
        // When it answers, it is at work.
        worker.usage().await?;
        Ok(worker)
    }

    async fn usage(&mut self) -> Result<Usage, Failure> {
        self.asked.write_all(b"usage\n").await?;
        let answer = self.answers.next_line().await?.ok_or("a worker has ended")?;
        Ok(serde_json::from_str(&answer)?)
    }

    async fn stop(mut self) -> Result<(), Failure> {
        drop(self.asked);
        let status = self.process.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("a worker failed: {status}").into()) }
    }
}

/// Is a worker, until standard input ends.
///
/// # Errors
///
/// What the store or the coordinator fails with.
pub async fn work(spec: &WorkerSpec) -> Result<(), Failure> {
    let opened = spec.store.open(&spec.place).await?;
    let tap = Tap::new(opened.store);
    let written = tap.written();
    let coordinator = Coordinator::builder(tap, Nothing).register(&spec.workload.saga()).start().await?;
    let answering = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{}", serde_json::to_string(&Usage::here(&written))?);
        }
        Ok(())
    });
    answering.await??;
    Ok(coordinator.shutdown(Shutdown::Park { grace: Duration::from_secs(5) }).await?)
}
