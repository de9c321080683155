//! Holds the machines, the blocks, the records, the journals and what users were told against each other.
//!
//! The checks know what is promised (DESIGN, section 5), and nothing of the code that keeps it: they go by processes,
//! directories, bytes, exit codes, lines of output, and the events of the journals.

mod journals;
mod machines;
mod records;
#[cfg(test)]
mod tests;
mod words;

use super::evidence::Evidence;
use crate::check::Finding;

/// Everything that is checked.
pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    let rules: [fn(&Evidence) -> Finding; 15] = [
        words::nothing_unexpected_happened,
        machines::what_is_deleted_is_gone,
        machines::every_machine_is_of_a_record,
        machines::nothing_is_left,
        machines::every_machine_that_went_was_meant_to,
        machines::no_block_is_lost,
        records::every_cluster_rests,
        records::an_error_is_no_grave,
        records::statuses_move_along_drawn_transitions,
        journals::every_run_ended_once,
        journals::every_run_was_ordered_once,
        journals::no_node_is_destroyed_without_proof,
        journals::a_failed_operation_took_back_what_it_should,
        words::what_was_told_is_what_is_written,
        words::what_was_told_to_be_done_is_so,
    ];
    rules.iter().map(|rule| rule(evidence)).collect()
}
