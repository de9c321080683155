//! What is kept in memory: live and resting runs, who holds which key, and how much of each frame is still of use.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::{ExclusiveKey, RunId};
use crate::store::head::Head;
use crate::store::sled::frame::Extent;

/// A run that has not ended.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) head: Head,
    /// Where its records are, in their order, without gaps (but for a damaged run).
    pub(super) extents: Vec<Extent>,
}

/// The runs that have not ended.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) live: BTreeMap<RunId, Live>,
    pub(super) keys: HashMap<ExclusiveKey, RunId>,
    /// The last run that was claimed by a call that claims many: the next one goes on behind it.
    pub(super) claimed_to: Option<RunId>,
    /// Runs a part of whose journal is lost, and what is known of that. Those whose start is lost are not in `live`.
    pub(super) damaged: BTreeMap<RunId, String>,
    /// What is left of the damaged runs that are not in `live`: those without a start, and those that ended and may have been
    /// deleted.
    pub(super) remains: BTreeMap<RunId, Vec<Extent>>,
}

impl Index {
    /// Forgets a run, and frees the key that it holds.
    pub(super) fn remove(&mut self, run: &RunId) {
        self.damaged.remove(run);
        self.remains.remove(run);
        let Some(gone) = self.live.remove(run) else { return };
        if let Some(key) = gone.head.summary().key.as_ref().filter(|key| self.keys.get(*key) == Some(run)) {
            self.keys.remove(key);
        }
    }
}

/// How much of a frame is of use.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Its length.
    bytes: u32,
    /// How many bytes of records that begin in it belong to runs that exist.
    live: u32,
}

/// The frames, from the oldest on. Only the oldest is ever removed, so that the end of a run never goes before its start:
/// otherwise a scan would take a run that ended long ago for a live one.
#[derive(Debug, Default)]
pub(super) struct FrameLog {
    first: u64,
    frames: VecDeque<Use>,
    bytes: u64,
    live: u64,
}

impl FrameLog {
    /// The number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Adds the newest frame. Numbers that were passed over count as empty frames.
    pub(super) fn push(&mut self, number: u64, bytes: usize) {
        if self.frames.is_empty() {
            self.first = number;
        }
        while self.next() < number {
            self.frames.push_back(Use::default());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.frames.push_back(Use { bytes, live: 0 });
        self.bytes += u64::from(bytes);
    }

    /// Passes over numbers that were given out and are lost, up to `next`.
    pub(super) fn pass(&mut self, next: u64) {
        if self.frames.is_empty() {
            self.first = self.first.max(next);
        }
        while self.next() < next {
            self.frames.push_back(Use::default());
        }
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Use> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.frames.get_mut(at)
    }

    /// Counts an extent as of use.
    pub(super) fn keep(&mut self, extent: &Extent) {
        if let Some(frame) = self.get_mut(extent.frame) {
            frame.live += extent.bytes;
            self.live += u64::from(extent.bytes);
        }
    }

    /// Counts an extent as of no use any more. In a frame that is lost it never was.
    pub(super) fn drop(&mut self, extent: &Extent) {
        if let Some(frame) = self.get_mut(extent.frame) {
            let gone = frame.live.min(extent.bytes);
            frame.live -= gone;
            self.live -= u64::from(gone);
        }
    }

    /// The oldest frame, and whether it is of use. Never the newest: its number must not be given out again.
    pub(super) fn oldest(&self) -> Option<(u64, bool)> {
        let oldest = self.frames.front().filter(|_| self.frames.len() > 1)?;
        Some((self.first, oldest.live > 0))
    }

    /// The oldest frames that are of use, as many as have `bytes` of records together, `frames` at most.
    pub(super) fn oldest_useful(&self, bytes: usize, frames: usize) -> Vec<u64> {
        let mut left = bytes;
        let candidates = (self.first..).zip(&self.frames).take(self.frames.len().saturating_sub(1).min(frames));
        let affordable = candidates.take_while(|(_, frame)| {
            let go_on = left > 0;
            left = left.saturating_sub(frame.live as usize);
            go_on
        });
        affordable.filter(|(_, frame)| frame.live > 0).map(|(number, _)| number).collect()
    }

    /// Forgets the oldest frame.
    pub(super) fn pop(&mut self) {
        if let Some(gone) = self.frames.pop_front() {
            self.first += 1;
            self.bytes -= u64::from(gone.bytes);
            self.live -= u64::from(gone.live);
        }
    }

    /// How many bytes all frames have, and how many of these are records of runs that exist.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.bytes, self.live)
    }
}
