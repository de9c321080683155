//! A run without a world: the machine is shown a failure and then nothing but success.

use std::collections::{BTreeSet, VecDeque};

use crate::forecast::{Aftermath, FailedAs, ForecastEnd};
use crate::id::{ItemRef, StepIndex, StepName, Timestamp};
use crate::journal::{Event, Failure, FailureKind, FailureOrigin, Rest};
use crate::machine::{Command, ItemPhase, Observation, State, decide, evolve, observe};
use crate::payload::Payload;
use crate::plan::{Plan, PlanParts, Recovery, Shape, StepParts};
use crate::policy::Retry;

/// A saga with everything taken away that makes no difference to a forecast: retries, probes, guard and finalizer, and
/// the number of items of a fan-out.
pub(super) struct Rehearsal {
    plan: Plan,
}

const NOW: Timestamp = Timestamp(0);

impl Rehearsal {
    pub(super) fn of(plan: &Plan) -> Self {
        let steps = plan.steps().iter().map(|step| StepParts {
            name: step.name.clone(),
            recovery: match step.recovery {
                Recovery::Compensable { .. } => Recovery::Compensable { undo_retry: Retry::never() },
                Recovery::Forward { .. } => Recovery::Forward { patience: Retry::never() },
                Recovery::ReadOnly => Recovery::ReadOnly,
                Recovery::NonCompensable => Recovery::NonCompensable,
            },
            shape: Shape::Single,
            input: step.input.clone(),
            after: step.deps.clone(),
            retry: Retry::never(),
            timeout: None,
            undo_timeout: None,
            probed: false,
        });
        let parts = PlanParts {
            saga: plan.saga().clone(),
            version: plan.version(),
            steps: steps.collect(),
            output: plan.output().clone(),
            guarded: false,
            finalized: false,
        };
        Self { plan: Plan::new(parts).expect("the same steps in the same order as in a plan") }
    }

    pub(super) fn ancestors(&self, step: StepIndex) -> BTreeSet<StepIndex> {
        reach(step, |at| &self.plan.step(at).deps)
    }

    /// Everything but a step and its descendants.
    pub(super) fn not_built_on(&self, step: StepIndex) -> BTreeSet<StepIndex> {
        let mut built_on = reach(step, |at| &self.plan.step(at).dependents);
        built_on.insert(step);
        self.plan.order().iter().copied().filter(|other| !built_on.contains(other)).collect()
    }

    /// Lets the steps of `before` succeed, then one step fail, and everything after that succeed again.
    ///
    /// # Panics
    ///
    /// If the machine refuses what it decided itself: that would be a fault of it.
    pub(super) fn failing(&self, step: StepIndex, failure: FailedAs, before: &BTreeSet<StepIndex>) -> Aftermath {
        let mut state = State::new(&self.plan);
        for event in self.way_to(step, failure, before) {
            self.fold(&mut state, &event);
        }
        let mut told = Told::default();
        let mut todo = VecDeque::new();
        loop {
            let decision = decide(&self.plan, &mut state, NOW).expect("the machine folds what it decides");
            decision.append.iter().for_each(|event| told.hear(event));
            // First come, first served: that gives the natural order.
            todo.extend(decision.then);
            let Some(next) = todo.pop_front() else { return self.aftermath(&state, told) };
            let seen = match next {
                Command::Run { of, attempt } => Observation::Attempt { of, attempt, result: Ok(Payload::null()) },
                Command::Undo { of, attempt } => Observation::Undo { of, attempt, result: Ok(()) },
                Command::Probe { .. } | Command::AskGuard | Command::Finalize => continue,
            };
            if let Some(event) = observe(&self.plan, &state, seen, NOW, 0.0) {
                told.hear(&event);
                self.fold(&mut state, &event);
            }
        }
    }

    fn way_to(&self, step: StepIndex, failure: FailedAs, before: &BTreeSet<StepIndex>) -> Vec<Event> {
        let start = |step: StepIndex| {
            let name = self.plan.step(step).name.clone();
            Event::StepStarted { step, name, items: None }
        };
        let mut events = vec![Event::RunStarted {
            saga: self.plan.saga().clone(),
            version: self.plan.version(),
            fingerprint: self.plan.fingerprint(),
            input: Payload::null(),
            key: None,
            deadline: None,
        }];
        for done in self.plan.order().iter().filter(|done| before.contains(done)) {
            let of = ItemRef::new(*done, 0);
            events.extend([start(*done), Event::Succeeded { of, output: Payload::null() }]);
        }
        let kind = match failure {
            FailedAs::EffectUnknown => FailureKind::Fatal,
            FailedAs::NoEffect => FailureKind::Rejected,
        };
        let error = Failure { kind, origin: FailureOrigin::Returned, message: String::new() };
        let of = ItemRef::new(step, 0);
        events.extend([start(step), Event::AttemptFailed { of, attempt: 1, error, retry_at: None }]);
        events
    }

    fn fold(&self, state: &mut State, event: &Event) {
        evolve(&self.plan, state, NOW, event).expect("steps succeed in their order");
    }

    fn aftermath(&self, state: &State, told: Told) -> Aftermath {
        let name = |step: &StepIndex| self.plan.step(*step).name.clone();
        let names = |steps: &[StepIndex]| -> Vec<StepName> { steps.iter().map(name).collect() };
        let stands = |step: &&StepIndex| {
            let of = ItemRef::new(**step, 0);
            let acts = self.plan.step(**step).recovery != Recovery::ReadOnly;
            acts && state.item_phase(of) == Some(ItemPhase::Succeeded) && !told.finished.contains(step)
        };
        let halted = matches!(state.rest(), Some(Rest::Halted { .. }));
        Aftermath {
            end: if halted { ForecastEnd::Halted } else { ForecastEnd::RolledBack },
            undone: names(&told.undone),
            finished: names(&told.finished),
            kept: self.plan.order().iter().filter(stands).map(name).collect(),
        }
    }
}

/// What the events after the failure say.
#[derive(Default)]
struct Told {
    undone: Vec<StepIndex>,
    finished: Vec<StepIndex>,
}

impl Told {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::UndoStarted { of, .. } => self.undone.push(of.step),
            Event::Succeeded { of, .. } => self.finished.push(of.step),
            _ => {}
        }
    }
}

fn reach<'a>(from: StepIndex, next: impl Fn(StepIndex) -> &'a Vec<StepIndex>) -> BTreeSet<StepIndex> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<StepIndex> = next(from).clone();
    while let Some(step) = todo.pop() {
        if found.insert(step) {
            todo.extend(next(step));
        }
    }
    found
}
