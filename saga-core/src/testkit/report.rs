//! What came of all trials, to be read by people.

use std::collections::BTreeMap;
use std::fmt;

use super::{ONLY, SEED};
use crate::id::SagaName;

/// How many failed points are printed in full.
const MOST_PRINTED: usize = 10;

/// What is done at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing: the run that shows which points there are.
    Undisturbed,
    /// A call is made to fail.
    Failure,
    /// A probe or the guard does not answer as it should, or the subject is gone.
    Question,
    /// The process dies.
    Crash,
    /// A call is made twice.
    Repeat,
    /// The run is cancelled.
    Cancel,
    /// The run's deadline passes.
    Deadline,
    /// An operator moves the run on from where it rests.
    Rest,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Undisturbed => "undisturbed",
            Self::Failure => "failures",
            Self::Question => "questions",
            Self::Crash => "crashes",
            Self::Repeat => "repeats",
            Self::Cancel => "cancellations",
            Self::Deadline => "deadlines",
            Self::Rest => "rests",
        })
    }
}

/// A point at which the saga does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedPoint {
    /// What was done there.
    pub kind: Kind,
    /// Its name, as [`Kit::only`](super::Kit::only) takes it.
    pub point: String,
    /// What is wrong; a line for each thing.
    pub wrong: Vec<String>,
    /// How the run ended, if it came to rest.
    pub outcome: Option<String>,
    /// What is known besides.
    pub about: Vec<String>,
    /// It is none: a point was asked for that is not there.
    pub(super) is_missing: bool,
}

/// What came of all trials. It prints as a summary, with each failed point and how to look at it alone.
#[derive(Debug, Clone)]
#[must_use = "a report says nothing until `assert` is called, or it is printed"]
pub struct Report {
    saga: SagaName,
    seed: u64,
    tried: BTreeMap<Kind, usize>,
    failed: Vec<FailedPoint>,
    left_out: BTreeMap<&'static str, usize>,
    notes: Vec<String>,
}

impl Report {
    pub(super) fn new(saga: SagaName, seed: u64) -> Self {
        Self { saga, seed, tried: BTreeMap::new(), failed: Vec::new(), left_out: BTreeMap::new(), notes: Vec::new() }
    }

    pub(super) fn tried(&mut self, kind: Kind) {
        *self.tried.entry(kind).or_default() += 1;
    }

    /// One that is looked at twice (to see what other points there are, or because it fails undisturbed) has failed once.
    pub(super) fn failed(&mut self, point: FailedPoint) {
        if !self.failed.contains(&point) {
            self.failed.push(point);
        }
    }

    pub(super) fn left_out(&mut self, what: &'static str, points: usize) {
        if points > 0 {
            *self.left_out.entry(what).or_default() += points;
        }
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// How many points of a kind were looked at.
    #[must_use]
    pub fn points(&self, kind: Kind) -> usize {
        self.tried.get(&kind).copied().unwrap_or(0)
    }

    /// The points at which the saga does not do what it should.
    #[must_use]
    pub fn failures(&self) -> &[FailedPoint] {
        &self.failed
    }

    /// What was left out, as it is like what was looked at, and how many points that would have been.
    pub fn left_out_points(&self) -> impl Iterator<Item = (&str, usize)> {
        self.left_out.iter().map(|(what, points)| (*what, *points))
    }

    /// What could not be looked at, and why.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Both reports as one. A point that was asked for need only be in one of them.
    pub fn and(mut self, mut other: Self) -> Self {
        if !self.tried.is_empty() || !other.tried.is_empty() {
            self.failed.retain(|point| !point.is_missing);
            other.failed.retain(|point| !point.is_missing);
        }
        for (kind, points) in other.tried {
            *self.tried.entry(kind).or_default() += points;
        }
        other.left_out.into_iter().for_each(|(what, points)| self.left_out(what, points));
        other.failed.into_iter().for_each(|point| self.failed(point));
        other.notes.into_iter().for_each(|note| self.note(note));
        self
    }

    /// Fails the test that calls it if any point has failed.
    ///
    /// # Panics
    ///
    /// With the report.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: usize = self.tried.values().sum();
        writeln!(f, "`{}`: {points} points, {} failed (seed {})", self.saga, self.failed.len(), self.seed)?;
        for (kind, points) in &self.tried {
            let failed = self.failed.iter().filter(|point| point.kind == *kind).count();
            write!(f, "  {kind:<14}{points:>7}")?;
            if failed > 0 {
                write!(f, ", {failed} failed")?;
            }
            writeln!(f)?;
        }
        for (what, points) in &self.left_out {
            writeln!(f, "  left out: {points} {what}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for point in self.failed.iter().take(MOST_PRINTED) {
            writeln!(f, "\nFAILED: {}", point.point)?;
            for wrong in &point.wrong {
                writeln!(f, "  {}", wrong.replace('\n', "\n  "))?;
            }
            for about in &point.about {
                writeln!(f, "  {about}")?;
            }
            if let Some(outcome) = &point.outcome {
                writeln!(f, "  the run's end: {outcome}")?;
            }
            writeln!(f, "  this one alone: .seed({}).only({:?})", self.seed, point.point)?;
            writeln!(f, "  from outside: {SEED}={} {ONLY}='{}'", self.seed, point.point)?;
        }
        if let Some(more) = self.failed.len().checked_sub(MOST_PRINTED).filter(|more| *more > 0) {
            writeln!(f, "\nand {more} more:")?;
            for point in self.failed.iter().skip(MOST_PRINTED) {
                writeln!(f, "  {}", point.point)?;
            }
        }
        Ok(())
    }
}
