//! Large sagas. Nothing here is timed: what grows with the square of the saga would not end in anybody's patience.

use saga_core::journal::{Event, Rest};
use saga_core::machine::{Command, Observation, State, decide, evolve, observe, outcome};
use saga_core::plan::Plan;
use saga_core::{FailureKind, ItemRef, Outcome, Timestamp};

use crate::support::{Draft, failure, output, run_started};

/// Runs a saga in which one item fails, if any; gives the number of events and how it rested.
fn run(plan: &Plan, input: usize, fails: Option<ItemRef>) -> (usize, State) {
    let now = Timestamp(0);
    let mut state = State::new(plan);
    evolve(plan, &mut state, now, &run_started(plan, output(input), None)).unwrap();
    let decision = decide(plan, &mut state, now).unwrap();
    let (mut events, mut todo) = (1 + decision.append.len(), decision.then);
    while let Some(command) = todo.pop() {
        let seen = match command {
            Command::Run { of, attempt } if Some(of) == fails => {
                Observation::Attempt { of, attempt, result: Err((failure(FailureKind::Fatal), None)) }
            }
            Command::Run { of, attempt } => Observation::Attempt { of, attempt, result: Ok(output(1)) },
            Command::Undo { of, attempt } => Observation::Undo { of, attempt, result: Ok(()) },
            other => panic!("{other:?}"),
        };
        let event = observe(plan, &state, seen, now, 0.0).unwrap();
        evolve(plan, &mut state, now, &event).unwrap();
        let decision = decide(plan, &mut state, now).unwrap();
        events += 1 + decision.append.len();
        todo.extend(decision.then);
    }
    (events, state)
}

fn last(plan: &Plan) -> ItemRef {
    ItemRef::new(*plan.order().last().unwrap(), 0)
}

fn both_ways(plan: &Plan, input: usize, items: usize, fails: ItemRef) {
    let steps = plan.steps().len();
    let (_, forward) = run(plan, input, None);
    assert_eq!(forward.rest(), Some(&Rest::Completed));
    let (events, back) = run(plan, input, Some(fails));
    assert_eq!(back.rest(), Some(&Rest::RolledBack));
    assert!(events >= items * 3, "{events} events for {items} items in {steps} steps");
    let Some(Outcome::RolledBack(end)) = outcome(plan, &back) else { panic!("not rolled back") };
    assert!(end.kept.is_empty());
}

#[test]
fn a_chain_of_ten_thousand_steps() {
    // `Draft` looks names up one by one, which would be quadratic itself.
    let plan = Draft::chain(10_000);
    both_ways(&plan, 1, 10_000, last(&plan));
}

#[test]
fn a_hundred_stages_of_sixteen_steps_with_all_edges_between() {
    let plan = Draft::stages(100, 16);
    both_ways(&plan, 1, 1_600 - 16, last(&plan));
}

#[test]
fn a_fan_out_of_ten_thousand_items() {
    let plan = Draft::new().compensable("each", &[]).each(64).compensable("after", &["each"]).plan();
    both_ways(&plan, 10_000, 10_000, last(&plan));
    let middle = ItemRef::new(plan.order()[0], 5_000);
    let (_, back) = run(&plan, 10_000, Some(middle));
    assert_eq!(back.rest(), Some(&Rest::RolledBack));
}

#[test]
fn ten_thousand_independent_steps() {
    let plan = Draft::stages(1, 10_000);
    let (events, forward) = run(&plan, 1, None);
    assert_eq!((events, forward.rest()), (20_002, Some(&Rest::Completed)));
    let (_, back) = run(&plan, 1, Some(last(&plan)));
    assert_eq!(back.rest(), Some(&Rest::RolledBack));
}

/// A step that started costs the same event whether it stands at the beginning or at the end of a large saga.
#[test]
fn a_large_saga_is_taken_up_in_the_middle() {
    let plan = Draft::chain(10_000);
    let now = Timestamp(0);
    let mut state = State::new(&plan);
    evolve(&plan, &mut state, now, &run_started(&plan, output(1), None)).unwrap();
    for step in &plan.order()[..5_000] {
        let of = ItemRef::new(*step, 0);
        decide(&plan, &mut state, now).unwrap();
        evolve(&plan, &mut state, now, &Event::Succeeded { of, output: output(1) }).unwrap();
    }
    let started = decide(&plan, &mut state, now).unwrap();
    assert_eq!(started.then, [Command::Run { of: ItemRef::new(plan.order()[5_000], 0), attempt: 1 }]);
}
