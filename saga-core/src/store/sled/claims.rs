//! Who holds which run. A claim is durable, for its epoch must never be given out again; leases and requests are over when
//! the process is, and are kept in memory.

use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::{Epoch, RunId, WorkerId};
use crate::journal::Actor;
use crate::store::head::Head;
use crate::store::sled::Core;
use crate::store::sled::commit::Writer;
use crate::store::sled::frame::Kind;
use crate::store::sled::group::Group;
use crate::store::sled::index::{Index, Live};
use crate::store::{Claim, ClaimError, KnownSaga, RunStatus, StoreError};

/// The runs that may be claimed, from behind the last one that was on: so those who claim all runs, page by page, look at
/// each once.
fn claimable<'a>(
    index: &'a Index,
    sagas: &'a [KnownSaga],
    now: Instant,
) -> impl Iterator<Item = (&'a RunId, &'a Live)> {
    let (behind, before) = match &index.claimed_to {
        Some(last) => ((Bound::Excluded(last), Bound::Unbounded), Some((Bound::Unbounded, Bound::Included(last)))),
        None => ((Bound::Unbounded, Bound::Unbounded), None),
    };
    let before = before.map(|before| index.live.range::<RunId, _>(before)).into_iter().flatten();
    let all = index.live.range::<RunId, _>(behind).chain(before);
    all.filter(move |(_, live)| live.head.is_claimable(sagas, now))
}

impl Core {
    pub(super) fn claim(
        &self,
        worker: &WorkerId,
        sagas: &[KnownSaga],
        lease: Duration,
        limit: usize,
        now: Instant,
    ) -> Result<Vec<Claim>, StoreError> {
        // Most calls find nothing; they need not wait for a sync.
        if claimable(&self.index(), sagas, now).next().is_none() {
            return Ok(Vec::new());
        }
        let mut writer = self.write()?;
        let found: Vec<_> = {
            let index = self.index();
            let found = claimable(&index, sagas, now).take(limit);
            found.map(|(run, live)| (run.clone(), live.head.clone())).collect()
        };
        let last = found.last().map(|(run, _)| run.clone());
        let claims = self.claim_all(&mut writer, found, worker, lease, now)?;
        self.index_mut().claimed_to = last;
        Ok(claims)
    }

    pub(super) fn claim_run(
        &self,
        worker: &WorkerId,
        run: &RunId,
        lease: Duration,
        now: Instant,
    ) -> Result<Claim, ClaimError> {
        let mut writer = self.write()?;
        let head = self.index().live.get(run).map(|live| live.head.clone());
        let Some(head) = head else {
            return Err(match self.ended_summary(run)? {
                Some(_) => ClaimError::Ended { run: run.clone() },
                None => match self.damage_of(run) {
                    Some(error) => ClaimError::Store(error),
                    None => ClaimError::UnknownRun { run: run.clone() },
                },
            });
        };
        if let Some(owner) = head.held_from(worker, now) {
            return Err(ClaimError::Held { run: run.clone(), owner });
        }
        let mut claims = self.claim_all(&mut writer, vec![(run.clone(), head)], worker, lease, now)?;
        claims.pop().ok_or_else(|| ClaimError::UnknownRun { run: run.clone() })
    }

    fn claim_all(
        &self,
        writer: &mut Writer,
        mut found: Vec<(RunId, Head)>,
        worker: &WorkerId,
        lease: Duration,
        now: Instant,
    ) -> Result<Vec<Claim>, StoreError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut group = Group::new(writer.log.next());
        let mut claims = Vec::new();
        for (run, head) in &mut found {
            let claim = head.claim(worker, lease, now);
            group.add_mark(Kind::Claim, run, claim.summary.epoch);
            claims.push(claim);
        }
        self.disk.check_room(0)?;
        self.insert_group(writer, group)?;
        self.sync(writer)?;
        let mut index = self.index_mut();
        for (run, head) in found {
            if let Some(live) = index.live.get_mut(&run) {
                live.head = head;
            }
        }
        Ok(claims)
    }

    pub(super) fn renew(
        &self,
        worker: &WorkerId,
        held: &[(RunId, Epoch)],
        lease: Duration,
        now: Instant,
    ) -> Vec<RunId> {
        let mut index = self.index_mut();
        let mut lost = Vec::new();
        for (run, epoch) in held {
            if !index.live.get_mut(run).is_some_and(|live| live.head.renew(worker, *epoch, lease, now)) {
                lost.push(run.clone());
            }
        }
        lost
    }

    pub(super) fn release(&self, held: &[(RunId, Epoch)]) {
        let mut index = self.index_mut();
        for (run, epoch) in held {
            if let Some(live) = index.live.get_mut(run) {
                live.head.release(*epoch);
            }
        }
    }

    pub(super) fn cancel_requests(&self, worker: &WorkerId, now: Instant) -> Vec<(RunId, Actor)> {
        self.index().live.values().filter_map(|live| live.head.cancel_request(worker, now)).collect()
    }

    pub(super) fn request_cancel(&self, run: &RunId, by: &Actor) -> Result<RunStatus, StoreError> {
        if let Some(live) = self.index_mut().live.get_mut(run) {
            return Ok(live.head.request_cancel(by));
        }
        match self.ended_summary(run)? {
            Some(ended) => Ok(ended.status),
            None => Err(self.damage_of(run).unwrap_or_else(|| StoreError::UnknownRun { run: run.clone() })),
        }
    }
}
