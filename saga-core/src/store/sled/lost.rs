//! Giving up what is lost: damaged runs, and frames of which nobody knows what was in them.

use std::collections::BTreeSet;

use crate::id::RunId;
use crate::store::StoreError;
use crate::store::sled::Core;
use crate::store::sled::group::blank;

impl Core {
    /// Drops a damaged run, so that its id and key are free.
    pub(super) fn discard(&self, run: &RunId) -> Result<(), StoreError> {
        let mut writer = self.write()?;
        if !self.index().damaged.contains_key(run) {
            return Err(StoreError::UnknownRun { run: run.clone() });
        }
        self.mark_dropped(&mut writer, std::slice::from_ref(run))?;
        self.sync(&mut writer)?;
        let mut index = self.index_mut();
        for extent in index.live.get(run).map_or(&[][..], |live| &live.extents) {
            writer.log.drop(extent);
        }
        index.remove(run);
        Ok(())
    }

    /// Puts empty frames in the place of the lost ones, so that they are not missed any more.
    pub(super) fn discard_lost_frames(&self) -> Result<(), StoreError> {
        let mut writer = self.write()?;
        for run in self.damage.iter().filter_map(|damage| damage.run.as_ref()) {
            // It is by these frames that it is known for hurt.
            if self.index().damaged.contains_key(run) || self.ended_part(run, 0)?.is_some() {
                let what = format!("run {run} is damaged, and has to be given up before the frames that are lost");
                return Err(StoreError::Corrupt { what });
            }
        }
        let lost: BTreeSet<u64> = std::mem::take(&mut writer.lost);
        for number in lost {
            let key = number.to_be_bytes();
            self.remove(&mut writer, &self.disk.rolls, &key)?;
            self.insert(&mut writer, &self.disk.frames, &key, blank())?;
        }
        self.sync(&mut writer)
    }
}
