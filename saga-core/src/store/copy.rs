//! Moving runs from one store to another.

use thiserror::Error;

use super::{Query, Refused, RunStatus, RunSummary, Store, StoreError};
use crate::id::{ExclusiveKey, RunId, Seq, WorkerId};
use crate::journal::EncodedRecord;

/// How many heads, or records, are read in one call.
const PAGE: usize = 512;

/// What a copy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// The runs that were copied.
    pub runs: usize,
    /// The records of their journals.
    pub records: u64,
    /// The runs that were there already, exactly as they were to be.
    pub already_there: usize,
    /// The runs, copied or there already, that have not ended. Both stores have them now: whoever goes on with them in both
    /// does everything twice.
    pub unfinished: Vec<RunId>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// So many runs were looked at. Nothing was written yet.
    Looked {
        /// The runs.
        runs: usize,
    },
    /// So many runs are done.
    Copied {
        /// The runs that were copied.
        runs: usize,
        /// The runs that are to be copied.
        of: usize,
    },
}

/// Why a run is in the way of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// A worker drives it, so it changes while it is copied. Stop the workers first.
    #[error("run {run} is driven by worker {owner}")]
    Driven {
        /// The run.
        run: RunId,
        /// The worker.
        owner: WorkerId,
    },
    /// Both stores have it, and not the same of it: it went on in one of them, or in both. Decide which one counts, and
    /// take the other one's store out of use, or delete the run there.
    #[error("run {run} is {from} at event {from_seq} in the one store, and {to} at event {to_seq} in the other")]
    Differs {
        /// The run.
        run: RunId,
        /// Where it stands where it is to be copied from.
        from: RunStatus,
        /// Its newest event there.
        from_seq: Seq,
        /// Where it stands where it is to be copied to.
        to: RunStatus,
        /// Its newest event there.
        to_seq: Seq,
    },
    /// Another run holds its exclusive key in the store that it is to be copied to.
    #[error("run {run} holds the key {key}, which run {holder} holds in the other store")]
    KeyHeld {
        /// The run.
        run: RunId,
        /// The key.
        key: ExclusiveKey,
        /// The run that holds it there.
        holder: RunId,
    },
    /// Its journal is not whole. Restore the store from a copy, or give the run up.
    #[error("the journal of run {run} is not whole: {what}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is known of it.
        what: String,
    },
}

/// Why runs were not copied, or not all of them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Something is in the way, and nothing was copied. See to each of these, and copy again.
    #[error("nothing was copied, {} run(s) being in the way; the first: {}", .obstacles.len(), first(.obstacles))]
    Refused {
        /// All that is in the way.
        obstacles: Vec<Obstacle>,
    },
    /// A run changed while it was copied: somebody works on one of the stores. What was copied before it stays; copy again
    /// when nobody does.
    #[error("run {run} changed while it was copied")]
    Changed {
        /// The run.
        run: RunId,
    },
    /// The store to copy to does not take a run. What was copied before it stays.
    #[error("run {run} was not taken")]
    NotTaken {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        refused: Refused,
    },
    /// One of the stores failed. What was copied stays; copy again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn first(obstacles: &[Obstacle]) -> String {
    obstacles.first().map(Obstacle::to_string).unwrap_or_default()
}

/// Copies all runs of one store to another, with their journals. First it looks at everything, and copies nothing if
/// anything is in the way; so a copy that was interrupted can be made again, and goes on where it was.
///
/// Nobody may work on either store meanwhile. That is made sure of as well as it goes: what is driven, or changes, is
/// refused.
///
/// # Errors
///
/// [`CopyError`].
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(CopyProgress),
) -> Result<Copied, CopyError> {
    let plan = CopyPlan::make(from, to, &mut progress).await?;
    plan.carry_out(progress).await
}

/// A [`copy`] of which all was looked at and nothing was written, for those who copy other things beside it.
#[must_use = "nothing is copied until it is carried out"]
pub struct CopyPlan<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    missing: Vec<RunSummary>,
    copied: Copied,
}

impl<'a> CopyPlan<'a> {
    /// Looks at everything.
    ///
    /// # Errors
    ///
    /// [`CopyError::Refused`], or what reading can fail with.
    pub async fn make(
        from: &'a dyn Store,
        to: &'a dyn Store,
        mut progress: impl FnMut(CopyProgress),
    ) -> Result<Self, CopyError> {
        let mut plan = Self { from, to, missing: Vec::new(), copied: Copied::default() };
        let mut obstacles = Vec::new();
        let mut query = Query { limit: PAGE, ..Query::default() };
        let mut looked = 0;
        loop {
            let page = from.list(&query).await?;
            looked += page.runs.len();
            for head in page.runs {
                match look(from, to, &head).await? {
                    Found::InTheWay(obstacle) => obstacles.push(obstacle),
                    Found::AlreadyThere => {
                        plan.copied.already_there += 1;
                        plan.copied.unfinished.extend((!head.status.is_ended()).then_some(head.run));
                    }
                    Found::Missing => plan.missing.push(head),
                }
            }
            progress(CopyProgress::Looked { runs: looked });
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        if obstacles.is_empty() { Ok(plan) } else { Err(CopyError::Refused { obstacles }) }
    }

    /// Copies what is missing.
    ///
    /// # Errors
    ///
    /// [`CopyError`]. What was copied before it stays.
    pub async fn carry_out(self, mut progress: impl FnMut(CopyProgress)) -> Result<Copied, CopyError> {
        let Self { from, to, missing, mut copied } = self;
        let of = missing.len();
        for (done, head) in (1..).zip(missing) {
            let run = head.run.clone();
            let Journal::Whole(records) = journal(from, &head).await? else { return Err(CopyError::Changed { run }) };
            if from.get(&run).await?.as_ref() != Some(&head) {
                return Err(CopyError::Changed { run });
            }
            // An answer that was lost is found by copying again.
            to.restore(&head, &records).await?.map_err(|refused| CopyError::NotTaken { run: run.clone(), refused })?;
            copied.runs += 1;
            copied.records += head.seq.0;
            copied.unfinished.extend((!head.status.is_ended()).then_some(run));
            progress(CopyProgress::Copied { runs: done, of });
        }
        copied.unfinished.sort();
        Ok(copied)
    }
}

impl std::fmt::Debug for CopyPlan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyPlan").field("missing", &self.missing.len()).finish_non_exhaustive()
    }
}

enum Found {
    Missing,
    AlreadyThere,
    InTheWay(Obstacle),
}

async fn look(from: &dyn Store, to: &dyn Store, head: &RunSummary) -> Result<Found, StoreError> {
    let run = head.run.clone();
    if let Some(owner) = head.owner.clone() {
        return Ok(Found::InTheWay(Obstacle::Driven { run, owner }));
    }
    let records = match journal(from, head).await? {
        Journal::Whole(records) => records,
        Journal::Damaged(what) => return Ok(Found::InTheWay(Obstacle::Damaged { run, what })),
    };
    if let Some(there) = to.get(&run).await? {
        // The head tells the owner too: what is driven there is about to go on there.
        let same = there == *head && matches!(journal(to, &there).await?, Journal::Whole(same) if same == records);
        return Ok(if same {
            Found::AlreadyThere
        } else {
            Found::InTheWay(Obstacle::Differs {
                run,
                from: head.status,
                from_seq: head.seq,
                to: there.status,
                to_seq: there.seq,
            })
        });
    }
    if let Some(key) = head.key.clone().filter(|_| !head.status.is_ended())
        && let Some(holder) = to.holder(&key).await?
    {
        return Ok(Found::InTheWay(Obstacle::KeyHeld { run, key, holder }));
    }
    Ok(Found::Missing)
}

enum Journal {
    Whole(Vec<EncodedRecord>),
    Damaged(String),
}

/// The records of a run, up to the one that its head names. What they say is not looked at: they may be of any release.
async fn journal(store: &dyn Store, head: &RunSummary) -> Result<Journal, StoreError> {
    let mut records: Vec<EncodedRecord> = Vec::new();
    loop {
        let after = records.last().map_or(Seq::ZERO, |last| last.seq);
        let page = match store.read(&head.run, after, PAGE).await {
            Ok(page) => page,
            Err(error @ (StoreError::Corrupt { .. } | StoreError::UnknownRun { .. })) => {
                return Ok(Journal::Damaged(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let last = page.len() < PAGE;
        records.extend(page);
        if last {
            break;
        }
    }
    let in_order = (1..).zip(&records).all(|(place, record)| record.seq == Seq(place));
    let whole = in_order && records.last().map(|last| last.seq) == Some(head.seq);
    Ok(if whole { Journal::Whole(records) } else { Journal::Damaged(format!("it does not end at event {}", head.seq)) })
}
