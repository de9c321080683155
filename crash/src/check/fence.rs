//! One worker at a time, one run at a time for each key, and nothing done that was not written first.

use std::collections::HashMap;

use saga_core::journal::Event;
use saga_core::plan::Shape;
use saga_core::{Epoch, ExclusiveKey, ItemRef, Seq};

use super::Finding;
use super::trail::Trail;
use crate::evidence::Evidence;
use crate::ledger::{Act, Mark};
use crate::load::Made;

pub(super) fn epochs_never_decrease(evidence: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("in a run, nobody acts under a claim after somebody has acted under a later one");
    for trail in trails {
        for noted in &trail.all {
            let entry = noted.entry;
            finding.look(trail.id(), !noted.late || evidence.sleepers, || {
                format!("worker {} at {} under epoch {}", entry.worker, entry.step, entry.epoch)
            });
        }
    }
    finding
}

pub(super) fn claims_follow_each_other(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding =
        Finding::of("journals have no gaps, and each claim that is journaled is later than the one before");
    for trail in trails {
        let mut epoch = Epoch::FIRST;
        for (expected, record) in (1..).map(Seq).zip(trail.journal()) {
            finding.look(trail.id(), record.seq == expected, || format!("{} instead of {expected}", record.seq));
            if let Event::Resumed { epoch: next, .. } = &record.event {
                finding.look(trail.id(), *next > epoch, || format!("epoch {next} after {epoch}"));
                epoch = *next;
            }
        }
        if let Some(kept) = &trail.run.kept {
            let newest = kept.summary.epoch;
            finding.look(trail.id(), newest >= epoch, || format!("epoch {epoch} was journaled, the head has {newest}"));
        }
    }
    finding
}

/// Under which claim, and by whom, the attempts of a run were journaled.
#[derive(Default)]
struct Written {
    actions: HashMap<(ItemRef, u32), Epoch>,
    undos: HashMap<(ItemRef, u32), Epoch>,
    holders: HashMap<Epoch, String>,
    checkpoints: HashMap<ItemRef, usize>,
}

impl Written {
    fn of(trail: &Trail<'_>) -> Self {
        let mut written = Self::default();
        // A worker that starts a run itself writes no `Resumed`. Whoever acts first under that claim is the one.
        let first = trail.all.iter().map(|noted| noted.entry).find(|entry| entry.epoch == Epoch::FIRST);
        written.holders.extend(first.map(|entry| (Epoch::FIRST, entry.worker.clone())));
        let mut epoch = Epoch::FIRST;
        for record in trail.journal() {
            match &record.event {
                Event::Resumed { epoch: next, worker } => {
                    epoch = *next;
                    written.holders.insert(epoch, worker.to_string());
                }
                Event::StepStarted { step, .. } if trail.run.plan.step(*step).shape == Shape::Single => {
                    written.actions.insert((ItemRef::new(*step, 0), 1), epoch);
                }
                Event::AttemptStarted { of, attempt } => drop(written.actions.insert((*of, *attempt), epoch)),
                Event::UndoStarted { of, attempt } => drop(written.undos.insert((*of, *attempt), epoch)),
                Event::Checkpointed { of, .. } => *written.checkpoints.entry(*of).or_default() += 1,
                _ => {}
            }
        }
        written
    }
}

pub(super) fn what_happened_was_written_first(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("every attempt was journaled before, under the claim of the worker that made it");
    for trail in trails {
        let written = Written::of(trail);
        let mut checkpoints: HashMap<ItemRef, usize> = HashMap::new();
        for noted in &trail.all {
            let entry = noted.entry;
            let holder = written.holders.get(&entry.epoch);
            let holds = holder.is_some_and(|holder| *holder == entry.worker);
            finding.look(trail.id(), holds, || format!("{entry:?}, but epoch {} is of {holder:?}", entry.epoch));
            let Some(of) = trail.item(entry) else { continue };
            let attempts = match entry.act {
                Act::Do => &written.actions,
                Act::Undo => &written.undos,
                Act::Ask | Act::Tell => continue,
            };
            let under = attempts.get(&(of, entry.attempt)).copied();
            finding.look(trail.id(), under == Some(entry.epoch), || {
                format!("{entry:?}, but it was journaled under {under:?}")
            });
            if entry.mark == Mark::Checkpoint {
                *checkpoints.entry(of).or_default() += 1;
            }
        }
        for (of, count) in checkpoints {
            let journaled = written.checkpoints.get(&of).copied().unwrap_or_default();
            let what = || format!("{count} checkpoints of {}, {journaled} in the journal", trail.name(of));
            finding.look(trail.id(), journaled >= count, what);
        }
    }
    finding
}

pub(super) fn no_result_of_a_lost_claim_is_journaled(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("every journaled result is of the claim under which it is journaled");
    for trail in trails {
        let mut epoch = Epoch::FIRST;
        for record in trail.journal() {
            let output = match &record.event {
                Event::Resumed { epoch: next, .. } => {
                    epoch = *next;
                    continue;
                }
                Event::Succeeded { output, .. } => output,
                Event::Checkpointed { value, .. } => value,
                _ => continue,
            };
            // What only reads answers something else.
            if let Ok(made) = output.decode::<Made>() {
                finding.look(trail.id(), made.epoch == epoch, || {
                    format!("{} was made under epoch {}, and journaled under {epoch}", made.key, made.epoch)
                });
            }
        }
    }
    finding
}

pub(super) fn exclusive_keys_are_exclusive(trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("the effects of two runs with one exclusive key never overlap");
    let mut spans: HashMap<&ExclusiveKey, Vec<(usize, usize, &Trail<'_>)>> = HashMap::new();
    for trail in trails {
        if let Some(key) = &trail.run.job.key
            && let (Some(first), Some(last)) = (trail.entries().next(), trail.entries().last())
        {
            spans.entry(key).or_default().push((first.at, last.at, trail));
        }
    }
    for (key, mut spans) in spans {
        spans.sort_unstable_by_key(|(first, ..)| *first);
        for pair in spans.windows(2) {
            let [(_, end, one), (begin, _, other)] = pair else { continue };
            finding.look(other.id(), begin > end, || format!("it overlaps with {} under {key}", one.id()));
        }
    }
    finding
}
