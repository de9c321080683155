//! Inlining one saga into another.

use crate::definition::draft::{Draft, Drafts};
use crate::definition::handle::Source;
use crate::definition::{Definition, Mistake};
use crate::id::{StepIndex, StepName};
use crate::plan::Wire;

/// Adds the steps of `other`, with `input` for its input, and returns where its output comes from.
pub(super) fn include<App>(drafts: &mut Drafts<App>, name: &str, other: &Definition<App>, input: &Wire) -> Source {
    let plan = &other.plan;
    if let Err(error) = StepName::new(name) {
        drafts.mistakes.push(Mistake::IncludeName(error));
    }
    if other.guard.is_some() {
        drafts.mistakes.push(Mistake::IncludedGuard { name: name.to_owned(), saga: plan.saga().clone() });
    }
    if other.finalizer.is_some() {
        drafts.mistakes.push(Mistake::IncludedFinalizer { name: name.to_owned(), saga: plan.saga().clone() });
    }
    let base = drafts.next_index();
    let started_by: Vec<StepIndex> = input.steps().into_iter().collect();
    for (step, code) in plan.steps().iter().zip(&other.steps) {
        let data = step.input.steps();
        let mut after: Vec<StepIndex> =
            step.deps.iter().filter(|dep| !data.contains(dep)).map(|dep| shift(*dep, base)).collect();
        if step.deps.is_empty() {
            // The included saga starts when its input is there, so its first steps do, even those that do not read it.
            after.extend(&started_by);
        }
        let draft = Draft {
            name: format!("{name}/{}", step.name),
            shape: step.shape,
            input: rewire(&step.input, base, input),
            after,
            retry: step.retry.clone(),
            timeout: step.timeout,
            undo_timeout: step.undo_timeout,
            code: code.clone(),
        };
        drafts.add(draft, step.recovery.clone());
    }
    match plan.output() {
        Wire::Step(step) => Source::Step(shift(*step, base)),
        // Not reached: only a step's output can be built into a saga.
        Wire::Unit | Wire::Input | Wire::List(_) => Source::Input,
    }
}

fn shift(step: StepIndex, base: StepIndex) -> StepIndex {
    StepIndex(base.0.saturating_add(step.0))
}

/// The same wire among the steps of the outer saga.
fn rewire(wire: &Wire, base: StepIndex, input: &Wire) -> Wire {
    match wire {
        Wire::Unit => Wire::Unit,
        Wire::Input => input.clone(),
        Wire::Step(step) => Wire::Step(shift(*step, base)),
        Wire::List(parts) => Wire::List(parts.iter().map(|part| rewire(part, base, input)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use crate::action::Ctx;
    use crate::definition::Saga;
    use crate::payload::Payload;

    #[tokio::test]
    async fn each_step_keeps_its_code() {
        let plus = |more: u64| move |_: Ctx<()>, n: u64| async move { Ok(n + more) };
        let mut inner = Saga::<(), u64>::builder("inner", 1);
        let input = inner.input();
        let ten = inner.step("ten", input, plus(10)).nothing_to_undo();
        let hundred = inner.step("hundred", ten, plus(100)).nothing_to_undo();
        let inner = inner.build(hundred).unwrap();

        let mut outer = Saga::<(), u64>::builder("outer", 1);
        let input = outer.input();
        let one = outer.step("one", input, plus(1)).nothing_to_undo();
        let included = outer.include("in", &inner, one);
        let thousand = outer.step("thousand", included, plus(1000)).nothing_to_undo();
        let outer = outer.build(thousand).unwrap();

        let mut outputs = Vec::new();
        for (step, code) in outer.plan().steps().iter().zip(&outer.definition().steps) {
            let ctx = Ctx::detached(Arc::new(()), step.name.as_str(), CancellationToken::new());
            let output = (code.run)(ctx, Payload::encode(&0).unwrap()).await.unwrap();
            (code.check_output)(&output).unwrap();
            outputs.push((step.name.as_str(), output.decode::<u64>().unwrap()));
        }
        assert_eq!(outputs, [("one", 1), ("in/ten", 10), ("in/hundred", 100), ("thousand", 1000)]);
    }
}
