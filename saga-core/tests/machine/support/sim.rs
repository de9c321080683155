//! A run of a random saga in a random world, from its start until it ends or rests for good.

use std::fmt;
use std::time::Duration;

use saga_core::journal::{Event, ProbeAnswer, Record, Verb};
use saga_core::machine::{Command, ItemPhase, Observation, Phase, State, decide, evolve, observe, operate, replay};
use saga_core::plan::Plan;
use saga_core::{
    Actor, Cause, Epoch, Failure, FailureKind, FailureOrigin, ItemRef, Payload, Seq, StepIndex, Timestamp, WorkerId,
};

use super::Check;
use super::draft::Draft;
use super::ledger::Ledger;
use super::tape::Tape;
use super::world::World;

/// What was appended at one time, and how things stood then.
pub struct Turn {
    pub at: Timestamp,
    /// The length of the journal before and after it.
    pub from: usize,
    pub to: usize,
    /// The commands that were given.
    pub then: Vec<Command>,
    /// All commands that were given and have not ended.
    pub outstanding: Vec<Command>,
    pub state: State,
}

/// All that happened in a run.
pub struct History {
    pub draft: Draft,
    pub plan: Plan,
    pub journal: Vec<Record>,
    pub turns: Vec<Turn>,
    pub state: State,
    pub world: World,
    /// The run waited for nothing that could ever come.
    pub hung: bool,
    /// Observations that came late or twice and made an event all the same.
    pub believed: Vec<Observation>,
}

/// How much goes wrong in a run, in percent.
struct Mood {
    fails: u32,
    undo_fails: u32,
    crash: u32,
    lost: u32,
    batch: u32,
    meddle: u32,
}

enum Input {
    Seen(Observation),
    Operated(Event),
}

struct Sim<'t> {
    tape: &'t mut Tape,
    mood: Mood,
    now: Timestamp,
    epoch: Epoch,
    outstanding: Vec<Command>,
    stale: Vec<Observation>,
    acts: u32,
    it: History,
}

pub fn failure(kind: FailureKind) -> Failure {
    Failure { kind, origin: FailureOrigin::Returned, message: "no luck".to_owned() }
}

/// A list, so that any step's output can be the input of a fan-out.
pub fn output(items: usize) -> Payload {
    Payload::encode(&(0..items).collect::<Vec<_>>()).unwrap()
}

pub fn run_started(plan: &Plan, input: Payload, deadline: Option<Timestamp>) -> Event {
    Event::RunStarted {
        saga: plan.saga().clone(),
        version: plan.version(),
        fingerprint: plan.fingerprint(),
        input,
        key: None,
        deadline,
    }
}

impl History {
    pub fn random(tape: &mut Tape) -> Result<Self, String> {
        let draft = Draft::random(tape);
        Self::of(draft, tape)
    }

    pub fn of(draft: Draft, tape: &mut Tape) -> Result<Self, String> {
        let plan = draft.clone().plan();
        let state = State::new(&plan);
        let mood = Mood {
            fails: tape.pick(&[0, 10, 20, 40]),
            undo_fails: tape.pick(&[0, 20, 60]),
            crash: tape.pick(&[0, 2, 8]),
            lost: tape.pick(&[0, 0, 5]),
            batch: tape.pick(&[0, 20]),
            meddle: tape.pick(&[0, 4, 12]),
        };
        let it = History {
            draft,
            plan,
            journal: Vec::new(),
            turns: Vec::new(),
            state,
            world: World::default(),
            hung: false,
            believed: Vec::new(),
        };
        let mut sim = Sim {
            tape,
            mood,
            now: Timestamp(1_000),
            epoch: Epoch::FIRST,
            outstanding: Vec::new(),
            stale: Vec::new(),
            acts: 0,
            it,
        };
        match sim.live() {
            Ok(()) => Ok(sim.it),
            Err(why) => Err(format!("{why}\n{}", sim.it)),
        }
    }

    /// Shows each event to `check`, with what was known before it.
    pub fn walk(&self, mut check: impl FnMut(&Ledger<'_>, &Event) -> Check) -> Check {
        let mut ledger = Ledger::new(&self.plan);
        for record in &self.journal {
            check(&ledger, &record.event).map_err(|why| format!("event {}: {why}", record.seq))?;
            ledger.add(&record.event);
        }
        Ok(())
    }

    /// What is known after the last event.
    pub fn ledger(&self) -> Ledger<'_> {
        let mut ledger = Ledger::new(&self.plan);
        self.journal.iter().for_each(|record| ledger.add(&record.event));
        ledger
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.journal.iter().map(|record| &record.event)
    }
}

impl Sim<'_> {
    fn live(&mut self) -> Check {
        let deadline =
            self.tape.chance(20).then(|| self.now.plus(Duration::from_millis(self.tape.next() as u64 % 200)));
        let input = output(self.tape.below(5));
        let started = run_started(&self.it.plan, input, deadline);
        self.turn(vec![Input::Operated(started)])?;
        for _ in 0..4_000 {
            if !self.step()? {
                return Ok(());
            }
        }
        Err("the run does not come to an end".to_owned())
    }

    /// Lets something happen; `false` when nothing will ever again.
    fn step(&mut self) -> Result<bool, String> {
        if self.it.state.phase() == Phase::Ended {
            return Ok(false);
        }
        if self.tape.chance(self.mood.crash) {
            self.crash()?;
            return Ok(true);
        }
        if self.it.state.phase() == Phase::Resting {
            return self.operator();
        }
        if self.tape.chance(self.mood.meddle) {
            return self.meddle().map(|()| true);
        }
        if self.tape.chance(10) {
            self.now = self.now.plus(Duration::from_millis(self.tape.next() as u64 % 60));
            return self.turn(Vec::new()).map(|()| true);
        }
        if self.outstanding.is_empty() {
            let Some(wake) = self.it.state.next_wake() else {
                self.it.hung = true;
                return Ok(false);
            };
            self.now = self.now.max(wake);
            return self.turn(Vec::new()).map(|()| true);
        }
        let mut seen = Vec::new();
        for _ in 0..if self.tape.chance(self.mood.batch) { 3 } else { 1 } {
            if !self.outstanding.is_empty() {
                let at = self.tape.below(self.outstanding.len());
                let command = self.outstanding.remove(at);
                seen.extend(self.finish(&command).into_iter().map(Input::Seen));
            }
        }
        self.now = self.now.plus(Duration::from_millis(self.tape.next() as u64 % 5));
        self.turn(seen)?;
        Ok(true)
    }

    /// One turn: what came in is judged and folded, and what follows is decided, appended and done.
    fn turn(&mut self, inputs: Vec<Input>) -> Check {
        let may_be_lost = !self.it.journal.is_empty() && inputs.iter().all(|input| matches!(input, Input::Seen(_)));
        let (plan, state, now) = (&self.it.plan, &mut self.it.state, self.now);
        let mut events = Vec::new();
        for input in inputs {
            let event = match input {
                Input::Operated(event) => Some(event),
                Input::Seen(seen) => observe(plan, state, seen, now, f64::from(self.tape.next() % 100) / 100.0),
            };
            if let Some(event) = event {
                evolve(plan, state, now, &event).map_err(|error| error.to_string())?;
                events.push(event);
            }
        }
        let decision = decide(plan, state, now).map_err(|error| error.to_string())?;
        events.extend(decision.append);
        if may_be_lost && self.tape.chance(self.mood.lost) {
            return self.crash();
        }
        let from = self.it.journal.len();
        for event in events {
            let seq = Seq(self.it.journal.len() as u64 + 1);
            self.it.journal.push(Record { seq, at: now, event });
        }
        self.outstanding.extend(decision.then.iter().cloned());
        if self.it.journal.len() > from || !decision.then.is_empty() {
            self.it.turns.push(Turn {
                at: now,
                from,
                to: self.it.journal.len(),
                then: decision.then,
                outstanding: self.outstanding.clone(),
                state: self.it.state.clone(),
            });
        }
        Ok(())
    }

    /// The process dies. What it had begun may have happened or not, and whether it did nobody is told; or too late.
    fn crash(&mut self) -> Check {
        for command in std::mem::take(&mut self.outstanding) {
            match command {
                Command::Run { of, attempt } => {
                    if self.tape.chance(50) {
                        self.it.world.make(of);
                    }
                    self.stale.push(Observation::Attempt { of, attempt, result: Ok(output(1)) });
                }
                Command::Undo { of, attempt } => {
                    if self.tape.chance(50) {
                        self.it.world.unmake(of);
                    }
                    self.stale.push(Observation::Undo { of, attempt, result: Ok(()) });
                }
                Command::Probe { .. } | Command::AskGuard | Command::Finalize => {}
            }
        }
        let mut state = State::new(&self.it.plan);
        replay(&self.it.plan, &mut state, &self.it.journal).map_err(|error| error.to_string())?;
        self.it.state = state;
        self.epoch = self.epoch.next();
        self.now = self.now.plus(Duration::from_millis(self.tape.next() as u64 % 40));
        let worker = WorkerId::new("another").unwrap();
        self.turn(vec![Input::Seen(Observation::Resumed { epoch: self.epoch, worker })])
    }

    /// Something comes from the side.
    fn meddle(&mut self) -> Check {
        let by = Actor::new("someone", "changed their mind");
        match self.tape.below(5) {
            0 if self.it.plan.is_guarded() => self.it.world.gone = true,
            1 => return self.turn(vec![Input::Seen(Observation::Cancel { by })]),
            2 if self.it.plan.is_guarded() && self.it.world.gone && !self.outstanding.is_empty() => {
                // An action noticed it in its wait. Whoever asked the guard need not wait for that any more.
                self.outstanding.retain(|command| *command != Command::AskGuard);
                return self.turn(vec![Input::Seen(Observation::SubjectGone)]);
            }
            3 if !self.stale.is_empty() => {
                let late = self.stale[self.tape.below(self.stale.len())].clone();
                if observe(&self.it.plan, &self.it.state, late.clone(), self.now, 0.0).is_some() {
                    self.it.believed.push(late);
                }
            }
            _ => {
                let running: Vec<ItemRef> = self.outstanding.iter().filter_map(running).collect();
                if !running.is_empty() {
                    let of = self.tape.pick(&running);
                    let value = output(self.tape.below(3));
                    return self.turn(vec![Input::Seen(Observation::Checkpoint { of, value })]);
                }
            }
        }
        Ok(())
    }

    /// A command comes to its end: the world changes, or not, and something is reported.
    fn finish(&mut self, command: &Command) -> Option<Observation> {
        let kinds = [FailureKind::Failed, FailureKind::Failed, FailureKind::Fatal, FailureKind::Rejected];
        let seen = match *command {
            Command::Run { of, attempt } => {
                let result = if self.tape.chance(self.mood.fails) {
                    let kind = self.tape.pick(&kinds);
                    if kind != FailureKind::Rejected && self.tape.chance(50) {
                        self.it.world.make(of);
                    }
                    Err((failure(kind), self.tape.chance(20).then(|| Duration::from_millis(30))))
                } else {
                    self.it.world.make(of);
                    Ok(output(self.tape.below(5)))
                };
                Observation::Attempt { of, attempt, result }
            }
            Command::Probe { of } => {
                let answer = match (self.tape.chance(30), self.it.world.fact(of).exists) {
                    (true, _) => ProbeAnswer::Unknown,
                    (false, true) => ProbeAnswer::Done(output(self.tape.below(5))),
                    (false, false) => ProbeAnswer::NotDone,
                };
                return Some(Observation::Probe { of, answer });
            }
            Command::Undo { of, attempt } => {
                let result = if self.tape.chance(self.mood.undo_fails) {
                    if self.tape.chance(30) {
                        self.it.world.unmake(of);
                    }
                    Err((failure(self.tape.pick(&kinds)), None))
                } else {
                    self.it.world.unmake(of);
                    Ok(())
                };
                Observation::Undo { of, attempt, result }
            }
            Command::AskGuard => {
                // What makes actions fail is, now and then, that their subject has vanished.
                self.it.world.gone |= self.tape.chance(25);
                return Some(Observation::Guard { gone: self.it.world.gone });
            }
            Command::Finalize => {
                if self.tape.chance(20) {
                    return Some(Observation::Finalizer { result: Err((failure(FailureKind::Failed), None)) });
                }
                self.it.world.told += 1;
                return Some(Observation::Finalizer { result: Ok(()) });
            }
        };
        self.stale.push(seen.clone());
        Some(seen)
    }

    /// Somebody looks after a resting run.
    fn operator(&mut self) -> Result<bool, String> {
        self.acts += 1;
        if self.acts > 8 || self.tape.is_blank() {
            return Ok(false);
        }
        let by = Actor::new("operator", "looked into it");
        let verb = match self.tape.below(5) {
            0 | 1 => Verb::Retry,
            2 => {
                let phase = |of: ItemRef| self.it.state.item_phase(of);
                let skippable: Vec<ItemRef> = self
                    .all_items()
                    .filter(|of| matches!(phase(*of), Some(ItemPhase::Failed | ItemPhase::UndoFailed)))
                    .collect();
                if skippable.is_empty() {
                    return Ok(true);
                }
                let of = self.tape.pick(&skippable);
                let output = (phase(of) == Some(ItemPhase::Failed)).then(|| output(1));
                Verb::Skip { of, output }
            }
            3 => Verb::RollBack,
            _ => Verb::Abandon,
        };
        let Ok(event) = operate(&self.it.state, verb.clone(), by) else { return Ok(true) };
        if let Verb::Skip { of, output } = verb {
            match (output, self.it.world.fact(of).exists) {
                (Some(_), false) => self.it.world.make(of),
                (None, true) => self.it.world.unmake(of),
                _ => {}
            }
        }
        self.turn(vec![Input::Operated(event)])?;
        Ok(true)
    }

    fn all_items(&self) -> impl Iterator<Item = ItemRef> {
        let steps = u32::try_from(self.it.plan.steps().len()).unwrap();
        (0..steps).map(StepIndex).flat_map(|step| (0..self.it.state.items(step)).map(move |i| ItemRef::new(step, i)))
    }
}

fn running(command: &Command) -> Option<ItemRef> {
    match command {
        Command::Run { of, .. } => Some(*of),
        _ => None,
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "guarded: {}, finalized: {}", self.plan.is_guarded(), self.plan.is_finalized())?;
        for step in self.plan.steps() {
            let (name, shape, deps) = (&step.name, step.shape, &step.deps);
            writeln!(f, "step {name} {:?} {shape:?} after {deps:?} probed: {}", step.recovery, step.probed)?;
        }
        for Record { seq, at, event } in &self.journal {
            let text = match event {
                Event::RunStarted { input, deadline, .. } => format!("run started {input} {deadline:?}"),
                Event::AbortBegan { cause: Cause::StepFailed { step, .. } } => format!("abort: {step} failed"),
                other => format!("{other:?}"),
            };
            writeln!(f, "{seq} @{} {text}", at.0)?;
        }
        writeln!(f, "now {:?}, world {:?}", self.state.phase(), self.world)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
