//! A process that kills itself at a chosen moment of its store's work.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use saga_core::WorkerId;
use saga_core::async_trait;
use saga_core::store::{Append, Claim, KnownSaga, Layer, Refused, SledStore, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::log::Log;
use crate::scribe::die;

/// When the process kills itself.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Moment {
    /// Where it does.
    #[arg(long = "die-at")]
    pub(crate) at: Option<Place>,
    /// At which of these, counted from 1.
    #[arg(long = "die-nth", default_value_t = 1)]
    pub(crate) nth: u32,
    /// So many microseconds after that has begun.
    #[arg(long = "die-after-us", default_value_t = 0)]
    pub(crate) micros: u64,
}

/// A place in the work of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// While it is opened.
    Opening,
    /// In the middle of a claim.
    Claim,
    /// When an append is asked for.
    BeforeAppend,
    /// While it is written and synced.
    DuringAppend,
    /// When it is synced, and nobody knows yet.
    AfterAppend,
}

impl Place {
    pub(crate) const ALL: [Self; 5] =
        [Self::Opening, Self::Claim, Self::BeforeAppend, Self::DuringAppend, Self::AfterAppend];
}

impl Moment {
    /// What tells another process of it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Some(at) = self.at else { return Vec::new() };
        let at = at.to_possible_value().expect("no value is hidden").get_name().to_owned();
        let (nth, micros) = (self.nth.to_string(), self.micros.to_string());
        ["--die-at", &at, "--die-nth", &nth, "--die-after-us", &micros].map(str::to_owned).into()
    }

    /// Dies a little later, if this is the place.
    fn die_soon(&self, place: Place) {
        if self.at == Some(place) {
            let pause = Duration::from_micros(self.micros);
            std::thread::spawn(move || {
                std::thread::sleep(pause);
                die()
            });
        }
    }
}

/// How far a process has got with recovering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It is about to open the store.
    Opening,
    /// The store is open; the runs are being taken up.
    Recovering,
    /// It drives them.
    Driving,
}

/// Where processes write down how far they have got, with their names.
pub(crate) type Phases = Log<(String, Phase)>;

pub(crate) fn phases_of(folder: &Path) -> PathBuf {
    folder.join("phases")
}

/// A store whose process dies at a moment.
pub(crate) struct Mortal {
    store: SledStore,
    moment: Moment,
    appends: AtomicU32,
    claims: AtomicU32,
}

impl Mortal {
    /// Opens the store, if the process lives as long.
    pub(crate) fn open(path: &Path, moment: Moment) -> Result<Self, StoreError> {
        moment.die_soon(Place::Opening);
        let store = SledStore::open(path)?;
        if moment.at == Some(Place::Opening) {
            die();
        }
        Ok(Self { store, moment, appends: AtomicU32::new(0), claims: AtomicU32::new(0) })
    }

    fn is_it(&self, counter: &AtomicU32) -> bool {
        counter.fetch_add(1, Ordering::Relaxed) + 1 == self.moment.nth
    }
}

#[async_trait]
impl Layer for Mortal {
    type Below = SledStore;

    fn below(&self) -> &SledStore {
        &self.store
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let now = self.is_it(&self.appends);
        if now && self.moment.at == Some(Place::BeforeAppend) {
            die();
        }
        if now {
            self.moment.die_soon(Place::DuringAppend);
        }
        let answers = self.store.append(batch).await;
        if now && matches!(self.moment.at, Some(Place::AfterAppend | Place::DuringAppend)) {
            die();
        }
        answers
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        if self.is_it(&self.claims) {
            self.moment.die_soon(Place::Claim);
        }
        self.reach().await?.claim(worker, sagas, lease, limit).await
    }
}
