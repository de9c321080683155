//! A run that is told what happens to it, line by line, and tells what follows.
//!
//! Each line of a story is one turn, that is one append: first what was seen, then what the machine decided.

use std::time::Duration;

use saga_core::journal::{Event, ProbeAnswer, Record, Rest, Verb};
use saga_core::machine::{Command, NotAllowed, Observation, State, decide, evolve, observe, operate, outcome, replay};
use saga_core::plan::{Plan, Shape};
use saga_core::{Actor, Cause, Epoch, FailureKind, ItemRef, Outcome, Payload, Seq, Timestamp, WorkerId};

use super::draft::Draft;
use super::sim::{failure, output, run_started};

pub struct Story {
    plan: Plan,
    state: State,
    now: Timestamp,
    journal: Vec<Record>,
    lines: Vec<String>,
}

impl Story {
    pub fn of(draft: Draft) -> Self {
        Self::with(draft, 0, None)
    }

    /// A run whose input is a list, for the fan-outs over it, and that may have a deadline.
    pub fn with(draft: Draft, input: usize, deadline: Option<u64>) -> Self {
        let plan = draft.plan();
        let state = State::new(&plan);
        let mut story = Self { plan, state, now: Timestamp(0), journal: Vec::new(), lines: Vec::new() };
        story.turn(run_started(&story.plan, output(input), deadline.map(Timestamp)));
        story
    }

    fn turn(&mut self, event: Event) {
        evolve(&self.plan, &mut self.state, self.now, &event).unwrap();
        self.decide(vec![event]);
    }

    fn decide(&mut self, mut events: Vec<Event>) {
        let decision = decide(&self.plan, &mut self.state, self.now).unwrap();
        events.extend(decision.append);
        let mut line: Vec<String> = events.iter().filter_map(|event| self.tell(event)).collect();
        line.extend(decision.then.iter().filter_map(|command| match command {
            Command::Probe { of } => Some(format!("did {} happen?", self.name(*of))),
            Command::AskGuard => Some("is the subject there?".to_owned()),
            Command::Finalize => Some("tell the finalizer".to_owned()),
            Command::Run { .. } | Command::Undo { .. } => None,
        }));
        self.lines.push(line.join(" | "));
        for event in events {
            self.journal.push(Record { seq: Seq(self.journal.len() as u64 + 1), at: self.now, event });
        }
    }

    fn see(mut self, seen: Observation) -> Self {
        let event = observe(&self.plan, &self.state, seen.clone(), self.now, 0.0);
        self.turn(event.unwrap_or_else(|| panic!("{seen:?} is of no consequence\n{}", self.lines.join("\n"))));
        self
    }

    /// `name` or `name[item]`.
    fn item(&self, name: &str) -> ItemRef {
        let (step, item) = match name.split_once('[') {
            Some((step, item)) => (step, item.trim_end_matches(']').parse().unwrap()),
            None => (name, 0),
        };
        ItemRef::new(self.plan.find(step).unwrap(), item)
    }

    fn name(&self, of: ItemRef) -> String {
        let step = self.plan.step(of.step);
        match step.shape {
            Shape::Single => step.name.to_string(),
            Shape::Each { .. } => format!("{}[{}]", step.name, of.item),
        }
    }

    fn attempt(&self, of: ItemRef) -> u32 {
        let starts = self.journal.iter().filter(|record| match &record.event {
            Event::StepStarted { step, items: None, .. } => ItemRef::new(*step, 0) == of,
            Event::AttemptStarted { of: started, .. } => *started == of,
            _ => false,
        });
        u32::try_from(starts.count()).unwrap()
    }

    fn undo_attempt(&self, of: ItemRef) -> u32 {
        let undo = |record: &&Record| matches!(&record.event, Event::UndoStarted { of: item, .. } if *item == of);
        u32::try_from(self.journal.iter().filter(undo).count()).unwrap()
    }

    pub fn done(self, name: &str) -> Self {
        let of = self.item(name);
        let attempt = self.attempt(of);
        self.see(Observation::Attempt { of, attempt, result: Ok(output(1)) })
    }

    pub fn fails(self, name: &str, kind: FailureKind) -> Self {
        let of = self.item(name);
        let attempt = self.attempt(of);
        self.see(Observation::Attempt { of, attempt, result: Err((failure(kind), None)) })
    }

    pub fn undone(self, name: &str) -> Self {
        let of = self.item(name);
        let attempt = self.undo_attempt(of);
        self.see(Observation::Undo { of, attempt, result: Ok(()) })
    }

    pub fn undo_fails(self, name: &str) -> Self {
        let of = self.item(name);
        let attempt = self.undo_attempt(of);
        self.see(Observation::Undo { of, attempt, result: Err((failure(FailureKind::Failed), None)) })
    }

    pub fn answer(self, name: &str, answer: ProbeAnswer) -> Self {
        let of = self.item(name);
        self.see(Observation::Probe { of, answer })
    }

    pub fn happened(self, name: &str) -> Self {
        self.answer(name, ProbeAnswer::Done(output(1)))
    }

    pub fn guard(self, gone: bool) -> Self {
        self.see(Observation::Guard { gone })
    }

    pub fn subject_gone(self) -> Self {
        self.see(Observation::SubjectGone)
    }

    pub fn cancelled(self) -> Self {
        self.see(Observation::Cancel { by: Actor::new("user", "changed their mind") })
    }

    pub fn told(self) -> Self {
        self.see(Observation::Finalizer { result: Ok(()) })
    }

    pub fn finalizer_fails(self) -> Self {
        self.see(Observation::Finalizer { result: Err((failure(FailureKind::Failed), None)) })
    }

    /// Something is seen that is of no consequence.
    #[track_caller]
    pub fn ignores(self, seen: Observation) -> Self {
        assert_eq!(observe(&self.plan, &self.state, seen, self.now, 0.0), None);
        self
    }

    /// That event cannot have happened now.
    #[track_caller]
    pub fn refuses(self, event: Event, why: &str) -> Self {
        let refused = evolve(&self.plan, &mut self.state.clone(), self.now, &event);
        assert_eq!(refused.map_err(|error| error.why), Err(why), "{event:?}\n{}", self.lines.join("\n"));
        self
    }

    /// An operator may not do that now.
    #[track_caller]
    pub fn forbids(self, verb: Verb, why: NotAllowed) -> Self {
        let operated = operate(&self.state, verb, Actor::new("operator", "in a hurry"));
        assert_eq!(operated, Err(why), "{}", self.lines.join("\n"));
        self
    }

    pub fn crash(mut self) -> Self {
        self.state = State::new(&self.plan);
        replay(&self.plan, &mut self.state, &self.journal).unwrap();
        self.see(Observation::Resumed { epoch: Epoch(2), worker: WorkerId::new("another").unwrap() })
    }

    /// Another release takes the run up, with other policies.
    pub fn upgraded(mut self, draft: Draft) -> Self {
        self.plan = draft.plan();
        self.crash()
    }

    pub fn operator(mut self, verb: Verb) -> Self {
        let event = operate(&self.state, verb, Actor::new("operator", "looked into it")).unwrap();
        self.turn(event);
        self
    }

    pub fn skips(self, name: &str, output: Option<Payload>) -> Self {
        let of = self.item(name);
        self.operator(Verb::Skip { of, output })
    }

    pub fn later(mut self, millis: u64) -> Self {
        self.now = self.now.plus(Duration::from_millis(millis));
        self.decide(Vec::new());
        self
    }

    /// Time passes, but nobody looks at the run until something happens to it.
    pub fn unnoticed(mut self, millis: u64) -> Self {
        self.now = self.now.plus(Duration::from_millis(millis));
        self
    }

    /// Compares the story as it was told, line for line, and what was kept or left behind in the end.
    #[track_caller]
    pub fn reads(self, expected: &str, left: &[&str]) {
        let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
        assert!(self.lines == expected, "the story is\n{}", self.lines.join("\n"));
        let end = outcome(&self.plan, &self.state);
        let found: Vec<String> = match &end {
            Some(Outcome::RolledBack(end)) => end.kept.iter().map(ToString::to_string).collect(),
            Some(end) => end.residue().iter().map(|left| format!("{}: {}", left.place, left.why)).collect(),
            None => Vec::new(),
        };
        assert_eq!(found, left);
    }

    /// Compares what a run that rests stuck says of what stands by right.
    #[track_caller]
    pub fn keeps(self, expected: &[&str]) -> Self {
        let Some(Outcome::Stuck(end)) = outcome(&self.plan, &self.state) else { panic!("it is not stuck") };
        let kept: Vec<String> = end.kept.iter().map(ToString::to_string).collect();
        assert_eq!(kept, expected);
        self
    }

    fn tell(&self, event: &Event) -> Option<String> {
        let again = |retry_at: &Option<Timestamp>| match retry_at {
            Some(_) => ", to be tried again",
            None => "",
        };
        Some(match event {
            Event::RunStarted { .. } | Event::Checkpointed { .. } => return None,
            Event::Resumed { .. } => "crash".to_owned(),
            Event::StepStarted { name, items: None, .. } => format!("start {name}"),
            Event::StepStarted { name, items: Some(items), .. } => format!("{name} has {items} items"),
            Event::AttemptStarted { of, attempt: 1 } => format!("start {}", self.name(*of)),
            Event::AttemptStarted { of, .. } => format!("try {} again", self.name(*of)),
            Event::AttemptFailed { of, retry_at, .. } => format!("{} failed{}", self.name(*of), again(retry_at)),
            Event::Probed { of, answer } => match answer {
                ProbeAnswer::Done(_) => format!("{} did happen", self.name(*of)),
                ProbeAnswer::NotDone => format!("{} did not happen", self.name(*of)),
                ProbeAnswer::Unknown => format!("who knows if {} happened", self.name(*of)),
            },
            Event::Succeeded { of, .. } => format!("{} done", self.name(*of)),
            Event::AbortBegan { cause } => match cause {
                Cause::StepFailed { step, .. } => format!("abort: {step} failed"),
                Cause::Cancelled { .. } => "abort: cancelled".to_owned(),
                Cause::DeadlinePassed => "abort: too late".to_owned(),
                _ => "abort: subject gone".to_owned(),
            },
            Event::SubjectChecked { gone: true } => "the subject is gone".to_owned(),
            Event::SubjectChecked { gone: false } => "the subject is there".to_owned(),
            Event::RollbackBegan => "roll back".to_owned(),
            Event::UndoStarted { of, .. } => format!("undo {}", self.name(*of)),
            Event::UndoFailed { of, retry_at, .. } => format!("undo of {} failed{}", self.name(*of), again(retry_at)),
            Event::Undone { of } => format!("{} undone", self.name(*of)),
            Event::Rested { rest } => match rest {
                Rest::Completed => "COMPLETED".to_owned(),
                Rest::RolledBack => "ROLLED BACK".to_owned(),
                Rest::Halted { at, .. } => format!("HALTED at {}", self.name(*at)),
                Rest::Stuck => "STUCK".to_owned(),
                Rest::Abandoned { .. } => "ABANDONED".to_owned(),
            },
            Event::FinalizerFailed { .. } => "the finalizer failed".to_owned(),
            Event::Finalized => "the finalizer knows".to_owned(),
            Event::Operated { verb, .. } => format!("operator: {verb}"),
        })
    }
}
