//! Reading: through the index, without waiting for anybody who writes.

use std::ops::Bound;

use tokio::time::Instant;

use crate::id::{RunId, Seq};
use crate::journal::EncodedRecord;
use crate::store::sled::ended::{self, Ended};
use crate::store::sled::frame::{Extent, Unreadable, read_extent};
use crate::store::sled::{Core, damaged};
use crate::store::{Page, Query, RunSummary, StoreError};

/// How often a read looks again, when a frame went while it was about to read it.
const ATTEMPTS: usize = 5;

/// Why a frame could not be had.
#[derive(Debug)]
pub(super) enum FetchError {
    /// It is not there: it was copied and removed, or it is lost.
    Gone(u64),
    /// It makes no sense.
    Unreadable(Unreadable),
    /// sled says why.
    Sled(sled::Error),
}

impl From<Unreadable> for FetchError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl FetchError {
    fn of_run(self, run: &RunId) -> StoreError {
        let what = match self {
            Self::Gone(number) => format!("frame {number} is missing"),
            Self::Unreadable(why) => why.to_string(),
            Self::Sled(error) => error.to_string(),
        };
        StoreError::Corrupt { what: format!("the journal of run {run} cannot be read: {what}") }
    }
}

impl Core {
    pub(super) fn fetch(&self, number: u64) -> Result<sled::IVec, FetchError> {
        let found = self.disk.frames.get(number.to_be_bytes()).map_err(FetchError::Sled)?;
        found.ok_or(FetchError::Gone(number))
    }

    pub(super) fn ended_part(&self, run: &RunId, number: u32) -> Result<Option<sled::IVec>, StoreError> {
        let found = self.disk.ended.get(ended::key(run, number));
        found.map_err(|error| damaged("an ended run cannot be read", &error))
    }

    pub(super) fn ended_summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        let Some(first) = self.ended_part(run, 0)? else { return Ok(None) };
        Ended::read_summary(&first).map(Some).map_err(|why| of_ended(run, &why))
    }

    pub(super) fn ended(&self, run: &RunId) -> Result<Option<Ended>, StoreError> {
        match self.ended_part(run, 0)? {
            Some(first) => self.read_ended(run, &first).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn read_ended(&self, run: &RunId, first: &[u8]) -> Result<Ended, StoreError> {
        enum Failure {
            Entry(Unreadable),
            Store(StoreError),
        }
        impl From<Unreadable> for Failure {
            fn from(why: Unreadable) -> Self {
                Self::Entry(why)
            }
        }
        let part = |number| {
            let found = self.ended_part(run, number).map_err(Failure::Store)?;
            Ok(found.map(|part| part.to_vec()))
        };
        Ended::read(first, part).map_err(|failure| match failure {
            Failure::Entry(why) => of_ended(run, &why),
            Failure::Store(error) => error,
        })
    }

    /// What is known about the damage of a run, as the error that its readers get.
    pub(super) fn damage_of(&self, run: &RunId) -> Option<StoreError> {
        let what = self.index().damaged.get(run)?.clone();
        Some(StoreError::Corrupt { what: format!("the journal of run {run}: {what}") })
    }

    pub(super) fn get(&self, run: &RunId, now: Instant) -> Result<Option<RunSummary>, StoreError> {
        let live = self.index().live.get(run).map(|live| live.head.view(now));
        match live {
            Some(live) => Ok(Some(live)),
            None => match self.ended_summary(run)? {
                Some(ended) => Ok(Some(ended)),
                None => self.damage_of(run).map_or(Ok(None), Err),
            },
        }
    }

    pub(super) fn read(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<EncodedRecord>, StoreError> {
        if let Some(error) = self.damage_of(run) {
            return Err(error);
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (records, error) = self.read_what_there_is(run, after, limit)?;
            match error {
                None => return Ok(records),
                Some(FetchError::Gone(_)) if attempts < ATTEMPTS => {}
                Some(error) => return Err(error.of_run(run)),
            }
        }
    }

    /// The records of a run up to the first that cannot be read, and why that cannot.
    pub(super) fn read_what_there_is(
        &self,
        run: &RunId,
        after: Seq,
        limit: usize,
    ) -> Result<(Vec<EncodedRecord>, Option<FetchError>), StoreError> {
        let indexed = {
            let index = self.index();
            let extents = index.live.get(run).map(|live| &live.extents).or_else(|| index.remains.get(run));
            extents.map(|extents| wanted(extents, after, limit).to_vec())
        };
        let extents = match indexed {
            Some(extents) => extents,
            None => match self.ended(run)? {
                Some(ended) => wanted(&ended.extents, after, limit).to_vec(),
                None => return Err(StoreError::UnknownRun { run: run.clone() }),
            },
        };
        let mut records = Vec::new();
        // The extents of a run that was long alone follow each other in one frame.
        let mut last: Option<(u64, sled::IVec)> = None;
        for extent in &extents {
            let fetch = |number| match &last {
                Some((held, frame)) if *held == number => Ok(frame.clone()),
                _ => {
                    let frame = self.fetch(number)?;
                    last = Some((number, frame.clone()));
                    Ok(frame)
                }
            };
            if let Err(error) = read_extent(extent, after.0, limit, &mut records, fetch) {
                return Ok((records, Some(error)));
            }
        }
        Ok((records, None))
    }

    pub(super) fn list(&self, query: &Query, now: Instant) -> Result<Page, StoreError> {
        let limit = query.limit.max(1);
        // Live runs first: a run that ends meanwhile is in both, but never in neither.
        let mut found: Vec<_> = {
            let index = self.index();
            let after = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let live = index.live.range::<RunId, _>((after, Bound::Unbounded)).map(|(_, live)| live.head.view(now));
            live.filter(|summary| query.matches(summary)).take(limit + 1).collect()
        };
        if query.statuses.is_empty() || query.statuses.iter().any(|status| status.is_ended()) {
            let after = match &query.after {
                Some(after) => Bound::Excluded(ended::key(after, u32::MAX)),
                None => Bound::Unbounded,
            };
            let mut ended = Vec::new();
            for entry in self.disk.ended.range((after, Bound::<Vec<u8>>::Unbounded)) {
                let (key, value) = entry.map_err(|error| damaged("ended runs cannot be read", &error))?;
                // A damaged entry must not hide all others; it is told at opening, and by `get`.
                let summary = Some(value).filter(|_| ended::is_first(&key)).and_then(|v| Ended::read_summary(&v).ok());
                if let Some(summary) = summary.filter(|summary| query.matches(summary)) {
                    if found.binary_search_by(|live| live.run.cmp(&summary.run)).is_err() {
                        ended.push(summary);
                    }
                    if ended.len() > limit {
                        break;
                    }
                }
            }
            found.append(&mut ended);
            found.sort_unstable_by(|one, other| one.run.cmp(&other.run));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.run.clone());
        Ok(Page { runs: found, next })
    }
}

fn of_ended(run: &RunId, why: &Unreadable) -> StoreError {
    StoreError::Corrupt { what: format!("the entry of ended run {run}: {why}") }
}

/// The extents that have the `limit` records after `after`.
fn wanted(extents: &[Extent], after: Seq, limit: usize) -> &[Extent] {
    let from = extents.partition_point(|extent| extent.end() <= after.0.saturating_add(1));
    let extents = &extents[from..];
    let Some(first) = extents.first() else { return extents };
    // A damaged run may have gaps, so its records are counted by their places, which are never fewer than the records.
    let end = first.first.max(after.0.saturating_add(1)).saturating_add(limit as u64);
    &extents[..extents.partition_point(|extent| extent.first < end)]
}
