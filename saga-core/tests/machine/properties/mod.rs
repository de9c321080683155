//! Sentences that hold for every run.

mod ends;
mod going_on;
mod operators;
mod recovery;
mod rollback;

use std::cell::RefCell;
use std::collections::BTreeMap;

use saga_core::journal::{Event, Rest, Verb};
use saga_core::machine::Phase;
use saga_core::{Cause, FailureOrigin, Left, Outcome};

use crate::support::{cases, for_all_runs};

/// The random runs are worth something: whatever the rules speak of happens in many of them.
#[test]
fn the_random_runs_are_of_every_kind() {
    let seen: RefCell<BTreeMap<&str, u32>> = RefCell::default();
    let count = |what: &'static str, happened: bool| {
        *seen.borrow_mut().entry(what).or_default() += u32::from(happened);
    };
    for_all_runs(|history| {
        let any = |test: &dyn Fn(&Event) -> bool| history.events().any(test);
        count("completes", any(&|e| matches!(e, Event::Rested { rest: Rest::Completed })));
        count("rolls back", any(&|e| matches!(e, Event::Rested { rest: Rest::RolledBack })));
        count("halts", any(&|e| matches!(e, Event::Rested { rest: Rest::Halted { .. } })));
        count("gets stuck", any(&|e| matches!(e, Event::Rested { rest: Rest::Stuck })));
        count("is abandoned", any(&|e| matches!(e, Event::Rested { rest: Rest::Abandoned { .. } })));
        count("crashes", any(&|e| matches!(e, Event::Resumed { .. })));
        count("is cancelled", any(&|e| matches!(e, Event::AbortBegan { cause: Cause::Cancelled { .. } })));
        count("is late", any(&|e| matches!(e, Event::AbortBegan { cause: Cause::DeadlinePassed })));
        count("loses its subject", any(&|e| matches!(e, Event::SubjectChecked { gone: true })));
        count("is asked what happened", any(&|e| matches!(e, Event::Probed { .. })));
        count("tries again", any(&|e| matches!(e, Event::AttemptFailed { retry_at: Some(_), .. })));
        count("undoes again", any(&|e| matches!(e, Event::UndoFailed { retry_at: Some(_), .. })));
        count("has a failing finalizer", any(&|e| matches!(e, Event::FinalizerFailed { .. })));
        let operated = |verb: fn(&Verb) -> bool| any(&|e| matches!(e, Event::Operated { verb: v, .. } if verb(v)));
        count("is retried", operated(|verb| matches!(verb, Verb::Retry)));
        count("is helped by hand", operated(|verb| matches!(verb, Verb::Skip { .. })));
        count("is rolled back by hand", operated(|verb| matches!(verb, Verb::RollBack)));
        let pinned = history.ledger().verdict.is_some_and(|verdict| !verdict.pinned.is_empty());
        count("has pinned steps", pinned);
        let finishes = history.turns.iter().any(|turn| {
            let events = &history.journal[turn.from..turn.to];
            let starts = events.iter().any(|record| matches!(record.event, Event::StepStarted { .. }));
            starts && turn.state.phase() == Phase::RollingBack
        });
        count("starts a committed step in its rollback", finishes);
        let outcome = saga_core::machine::outcome(&history.plan, &history.state);
        let residue = outcome.iter().flat_map(Outcome::residue);
        let left: Vec<Left> = residue.map(|left| left.why.clone()).collect();
        count("leaves something blocked", left.contains(&Left::Blocked));
        count("leaves something unfinished", left.iter().any(|why| matches!(why, Left::Unfinished { .. })));
        let cut_short = |error: &saga_core::Failure| error.origin == FailureOrigin::Interrupted;
        count(
            "halts for a crash",
            history
                .turns
                .iter()
                .any(|turn| matches!(turn.state.rest(), Some(Rest::Halted { error, .. }) if cut_short(error))),
        );
        Ok(())
    });
    let seen = seen.into_inner();
    // Who asks for few runs gets few of each kind.
    let enough = cases() / 300;
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < enough).collect();
    assert!(rare.is_empty(), "too rare: {rare:?} in {seen:?}");
}
