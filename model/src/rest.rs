//! Whether what a run says when it comes to rest is true.

use std::time::Duration;

use saga_core::journal::{Actor, ProbeAnswer, Verb};
use saga_core::machine::{Command, Observation};
use saga_core::{Cause, FailureKind, Left, Outcome, Payload, Place, Timestamp};

use crate::judge::{Checked, Judge, Turn};
use crate::ledger::{End, Ledger};
use crate::model::{Model, attempt_ended, taken_up, undo_ended};
use crate::node::Node;
use crate::possible::item;
use crate::property::Property;
use crate::saga::Class;
use crate::steps::{MAX_STEPS, Steps, name};

/// Why something is left behind, without its story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Stands,
    EffectUnknown,
    UndoFailed,
    Blocked,
    Unfinished,
    Other,
}

impl From<&Left> for Why {
    fn from(left: &Left) -> Self {
        match left {
            Left::Stands => Self::Stands,
            Left::EffectUnknown { .. } => Self::EffectUnknown,
            Left::UndoFailed { .. } => Self::UndoFailed,
            Left::Blocked => Self::Blocked,
            Left::Unfinished { .. } => Self::Unfinished,
            _ => Self::Other,
        }
    }
}

type Residue = [Option<Why>; MAX_STEPS];

impl Judge {
    /// The run comes to rest in this turn.
    pub(crate) fn rest(&self, model: &Model<'_>, turn: &Turn<'_>, ledger: &Ledger) -> Checked<()> {
        let (saga, world) = (model.saga, &turn.node.world);
        let busy = ledger.in_flight() | ledger.undoing | turn.node.work.steps();
        self.ensure(Property::RestIsRest, busy.is_empty(), || format!("{busy} is at work"))?;
        match ledger.rest {
            Some(End::Completed) => {
                let all = ledger.succeeded == saga.all() && world.undo_begun.is_empty();
                let everything = world.exists == saga.all() - saga.of(Class::ReadOnly);
                self.ensure(Property::CompletedDidEverything, all && everything, || {
                    format!("there is {}", world.exists)
                })?;
            }
            Some(End::RolledBack) => {
                let Some(verdict) = ledger.verdict else { return Ok(()) };
                let (undone, should) = (ledger.undone, verdict.to_undo);
                self.ensure(Property::RolledBackUndidExactly, undone == should, || format!("{undone}, not {should}"))?;
                let unfinished = verdict.committed - ledger.succeeded;
                self.ensure(Property::CommittedIsFinished, unfinished.is_empty(), || format!("not {unfinished}"))?;
                let leaked = verdict.to_undo & world.exists;
                self.ensure(Property::NothingLeaks, leaked.is_empty(), || format!("{leaked} leaked"))?;
            }
            Some(End::Halted(_)) => {
                let undone = world.undo_begun;
                self.ensure(Property::HaltedUndidNothing, undone.is_empty(), || format!("{undone} was undone"))?;
            }
            Some(End::Stuck) => self.stuck(model, ledger)?,
            Some(End::Abandoned) | None => {}
        }
        let outcome = model.system.outcome(&model.plan, turn.state);
        let Some(outcome) = outcome else {
            return self.ensure(Property::KeptIsWhatStands, false, || "a run at rest has no outcome".to_owned());
        };
        if ledger.gone && ledger.rest != Some(End::Abandoned) {
            let known = outcome.cause() == Some(&Cause::SubjectGone) && !matches!(outcome, Outcome::Halted(_));
            self.ensure(Property::NoSubjectNoProtection, known, || {
                format!("its subject is gone, and it is {outcome}")
            })?;
        }
        self.left(model, turn.node, ledger, &outcome)
    }

    fn stuck(&self, model: &Model<'_>, ledger: &Ledger) -> Checked<()> {
        let Some(verdict) = ledger.verdict else { return Ok(()) };
        let saga = model.saga;
        let unfinished = verdict.committed - ledger.succeeded;
        for step in (verdict.to_undo - ledger.undone).iter() {
            let waits = saga.descendants(step).meets(unfinished | ledger.undo_failed);
            let tried = ledger.undo_failed.has(step);
            self.ensure(Property::BadUndoStrandsNone, tried != waits, || {
                let what = if tried { "was tried too early" } else { "was neither undone nor tried" };
                format!("`{}` {what}", name(step))
            })?;
        }
        for step in unfinished.iter() {
            let blocked = !saga.deps(step).within(ledger.succeeded);
            self.ensure(Property::BadUndoStrandsNone, ledger.started.has(step) != blocked, || {
                format!("`{}` was not tried, or too early", name(step))
            })?;
        }
        Ok(())
    }

    /// What the outcome names is what there is.
    fn left(&self, model: &Model<'_>, node: &Node, ledger: &Ledger, outcome: &Outcome<Payload>) -> Checked<()> {
        let step_of = |place: &Place| model.plan.find(place.step.as_str()).map(|step| step.at());
        let mut residue: Residue = Residue::default();
        let (mut kept, mut once) = (Steps::NONE, true);
        for left in outcome.residue() {
            let Some(step) = step_of(&left.place) else { continue };
            once &= residue[step].replace(Why::from(&left.why)).is_none();
        }
        let (names, all): (&[Place], bool) = match outcome {
            Outcome::Completed(_) => return Ok(()),
            Outcome::RolledBack(end) => (&end.kept, false),
            Outcome::Stuck(end) => (&end.kept, false),
            Outcome::Halted(_) | Outcome::Abandoned(_) => (&[], true),
        };
        for step in names.iter().filter_map(step_of) {
            once &= !kept.has(step);
            kept.set(step, true);
        }
        let left: Steps = (0..MAX_STEPS).filter(|step| residue[*step].is_some()).collect();
        let exists = node.world.exists;
        let unnamed = exists - (kept | left);
        self.ensure(Property::NothingUnnamed, unnamed.is_empty(), || {
            format!("{unnamed} is left, and not in {outcome}")
        })?;
        if matches!(outcome, Outcome::RolledBack(_) | Outcome::Stuck(_)) {
            let stands = ledger.may_stand() - model.saga.of(Class::ReadOnly) - left;
            let true_of_it = kept == stands && (kept - ledger.unknown).within(exists);
            self.ensure(Property::KeptIsWhatStands, true_of_it && once, || {
                format!("kept {kept}; by the rules {stands} stands, there is {exists}")
            })?;
        }
        let expected = match outcome {
            Outcome::RolledBack(_) => Residue::default(),
            _ => expected_residue(model, ledger, all),
        };
        let standing: Steps = (0..MAX_STEPS).filter(|step| residue[*step] == Some(Why::Stands)).collect();
        let true_of_it = residue == expected && standing.within(exists);
        self.ensure(Property::ResidueIsWhatIsLeft, true_of_it && once, || {
            format!("left {residue:?}; by the rules {expected:?}, there is {exists}")
        })
    }

    /// A run that has ended is never moved again.
    pub(crate) fn end(&self, model: &Model<'_>, node: &Node, then: &[Command]) -> Checked<()> {
        let someone = Actor::new("anyone", "");
        let ensure = |holds, what: &str| self.ensure(Property::EndIsEnd, holds, || what.to_owned());
        ensure(then.is_empty() && node.state.next_wake().is_none(), "something follows")?;
        let later = Timestamp(u64::MAX);
        let decided = model.system.decide(&model.plan, &mut (*node.state).clone(), later);
        ensure(decided == Ok(Default::default()), "something follows, later")?;
        let mut seen = vec![
            taken_up(node.epoch.next()),
            Observation::Guard { gone: true },
            Observation::SubjectGone,
            Observation::Cancel { by: someone.clone() },
            Observation::Finalizer { result: Ok(()) },
        ];
        for step in 0..model.saga.len() {
            let again = Duration::ZERO;
            seen.push(attempt_ended(&node.ledger, step, Ok(()), again));
            seen.push(attempt_ended(&node.ledger, step, Err(FailureKind::Failed), again));
            seen.push(undo_ended(&node.ledger, step, Ok(()), again));
            seen.push(Observation::Probe { of: item(step), answer: ProbeAnswer::NotDone });
        }
        for seen in seen {
            let event = model.system.observe(&model.plan, &node.state, seen, later);
            ensure(event.is_none(), "what is seen makes an event")?;
        }
        for verb in [Verb::Retry, Verb::RollBack, Verb::Abandon] {
            let refused = model.system.operate(&node.state, verb, someone.clone()).is_err();
            ensure(refused, "an operator may act")?;
        }
        Ok(())
    }
}

fn expected_residue(model: &Model<'_>, ledger: &Ledger, all: bool) -> Residue {
    let saga = model.saga;
    let (committed, to_undo) = ledger.verdict.map_or_else(Default::default, |it| (it.committed, it.to_undo));
    std::array::from_fn(|step| {
        if step >= saga.len() || saga.is(step, Class::ReadOnly) || ledger.undone.has(step) {
            return None;
        }
        let is_forward = saga.is(step, Class::Forward);
        if !ledger.started.has(step) {
            return committed.has(step).then_some(Why::Unfinished);
        }
        match () {
            () if ledger.undo_failed.has(step) => Some(Why::UndoFailed),
            () if to_undo.has(step) => Some(Why::Blocked),
            () if is_forward && !ledger.succeeded.has(step) => Some(Why::Unfinished),
            () if ledger.succeeded.has(step) => all.then_some(Why::Stands),
            () if ledger.unknown.has(step) => Some(Why::EffectUnknown),
            () => None,
        }
    })
}
