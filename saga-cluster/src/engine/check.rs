//! What an engine says of a spec before anything is made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a finding is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// It may do, or may not: nobody can tell beforehand, or it is short.
    Warning,
    /// A create would fail.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it is.
    pub severity: Severity,
    /// What was looked at, in a few words: `flavor small`, `quota of instances`.
    pub about: String,
    /// What was found, and what to do about it if it is not as it should be.
    pub text: String,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, about: about.into(), text: text.into() }
    }

    /// Something that may do, or may not.
    pub fn warning(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, about: about.into(), text: text.into() }
    }

    /// Something that a create would fail for.
    pub fn problem(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, about: about.into(), text: text.into() }
    }
}

/// All that an engine found when it looked whether it could make a cluster. Others may take what was free a moment later:
/// it is an opinion, not a promise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCheck {
    /// Everything that was looked at, in an order that makes sense to a reader.
    pub findings: Vec<Finding>,
}

impl EngineCheck {
    /// Whether nothing is in the way, as far as can be told.
    pub fn is_fine(&self) -> bool {
        self.worst() < Severity::Problem
    }

    /// The worst that was found.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

impl FromIterator<Finding> for EngineCheck {
    fn from_iter<T: IntoIterator<Item = Finding>>(findings: T) -> Self {
        Self { findings: findings.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_enough() {
        assert!(EngineCheck::default().is_fine(), "nothing to object");
        let mut check: EngineCheck = [Finding::ok("a", ""), Finding::warning("b", "")].into_iter().collect();
        assert!(check.is_fine() && check.worst() == Severity::Warning);
        check.findings.insert(0, Finding::problem("c", ""));
        assert!(!check.is_fine());
        let json = serde_json::to_value(&check).unwrap();
        assert_eq!(json["findings"][0]["severity"], "problem");
    }
}
