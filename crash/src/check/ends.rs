//! How runs begin and end.

use saga_core::journal::{Event, Rest};
use saga_core::store::RunStatus;
use saga_core::{Cause, Outcome, Payload};

use super::trail::Trail;
use super::{Finding, Violation};
use crate::acks::Told;
use crate::evidence::Evidence;
use crate::load::{Help, Kind};

pub(super) fn nothing_unexpected_happened(evidence: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("no client was told what it should not be, and no worker ended of itself");
    let incidents = evidence.incidents.iter().map(|what| Violation { run: None, what: what.clone() });
    finding.violations.extend(incidents);
    for trail in trails {
        let trouble = trail.run.told.iter().find_map(|told| match told {
            Told::Trouble(what) => Some(what),
            _ => None,
        });
        finding.look(trail.id(), trouble.is_none(), || trouble.cloned().unwrap_or_default());
    }
    finding
}

pub(super) fn no_acknowledged_start_is_lost(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("no acknowledged start is lost");
    for trail in trails.iter().filter(|trail| trail.run.told.contains(&Told::Started)) {
        finding.look(trail.id(), trail.run.kept.is_some(), || "the store does not have it".to_owned());
    }
    finding
}

pub(super) fn twice_started_is_one_run(evidence: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("what is started twice at once is one run, and nothing runs that nobody ordered");
    for stranger in &evidence.strangers {
        finding.look(stranger, false, || "nobody has ordered it".to_owned());
    }
    for trail in trails.iter().filter(|trail| trail.run.job.twice) {
        let started = |record: &&saga_core::journal::Record| matches!(record.event, Event::RunStarted { .. });
        let starts = trail.journal().iter().filter(started).count();
        finding.look(trail.id(), starts == 1, || format!("it has {starts} beginnings"));
    }
    finding
}

pub(super) fn every_run_ends_once(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("every run ended, once, and nothing but the finalizer came after that");
    for trail in trails {
        let Some(kept) = &trail.run.kept else {
            finding.look(trail.id(), false, || "there is no such run".to_owned());
            continue;
        };
        let status = kept.summary.status;
        finding.look(trail.id(), status.is_ended(), || format!("it is {status}, held by {:?}", kept.summary.owner));
        let ends: Vec<_> =
            kept.journal.iter().enumerate().filter_map(|(at, record)| Some((at, end(&record.event)?))).collect();
        let after = |at: usize| kept.journal[at + 1..].iter().all(|record| is_of_finalizer(&record.event));
        let holds = matches!(&*ends, [(at, end)] if *end == status && after(*at));
        finding.look(trail.id(), holds, || format!("it is {status}; its journal ends with {ends:?}"));
        let (told, written) = (kept.summary.seq, kept.journal.last().map(|record| record.seq));
        finding.look(trail.id(), Some(told) == written, || format!("its head says {told}, its journal {written:?}"));
    }
    finding
}

/// The end that an event is, if it is one.
pub(crate) fn end(event: &Event) -> Option<RunStatus> {
    match event {
        Event::Rested { rest: Rest::Completed } => Some(RunStatus::Completed),
        Event::Rested { rest: Rest::RolledBack } => Some(RunStatus::RolledBack),
        Event::Rested { rest: Rest::Abandoned { .. } } => Some(RunStatus::Abandoned),
        _ => None,
    }
}

/// Whether an event may come after the end.
pub(crate) fn is_of_finalizer(event: &Event) -> bool {
    matches!(event, Event::Finalized | Event::FinalizerFailed { .. } | Event::Resumed { .. })
}

pub(super) fn the_outcome_is_allowed(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("the outcome is one that the rules allow for what was ordered");
    for trail in trails {
        if let Some(Ok(outcome)) = trail.run.kept.as_ref().map(|kept| &kept.outcome) {
            finding.look(trail.id(), is_allowed(trail, outcome), || outcome.to_string());
        }
    }
    finding
}

fn is_allowed(trail: &Trail<'_>, outcome: &Outcome<Payload>) -> bool {
    let kept = |outcome: &Outcome<Payload>| match outcome {
        Outcome::RolledBack(end) => end.kept.iter().map(ToString::to_string).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let failed_at = |name: &str| match outcome {
        Outcome::RolledBack(end) => matches!(&end.cause, Cause::StepFailed { step, .. } if step.as_str() == name),
        _ => false,
    };
    let completed = outcome.is_completed();
    match trail.run.job.order.kind {
        Kind::Linear | Kind::Diamond | Kind::FanOut => completed,
        Kind::Doomed => failed_at("end") && kept(outcome).is_empty(),
        Kind::Cancelled => {
            completed || matches!(outcome.cause(), Some(Cause::Cancelled { .. })) && kept(outcome).is_empty()
        }
        Kind::Overdue => {
            completed || matches!(outcome.cause(), Some(Cause::DeadlinePassed)) && kept(outcome).is_empty()
        }
        Kind::Halting => match trail.run.job.help {
            Help::Retry | Help::Skip => completed,
            // Nobody knows what the pivot did, so it may stand. What it was built on goes: that was the operator's word.
            Help::RollBack => failed_at("pivot") && kept(outcome) == ["pivot"],
            Help::Abandon => matches!(outcome, Outcome::Abandoned(_)),
        },
        Kind::Probed => completed || failed_at("pivot") && kept(outcome).is_empty(),
        // The forward step is finished if it was committed when `end` failed, and pins what it was built on.
        Kind::Forward => failed_at("end") && (kept(outcome).is_empty() || kept(outcome) == ["a", "release"]),
    }
}

pub(super) fn what_was_told_is_what_is_written(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("the end that a client was told is the one that is written, and each was told one");
    for trail in trails {
        let told: Vec<_> = trail
            .run
            .told
            .iter()
            .filter_map(|told| if let Told::Ended(end) = told { Some(end) } else { None })
            .collect();
        let written = match trail.run.kept.as_ref().map(|kept| &kept.outcome) {
            Some(Ok(outcome)) => outcome.to_string(),
            Some(Err(error)) => error.clone(),
            None => "nothing".to_owned(),
        };
        let same = !told.is_empty() && told.iter().all(|told| **told == written);
        finding.look(trail.id(), same, || format!("told: {told:?}, written: {written}"));
    }
    finding
}

pub(super) fn what_was_cancelled_does_not_complete(_: &Evidence, trails: &[Trail<'_>]) -> Finding {
    let mut finding = Finding::of("a run does not complete once its client was told that it is cancelled");
    for trail in trails.iter().filter(|trail| trail.run.told.contains(&Told::Cancelled)) {
        let status = trail.run.kept.as_ref().map(|kept| kept.summary.status);
        finding.look(trail.id(), status != Some(RunStatus::Completed), || "it completed".to_owned());
    }
    finding
}
