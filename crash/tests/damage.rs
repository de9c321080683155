//! The trials of a hurt store in small, and the proof that each can fail.

mod program;

use program::{count, told, trial};

/// Holds a trial that must hold, and returns its report; none, if it could not be held for want of strace.
fn holds(arguments: &[&str]) -> Option<String> {
    let output = trial(arguments);
    let text = told(&output);
    if output.status.code() == Some(2) && text.contains("NOT held") {
        eprintln!("SKIPPED: {text}");
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(count(&text, "│ violations"), 0, "{text}");
    Some(text)
}

/// Holds a trial with a fault built in, which must be found, and the line that repeats it told.
fn fails(arguments: &[&str], what: &str) {
    let output = trial(arguments);
    let text = told(&output);
    if output.status.code() == Some(2) && text.contains("NOT held") {
        return eprintln!("SKIPPED: {text}");
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("VIOLATED") && text.contains(what), "{text}");
    assert!(text.contains("--seed 1"), "what repeats it: {text}");
}

#[test]
fn files_that_were_cut_are_noticed() {
    // From the beginning on: sled rewrites leaves in the background, at the end, and how many is a matter of time. To lose such
    // costs nothing.
    let text = holds(&["damage", "cut", "--appends", "40", "--tail", "1000000", "--step", "3989"]).unwrap();
    assert!(count(&text, "cuts that were noticed") > 0, "{text}");
    assert!(count(&text, "runs named as hurt") > 0, "{text}");
}

/// Without the mark sled's file can be cut, and the store goes back in time without a word.
#[test]
fn a_cut_that_nobody_notices_is_found() {
    fails(&["damage", "cut", "--appends", "40", "--tail", "1000000", "--step", "7993", "--unmarked"], "were told");
}

#[test]
fn bytes_that_were_flipped_hurt_the_runs_that_have_them_and_no_others() {
    let text = holds(&["damage", "flip", "--appends", "24", "--raw", "60"]).unwrap();
    for part in ["headers of frames", "directories of frames", "records in frames"] {
        assert!(count(&text, &format!("flips of {part} that hurt runs, which were named")) > 0, "{text}");
    }
}

#[test]
fn a_checksum_that_nobody_checks_is_found() {
    fails(&["damage", "flip", "--appends", "24", "--raw", "0", "--sabotage", "forge"], "of frames");
}

#[test]
fn runs_wait_for_room_and_go_on() {
    let Some(text) = holds(&["damage", "full", "--sagas", "400"]) else { return };
    if text.contains("SKIPPED") {
        eprintln!("{text}");
    } else {
        assert_eq!(count(&text, "runs that ended right when there was room"), 400, "{text}");
    }
}

#[test]
fn what_is_lost_on_a_full_disk_is_found() {
    let output = trial(&["damage", "full", "--sagas", "400", "--sabotage", "lose-store"]);
    let text = told(&output);
    if text.contains("SKIPPED") {
        return eprintln!("{text}");
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no acknowledged start is lost"), "{text}");
}

#[test]
fn a_call_that_fails_is_told_and_costs_nothing() {
    let Some(text) = holds(&["damage", "fsync", "--calls", "3"]) else { return };
    assert_eq!(count(&text, "fdatasync error=EIO: failed, and said so"), 3, "{text}");
    assert_eq!(count(&text, "fdatasync signal=KILL: killed"), 3, "{text}");
}

#[test]
fn an_acknowledgement_after_a_failed_sync_is_found() {
    fails(&["damage", "fsync", "--calls", "3", "--sabotage", "early-ack"], "was acknowledged after a failure");
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power() {
    let Some(text) = holds(&["power", "--appends", "160", "--moments", "40"]) else { return };
    assert_eq!(count(&text, "│ opened"), 160, "{text}");
    assert!(count(&text, "runs that were whole") > 500, "{text}");
}

#[test]
fn a_store_that_acknowledges_before_it_syncs_is_found() {
    fails(&["power", "--appends", "120", "--moments", "30", "--sabotage", "early-ack"], "were told");
}

/// sled's own `flush` is not enough: this is the store without its `fdatasync`.
#[test]
fn a_sync_that_does_nothing_is_found() {
    fails(&["power", "--appends", "120", "--moments", "30", "--sabotage", "deaf-drive"], "were told");
}
