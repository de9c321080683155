//! Plans as they are made from parts, without a builder that looks after them.

use saga_core::plan::{Cycle, Plan, PlanParts, Recovery, Shape, StepParts, Wire};
use saga_core::{Retry, SagaName, StepIndex, StepName};

/// Read-only steps, each after those.
fn parts(after: &[&[u32]]) -> PlanParts {
    let step = |at: usize, after: &[u32]| StepParts {
        name: StepName::new(format!("s{at}")).unwrap(),
        recovery: Recovery::ReadOnly,
        shape: Shape::Single,
        input: Wire::Unit,
        after: after.iter().copied().map(StepIndex).collect(),
        retry: Retry::never(),
        timeout: None,
        undo_timeout: None,
        probed: false,
    };
    PlanParts {
        saga: SagaName::new("test").unwrap(),
        version: 7,
        steps: after.iter().enumerate().map(|(at, after)| step(at, after)).collect(),
        output: Wire::Unit,
        guarded: false,
        finalized: false,
    }
}

/// Neither what only waits for the cycle is named, nor what a step of it waits for besides.
#[test]
fn a_cycle_is_named_in_its_order() {
    let found = Plan::new(parts(&[&[], &[4], &[0, 4], &[2], &[3]])).unwrap_err();
    assert_eq!(found, Cycle { steps: vec![StepIndex(2), StepIndex(3), StepIndex(4)] });
    let alone = Plan::new(parts(&[&[], &[0, 1]])).unwrap_err();
    assert_eq!(alone, Cycle { steps: vec![StepIndex(1)] });
}

#[test]
fn a_plan_has_its_version_and_the_fingerprint_of_its_steps() {
    let (plan, other) = (Plan::new(parts(&[&[], &[0]])).unwrap(), Plan::new(parts(&[&[], &[]])).unwrap());
    assert_eq!(plan.version(), 7);
    assert_ne!(plan.fingerprint(), other.fingerprint());
    let json = serde_json::to_string(&plan.fingerprint()).unwrap();
    assert_eq!(json.replace('-', ""), format!("\"{}\"", plan.fingerprint()));
}

/// It is a part of what the fingerprint is taken of, so it must not change.
#[test]
fn the_text_of_a_wire() {
    let wire = Wire::List(vec![Wire::Unit, Wire::Input, Wire::Step(StepIndex(3)), Wire::List(Vec::new())]);
    assert_eq!(wire.to_string(), "[(),in,#3,[]]");
}
