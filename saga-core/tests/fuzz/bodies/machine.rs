//! The machine: whatever happens, in whatever saga, in whatever order.

use crate::support::{Check, History, Tape, ensure, trials};

/// The first byte says what is tried, the others are the tape that all else is read from: the saga, its world and its
/// fate, or the events.
pub fn machine(data: &[u8]) {
    let Some((which, choices)) = data.split_first() else { return };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let tape = Tape::new(choices.chunks(2).map(word).collect());
    let sound = match which % 4 {
        0 => trials::any_events(tape),
        1 => trials::damaged_journal(tape),
        2 => trials::other_policies(tape),
        _ => whole_run(tape),
    };
    if let Err(why) = sound {
        panic!("{why}");
    }
}

fn whole_run(mut tape: Tape) -> Check {
    let history = History::random(&mut tape)?;
    ensure(!history.hung, || format!("the run waits for nothing\n{history}"))?;
    ensure(history.believed.is_empty(), || format!("late: {:?}\n{history}", history.believed))?;
    trials::every_prefix(&history)
}
