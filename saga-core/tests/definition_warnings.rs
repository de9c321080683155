//! What is legal, but told.

use saga_core::{Builder, Ctx, Handle, MAX_WARNINGS, Retry, Saga, StepError, Undo, Warning};

type Plain = Builder<(), ()>;

async fn act<T>(_: Ctx<()>, _: T) -> Result<(), StepError> {
    Ok(())
}

async fn undo<T>(_: Ctx<()>, _: Undo<T, ()>) -> Result<(), StepError> {
    Ok(())
}

fn compensable(saga: &mut Plain, name: &str, after: &[Handle<()>]) -> Handle<()> {
    saga.step(name, after.to_vec(), act::<Vec<()>>).compensate(undo)
}

fn pivot(saga: &mut Plain, name: &str, after: &[Handle<()>]) -> Handle<()> {
    saga.step(name, after.to_vec(), act::<Vec<()>>).non_compensable()
}

fn told(saga: Plain, output: Handle<()>) -> Vec<String> {
    saga.build(output).unwrap().warnings().iter().map(Warning::to_string).collect()
}

fn builder() -> Plain {
    Saga::<(), ()>::builder("s", 1)
}

#[test]
fn a_saga_that_ends_in_its_pivot_has_none() {
    let mut saga = builder();
    let a = compensable(&mut saga, "a", &[]);
    let b = compensable(&mut saga, "b", &[]);
    let end = pivot(&mut saga, "end", &[a, b]);
    saga.step("read", end, act::<()>).nothing_to_undo();
    saga.step("forward", end, act::<()>).finish_forward(Retry::forever());
    assert_eq!(told(saga, end), [""; 0]);
}

#[test]
fn a_step_that_may_fail_beside_a_pivot_is_told() {
    let mut saga = builder();
    let a = compensable(&mut saga, "a", &[]);
    let one = pivot(&mut saga, "one", &[a]);
    pivot(&mut saga, "two", &[a]);
    compensable(&mut saga, "b", &[a]);
    assert_eq!(
        told(saga, one),
        ["`b` is undone if it fails, but `one` (and 1 more) may run beside it, and stands: order one after the other"]
    );
}

#[test]
fn a_step_behind_a_pivot_is_told() {
    let mut saga = builder();
    let one = pivot(&mut saga, "one", &[]);
    let two = pivot(&mut saga, "two", &[one]);
    let between = saga.step("between", two, act::<()>).nothing_to_undo();
    let a = compensable(&mut saga, "a", &[between]);
    assert_eq!(
        told(saga, a),
        ["`a` is undone if it fails, but it comes after `two` (and 1 more), and the saga cannot go back behind that"]
    );
}

#[test]
fn order_settles_it() {
    let mut saga = builder();
    let a = compensable(&mut saga, "a", &[]);
    let end = pivot(&mut saga, "end", &[]);
    saga.order(a, end);
    assert_eq!(told(saga, end), [""; 0]);
}

/// More than 64 pivots, so that they do not fit into one word: the first is the first of all words, the last the last.
#[test]
fn many_pivots_are_counted() {
    let mut saga = builder();
    let mut last = pivot(&mut saga, "p0", &[]);
    for n in 1..200 {
        last = pivot(&mut saga, &format!("p{n}"), &[last]);
    }
    let behind = compensable(&mut saga, "behind", &[last]);
    compensable(&mut saga, "beside", &[]);
    let saga = saga.build(behind).unwrap();
    let [
        Warning::AfterPivot { step: behind, pivot: near, others: 199 },
        Warning::BesidePivot { step: beside, pivot: first, others: 199 },
    ] = saga.warnings()
    else {
        panic!("{:?}", saga.warnings())
    };
    assert_eq!([behind.as_str(), near.as_str(), beside.as_str(), first.as_str()], ["behind", "p199", "beside", "p0"]);
}

#[test]
fn there_are_never_too_many_warnings_to_read() {
    let mut saga = builder();
    let end = pivot(&mut saga, "end", &[]);
    for n in 0..MAX_WARNINGS + 5 {
        compensable(&mut saga, &n.to_string(), &[end]);
    }
    let saga = saga.build(end).unwrap();
    assert_eq!(saga.warnings().len(), MAX_WARNINGS);
    assert_eq!(saga.warnings().last(), Some(&Warning::More { omitted: 6 }));
}

#[test]
fn a_long_alternating_chain_is_looked_through() {
    let mut saga = builder();
    let mut last = compensable(&mut saga, "first", &[]);
    for n in 0..5_000 {
        last = pivot(&mut saga, &format!("p{n}"), &[last]);
        last = compensable(&mut saga, &format!("c{n}"), &[last]);
    }
    let saga = saga.build(last).unwrap();
    assert_eq!(saga.warnings().last(), Some(&Warning::More { omitted: 5_000 - MAX_WARNINGS + 1 }));
}

#[test]
fn sixteen_stages_of_a_hundred_are_looked_through() {
    let mut saga = builder();
    let mut stage: Vec<Handle<()>> = Vec::new();
    for s in 0..16 {
        stage = (0..100)
            .map(|n| {
                let add = if (s + n) % 2 == 0 { compensable } else { pivot };
                add(&mut saga, &format!("{s}/{n}"), &stage)
            })
            .collect();
    }
    let saga = saga.build(stage[0]).unwrap();
    assert_eq!(saga.plan().steps().len(), 1_600);
    // Every compensable step has pivots beside it, in its own stage; all but those of the first stage come after some.
    assert_eq!(saga.warnings().last(), Some(&Warning::More { omitted: 800 + 750 - MAX_WARNINGS + 1 }));
}
