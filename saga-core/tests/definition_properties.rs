//! Random sagas: their plans hold together, and their fingerprints tell structures apart.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use saga_core::plan::Plan;
use saga_core::{Ctx, Handle, Retry, Saga, StepError, StepIndex, Undo};
use std::sync::Arc;

async fn act(_: Ctx<()>, inputs: Vec<u64>) -> Result<u64, StepError> {
    Ok(inputs.iter().sum())
}

async fn act_on_one(_: Ctx<()>, input: u64) -> Result<u64, StepError> {
    Ok(input)
}

async fn gather(_: Ctx<()>, all: Vec<u64>) -> Result<u64, StepError> {
    Ok(all.len() as u64)
}

async fn undo<T>(_: Ctx<()>, _: Undo<T, u64>) -> Result<(), StepError> {
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Compensable,
    ReadOnly,
    NonCompensable,
    Forward,
}

/// One call of the builder. Numbers stand for earlier steps, counted around.
#[derive(Debug, Clone)]
struct Line {
    class: Class,
    fan_out: bool,
    inputs: Vec<usize>,
    after: Vec<usize>,
    patient: bool,
}

/// What a program says about the structure, and nothing else.
type Structure = Vec<(Class, bool, Vec<usize>, BTreeSet<usize>)>;

fn line() -> impl Strategy<Value = Line> {
    let class =
        prop_oneof![Just(Class::Compensable), Just(Class::ReadOnly), Just(Class::NonCompensable), Just(Class::Forward)];
    let steps = || prop::collection::vec(0usize..100, 0..4);
    (class, any::<bool>(), steps(), steps(), any::<bool>()).prop_map(|(class, fan_out, inputs, after, patient)| Line {
        class,
        fan_out,
        inputs,
        after,
        patient,
    })
}

fn program() -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec(line(), 1..20)
}

/// The numbers of a line at `at` that name steps: nothing is before the first.
fn earlier(numbers: &[usize], at: usize) -> Vec<usize> {
    if at == 0 { Vec::new() } else { numbers.iter().map(|n| n % at).collect() }
}

fn structure(program: &[Line]) -> Structure {
    let of = |(at, line): (usize, &Line)| {
        let inputs = earlier(&line.inputs, at);
        let deps = inputs.iter().chain(&earlier(&line.after, at)).copied().collect();
        (line.class, line.fan_out, inputs, deps)
    };
    program.iter().enumerate().map(of).collect()
}

/// Every step is a line, and the last step gathers all of them.
fn build(program: &[Line]) -> Arc<Plan> {
    let mut saga = Saga::<(), u64>::builder("random", 1);
    let mut ones: Vec<Handle<u64>> = Vec::new();
    for (at, line) in program.iter().enumerate() {
        let name = format!("step-{at}");
        // Only the single steps' outputs fit; a fan-out's number is turned into the step that counts its items.
        let inputs: Vec<Handle<u64>> = earlier(&line.inputs, at).into_iter().map(|n| ones[n]).collect();
        let after: Vec<Handle<u64>> = earlier(&line.after, at).into_iter().map(|n| ones[n]).collect();
        macro_rules! say {
            ($step:expr) => {{
                let mut step = $step;
                for earlier in &after {
                    step = step.after(*earlier);
                }
                if line.patient {
                    step = step.retry(Retry::forever()).timeout(Duration::from_secs(1));
                }
                match line.class {
                    Class::Compensable if line.patient => step.undo_retry(Retry::forever()).compensate(undo),
                    Class::Compensable => step.compensate(undo),
                    Class::ReadOnly => step.nothing_to_undo(),
                    Class::NonCompensable => step.non_compensable(),
                    Class::Forward => {
                        step.finish_forward(if line.patient { Retry::forever() } else { Retry::exponential(3) })
                    }
                }
            }};
        }
        if line.fan_out {
            let concurrency = if line.patient { 1 } else { 2 };
            let list = say!(saga.for_each(name, inputs, act_on_one).concurrency(concurrency));
            ones.push(saga.step(format!("count-{at}"), list, gather).nothing_to_undo());
        } else {
            ones.push(say!(saga.step(name, inputs, act)));
        }
    }
    let end = saga.step("end", ones, act).nothing_to_undo();
    saga.build(end).unwrap().plan().clone()
}

fn check(plan: &Plan) -> Result<(), TestCaseError> {
    let indices = || (0u32..).map(StepIndex).take(plan.steps().len());
    for index in indices() {
        let step = plan.step(index);
        prop_assert!(step.deps.is_sorted_by(|a, b| a < b) && step.dependents.is_sorted_by(|a, b| a < b));
        for dep in &step.deps {
            prop_assert!(plan.step(*dep).dependents.contains(&index));
        }
        for dependent in &step.dependents {
            prop_assert!(plan.step(*dependent).deps.contains(&index));
        }
        prop_assert!(step.input.steps().iter().all(|step_of_wire| step.deps.contains(step_of_wire)));
        prop_assert_eq!(plan.find(step.name.as_str()), Some(index));
    }
    let mut done = BTreeSet::new();
    for index in plan.order() {
        prop_assert!(plan.step(*index).deps.iter().all(|dep| done.contains(dep)), "{index} comes too early");
        prop_assert!(done.insert(*index), "{index} comes twice");
    }
    prop_assert_eq!(done, indices().collect::<BTreeSet<_>>());
    Ok(())
}

proptest! {
    #[test]
    fn plans_hold_together(program in program()) {
        check(&build(&program))?;
    }

    #[test]
    fn a_fingerprint_is_of_the_structure(one in program(), other in program()) {
        let same = structure(&one) == structure(&other);
        prop_assert_eq!(build(&one).fingerprint() == build(&other).fingerprint(), same);
    }

    #[test]
    fn one_changed_line_changes_the_fingerprint_if_it_changes_the_structure(
        program in program(),
        line in line(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut changed = program.clone();
        changed[at.index(program.len())] = line;
        let same = structure(&program) == structure(&changed);
        prop_assert_eq!(build(&program).fingerprint() == build(&changed).fingerprint(), same);
    }

    #[test]
    fn policies_do_not_change_the_fingerprint(program in program()) {
        let changed: Vec<Line> = program.iter().map(|line| Line { patient: !line.patient, ..line.clone() }).collect();
        prop_assert_eq!(build(&program).fingerprint(), build(&changed).fingerprint());
    }
}

#[test]
fn a_chain_of_ten_thousand_is_built() {
    let mut saga = Saga::<(), u64>::builder("chain", 1);
    let mut last = saga.input();
    for n in 0..10_000 {
        last = saga.step(format!("step-{n}"), last, act_on_one).compensate(undo);
    }
    let saga = saga.build(last).unwrap();
    assert!(saga.plan().order().iter().copied().eq((0..10_000).map(StepIndex)));
    assert!(saga.warnings().is_empty());
}

#[test]
fn sixteen_stages_of_a_hundred_are_built() {
    let mut saga = Saga::<(), u64>::builder("stages", 1);
    let mut stage = vec![saga.input()];
    for s in 0..16 {
        stage = (0..100).map(|n| saga.step(format!("{s}/{n}"), stage.clone(), act).compensate(undo)).collect();
    }
    let end = saga.step("end", stage, act).nothing_to_undo();
    let saga = saga.build(end).unwrap();
    assert_eq!(saga.plan().steps().iter().map(|step| step.deps.len()).sum::<usize>(), 15 * 100 * 100 + 100);
    assert_eq!(saga.plan().step(StepIndex(0)).dependents.len(), 100);
}
