//! From drafts to a definition, or to every mistake in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::definition::cycles::cycles;
use crate::definition::draft::{Draft, Drafts};
use crate::definition::handle::Source;
use crate::definition::{Definition, MAX_STEPS, Mistake, StepCode};
use crate::id::{SagaName, StepIndex, StepName};
use crate::plan::{Plan, PlanParts, Recovery, Shape, StepParts, Wire};

/// Checks a saga. `output` is `None` if its handle was another builder's, which is noted in the drafts already.
pub(super) fn check<App>(
    name: &str,
    version: u32,
    drafts: Drafts<App>,
    output: Option<Source>,
) -> Result<Definition<App>, Vec<Mistake>> {
    let Drafts { steps, guard, finalizer, mut mistakes, .. } = drafts;

    let saga = SagaName::new(name).map_err(|error| mistakes.push(Mistake::SagaName(error))).ok();
    if steps.is_empty() {
        mistakes.push(Mistake::NoSteps);
    } else if output == Some(Source::Input) {
        mistakes.push(Mistake::OutputIsInput);
    }
    if steps.len() > MAX_STEPS {
        mistakes.push(Mistake::TooManySteps { steps: steps.len() });
    }
    let names = check_names(&steps, &mut mistakes);
    for (draft, _) in &steps {
        if draft.shape == (Shape::Each { concurrency: 0 }) {
            mistakes.push(Mistake::ZeroConcurrency { step: draft.name.clone() });
        }
    }
    let given: Vec<String> = steps.iter().map(|(draft, _)| draft.name.clone()).collect();
    let called =
        |cycle: Vec<StepIndex>| Mistake::Cycle { steps: cycle.iter().map(|i| given[i.at()].clone()).collect() };
    mistakes.extend(cycles(&dependencies(&steps)).into_iter().map(called));

    let (Some(saga), Some(names), Some(Source::Step(output)), true) = (saga, names, output, mistakes.is_empty()) else {
        return Err(mistakes);
    };
    let guarded = guard.is_some();
    let finalized = finalizer.is_some();
    let (parts, code) =
        names.into_iter().zip(steps).map(|(name, (draft, recovery))| part(name, draft, recovery)).unzip();
    let parts = PlanParts { saga, version, steps: parts, output: Wire::Step(output), guarded, finalized };
    let plan = Plan::new(parts).map_err(|cycle| vec![called(cycle.steps)])?;
    Ok(Definition { plan: Arc::new(plan), steps: code, guard, finalizer })
}

/// The names of all steps, or `None` if one of them cannot be used.
fn check_names<App>(steps: &[(Draft<App>, Recovery)], mistakes: &mut Vec<Mistake>) -> Option<Vec<StepName>> {
    let mut times = BTreeMap::<&str, usize>::new();
    let mut names = Vec::with_capacity(steps.len());
    for (at, (draft, _)) in steps.iter().enumerate() {
        match StepName::new(&draft.name) {
            Ok(name) => {
                *times.entry(&draft.name).or_default() += 1;
                names.push(name);
            }
            Err(error) => mistakes.push(Mistake::StepName { number: at + 1, error }),
        }
    }
    let twice = times.into_iter().filter(|(_, times)| *times > 1);
    mistakes.extend(twice.map(|(name, times)| Mistake::DuplicateName { name: name.to_owned(), times }));
    (names.len() == steps.len()).then_some(names)
}

fn dependencies<App>(steps: &[(Draft<App>, Recovery)]) -> Vec<Vec<StepIndex>> {
    let of = |draft: &Draft<App>| {
        let mut deps = draft.input.steps();
        deps.extend(&draft.after);
        deps.into_iter().collect()
    };
    steps.iter().map(|(draft, _)| of(draft)).collect()
}

fn part<App>(name: StepName, draft: Draft<App>, recovery: Recovery) -> (StepParts, StepCode<App>) {
    let parts = StepParts {
        name,
        recovery,
        shape: draft.shape,
        input: draft.input,
        after: draft.after,
        retry: draft.retry,
        timeout: draft.timeout,
        undo_timeout: draft.undo_timeout,
        probed: draft.code.probe.is_some(),
    };
    (parts, draft.code)
}
