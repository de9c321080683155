//! Which ends the rules allow, given what was done to a run.
//!
//! A second telling of section 3 of the design, as far as one can tell from outside: the failures of a script are the only
//! ones that there are, so an end that they do not account for is a fault of the saga.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::script::{Act, Ask, Asked, Failing, Moment, Often, Script, Way, What};
use super::stage::Log;
use crate::forecast::{Aftermath, Forecast, ForecastEnd, ForecastRow};
use crate::id::{StepIndex, StepName};
use crate::journal::{Cause, FailureKind};
use crate::outcome::{Halted, Left, Outcome, Place, RolledBack, Stuck};
use crate::payload::Payload;
use crate::plan::{Plan, StepPlan};

/// Why an outcome is not one that the rules allow, if it is not.
pub(super) fn judge(
    forecasts: &Forecasts<'_>,
    script: &Script,
    log: &Log,
    outcome: &Outcome<Payload>,
) -> Result<(), String> {
    let reached = script.failings().zip(&log.injected).filter(|(_, times)| **times > 0);
    let (of_acts, of_questions): (Vec<_>, Vec<_>) =
        reached.map(|(failing, _)| failing).partition(|failing| failing.what.acts());
    let rules = Rules {
        plan: forecasts.plan,
        forecasts,
        for_good: of_acts.into_iter().filter(|failing| !failing.is_got_over()).collect(),
        of_questions,
        crashed: !script.crashes.is_empty(),
        cancelled: matches!(script.act, Act::Cancel(_)) && !log.cancelled_late,
        // One that passes after something else has turned the run back changes nothing.
        deadline: matches!(script.act, Act::Deadline { .. }) && script.when.is_empty(),
        aborting: log.aborting,
    };
    match (&script.act, &log.rested) {
        (Act::Operate { ask, place, .. }, Some(rested)) => {
            rules.ended(rested).map_err(|wrong| format!("where it rests: {wrong}"))?;
            rules.operated(*ask, place, rested, outcome)
        }
        _ => rules.ended(outcome),
    }
}

/// The rows of a saga's forecast, each made when it is first asked for.
pub(super) struct Forecasts<'a> {
    plan: &'a Plan,
    rows: Vec<[OnceCell<ForecastRow>; 2]>,
}

impl<'a> Forecasts<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, rows: plan.steps().iter().map(|_| Default::default()).collect() }
    }

    fn effect_unknown(&self, step: StepIndex) -> &ForecastRow {
        self.rows[step.at()][0].get_or_init(|| Forecast::row(self.plan, step))
    }

    fn no_effect(&self, step: StepIndex) -> &ForecastRow {
        self.rows[step.at()][1].get_or_init(|| Forecast::row_without_effect(self.plan, step))
    }
}

struct Rules<'a> {
    plan: &'a Plan,
    forecasts: &'a Forecasts<'a>,
    /// Failures after which nothing is tried again.
    for_good: Vec<&'a Failing>,
    /// Probes and guards that failed.
    of_questions: Vec<&'a Failing>,
    crashed: bool,
    cancelled: bool,
    deadline: bool,
    /// The run was being aborted when it ended.
    aborting: bool,
}

impl Rules<'_> {
    fn ended(&self, outcome: &Outcome<Payload>) -> Result<(), String> {
        if self.was_told_gone() && outcome.cause() != Some(&Cause::SubjectGone) {
            return Err("the guard said that the subject is gone, and that is not the cause".to_owned());
        }
        match outcome {
            Outcome::Completed(_) => self.completed(),
            Outcome::RolledBack(end) => self.rolled_back(end),
            Outcome::Halted(end) => self.halted(end),
            Outcome::Stuck(end) => self.stuck(end),
            Outcome::Abandoned(_) => Err("nobody has given the run up".to_owned()),
        }
    }

    /// What comes of an operator's act, when what had failed works again, or does not.
    fn operated(
        &self,
        ask: Ask,
        place: &Place,
        rested: &Outcome<Payload>,
        outcome: &Outcome<Payload>,
    ) -> Result<(), String> {
        match (ask, rested, outcome) {
            (Ask::Retry | Ask::Skip, Outcome::Halted(_), Outcome::Completed(_)) => Ok(()),
            (Ask::Retry | Ask::Skip, Outcome::Stuck(before), Outcome::RolledBack(end)) if before.cause == end.cause => {
                self.kept(end)
            }
            (Ask::RetryInVain, Outcome::Halted(before), Outcome::Halted(end)) if before.at == end.at => Ok(()),
            (Ask::RetryInVain, Outcome::Stuck(before), Outcome::Stuck(end)) if before == end => Ok(()),
            (Ask::RollBack, Outcome::Halted(before), Outcome::RolledBack(end)) if before.cause == end.cause => {
                if !end.kept.contains(place) {
                    return Err(format!("nobody knows what `{place}` did, and yet it is not kept"));
                }
                let kept = end.kept.iter().filter(|kept| *kept != place).cloned().collect();
                self.kept(&RolledBack { cause: end.cause.clone(), kept })
            }
            (Ask::Abandon, _, Outcome::Abandoned(_)) => Ok(()),
            (_, before, after) => Err(format!("moved on from where it rests ({before}), and that came to: {after}")),
        }
    }

    /// The guard was made to say that the subject is gone, and was listened to.
    fn was_told_gone(&self) -> bool {
        self.of_questions.iter().any(|failing| failing.way == Way::Gone)
    }

    /// A guard that keeps waits waiting for its answer, which may be more than they had time for.
    fn holds_up_waits(&self) -> bool {
        let slow = |failing: &&&Failing| matches!(failing.way, Way::Late | Way::TimedOut);
        self.of_questions.iter().filter(slow).any(|failing| failing.what == What::Guard(Asked::InAWait))
    }

    /// A step that can be asked whether it happened, and says so.
    fn is_probed(&self, place: &Place) -> bool {
        let is_mute = |failing: &&Failing| failing.what == What::Probe(place.clone());
        self.step(place).probed && !self.of_questions.iter().any(is_mute)
    }

    fn step(&self, place: &Place) -> &StepPlan {
        self.plan.step(self.index(place))
    }

    fn index(&self, place: &Place) -> StepIndex {
        self.plan.find(place.step.as_str()).expect("the outcome names steps of the saga")
    }

    fn actions(&self) -> impl Iterator<Item = (&Failing, &Place)> {
        self.for_good.iter().filter_map(|failing| match &failing.what {
            What::Action(place) => Some((*failing, place)),
            _ => None,
        })
    }

    /// What can be neither undone nor finished.
    fn spent(&self) -> impl Iterator<Item = &Place> {
        self.for_good.iter().filter_map(|failing| match &failing.what {
            What::Undo(place) => Some(place),
            What::Action(place) if failing.often == Often::Always && self.step(place).is_forward() => Some(place),
            _ => None,
        })
    }

    /// A probe may know that what failed has had its effect all the same; it cannot if nothing was done.
    fn may_be_found_done(&self, failing: &Failing, place: &Place) -> bool {
        self.is_probed(place) && (self.crashed || failing.moment != Moment::Before)
    }

    fn completed(&self) -> Result<(), String> {
        if self.aborting {
            return Err("the run was being aborted, and yet it completed".to_owned());
        }
        match self.actions().find(|(failing, place)| !self.may_be_found_done(failing, place)) {
            None => Ok(()),
            Some((failing, _)) => Err(format!("{failing}, and yet the run completed")),
        }
    }

    fn cause(&self, cause: &Cause) -> Result<(), String> {
        match cause {
            Cause::StepFailed { step, of, error } => {
                let is_it = |place: &Place| place.step == *step && place.item.is_none_or(|item| item == of.item);
                if self.actions().any(|(_, place)| is_it(place)) || self.holds_up_waits() {
                    return Ok(());
                }
                let at = super::wrap::place(self.plan, of.step, of.item);
                Err(format!("`{at}` failed of itself: {error}"))
            }
            Cause::Cancelled { .. } if self.cancelled => Ok(()),
            Cause::DeadlinePassed if self.deadline => Ok(()),
            Cause::SubjectGone if self.plan.is_guarded() => Ok(()),
            other => Err(format!("there is no reason for the cause: {other}")),
        }
    }

    fn rolled_back(&self, end: &RolledBack) -> Result<(), String> {
        self.cause(&end.cause)?;
        if let Some(place) = self.spent().next() {
            return Err(format!("`{place}` could not be cleaned up, and yet the run says that it is rolled back"));
        }
        if end.cause == Cause::SubjectGone {
            // There is nothing left to protect.
            let spared = end.kept.iter().find(|place| self.step(place).is_compensable());
            return spared.map_or(Ok(()), |place| Err(format!("the subject is gone, and yet `{place}` is kept")));
        }
        for (failing, place) in self.actions() {
            let step = self.step(place);
            if step.is_non_compensable() && !self.is_probed(place) && failing.way.kind() != FailureKind::Rejected {
                return Err(format!("`{place}` may have had an effect that stands: the run should have halted"));
            }
        }
        self.kept(end)
    }

    /// A halt is for a non-compensable step whose effect is unknown: the one that was made to fail, or one that ran beside
    /// it and was cut short.
    fn halted(&self, end: &Halted) -> Result<(), String> {
        self.cause(&end.cause)?;
        if end.cause == Cause::SubjectGone {
            return Err("the subject is gone, there is nothing to halt for".to_owned());
        }
        if !self.step(&end.at).is_non_compensable() {
            return Err(format!("`{}` is no step to halt at", end.at));
        }
        let failed = self
            .actions()
            .any(|(failing, place)| *place == end.at && (self.crashed || failing.way.kind() != FailureKind::Rejected));
        let beside = |place: &Place| *place != end.at && !self.are_in_line(self.index(place), self.index(&end.at));
        if failed
            || self.cancelled
            || self.deadline
            || self.holds_up_waits()
            || self.actions().any(|(_, place)| beside(place))
        {
            return Ok(());
        }
        Err(format!("there is no reason to halt at `{}`", end.at))
    }

    fn stuck(&self, end: &Stuck) -> Result<(), String> {
        self.cause(&end.cause)?;
        let stuck_at = |why: &Left| matches!(why, Left::UndoFailed { .. } | Left::Unfinished { error: Some(_) });
        let left: Vec<_> = end.residue.iter().filter(|left| stuck_at(&left.why)).collect();
        if let Some(left) = left.iter().find(|left| !self.spent().any(|place| *place == left.place)) {
            return Err(format!("`{}` failed of itself: {}", left.place, left.why));
        }
        match self.spent().find(|place| !left.iter().any(|left| left.place == **place)) {
            Some(place) => Err(format!("`{place}` is left, and the residue does not say so")),
            None => Ok(()),
        }
    }

    /// What is kept lies between what the forecast keeps if nothing else has started and what it keeps if all else has.
    fn kept(&self, end: &RolledBack) -> Result<(), String> {
        let mut actions = self.actions();
        let (Some((failing, place)), None) = (actions.next(), actions.next()) else { return Ok(()) };
        // Some of the items of a non-compensable fan-out may stand while others have failed; the forecast takes it as one.
        if place.item.is_some() && self.step(place).is_non_compensable() {
            return Ok(());
        }
        let step = self.index(place);
        let rows: Vec<&ForecastRow> = match failing.way.kind() {
            FailureKind::Rejected if !self.crashed => vec![self.forecasts.no_effect(step)],
            _ => vec![self.forecasts.effect_unknown(step), self.forecasts.no_effect(step)],
        };
        let names = |end: &Aftermath| -> BTreeSet<StepName> { end.kept.iter().chain(&end.finished).cloned().collect() };
        let rows = || rows.iter().filter(|row| row.early.end == ForecastEnd::RolledBack);
        let most: BTreeSet<_> = rows().flat_map(|row| names(row.late.as_ref().unwrap_or(&row.early))).collect();
        let least = rows().map(|row| names(&row.early)).reduce(|a, b| &a & &b).unwrap_or_default();
        let kept: BTreeSet<StepName> = end.kept.iter().map(|place| place.step.clone()).collect();
        if let Some(step) = kept.difference(&most).next() {
            return Err(format!("`{step}` is kept, and the forecast says that it is not"));
        }
        match least.difference(&kept).next() {
            Some(step) => Err(format!("`{step}` is not kept, and the forecast says that it is")),
            None => Ok(()),
        }
    }

    fn are_in_line(&self, a: StepIndex, b: StepIndex) -> bool {
        is_built_on(self.plan, a, b) || is_built_on(self.plan, b, a)
    }
}

/// Whether one step comes after another, directly or not.
pub(super) fn is_built_on(plan: &Plan, step: StepIndex, on: StepIndex) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = vec![step];
    while let Some(next) = todo.pop() {
        if next == on && next != step {
            return true;
        }
        todo.extend(plan.step(next).deps.iter().filter(|dep| seen.insert(**dep)));
    }
    false
}
