//! What composing a saga gives: its plan, by way of the public API.

use std::time::Duration;

use saga_core::plan::{Recovery, Shape, Wire};
use saga_core::{
    BuildError, Ctx, Handle, Outcome, Payload, Probe, Retry, Saga, Step, StepError, StepIndex, Undo, async_trait,
};
use serde::{Deserialize, Serialize};

struct Agency;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trip {
    hotel: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hotel(String);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Receipt(u64);

async fn book_hotel(_: Ctx<Agency>, trip: Trip) -> Result<Hotel, StepError> {
    Ok(Hotel(trip.hotel))
}

async fn cancel_hotel(_: Ctx<Agency>, _: Undo<Trip, Hotel>) -> Result<(), StepError> {
    Ok(())
}

async fn is_booked(_: Ctx<Agency>, _: Trip) -> Result<Probe<Hotel>, StepError> {
    Ok(Probe::Unknown)
}

async fn charge(_: Ctx<Agency>, (_, _): (Trip, Hotel)) -> Result<Receipt, StepError> {
    Ok(Receipt(1))
}

async fn seen<T>(_: Ctx<Agency>, _: T) -> Result<(), StepError> {
    Ok(())
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn what_is_said_about_a_step_stands_in_the_plan() {
    let mut saga = Saga::<Agency, Trip>::builder("book-trip", 3);
    let trip = saga.input();
    let first = saga.step("first", (), seen).nothing_to_undo();
    let hotel = saga
        .step("hotel", trip, book_hotel)
        .retry(Retry::exponential(7))
        .timeout(LONG)
        .probe(is_booked)
        .after(first)
        .after(trip)
        .undo_timeout(LONG)
        .undo_retry(Retry::forever())
        .compensate(cancel_hotel);
    let paid = saga.step("charge", (trip, hotel), charge).non_compensable();
    saga.step("told", (paid,), seen).finish_forward(Retry::forever());
    saga.guard(|_: Ctx<Agency>, trip: Trip| async move { Ok(!trip.hotel.is_empty()) });
    saga.finally(|_: Ctx<Agency>, _: Trip, _: Outcome<Payload>| async { Ok(()) });
    let saga: Saga<Agency, Trip, Receipt> = saga.build(paid).unwrap();

    assert_eq!((saga.name().as_str(), saga.version()), ("book-trip", 3));
    let plan = saga.plan();
    assert!(plan.is_guarded() && plan.is_finalized());
    assert_eq!(plan.output(), &Wire::Step(StepIndex(2)));

    let [first, hotel, charge, told] = plan.steps() else { panic!("four steps") };
    assert_eq!((&first.input, &first.recovery), (&Wire::Unit, &Recovery::ReadOnly));
    assert_eq!((&first.retry, first.timeout, first.undo_timeout), (&Retry::never(), None, None));
    assert!(!first.probed);

    assert_eq!(hotel.name.as_str(), "hotel");
    assert_eq!(hotel.recovery, Recovery::Compensable { undo_retry: Retry::forever() });
    assert_eq!((hotel.shape, &hotel.input), (Shape::Single, &Wire::Input));
    assert_eq!(hotel.deps, [StepIndex(0)]);
    assert_eq!((&hotel.retry, hotel.timeout, hotel.undo_timeout), (&Retry::exponential(7), Some(LONG), Some(LONG)));
    assert!(hotel.probed);

    assert_eq!(charge.input, Wire::List(vec![Wire::Input, Wire::Step(StepIndex(1))]));
    assert_eq!(charge.recovery, Recovery::NonCompensable);
    assert_eq!(told.input, Wire::List(vec![Wire::Step(StepIndex(2))]), "a tuple of one is a list of one");
    assert_eq!(told.recovery, Recovery::Forward { patience: Retry::forever() });
}

#[test]
fn inputs_may_be_nested_and_up_to_eight() {
    type Eight = (Trip, Hotel, Hotel, (), Vec<Hotel>, Trip, (Trip, Trip), Vec<Hotel>);
    let mut saga = Saga::<Agency, Trip>::builder("inputs", 1);
    let t = saga.input();
    let h = saga.step("h", t, book_hotel).nothing_to_undo();
    let all = (t, h, h, (), vec![h, h], t, (t, t), Vec::<Handle<Hotel>>::new());
    let last = saga.step("last", all, |_: Ctx<Agency>, _: Eight| async { Ok(()) }).nothing_to_undo();
    let saga = saga.build(last).unwrap();
    assert_eq!(saga.plan().step(StepIndex(1)).input.to_string(), "[in,#0,#0,(),[#0,#0],in,[in,in],[]]");
}

#[test]
fn a_fan_out_says_how_many_at_a_time() {
    let mut saga = Saga::<Agency, Vec<Trip>>::builder("fan-out", 1);
    let trips = saga.input();
    let by_default = saga.for_each("default", trips, book_hotel).compensate(cancel_hotel);
    let by_eight = saga.for_each("eight", trips, book_hotel).concurrency(8).compensate(cancel_hotel);
    let of_both = saga.step("both", (by_default, by_eight), seen::<(Vec<Hotel>, Vec<Hotel>)>).nothing_to_undo();
    let one = saga.step("one", of_both, async |_: Ctx<Agency>, ()| Ok(Hotel(String::new()))).nothing_to_undo();
    let of_handles = saga.for_each("handles", vec![one, one], seen::<Hotel>).nothing_to_undo();
    let saga: Saga<Agency, Vec<Trip>, Vec<()>> = saga.build(of_handles).unwrap();
    let shapes: Vec<Shape> = saga.plan().steps().iter().map(|step| step.shape).collect();
    let each = |concurrency| Shape::Each { concurrency };
    assert_eq!(shapes, [each(16), each(8), Shape::Single, Shape::Single, each(16)]);
}

struct HotelStep {
    patient: bool,
}

#[async_trait]
impl Step<Agency> for HotelStep {
    type Input = Trip;
    type Output = Hotel;

    async fn run(&self, _: Ctx<Agency>, trip: Trip) -> Result<Hotel, StepError> {
        Ok(Hotel(trip.hotel))
    }

    async fn compensate(&self, _: Ctx<Agency>, _: Undo<Trip, Hotel>) -> Result<(), StepError> {
        Ok(())
    }

    fn retry(&self) -> Retry {
        if self.patient { Retry::forever() } else { Retry::never() }
    }

    fn timeout(&self) -> Option<Duration> {
        self.patient.then_some(LONG)
    }
}

#[test]
fn a_reusable_step_brings_its_policies_along() {
    let mut saga = Saga::<Agency, Trip>::builder("reusable", 1);
    let trip = saga.input();
    saga.add("hasty", trip, HotelStep { patient: false });
    let hotel = saga.add("patient", trip, HotelStep { patient: true });
    let saga: Saga<Agency, Trip, Hotel> = saga.build(hotel).unwrap();
    let [hasty, patient] = saga.plan().steps() else { panic!("two steps") };
    assert_eq!((&hasty.retry, hasty.timeout), (&Retry::never(), None));
    assert_eq!((&patient.retry, patient.timeout), (&Retry::forever(), Some(LONG)));
    assert_eq!(patient.recovery, Recovery::Compensable { undo_retry: Retry::exponential(5) });
}

/// Steps `read` (of the input), `idle` (of nothing) and `pay` (of both, after a third).
fn payment() -> Result<Saga<Agency, (Trip, Hotel), Receipt>, BuildError> {
    let mut saga = Saga::<Agency, (Trip, Hotel)>::builder("payment", 1);
    let input = saga.input();
    let read = saga.step("read", input, seen::<(Trip, Hotel)>).nothing_to_undo();
    let idle = saga.step("idle", (), seen::<()>).nothing_to_undo();
    let paid = saga.step("pay", input, charge).retry(Retry::exponential(2)).after(read).after(idle).non_compensable();
    saga.build(paid)
}

#[test]
fn an_included_saga_becomes_steps_of_the_outer_one() {
    let payment = payment().unwrap();
    let mut saga = Saga::<Agency, Trip>::builder("outer", 1);
    let trip = saga.input();
    let hotel = saga.step("hotel", trip, book_hotel).compensate(cancel_hotel);
    let first = saga.include("deposit", &payment, (trip, hotel));
    let again = saga.include("rest", &payment, (trip, hotel));
    let done = saga.step("done", (first, again), seen::<(Receipt, Receipt)>).nothing_to_undo();
    let saga = saga.build(done).unwrap();
    let plan = saga.plan();

    let names: Vec<&str> = plan.steps().iter().map(|step| step.name.as_str()).collect();
    let expected =
        ["hotel", "deposit/read", "deposit/idle", "deposit/pay", "rest/read", "rest/idle", "rest/pay", "done"];
    assert_eq!(names, expected);
    let pay = plan.step(plan.find("rest/pay").unwrap());
    assert_eq!(pay.input.to_string(), "[in,#0]", "the inner saga's input is what was handed in");
    assert_eq!(pay.deps, [StepIndex(0), StepIndex(4), StepIndex(5)]);
    assert_eq!((&pay.recovery, &pay.retry), (&Recovery::NonCompensable, &Retry::exponential(2)));
    let idle = plan.step(plan.find("rest/idle").unwrap());
    assert_eq!((&idle.input, &idle.deps[..]), (&Wire::Unit, &[StepIndex(0)][..]), "it waits for the saga's start");
    assert_eq!(plan.step(StepIndex(7)).input.to_string(), "[#3,#6]");
}

#[test]
fn an_included_saga_can_be_the_whole_of_it() {
    let payment = payment().unwrap();
    let mut saga = Saga::<Agency, (Trip, Hotel)>::builder("wrapper", 1);
    let input = saga.input();
    let paid = saga.include("in", &payment, input);
    let saga = saga.build(paid).unwrap();
    let plan = saga.plan();
    assert_eq!(plan.step(StepIndex(2)).input, Wire::Input);
    assert!(plan.step(StepIndex(1)).deps.is_empty());
    assert_eq!(plan.output(), &Wire::Step(StepIndex(2)));
}

#[test]
fn policies_are_no_part_of_the_structure() {
    let build = |eager: bool| {
        let mut saga = Saga::<Agency, Trip>::builder("policies", 1);
        let trip = saga.input();
        let mut step = saga.step("hotel", trip, book_hotel);
        if eager {
            step = step.retry(Retry::forever()).timeout(LONG);
        }
        let hotel = step.compensate(cancel_hotel);
        saga.build(hotel).unwrap().plan().fingerprint()
    };
    assert_eq!(build(true), build(false));
}

#[test]
fn questions_are_a_part_of_the_structure() {
    let build = |probed: bool, guarded: bool, finalized: bool| {
        let mut saga = Saga::<Agency, Trip>::builder("questions", 1);
        let trip = saga.input();
        let mut step = saga.step("hotel", trip, book_hotel);
        if probed {
            step = step.probe(is_booked);
        }
        let hotel = step.compensate(cancel_hotel);
        if guarded {
            saga.guard(|_: Ctx<Agency>, _: Trip| async move { Ok(true) });
        }
        if finalized {
            saga.finally(|_: Ctx<Agency>, _: Trip, _| async move { Ok(()) });
        }
        saga.build(hotel).unwrap().plan().fingerprint()
    };
    let plain = build(false, false, false);
    assert_ne!(build(true, false, false), plain);
    assert_ne!(build(false, true, false), plain);
    assert_ne!(build(false, false, true), plain);
}

#[test]
fn an_empty_list_is_another_structure_than_nothing() {
    let build = |list: bool| {
        let mut saga = Saga::<Agency, Trip>::builder("empty", 1);
        let done = if list {
            saga.step("s", Vec::<Handle<Hotel>>::new(), seen::<Vec<Hotel>>).nothing_to_undo()
        } else {
            saga.step("s", (), seen::<()>).nothing_to_undo()
        };
        saga.build(done).unwrap().plan().fingerprint()
    };
    assert_ne!(build(true), build(false));
}

#[test]
fn sagas_and_handles_go_wherever_they_are_needed() {
    struct NotClone;
    fn everywhere<T: Clone + Send + Sync + 'static>(_: &T) {}
    let mut saga = Saga::<NotClone, ()>::builder("everywhere", 1);
    let done = saga.step("done", (), |_: Ctx<NotClone>, ()| async { Ok(()) }).nothing_to_undo();
    everywhere(&done);
    everywhere(&saga.build(done).unwrap());
}
