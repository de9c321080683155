//! Every way to compose a saga wrongly, and what `build` says about it.

use saga_core::{
    BuildError, Builder, Ctx, Handle, HandleUse, MAX_ID_BYTES, MAX_STEPS, Mistake, Outcome, Payload, Saga, StepError,
};

type Plain = Builder<(), u64>;

fn builder(name: &str) -> (Plain, Handle<u64>) {
    let saga = Saga::<(), u64>::builder(name, 1);
    let input = saga.input();
    (saga, input)
}

async fn act(_: Ctx<()>, n: u64) -> Result<u64, StepError> {
    Ok(n)
}

fn step(saga: &mut Plain, name: &str, input: Handle<u64>) -> Handle<u64> {
    saga.step(name, input, act).nothing_to_undo()
}

fn mistakes(built: Result<Saga<(), u64, u64>, BuildError>) -> Vec<Mistake> {
    built.unwrap_err().mistakes
}

fn foreign(used: HandleUse) -> Mistake {
    Mistake::ForeignHandle { used }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let (mut other, theirs) = builder("other");
    let their_step = step(&mut other, "theirs", theirs);

    let (mut saga, input) = builder("");
    let a = step(&mut saga, "a", input);
    let b = step(&mut saga, "b", their_step);
    step(&mut saga, "a", b);
    step(&mut saga, "", b);
    saga.order(b, a);
    saga.order(a, b);
    saga.guard(async |_: Ctx<()>, _: u64| Ok(true));
    saga.guard(async |_: Ctx<()>, _: u64| Ok(true));
    let error = saga.build(input).unwrap_err();
    let expected = r#"the saga "" cannot be built:
- an input of step "b" is a handle of another builder
- there is more than one guard
- the saga name is empty
- the output is the run's own input, but must be the output of a step
- step number 4: the step name is empty
- 2 steps are named "a"
- steps wait for each other: "b" -> "a" -> "b""#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn names_must_be_usable() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    for name in ["", "tab\t", &long] {
        let (mut saga, input) = builder(name);
        let done = step(&mut saga, name, input);
        let found = mistakes(saga.build(done));
        assert!(matches!(&found[..], [Mistake::SagaName(_), Mistake::StepName { number: 1, .. }]), "{found:?}");
    }
}

#[test]
fn names_must_differ() {
    let (mut saga, input) = builder("s");
    for _ in 0..3 {
        step(&mut saga, "same", input);
    }
    let done = step(&mut saga, "other", input);
    assert_eq!(mistakes(saga.build(done)), [Mistake::DuplicateName { name: "same".into(), times: 3 }]);
}

#[test]
fn handles_of_another_builder_are_refused_wherever_they_are_used() {
    let (mut other, their_input) = builder("s");
    let theirs = step(&mut other, "step", their_input);
    let other = other.build(theirs).unwrap();

    // The same indices exist here, so only the builder's identity tells these handles apart.
    let (mut saga, input) = builder("s");
    let mine = step(&mut saga, "step", input);
    saga.step("in", (mine, vec![theirs], their_input), async |_: Ctx<()>, _: (u64, Vec<u64>, u64)| Ok(()))
        .nothing_to_undo();
    saga.step("late", mine, act).after(theirs).nothing_to_undo();
    saga.order(mine, theirs);
    saga.order(theirs, mine);
    saga.order(theirs, theirs);
    saga.include("inner", &other, theirs);
    let expected = [
        foreign(HandleUse::Input { step: "in".into() }),
        foreign(HandleUse::After { step: "late".into() }),
        foreign(HandleUse::Order),
        foreign(HandleUse::Order),
        foreign(HandleUse::Order),
        foreign(HandleUse::Order),
        foreign(HandleUse::Include { name: "inner".into() }),
        foreign(HandleUse::Output),
    ];
    assert_eq!(mistakes(saga.build(theirs)), expected);
}

#[test]
fn every_cycle_is_named() {
    let (mut saga, input) = builder("s");
    let a = step(&mut saga, "a", input);
    let b = step(&mut saga, "b", a);
    let c = step(&mut saga, "c", b);
    let alone = step(&mut saga, "alone", c);
    let done = step(&mut saga, "done", alone);
    saga.order(c, a);
    saga.order(alone, alone);
    let cycle = |steps: &[&str]| Mistake::Cycle { steps: steps.iter().map(|&name| name.to_owned()).collect() };
    assert_eq!(mistakes(saga.build(done)), [cycle(&["b", "c", "a"]), cycle(&["alone"])]);
}

#[test]
fn a_long_cycle_is_told_in_short() {
    let (mut saga, input) = builder("s");
    let first = step(&mut saga, "0", input);
    let last = (1..1000).fold(first, |last, n| step(&mut saga, &n.to_string(), last));
    saga.order(last, first);
    let text = mistakes(saga.build(last))[0].to_string();
    assert!(text.contains("(990 more)") && text.len() < 200, "{text}");
}

#[test]
fn an_order_that_says_nothing_new_is_fine() {
    let (mut saga, input) = builder("s");
    let a = step(&mut saga, "a", input);
    let b = step(&mut saga, "b", a);
    saga.order(a, b);
    saga.order(input, b);
    let saga = saga.build(b).unwrap();
    assert_eq!(saga.plan().steps()[1].deps.len(), 1);
}

#[test]
fn nothing_comes_before_the_input() {
    let (mut saga, input) = builder("s");
    let a = step(&mut saga, "a", input);
    saga.order(a, input);
    assert_eq!(mistakes(saga.build(a)), [Mistake::BeforeInput]);
}

#[test]
fn the_output_is_a_steps() {
    let (mut saga, input) = builder("s");
    step(&mut saga, "a", input);
    assert_eq!(mistakes(saga.build(input)), [Mistake::OutputIsInput]);
    let (saga, input) = builder("s");
    assert_eq!(mistakes(saga.build(input)), [Mistake::NoSteps]);
}

#[test]
fn a_step_without_a_verb_is_not_forgotten() {
    let (mut saga, input) = builder("s");
    let done = step(&mut saga, "done", input);
    let _ = saga.step("forgotten", input, act).after(done);
    assert_eq!(mistakes(saga.build(done)), [Mistake::NoRecovery { step: "forgotten".into() }]);
}

#[test]
fn there_is_one_guard_and_one_finalizer() {
    let (mut saga, input) = builder("s");
    let done = step(&mut saga, "done", input);
    for _ in 0..2 {
        saga.guard(async |_: Ctx<()>, _: u64| Ok(true));
        saga.finally(async |_: Ctx<()>, _: u64, _: Outcome<Payload>| Ok(()));
    }
    assert_eq!(mistakes(saga.build(done)), [Mistake::TwoGuards, Mistake::TwoFinalizers]);
}

#[test]
fn an_included_saga_has_neither_guard_nor_finalizer_nor_a_bad_name() {
    let (mut other, their_input) = builder("other");
    let theirs = step(&mut other, "step", their_input);
    other.guard(async |_: Ctx<()>, _: u64| Ok(true));
    other.finally(async |_: Ctx<()>, _: u64, _: Outcome<Payload>| Ok(()));
    let other = other.build(theirs).unwrap();

    let (mut saga, input) = builder("s");
    let done = saga.include("", &other, input);
    let found = mistakes(saga.build(done));
    let told: Vec<String> = found.iter().map(Mistake::to_string).collect();
    let expected = [
        "an included saga: the step name is empty",
        r#"the saga `other`, included as "", has a guard: only the outermost saga can have one"#,
        r#"the saga `other`, included as "", has a finalizer: only the outermost saga can have one"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_included_saga_under_a_name_in_use_is_a_duplicate() {
    let (mut other, their_input) = builder("other");
    let theirs = step(&mut other, "step", their_input);
    let other = other.build(theirs).unwrap();
    let (mut saga, input) = builder("s");
    saga.include("in", &other, input);
    let done = saga.include("in", &other, input);
    assert_eq!(mistakes(saga.build(done)), [Mistake::DuplicateName { name: "in/step".into(), times: 2 }]);
}

#[test]
fn a_fan_out_lets_at_least_one_item_start() {
    let mut saga = Saga::<(), Vec<u64>>::builder("s", 1);
    let items = saga.input();
    let done = saga.for_each("each", items, act).concurrency(0).nothing_to_undo();
    assert_eq!(saga.build(done).unwrap_err().mistakes, [Mistake::ZeroConcurrency { step: "each".into() }]);
}

#[test]
fn there_is_a_limit_to_the_number_of_steps() {
    let (mut saga, input) = builder("s");
    let mut last = input;
    for n in 0..MAX_STEPS {
        last = step(&mut saga, &n.to_string(), last);
    }
    let most = saga.build(last).unwrap();
    assert_eq!(most.plan().steps().len(), MAX_STEPS);

    let (mut saga, input) = builder("s");
    let last = saga.include("most", &most, input);
    let last = step(&mut saga, "one more", last);
    assert_eq!(mistakes(saga.build(last)), [Mistake::TooManySteps { steps: MAX_STEPS + 1 }]);
}
