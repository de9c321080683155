//! One small saga: its graph, the classes of its steps, and how both are written in a line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use saga_core::plan::{Plan, PlanParts, Recovery, Shape, StepParts, Wire};
use saga_core::{Retry, SagaName, StepIndex, StepName};

use crate::bounds::Policies;
use crate::steps::{MAX_STEPS, Steps, name};

/// How a step recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It is undone.
    Compensable,
    /// There is nothing to undo.
    ReadOnly,
    /// It stands; if it fails with its effect unknown, the run halts.
    NonCompensable,
    /// Once committed it is finished.
    Forward,
}

impl Class {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Compensable, Self::ReadOnly, Self::NonCompensable, Self::Forward];

    const fn letter(self) -> char {
        match self {
            Self::Compensable => 'C',
            Self::ReadOnly => 'R',
            Self::NonCompensable => 'N',
            Self::Forward => 'F',
        }
    }
}

/// What is said of a step besides its place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// How it recovers.
    pub class: Class,
    /// Whether it can be asked if it happened.
    pub probed: bool,
}

/// A saga of at most [`MAX_STEPS`] steps.
///
/// Written `a:C b:N?(a) c:F(a,b) +guard +finally`: each step with the letter of its class, a question mark if it has a
/// probe, and what it comes after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Saga {
    labels: Vec<Label>,
    deps: Vec<Steps>,
    ancestors: Vec<Steps>,
    descendants: Vec<Steps>,
    /// Whether there is a guard to ask if the subject is still there.
    pub guarded: bool,
    /// Whether there is a finalizer to tell of the end.
    pub finalized: bool,
}

impl Saga {
    /// A saga of these steps, each with what it comes after.
    ///
    /// # Panics
    ///
    /// If steps wait for each other.
    #[must_use]
    pub fn new(steps: &[(Label, Steps)], guarded: bool, finalized: bool) -> Self {
        let labels = steps.iter().map(|(label, _)| *label).collect();
        let deps: Vec<Steps> = steps.iter().map(|(_, deps)| *deps).collect();
        let mut ancestors = deps.clone();
        // A path has fewer edges than there are steps.
        for _ in 0..deps.len() {
            for step in 0..deps.len() {
                ancestors[step] = ancestors[step].iter().fold(ancestors[step], |all, dep| all | ancestors[dep]);
            }
        }
        assert!((0..deps.len()).all(|step| !ancestors[step].has(step)), "steps wait for each other");
        let descendants =
            (0..deps.len()).map(|step| (0..deps.len()).filter(|other| ancestors[*other].has(step)).collect()).collect();
        Self { labels, deps, ancestors, descendants, guarded, finalized }
    }

    /// How many steps it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it has no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All steps.
    #[must_use]
    pub fn all(&self) -> Steps {
        Steps::first(self.len())
    }

    /// The steps of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> Steps {
        (0..self.len()).filter(|step| self.labels[*step].class == class).collect()
    }

    /// Whether a step is of a class.
    #[must_use]
    pub fn is(&self, step: usize, class: Class) -> bool {
        self.labels[step].class == class
    }

    /// Whether a step can be asked if it happened.
    #[must_use]
    pub fn probed(&self, step: usize) -> bool {
        self.labels[step].probed
    }

    /// What a step comes after at once.
    #[must_use]
    pub fn deps(&self, step: usize) -> Steps {
        self.deps[step]
    }

    /// All that a step was built on.
    #[must_use]
    pub fn ancestors(&self, step: usize) -> Steps {
        self.ancestors[step]
    }

    /// All that was built on a step.
    #[must_use]
    pub fn descendants(&self, step: usize) -> Steps {
        self.descendants[step]
    }

    /// All that a set of steps was built on.
    #[must_use]
    pub fn below(&self, steps: Steps) -> Steps {
        steps.iter().fold(Steps::NONE, |all, step| all | self.ancestors(step))
    }

    /// All steps, each after what it comes after.
    pub fn order(&self) -> impl Iterator<Item = usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|step| self.ancestors(*step).len());
        order.into_iter()
    }

    /// The steps, each with what it comes after, to make another saga of.
    #[must_use]
    pub fn parts(&self) -> Vec<(Label, Steps)> {
        self.labels.iter().copied().zip(self.deps.iter().copied()).collect()
    }

    /// The plan that the machine is given. No data flows in it: the machine passes payloads on and looks at none.
    ///
    /// # Panics
    ///
    /// Never: the graph was checked for cycles.
    #[must_use]
    pub fn plan(&self, policies: Policies) -> Plan {
        let retry = |attempts: u8| Retry::fixed(u32::from(attempts), Duration::from_millis(1));
        let step = |step: usize| StepParts {
            name: StepName::new(name(step).to_string()).expect("a letter is a name"),
            recovery: match self.labels[step].class {
                Class::Compensable => Recovery::Compensable { undo_retry: retry(policies.undo_attempts) },
                Class::ReadOnly => Recovery::ReadOnly,
                Class::NonCompensable => Recovery::NonCompensable,
                Class::Forward => Recovery::Forward { patience: retry(policies.patience) },
            },
            shape: Shape::Single,
            input: Wire::Unit,
            after: self.deps(step).iter().map(|dep| StepIndex(dep as u32)).collect(),
            retry: retry(policies.attempts),
            timeout: None,
            undo_timeout: None,
            probed: self.probed(step),
        };
        let parts = PlanParts {
            saga: SagaName::new("small").expect("a word is a name"),
            version: 1,
            steps: (0..self.len()).map(step).collect(),
            output: Wire::Unit,
            guarded: self.guarded,
            finalized: self.finalized,
        };
        Plan::new(parts).expect("no cycle")
    }
}

impl fmt::Display for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, Label { class, probed }) in self.labels.iter().enumerate() {
            let space = if step == 0 { "" } else { " " };
            write!(f, "{space}{}:{}{}", name(step), class.letter(), if *probed { "?" } else { "" })?;
            if !self.deps(step).is_empty() {
                write!(f, "({})", self.deps(step))?;
            }
        }
        f.write_str(if self.guarded { " +guard" } else { "" })?;
        f.write_str(if self.finalized { " +finally" } else { "" })
    }
}

/// Why a text is no saga.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no saga: it is written like `a:C b:N?(a) c:F(a,b) +guard +finally`, in at most {MAX_STEPS} steps")]
pub struct NoSaga(String);

impl FromStr for Saga {
    type Err = NoSaga;

    fn from_str(text: &str) -> Result<Self, NoSaga> {
        parse(text).ok_or_else(|| NoSaga(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Saga> {
    let (mut steps, mut guarded, mut finalized) = (Vec::new(), false, false);
    for word in text.split_whitespace() {
        match word {
            "+guard" => guarded = true,
            "+finally" => finalized = true,
            word => {
                let (letter, rest) = word.split_once(':')?;
                let (class, after) = rest.split_once('(').map_or((rest, ""), |(class, after)| (class, after));
                let class_letter = class.trim_end_matches('?');
                let found = Class::ALL.into_iter().find(|it| class_letter == it.letter().to_string())?;
                let mut deps = Steps::NONE;
                for dep in after.trim_end_matches(')').split(',').filter(|dep| !dep.is_empty()) {
                    deps.set((0..MAX_STEPS).find(|step| dep == name(*step).to_string())?, true);
                }
                // Steps are told in order, each after those that it names, so there is no cycle.
                if letter != name(steps.len()).to_string() || steps.len() == MAX_STEPS {
                    return None;
                }
                steps.push((Label { class: found, probed: class.ends_with('?') }, deps));
            }
        }
    }
    let all = Steps::first(steps.len());
    let is_sound = !steps.is_empty() && steps.iter().all(|(_, deps)| deps.within(all)) && is_acyclic(&steps);
    is_sound.then(|| Saga::new(&steps, guarded, finalized))
}

fn is_acyclic(steps: &[(Label, Steps)]) -> bool {
    let mut placed = Steps::NONE;
    for _ in steps {
        placed |= (0..steps.len()).filter(|step| steps[*step].1.within(placed)).collect();
    }
    placed == Steps::first(steps.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["a:C", "a:C b:N?(a) c:F(a,b) +guard +finally", "a:F(b) b:R? +finally"] {
            assert_eq!(text.parse::<Saga>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_saga_is_refused() {
        for text in ["", "+guard", "a:X", "b:C", "a:C(b)", "a:C(a)", "a:C(b) b:C(a)", "a:C b:C c:C d:C e:C"] {
            assert!(text.parse::<Saga>().is_err(), "{text}");
        }
    }

    #[test]
    fn ancestors_and_descendants_go_all_the_way() {
        let saga: Saga = "a:C b:C(a) c:C(b) d:C(a)".parse().unwrap();
        assert_eq!(saga.ancestors(2), Steps::first(2));
        assert_eq!(saga.descendants(0), Steps::first(4) - Steps::one(0));
        assert_eq!(saga.order().collect::<Vec<_>>(), [0, 1, 3, 2]);
    }
}
