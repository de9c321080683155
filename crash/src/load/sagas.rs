//! The sagas of the load.

use std::time::Duration;

use saga_core::{BuildError, Builder, ClientBuilder, CoordinatorBuilder, Handle, Retry, Saga};

use super::act::{
    Made, ask, build, build_at_leisure, fail, gather, join, list, make, make_at_leisure, pivot, probed_pivot, tell,
    unmake,
};
use super::{Kind, Order};
use crate::world::World;

/// Two attempts can fail by chance.
const SOON: Retry = Retry::fixed(4, Duration::from_millis(10));
/// Two attempts can fail by chance, and others be cut short.
const UNDO_SOON: Retry = Retry::fixed(8, Duration::from_millis(10));

pub(crate) type Work = Saga<World, Order, Made>;

/// The sagas, by what is ordered.
#[derive(Debug, Clone)]
pub(crate) struct Sagas {
    linear: Work,
    diamond: Work,
    fan_out: Work,
    doomed: Work,
    slow: Work,
    halting: Work,
    probed: Work,
    forward: Work,
}

impl Sagas {
    pub(crate) fn build() -> Result<Self, BuildError> {
        Ok(Self {
            linear: linear()?,
            diamond: diamond()?,
            fan_out: fan_out()?,
            doomed: doomed()?,
            slow: slow()?,
            halting: halting()?,
            probed: probed()?,
            forward: forward()?,
        })
    }

    pub(crate) fn of(&self, kind: Kind) -> &Work {
        match kind {
            Kind::Linear => &self.linear,
            Kind::Diamond => &self.diamond,
            Kind::FanOut => &self.fan_out,
            Kind::Doomed => &self.doomed,
            Kind::Cancelled | Kind::Overdue => &self.slow,
            Kind::Halting => &self.halting,
            Kind::Probed => &self.probed,
            Kind::Forward => &self.forward,
        }
    }

    fn all(&self) -> [&Work; 8] {
        let Self { linear, diamond, fan_out, doomed, slow, halting, probed, forward } = self;
        [linear, diamond, fan_out, doomed, slow, halting, probed, forward]
    }

    pub(crate) fn register_with_client(&self, client: ClientBuilder<World>) -> ClientBuilder<World> {
        self.all().into_iter().fold(client, ClientBuilder::register)
    }

    pub(crate) fn register_with_worker(&self, worker: CoordinatorBuilder<World>) -> CoordinatorBuilder<World> {
        self.all().into_iter().fold(worker, CoordinatorBuilder::register)
    }
}

/// What is said of most steps.
fn first(saga: &mut Builder<World, Order>, name: &str, order: Handle<Order>) -> Handle<Made> {
    saga.step(name, order, make).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake)
}

fn next(saga: &mut Builder<World, Order>, name: &str, order: Handle<Order>, on: Handle<Made>) -> Handle<Made> {
    saga.step(name, (order, on), build).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake)
}

fn parts(saga: &mut Builder<World, Order>, order: Handle<Order>) -> Handle<Vec<Made>> {
    let listed = saga.step("list", order, list).retry(SOON).nothing_to_undo();
    saga.for_each("part", listed, make).concurrency(4).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake)
}

fn linear() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("linear", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let b = next(&mut saga, "b", order, a);
    let c = next(&mut saga, "c", order, b);
    let d = next(&mut saga, "d", order, c);
    saga.finally(tell);
    saga.build(d)
}

fn diamond() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("diamond", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let b = next(&mut saga, "b", order, a);
    let c = next(&mut saga, "c", order, a);
    let d = saga.step("d", (order, b, c), join).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake);
    saga.build(d)
}

fn fan_out() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("fan-out", 1);
    let order = saga.input();
    let parts = parts(&mut saga, order);
    let whole = saga.step("whole", (order, parts), gather).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake);
    saga.build(whole)
}

fn doomed() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("doomed", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let b = next(&mut saga, "b", order, a);
    let parts = parts(&mut saga, order);
    let c = saga.step("c", (order, parts), gather).after(a).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake);
    let end = saga.step("end", (order, b), fail).after(c).undo_retry(UNDO_SOON).compensate(unmake);
    saga.finally(tell);
    saga.build(end)
}

/// For clients that change their minds. Without a finalizer: so whoever is told that it was cancelled knows that it does
/// not complete.
fn slow() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("slow", 1);
    let order = saga.input();
    let mut last = saga.step("a", order, make_at_leisure).retry(SOON).undo_retry(UNDO_SOON).compensate(unmake);
    for name in ["b", "c", "d"] {
        let step = saga.step(name, (order, last), build_at_leisure).retry(SOON);
        last = step.undo_retry(UNDO_SOON).compensate(unmake);
    }
    saga.build(last)
}

fn halting() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("halting", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let _beside = next(&mut saga, "beside", order, a);
    let pivot = saga.step("pivot", (order, a), pivot).retry(SOON).non_compensable();
    let after = next(&mut saga, "after", order, pivot);
    saga.finally(tell);
    saga.build(after)
}

fn probed() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("probed", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let pivot = saga.step("pivot", (order, a), probed_pivot).retry(SOON).probe(ask).non_compensable();
    let after = next(&mut saga, "after", order, pivot);
    saga.build(after)
}

fn forward() -> Result<Work, BuildError> {
    let mut saga = Saga::builder("forward", 1);
    let order = saga.input();
    let a = first(&mut saga, "a", order);
    let patience = Retry::forever().initial(Duration::from_millis(10)).cap(Duration::from_millis(50));
    let _release = saga.step("release", (order, a), build).retry(SOON).finish_forward(patience);
    let b = next(&mut saga, "b", order, a);
    let end = saga.step("end", (order, b), fail).undo_retry(UNDO_SOON).compensate(unmake);
    saga.build(end)
}
