//! The drawings, to the letter.

use saga_core::{Ctx, Outcome, Payload, Retry, Saga, StepError, Undo};

async fn act<T>(_: Ctx<()>, _: T) -> Result<u64, StepError> {
    Ok(1)
}

async fn undo<T>(_: Ctx<()>, _: Undo<T, u64>) -> Result<(), StepError> {
    Ok(())
}

/// One step of each class, one fan-out, both sorts of edges, and names that mean something to the languages.
fn saga() -> Saga<(), Vec<u64>, u64> {
    let mut saga = Saga::<(), Vec<u64>>::builder("the \"best\" saga", 2);
    let names = saga.input();
    let look = saga.step("look", (), act::<()>).nothing_to_undo();
    let nodes = saga.for_each("make <node> & co", names, act::<u64>).concurrency(8).compensate(undo);
    let started = saga.step("start \"all\" \\ #1", (names, nodes), act::<(Vec<u64>, Vec<u64>)>).after(look);
    let started = started.non_compensable();
    saga.step("tidy", (), act::<()>).after(started).finish_forward(Retry::forever());
    saga.guard(async |_: Ctx<()>, _: Vec<u64>| Ok(true));
    saga.finally(async |_: Ctx<()>, _: Vec<u64>, _: Outcome<Payload>| Ok(()));
    saga.build(started).unwrap()
}

#[test]
fn graphviz() {
    let expected = r##"digraph saga {
  label="the \"best\" saga, version 2, guarded, with a finalizer";
  rankdir=LR;
  node [style=filled];
  input [shape=plaintext, style=solid];
  s0 [label="look\nnothing to undo", shape=ellipse, fillcolor="#f5f5f5", color="#777777"];
  s1 [label="make <node> &amp; co\ncompensable\nfor each, 8 at a time", shape=box, fillcolor="#dff0d8", color="#3c763d", peripheries=2];
  s2 [label="start \"all\" \\ #1\nnon-compensable", shape=octagon, fillcolor="#f2dede", color="#a94442"];
  s3 [label="tidy\nfinished forward", shape=cds, fillcolor="#d9edf7", color="#31708f"];
  output [shape=plaintext, style=solid];
  input -> s1;
  input -> s2;
  s0 -> s2 [style=dashed];
  s1 -> s2;
  s2 -> s3 [style=dashed];
  s2 -> output;
}
"##;
    assert_eq!(saga().to_dot(), expected);
}

#[test]
fn mermaid() {
    let expected = r##"flowchart LR
  %% the #34;best#34; saga, version 2, guarded, with a finalizer
  input((input))
  s0(["look<br/>nothing to undo"]):::readOnly
  s1["make #60;node#62; #38; co<br/>compensable<br/>for each, 8 at a time"]:::compensable
  s2{{"start #34;all#34; #92; #35;1<br/>non-compensable"}}:::nonCompensable
  s3[/"tidy<br/>finished forward"/]:::forward
  output((output))
  input --> s1
  input --> s2
  s0 -.-> s2
  s1 --> s2
  s2 -.-> s3
  s2 --> output
  classDef compensable fill:#dff0d8,stroke:#3c763d,color:#000000
  classDef readOnly fill:#f5f5f5,stroke:#777777,color:#000000
  classDef nonCompensable fill:#f2dede,stroke:#a94442,color:#000000
  classDef forward fill:#d9edf7,stroke:#31708f,color:#000000
  style s1 stroke-width:4px
"##;
    assert_eq!(saga().to_mermaid(), expected);
}

#[test]
fn a_saga_that_does_not_look_at_its_input_is_drawn_without_it() {
    let mut saga = Saga::<(), u64>::builder("blind", 1);
    let done = saga.step("act", (), act::<()>).nothing_to_undo();
    let saga = saga.build(done).unwrap();
    assert!(!saga.to_dot().contains("input"));
    assert!(!saga.to_mermaid().contains("input"));
}
