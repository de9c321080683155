//! What has to hold, by name.

use std::fmt;

macro_rules! properties {
    ($($variant:ident, $name:literal, $sentence:literal;)*) => {
        /// What has to hold in every state, or of every transition. The names are those of section 10 of the design.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Property {
            $(#[doc = $sentence] $variant,)*
        }

        impl Property {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it says.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

properties! {
    NothingUndoneThatDidNotHappen, "nothing_is_undone_that_did_not_happen",
        "an item never tried, or known to have changed nothing, is left alone";
    UndoWaits, "an_undo_waits_for_all_that_was_built_on_it",
        "it starts only when everything built on its step is undone, finished, or never was";
    PinnedStands, "pinned_steps_stand",
        "what an effective or committed step was built on is never undone, unless the subject is gone";
    HaltedUndidNothing, "a_halted_run_undid_nothing",
        "nothing at all";
    HaltsForUnknownEffect, "a_run_halts_for_an_unknown_effect_and_for_nothing_else",
        "if and only if a non-compensable step failed with its effect unknown, and the subject is not known to be gone";
    RolledBackUndidExactly, "a_rolled_back_run_undid_exactly_what_it_should",
        "exactly the compensable items that may have had an effect and are not pinned";
    CommittedIsFinished, "committed_forward_steps_are_finished",
        "all of them, in a run that was rolled back";
    BadUndoStrandsNone, "one_bad_undo_strands_no_independent_one",
        "in a stuck run everything was tried that does not wait for what failed, and nothing that does";
    StartsAfterDependencies, "a_step_starts_after_all_that_it_depends_on",
        "an action runs only while all that its step comes after has succeeded and stands";
    NoNewStepAfterAbort, "no_new_step_starts_after_the_abort",
        "and nothing is tried again, but for committed forward steps";
    UndoWaitsForDrain, "compensations_wait_for_the_drain",
        "and for the guard's answer";
    NoSubjectNoProtection, "without_a_subject_nothing_is_protected",
        "the cause is `SubjectGone`, and the run does not halt";
    OneThingAtATime, "an_item_is_worked_upon_by_one_thing_at_a_time",
        "an attempt, a probe or a compensation";
    EndIsEnd, "an_end_is_an_end",
        "after it nothing makes an event, nothing follows, nobody may act";
    CompletedDidEverything, "a_completed_run_did_everything_and_undid_nothing",
        "every effect is there, and no compensation was ever begun";
    KeptIsWhatStands, "kept_is_exactly_what_stands",
        "or may stand";
    NothingUnnamed, "nothing_is_left_unnamed",
        "whatever exists outside when a run rests is in `kept` or in the residue";
    ResidueIsWhatIsLeft, "the_residue_is_exactly_what_is_left",
        "each once, with the right reason";
    NothingLeaks, "a_rolled_back_run_leaks_nothing",
        "whatever the actions reported of themselves";
    FinalizerIsTold, "the_finalizer_is_told_of_every_rest_and_last",
        "after everything else, and before anything new";
    RestIsRest, "nothing_is_at_work_in_a_run_at_rest",
        "no action, no probe, no compensation";
    LiveRunWaits, "a_live_run_always_waits_for_something",
        "a command, a timer, or it rests";
    InvariantsHold, "the_invariants_hold_after_every_event",
        "counters, order, pins";
    StartIsOneCommand, "every_start_is_one_command",
        "and there is no command without an event";
    DecidedCanBeFolded, "what_is_decided_can_be_folded",
        "the machine never refuses an event that it made itself";
    ReplayIsSame, "a_replayed_journal_gives_the_same_state",
        "and nothing more follows from it";
    RecoveryTakesUp, "recovery_takes_up_where_the_run_stood",
        "after any append, whoever takes over has the same work";
    PrefixCanBeTakenUp, "every_prefix_of_a_journal_can_be_taken_up",
        "even in the middle of an append";
    LateChangesNothing, "what_comes_late_or_twice_changes_nothing",
        "for actions, compensations and appends";
    NoAcknowledgedEventIsLost, "no_acknowledged_event_is_lost",
        "whoever takes over reads all that anybody was told to be durable";
    StaleEpochNeverAppends, "a_stale_epoch_never_appends",
        "once a run is claimed anew, no append of an owner before is taken, and every one of the new owner is";
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{property}: {what}")]
pub struct Violation {
    /// The property.
    pub property: Property,
    /// What was found.
    pub what: String,
    /// What was decided in that turn, if it was found in one.
    pub decided: String,
}
