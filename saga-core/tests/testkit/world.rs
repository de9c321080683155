//! A world of things that are made and unmade under keys.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::testkit::{Effects, FailedPoint, Kit, Report, World};
use saga_core::{Builder, Ctx, Handle, Saga, StepError, Undo};

#[derive(Clone, Default)]
pub(crate) struct Cloud {
    pub(crate) effects: Effects,
    /// What the actions want to remember from one process to the next.
    pub(crate) said: Arc<Mutex<BTreeSet<String>>>,
}

impl World for Cloud {
    type App = Cloud;

    fn app(&self) -> Cloud {
        self.clone()
    }
}

impl Cloud {
    pub(crate) fn say(&self, what: impl Into<String>) -> bool {
        self.said.lock().unwrap().insert(what.into())
    }

    /// What the run acts on is gone.
    pub(crate) fn lose(&self) {
        self.say("gone");
    }

    pub(crate) fn has_said(&self, what: &str) -> bool {
        self.said.lock().unwrap().contains(what)
    }
}

/// A call over a network: it is under way for a while, before and after it has its effect.
pub(crate) async fn call() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Makes a thing under its key.
pub(crate) async fn make(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
    call().await;
    ctx.effects.make(ctx.idempotency_key());
    call().await;
    Ok(n + 1)
}

/// Unmakes what is there under the key, whatever came of the action.
pub(crate) async fn unmake<In, Out>(ctx: Ctx<Cloud>, _: Undo<In, Out>) -> Result<(), StepError> {
    call().await;
    ctx.effects.unmake(ctx.idempotency_key());
    call().await;
    Ok(())
}

/// A kit that asks whether the world is as the outcome says.
pub(crate) fn kit(saga: &Saga<Cloud, u32, u32>) -> Kit<Cloud, u32, u32> {
    Kit::new(saga, || 3, Cloud::default).check(|cloud: &Cloud, outcome| cloud.effects.agree_with(outcome))
}

/// `first` and `last` are right; what is between is not.
pub(crate) fn around<F>(middle: F) -> Saga<Cloud, u32, u32>
where
    F: FnOnce(&mut Builder<Cloud, u32>, Handle<u32>) -> Handle<u32>,
{
    let mut saga = Saga::<Cloud, u32>::builder("planted", 1);
    let input = saga.input();
    let first = saga.step("first", input, make).compensate(unmake);
    let middle = middle(&mut saga, first);
    let last = saga.step("last", middle, make).compensate(unmake);
    saga.build(last).unwrap()
}

pub(crate) fn names(report: &Report) -> Vec<&str> {
    report.failures().iter().map(|failed| failed.point.as_str()).collect()
}

pub(crate) fn point<'r>(report: &'r Report, name: &str) -> &'r FailedPoint {
    let found = report.failures().iter().find(|failed| failed.point == name);
    found.unwrap_or_else(|| panic!("{name:?} is not among the failed points:\n{report}"))
}

/// What is wrong at a point: one of its lines begins so.
pub(crate) fn assert_wrong(report: &Report, name: &str, begins: &str) {
    let point = point(report, name);
    assert!(point.wrong.iter().any(|wrong| wrong.starts_with(begins)), "{point:?}");
}
