//! Holds what really happened against the journals, and both against what the clients were told.
//!
//! The checks know the rules of sagas, and nothing of the code that keeps them: they go by the order of the ledger's
//! entries, by the effects that stand at the end, and by the events in the journals. They are the same for every store.

mod effects;
pub(crate) mod ends;
mod fence;
mod order;
#[cfg(test)]
mod tests;
mod trail;

use saga_core::RunId;

use self::trail::Trail;
use crate::evidence::Evidence;

/// What came of one check.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What should hold.
    pub(crate) rule: &'static str,
    /// How many times it was looked at.
    pub(crate) looked: usize,
    pub(crate) violations: Vec<Violation>,
}

/// Something that does not hold.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The run, or whatever else it is about.
    pub(crate) run: Option<String>,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn of(rule: &'static str) -> Self {
        Self { rule, looked: 0, violations: Vec::new() }
    }

    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Notes a look at something of a run.
    fn look(&mut self, run: &RunId, holds: bool, what: impl FnOnce() -> String) {
        self.look_at(run.as_str(), holds, what);
    }

    /// Notes a look at something that has a name.
    pub(crate) fn look_at(&mut self, name: &str, holds: bool, what: impl FnOnce() -> String) {
        self.looked += 1;
        if !holds {
            self.violations.push(Violation { run: (!name.is_empty()).then(|| name.to_owned()), what: what() });
        }
    }
}

/// Everything that is checked.
pub(crate) fn check(evidence: &Evidence) -> Vec<Finding> {
    let trails = trail::trails(evidence);
    let rules: [fn(&Evidence, &[Trail<'_>]) -> Finding; 18] = [
        ends::nothing_unexpected_happened,
        ends::no_acknowledged_start_is_lost,
        ends::twice_started_is_one_run,
        ends::every_run_ends_once,
        ends::the_outcome_is_allowed,
        ends::what_was_told_is_what_is_written,
        ends::what_was_cancelled_does_not_complete,
        effects::what_should_stand_stands,
        effects::nothing_is_leaked,
        effects::what_stands_was_not_undone,
        order::nothing_begins_before_what_it_is_built_on,
        order::an_undo_waits_for_what_was_built_on_it,
        order::nothing_begins_after_the_rollback_began,
        order::the_finalizer_is_told_last,
        fence::epochs_never_decrease,
        fence::claims_follow_each_other,
        fence::what_happened_was_written_first,
        fence::no_result_of_a_lost_claim_is_journaled,
    ];
    let mut findings: Vec<_> = rules.iter().map(|rule| rule(evidence, &trails)).collect();
    findings.push(fence::exclusive_keys_are_exclusive(&trails));
    findings
}

/// How many entries came too late: from workers that had lost their claim by then.
pub(crate) fn late(evidence: &Evidence) -> usize {
    trail::trails(evidence).iter().flat_map(|trail| &trail.all).filter(|noted| noted.late).count()
}
