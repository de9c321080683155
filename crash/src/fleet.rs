//! The processes of the workers.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Workers, each at a place of its own. When one is killed another comes to its place, under a new name.
pub(crate) struct Fleet {
    plan: FleetPlan,
    places: Vec<Mutex<Worker>>,
}

/// How workers are started.
pub(crate) struct FleetPlan {
    /// The arguments of this program that make it a worker, but for its name.
    pub(crate) arguments: Vec<OsString>,
    /// Where what they say goes.
    pub(crate) logs: PathBuf,
}

struct Worker {
    process: Child,
    generation: u32,
    /// Whether it was told to kill itself.
    mortal: bool,
}

impl Fleet {
    pub(crate) fn start(plan: FleetPlan, workers: usize) -> io::Result<Self> {
        let places: io::Result<_> = (0..workers).map(|place| Ok(Mutex::new(plan.spawn(place, 0, &[])?))).collect();
        Ok(Self { places: places?, plan })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Kills the worker at a place, and starts the next one there. Says so if it was dead already, which it should not be.
    pub(crate) fn kill(&self, place: usize) -> io::Result<Result<(), String>> {
        self.kill_and_send(place, &[])
    }

    /// As [`kill`](Self::kill); the next one is given these arguments, which tell it when to kill itself.
    pub(crate) fn kill_and_send(&self, place: usize, mortal: &[String]) -> io::Result<Result<(), String>> {
        let mut worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        let before = worker.process.try_wait()?;
        worker.process.kill()?;
        worker.process.wait()?;
        let expected = |status: &ExitStatus| worker.mortal && was_killed(*status);
        let ended = before.filter(|status| !expected(status));
        let ended = ended.map(|status| format!("worker {place}.{} ended by itself: {status}", worker.generation));
        *worker = self.plan.spawn(place, worker.generation + 1, mortal)?;
        Ok(ended.map_or(Ok(()), Err))
    }

    /// Whether the worker at a place has killed itself by now.
    pub(crate) fn is_dead(&self, place: usize) -> io::Result<bool> {
        let mut worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        Ok(worker.process.try_wait()?.is_some())
    }

    /// Puts the worker at a place to sleep, if it is alive; [`wake`](Self::wake) with what this answers.
    pub(crate) fn put_to_sleep(&self, place: usize) -> io::Result<u32> {
        let worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        signal(&worker.process, Signal::STOP)?;
        Ok(worker.generation)
    }

    /// Wakes the worker that was put to sleep, unless it was killed since.
    pub(crate) fn wake(&self, place: usize, generation: u32) -> io::Result<()> {
        let worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        if worker.generation == generation { signal(&worker.process, Signal::CONT) } else { Ok(()) }
    }

    /// Writes a line to the standard input of the worker at a place, if it is alive.
    pub(crate) fn tell(&self, place: usize, line: &str) -> io::Result<()> {
        let mut worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stdin) = &mut worker.process.stdin else { return Ok(()) };
        match writeln!(stdin, "{line}") {
            // That it has ended by itself is found when it is killed, or told to end.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            told => told,
        }
    }

    /// Tells the worker at a place to end, waits for it, and starts the next one there. Answers what was wrong with that.
    pub(crate) fn retire(&self, place: usize, patience: Duration) -> io::Result<Option<String>> {
        let mut worker = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = worker.finish(place, Instant::now() + patience)?;
        *worker = self.plan.spawn(place, worker.generation + 1, &[])?;
        Ok(wrong)
    }

    /// Ends the input of all, which tells them to end, and waits for it. Answers what was wrong with that.
    pub(crate) fn end(self, patience: Duration) -> io::Result<Vec<String>> {
        let mut workers: Vec<_> =
            self.places.into_iter().map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        workers.iter_mut().for_each(|worker| drop(worker.process.stdin.take()));
        let deadline = Instant::now() + patience;
        let finished = workers.into_iter().enumerate().map(|(place, mut worker)| worker.finish(place, deadline));
        finished.filter_map(Result::transpose).collect()
    }
}

impl Worker {
    /// Ends its input, and waits for its end; from the deadline on it is killed. Answers what was wrong.
    fn finish(&mut self, place: usize, deadline: Instant) -> io::Result<Option<String>> {
        drop(self.process.stdin.take());
        let status = loop {
            match self.process.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.process.kill()?;
                    self.process.wait()?;
                    return Ok(Some(format!("worker {place}.{} did not end when it was told to", self.generation)));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        Ok((!status.success()).then(|| format!("worker {place}.{} ended badly: {status}", self.generation)))
    }
}

impl FleetPlan {
    fn spawn(&self, place: usize, generation: u32, mortal: &[String]) -> io::Result<Worker> {
        let log = OpenOptions::new().append(true).create(true).open(self.logs.join(format!("worker-{place}.log")))?;
        let process = Command::new(std::env::current_exe()?)
            .args(&self.arguments)
            .args(mortal)
            .args(["--name", &format!("{place}.{generation}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Worker { process, generation, mortal: !mortal.is_empty() })
    }
}

/// Whether a process was ended by SIGKILL.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

fn signal(process: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, signal)?)
}
