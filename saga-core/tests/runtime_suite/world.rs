//! A world that sagas act on, which remembers what was done to it.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use saga_core::store::MemoryStore;
use saga_core::{Actor, Coordinator, Ctx, Outcome, Saga, StartOptions, StepError, Undo};
use tokio::sync::watch;

/// Clones are one world, which outlives every coordinator.
#[derive(Default, Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    notes: Mutex<Vec<String>>,
    /// What exists, by idempotency key, and how often each was really made.
    things: Mutex<BTreeMap<String, u32>>,
    signals: watch::Sender<BTreeSet<String>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { notes: Mutex::default(), things: Mutex::default(), signals: watch::Sender::new(BTreeSet::new()) }
    }
}

impl World {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.notes.lock().unwrap().push(what.into());
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.0.notes.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.notes().iter().filter(|note| *note == what).count()
    }

    /// Makes the thing of that key, unless it exists.
    pub(crate) fn make(&self, key: impl Into<String>) {
        *self.0.things.lock().unwrap().entry(key.into()).or_default() += 1;
    }

    pub(crate) fn kill(&self, key: &str) {
        self.0.things.lock().unwrap().remove(key);
    }

    pub(crate) fn exists(&self, key: &str) -> bool {
        self.0.things.lock().unwrap().contains_key(key)
    }

    pub(crate) fn things(&self) -> Vec<String> {
        self.0.things.lock().unwrap().keys().cloned().collect()
    }

    /// Raises a signal; it stays raised.
    pub(crate) fn raise(&self, signal: &str) {
        self.0.signals.send_modify(|signals| _ = signals.insert(signal.to_owned()));
    }

    pub(crate) fn lower(&self, signal: &str) {
        self.0.signals.send_modify(|signals| _ = signals.remove(signal));
    }

    pub(crate) fn is_raised(&self, signal: &str) -> bool {
        self.0.signals.borrow().contains(signal)
    }

    /// Waits until a signal is raised.
    pub(crate) async fn raised(&self, signal: &str) {
        let mut signals = self.0.signals.subscribe();
        signals.wait_for(|signals| signals.contains(signal)).await.unwrap();
    }
}

pub(crate) fn ada() -> Actor {
    Actor::new("ada", "because")
}

pub(crate) fn id(id: &str) -> StartOptions {
    StartOptions::new().id(id.parse().unwrap())
}

pub(crate) async fn coordinator<In, Out>(
    store: &MemoryStore,
    world: &World,
    saga: &Saga<World, In, Out>,
) -> Coordinator<World> {
    Coordinator::builder(store.clone(), world.clone()).register(saga).start().await.unwrap()
}

/// Makes a thing under its key.
pub(crate) async fn make(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.note(format!("do {}", ctx.step()));
    ctx.make(ctx.idempotency_key());
    Ok(n + 1)
}

/// Undoes [`make`], whatever came of it.
pub(crate) async fn unmake<In, Out>(ctx: Ctx<World>, _: Undo<In, Out>) -> Result<(), StepError> {
    ctx.note(format!("undo {}", ctx.step()));
    ctx.kill(&ctx.idempotency_key());
    Ok(())
}

/// Fails, having done nothing.
pub(crate) async fn reject(ctx: Ctx<World>, _: u32) -> Result<u32, StepError> {
    ctx.note(format!("reject {}", ctx.step()));
    Err(StepError::rejected("no"))
}

/// Says that it is there (`<step> began`), then waits for `<step> may end`, or for its cancellation.
pub(crate) async fn gated(ctx: Ctx<World>, n: u32) -> Result<u32, StepError> {
    ctx.note(format!("do {}", ctx.step()));
    ctx.make(ctx.idempotency_key());
    ctx.raise(&format!("{} began", ctx.step()));
    let gate = format!("{} may end", ctx.step());
    tokio::select! {
        () = ctx.raised(&gate) => Ok(n + 1),
        () = ctx.cancelled() => Err(StepError::failed("cancelled")),
    }
}

/// `n` steps in a row.
pub(crate) fn chain(n: usize) -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("chain", 1);
    let mut last = saga.input();
    for i in 0..n {
        last = saga.step(format!("s{i}"), last, make).compensate(unmake);
    }
    saga.build(last).unwrap()
}

/// One step that waits at a gate.
pub(crate) fn gate() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("gate", 1);
    let input = saga.input();
    let a = saga.step("a", input, gated).compensate(unmake);
    let b = saga.step("b", a, make).compensate(unmake);
    saga.build(b).unwrap()
}

pub(crate) fn rolled_back<T>(outcome: Outcome<T>) -> saga_core::RolledBack {
    match outcome {
        Outcome::RolledBack(end) => end,
        other => panic!("not rolled back: {other}"),
    }
}
