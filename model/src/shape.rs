//! Every saga of a size, once.
//!
//! Two sagas that differ only in how their steps are numbered are one: the numbers order the events that are decided in one
//! turn, and so within one append, and nothing else. All commands of a turn are given together, their ends come in every
//! order, and no property names a number. So a fault in one numbering that is not there in another would be a fault of
//! that order alone; [`Numbering`] lets all of them be visited where this argument is not to be trusted.

use std::collections::HashSet;

use crate::saga::{Class, Label, Saga};
use crate::steps::Steps;

/// Which of the steps of the sagas can be asked if they happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Probes {
    /// None.
    None,
    /// All of them.
    All,
    /// None, and once more all of them.
    Both,
    /// Every choice of some.
    Each,
}

/// Whether sagas have something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// They have not.
    No,
    /// They have.
    Yes,
    /// Each saga once with it and once without.
    Both,
}

impl Choice {
    fn values(self) -> &'static [bool] {
        match self {
            Self::No => &[false],
            Self::Yes => &[true],
            Self::Both => &[false, true],
        }
    }
}

/// Which numbers steps have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Numbering {
    /// Each step has a higher one than those that it depends on: the way in which the builder adds them.
    Ascending,
    /// Each step has a lower one than those that it depends on.
    Descending,
    /// Every numbering of every saga.
    Every,
}

/// Which sagas are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Sagas {
    /// The most steps of a saga, 1 to 4
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub steps: u8,
    /// The fewest steps of a saga
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub least_steps: u8,
    /// Which steps have a probe
    #[arg(long, value_enum, default_value_t = Probes::Both)]
    pub probes: Probes,
    /// Whether sagas have a guard
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    pub guard: Choice,
    /// Whether sagas have a finalizer
    #[arg(long, value_enum, default_value_t = Choice::No)]
    pub finalizer: Choice,
    /// How steps are numbered
    #[arg(long, value_enum, default_value_t = Numbering::Ascending)]
    pub numbering: Numbering,
}

impl Sagas {
    /// All of them, the largest first, so that the longest work does not begin last.
    #[must_use]
    pub fn all(&self) -> Vec<Saga> {
        let mut sagas = Vec::new();
        for count in (usize::from(self.least_steps)..=usize::from(self.steps)).rev() {
            let mut seen = HashSet::new();
            for graph in graphs(count) {
                for labels in self.labels(count) {
                    let steps: Vec<(Label, Steps)> = labels.iter().copied().zip(graph.iter().copied()).collect();
                    if seen.insert(canonical(&steps)) {
                        sagas.extend(self.variants(&steps));
                    }
                }
            }
        }
        sagas
    }

    fn labels(&self, count: usize) -> Vec<Vec<Label>> {
        let probed: &[bool] = if self.probes == Probes::None { &[false] } else { &[false, true] };
        let one: Vec<Label> = Class::ALL
            .iter()
            .flat_map(|class| probed.iter().map(|probed| Label { class: *class, probed: *probed }))
            .collect();
        let mut all = vec![Vec::new()];
        for _ in 0..count {
            all = all
                .iter()
                .flat_map(|some: &Vec<Label>| one.iter().map(|label| [&some[..], &[*label]].concat()))
                .collect();
        }
        all.retain(|labels: &Vec<Label>| match self.probes {
            Probes::None | Probes::Each => true,
            Probes::All => labels.iter().all(|label| label.probed),
            Probes::Both => labels.iter().all(|label| label.probed == labels[0].probed),
        });
        all
    }

    fn variants(&self, steps: &[(Label, Steps)]) -> Vec<Saga> {
        let numberings: Vec<Vec<usize>> = match self.numbering {
            Numbering::Ascending => vec![(0..steps.len()).collect()],
            Numbering::Descending => vec![(0..steps.len()).rev().collect()],
            Numbering::Every => permutations(steps.len()),
        };
        let mut renumbered: Vec<_> = numberings.iter().map(|numbers| renumber(steps, numbers)).collect();
        let mut seen = HashSet::new();
        renumbered.retain(|steps| seen.insert(steps.clone()));
        let mut sagas = Vec::new();
        for steps in renumbered {
            for guarded in self.guard.values() {
                for finalized in self.finalizer.values() {
                    sagas.push(Saga::new(&steps, *guarded, *finalized));
                }
            }
        }
        sagas
    }
}

/// Every graph in which each step comes after lower ones only. Every graph without cycles can be numbered like this.
fn graphs(count: usize) -> Vec<Vec<Steps>> {
    let mut all = vec![Vec::new()];
    for step in 0..count {
        all = all
            .iter()
            .flat_map(|deps: &Vec<Steps>| Steps::first(step).subsets().map(|own| [&deps[..], &[own]].concat()))
            .collect();
    }
    all
}

/// The least of all numberings: the same for two sagas if and only if they differ by nothing else.
fn canonical(steps: &[(Label, Steps)]) -> Vec<(Label, Steps)> {
    permutations(steps.len()).iter().map(|numbers| renumber(steps, numbers)).min().unwrap_or_default()
}

/// Gives step `i` the number `numbers[i]`.
fn renumber(steps: &[(Label, Steps)], numbers: &[usize]) -> Vec<(Label, Steps)> {
    let mut renumbered = steps.to_vec();
    for (step, (label, deps)) in steps.iter().enumerate() {
        renumbered[numbers[step]] = (*label, deps.iter().map(|dep| numbers[dep]).collect());
    }
    renumbered
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .iter()
            .flat_map(|some: &Vec<usize>| (0..=some.len()).map(move |at| [&some[..at], &[next], &some[at..]].concat()))
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Sagas = Sagas {
        steps: 4,
        least_steps: 4,
        probes: Probes::None,
        guard: Choice::No,
        finalizer: Choice::No,
        numbering: Numbering::Ascending,
    };

    /// The numbers of unlabelled and of labelled acyclic graphs are those of OEIS A003087 and A003024.
    #[test]
    fn every_graph_is_there_and_none_twice() {
        let label = Label { class: Class::Compensable, probed: false };
        for (count, unlabelled, labelled) in [(1, 1, 1), (2, 2, 3), (3, 6, 25), (4, 31, 543)] {
            let with_labels = |graph: &Vec<Steps>| graph.iter().map(|deps| (label, *deps)).collect::<Vec<_>>();
            let once: HashSet<_> = graphs(count).iter().map(|graph| canonical(&with_labels(graph))).collect();
            assert_eq!(once.len(), unlabelled);
            let every: HashSet<_> = once
                .iter()
                .flat_map(|steps| permutations(count).into_iter().map(|numbers| renumber(steps, &numbers)))
                .collect();
            assert_eq!(every.len(), labelled);
        }
    }

    #[test]
    fn every_assignment_of_classes_is_there() {
        let three = Sagas { steps: 3, least_steps: 3, ..SOME };
        // By Burnside's lemma, over the automorphisms of each of the six graphs of three steps: none (20), one before two
        // and two before one (40 each), two in line and one beside (64), in line (64), in line with a short cut (64).
        assert_eq!(three.all().len(), 20 + 40 + 40 + 64 + 64 + 64);
        assert_eq!(Sagas { numbering: Numbering::Every, ..three }.all().len(), 25 * 64);
    }

    #[test]
    fn each_step_comes_after_lower_ones_unless_asked_otherwise() {
        for saga in SOME.all() {
            assert!((0..4).all(|step| saga.deps(step).within(Steps::first(step))), "{saga}");
        }
        for saga in (Sagas { numbering: Numbering::Descending, ..SOME }).all() {
            assert!((0..4).all(|step| !saga.deps(step).meets(Steps::first(step))), "{saga}");
        }
    }
}
