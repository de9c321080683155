//! What all users of a trial share: the command, what it has told them, and what they have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use saga_cluster::model::{Cluster, Status};
use tokio::sync::watch;

use super::evidence::{Deleted, Look};
use super::machines::Machines;
use super::place::Place;
use super::processes::{Killer, Processes, Role};
use super::told::Told;
use crate::Fail;

/// How often the records and the directories are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long superfluous processes of machines may take to end by themselves.
pub(crate) const TO_VANISH: Duration = Duration::from_secs(15);

/// The place, with everything that goes on there.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) place: Place,
    pub(crate) processes: Processes,
    /// How long anything may take.
    pub(crate) patience: Duration,
    records: watch::Sender<Records>,
    orders: AtomicUsize,
    notes: Mutex<Notes>,
}

/// All records at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    /// When the command that told them was started.
    asked: Instant,
    by_name: BTreeMap<String, Cluster>,
}

/// What was noted while it went on.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) told: Vec<Told>,
    pub(crate) looks: Vec<Look>,
    /// Every directory of a machine that was ever seen.
    pub(crate) machines: BTreeSet<String>,
    /// The blocks whose writing was acknowledged, by cluster. A cluster that is to be deleted, or whose record somebody has
    /// removed, has none to keep any more.
    pub(crate) blocks: BTreeMap<String, BTreeSet<String>>,
    pub(crate) deleted: Vec<Deleted>,
    pub(crate) vanished: BTreeSet<String>,
    pub(crate) incidents: Vec<String>,
}

/// Where a cluster is when nothing works on it.
#[derive(Debug, Clone)]
pub(crate) enum Rest {
    Active(Box<Cluster>),
    Error(Box<Cluster>),
    Gone,
}

impl Town {
    pub(crate) fn new(place: Place, patience: Duration) -> Self {
        let records = watch::Sender::new(Records { asked: Instant::now(), by_name: BTreeMap::new() });
        let (processes, orders, notes) = (Processes::default(), AtomicUsize::new(0), Mutex::default());
        Self { place, processes, patience, records, orders, notes }
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incident(&self, what: impl Into<String>) {
        self.notes().incidents.push(what.into());
    }

    /// Runs a command for a user, to its end, or kills it after a time. Answers what it told, which is noted too.
    pub(crate) async fn ask(
        &self,
        cluster: &str,
        arguments: &[&str],
        kill_after: Option<Duration>,
    ) -> Result<Told, Fail> {
        let by = format!("{cluster}.{}", self.orders.fetch_add(1, Ordering::Relaxed));
        let told = self.tell(Role::Client, &by, cluster, arguments, kill_after).await?;
        self.notes().told.push(told.clone());
        Ok(told)
    }

    async fn tell(
        &self,
        role: Role,
        by: &str,
        cluster: &str,
        arguments: &[&str],
        kill_after: Option<Duration>,
    ) -> Result<Told, Fail> {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        let command = self.place.command(arguments.iter().map(String::as_str).chain(["--json", "--by", by]));
        let number = std::sync::OnceLock::new();
        let running = self.processes.run(role, command, None, |one| {
            let _ = number.set(one);
        });
        let killing = async {
            tokio::time::sleep(kill_after.unwrap_or(self.patience)).await;
            if kill_after.is_none() {
                self.incident(format!("`{}` by {by} did not end within {:?}", arguments.join(" "), self.patience));
            }
            if let Some(one) = number.get() {
                self.processes.kill(*one, Killer::User);
            }
            std::future::pending::<Infallible>().await
        };
        let ended = tokio::select! {
            ended = running => ended?,
            never = killing => match never {},
        };
        Ok(Told::of(by.to_owned(), cluster, arguments, ended))
    }

    /// Asks about one cluster, without a note.
    pub(crate) async fn show(&self, cluster: &str) -> Result<Told, Fail> {
        self.tell(Role::Observer, "observer", cluster, &["show", cluster, "--no-wait"], None).await
    }

    /// Looks at the records and at the directories of machines, until told to stop.
    pub(crate) async fn observe(&self) -> Result<Infallible, Fail> {
        tokio::select! {
            stopped = self.observe_machines() => stopped,
            stopped = self.observe_records() => stopped,
        }
    }

    async fn observe_machines(&self) -> Result<Infallible, Fail> {
        loop {
            let seen = Machines::look(&self.place.machines())?.directories;
            self.notes().machines.extend(seen.into_iter().filter(|path| path.contains('/')));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn observe_records(&self) -> Result<Infallible, Fail> {
        loop {
            let asked = Instant::now();
            let told = self.tell(Role::Observer, "observer", "", &["list", "--no-wait"], None).await?;
            if told.code == Some(0) {
                let by_name: BTreeMap<_, _> = told.records().map(|one| (one.name().to_string(), one)).collect();
                self.notes().looks.extend(by_name.values().map(Look::at));
                self.records.send_replace(Records { asked, by_name });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The records as they are after this moment, once they are as wanted; the last that was seen, if that takes too long.
    pub(crate) async fn records(
        &self,
        mut wanted: impl FnMut(&BTreeMap<String, Cluster>) -> bool,
    ) -> Result<BTreeMap<String, Cluster>, BTreeMap<String, Cluster>> {
        let now = Instant::now();
        let mut records = self.records.subscribe();
        let is_so = |records: &Records| records.asked >= now && wanted(&records.by_name);
        let found = tokio::time::timeout(self.patience, records.wait_for(is_so)).await;
        match found {
            Ok(Ok(found)) => Ok(found.by_name.clone()),
            _ => Err(self.records.borrow().by_name.clone()),
        }
    }

    /// Waits until nothing works on a cluster.
    pub(crate) async fn rest(&self, cluster: &str) -> Rest {
        let found = self.records(|records| records.get(cluster).is_none_or(rests)).await;
        match found.map(|mut records| records.remove(cluster)) {
            Ok(None) => Rest::Gone,
            Ok(Some(record)) if record.status == Status::Active => Rest::Active(Box::new(record)),
            Ok(Some(record)) => Rest::Error(Box::new(record)),
            Err(records) => {
                let record = records.get(cluster).map(|record| (record.status, &record.status_description));
                self.incident(format!("{cluster} does not come to rest: {record:?}"));
                Rest::Gone
            }
        }
    }

    /// The machines, once they are as wanted; as they are, if that takes longer than machines may take to vanish.
    pub(crate) async fn machines(&self, wanted: impl Fn(&Machines) -> bool) -> Result<Machines, Fail> {
        let began = Instant::now();
        loop {
            let machines = Machines::look(&self.place.machines())?;
            if wanted(&machines) || began.elapsed() > TO_VANISH {
                return Ok(machines);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether nothing works on a cluster, by its record.
pub(crate) fn rests(record: &Cluster) -> bool {
    match record.status {
        Status::Active => record.live_run.is_none(),
        Status::Error => record.intent.is_none(),
        Status::Creating | Status::Scaling | Status::Deleting => false,
    }
}
