//! Forecasts of the two sagas that the design tells of.

use saga_core::forecast::{FailedAs, Forecast, ForecastEnd};
use saga_core::plan::{Plan, PlanParts, Recovery, Shape, StepParts, Wire};
use saga_core::{Retry, SagaName, StepIndex, StepName};

fn plan(name: &str, steps: &[(&str, Recovery, &[u32])]) -> Plan {
    let steps = steps.iter().map(|(name, recovery, after)| StepParts {
        name: StepName::new(name).unwrap(),
        recovery: recovery.clone(),
        shape: Shape::Single,
        input: Wire::Input,
        after: after.iter().copied().map(StepIndex).collect(),
        retry: Retry::exponential(5),
        timeout: None,
        undo_timeout: None,
        probed: false,
    });
    Plan::new(PlanParts {
        saga: SagaName::new(name).unwrap(),
        version: 1,
        steps: steps.collect(),
        output: Wire::Unit,
        guarded: true,
        finalized: true,
    })
    .unwrap()
}

fn undo() -> Recovery {
    Recovery::Compensable { undo_retry: Retry::exponential(5) }
}

fn trip() -> Plan {
    let steps = [
        ("hotel", undo(), &[][..]),
        ("flight", undo(), &[]),
        ("charge", undo(), &[0, 1]),
        ("mail", Recovery::NonCompensable, &[2]),
    ];
    plan("book-trip", &steps)
}

fn scale() -> Plan {
    let steps = [
        ("decommission", Recovery::NonCompensable, &[][..]),
        ("terminate", Recovery::Forward { patience: Retry::forever() }, &[0]),
        ("create", undo(), &[0]),
        ("configure", Recovery::NonCompensable, &[2]),
    ];
    plan("scale", &steps)
}

#[test]
fn the_trip_in_sentences() {
    let expected = "\
if `hotel` fails: `hotel` is undone; the run is rolled back, nothing is left; \
if all that runs beside it is done by then: `hotel`, `flight` are undone; the run is rolled back, nothing is left
if `flight` fails: `flight` is undone; the run is rolled back, nothing is left; \
if all that runs beside it is done by then: `hotel`, `flight` are undone; the run is rolled back, nothing is left
if `charge` fails: `charge`, `hotel`, `flight` are undone; the run is rolled back, nothing is left
if `mail` fails: nothing is undone; the run halts, `hotel`, `flight`, `charge` stand
if `mail` fails and is known to have changed nothing: `charge`, `hotel`, `flight` are undone; the run is rolled back, \
nothing is left
";
    assert_eq!(Forecast::of(&trip()).to_string(), expected);
}

/// The failure table of the design, row for row.
#[test]
fn scaling_a_cluster_as_a_table() {
    let expected = "\
if this fails  effect   beside it  undone  finished   kept                             the run is
decommission   unknown  any        -       -          -                                halted
decommission   none     any        -       -          -                                rolled back
terminate      unknown  not begun  -       terminate  decommission                     rolled back
                        done       -       terminate  decommission, create, configure  rolled back
create         unknown  not begun  create  terminate  decommission                     rolled back
                        done       create  -          decommission, terminate          rolled back
configure      unknown  not begun  -       -          decommission, create             halted
                        done       -       -          decommission, terminate, create  halted
configure      none     not begun  create  terminate  decommission                     rolled back
                        done       create  -          decommission, terminate          rolled back
";
    assert_eq!(Forecast::of(&scale()).to_table(), expected);
}

#[test]
fn scaling_a_cluster_in_sentences() {
    let expected = "\
if `decommission` fails: nothing is undone; the run halts, nothing else stands
if `decommission` fails and is known to have changed nothing: nothing is undone; the run is rolled back, nothing is left
if `terminate` fails: nothing is undone, `terminate` is finished; the run is rolled back, `decommission` stands; \
if all that runs beside it is done by then: nothing is undone, `terminate` is finished; the run is rolled back, \
`decommission`, `create`, `configure` stand
if `create` fails: `create` is undone, `terminate` is finished; the run is rolled back, `decommission` stands; \
if all that runs beside it is done by then: `create` is undone; the run is rolled back, `decommission`, `terminate` stand
if `configure` fails: nothing is undone; the run halts, `decommission`, `create` stand; \
if all that runs beside it is done by then: nothing is undone; the run halts, `decommission`, `terminate`, `create` stand
if `configure` fails and is known to have changed nothing: `create` is undone, `terminate` is finished; the run is \
rolled back, `decommission` stands; if all that runs beside it is done by then: `create` is undone; the run is rolled \
back, `decommission`, `terminate` stand
";
    assert_eq!(Forecast::of(&scale()).to_string(), expected);
}

#[test]
fn one_row_of_a_large_saga_costs_one_run() {
    let names: Vec<String> = (0..5_000).map(|at| format!("s{at}")).collect();
    let after: Vec<Vec<u32>> = (0..5_000u32).map(|at| at.checked_sub(1).into_iter().collect()).collect();
    let steps: Vec<(&str, Recovery, &[u32])> =
        names.iter().zip(&after).map(|(name, after)| (name.as_str(), undo(), after.as_slice())).collect();
    let plan = plan("long", &steps);
    let row = Forecast::row(&plan, StepIndex(4_999));
    assert_eq!((row.early.undone.len(), row.late), (5_000, None));
    assert_eq!(row.early.undone[0], row.step);
    let row = Forecast::row_without_effect(&plan, StepIndex(4_999));
    assert_eq!((row.early.undone.len(), row.failure), (4_999, FailedAs::NoEffect));
}

#[test]
fn ten_thousand_steps_beside_each_other() {
    let names: Vec<String> = (0..10_000).map(|at| format!("s{at}")).collect();
    let steps: Vec<(&str, Recovery, &[u32])> = names.iter().map(|name| (name.as_str(), undo(), &[][..])).collect();
    let row = Forecast::row(&plan("wide", &steps), StepIndex(0));
    assert_eq!((row.early.undone.len(), row.late.unwrap().undone.len()), (1, 10_000));
}

#[test]
fn a_forecast_is_data() {
    let row = Forecast::row(&scale(), StepIndex(2));
    assert_eq!(row.early.end, ForecastEnd::RolledBack);
    let json = serde_json::to_string(&row).unwrap();
    assert_eq!(
        json,
        r#"{"step":"create","failure":"effect_unknown","early":{"end":"rolled_back","undone":["create"],"finished":["terminate"],"kept":["decommission"]},"late":{"end":"rolled_back","undone":["create"],"finished":[],"kept":["decommission","terminate"]}}"#
    );
}
