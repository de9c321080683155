//! Asking for less, or for one point, and being told in words.

use saga_core::testkit::{Kind, Kit};
use saga_core::{Ctx, Outcome, Saga, StepError, Undo};

use crate::world::{Cloud, kit, make, unmake};

async fn forget(_: Ctx<Cloud>, _: Undo<u32, u32>) -> Result<(), StepError> {
    Ok(())
}

/// The compensation of `b` forgets.
fn leaky() -> Saga<Cloud, u32, u32> {
    let mut saga = Saga::<Cloud, u32>::builder("leaky", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga.step("b", a, make).compensate(forget);
    saga.build(b).unwrap()
}

#[test]
fn every_failed_point_can_be_looked_at_alone() {
    /// Never the same twice, and never undone: wrong in every respect.
    async fn again(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        ctx.effects.add(ctx.idempotency_key());
        Ok(n)
    }
    let mut saga = Saga::<Cloud, u32>::builder("wrong", 1);
    let input = saga.input();
    let a = saga.step("a", input, make).compensate(unmake);
    let b = saga.step("b", a, again).compensate(forget);
    let saga = saga.build(b).unwrap();
    let report = kit(&saga).everything();
    for kind in [Kind::Failure, Kind::Crash, Kind::Repeat, Kind::Cancel] {
        assert!(report.failures().iter().any(|failed| failed.kind == kind), "{kind}: {report}");
    }
    assert!(report.failures().iter().any(|failed| failed.point.contains(", then crash ")), "{report}");
    for failed in report.failures() {
        let alone = kit(&saga).only(&failed.point);
        let alone = match failed.kind {
            Kind::Crash => alone.every_crash(),
            Kind::Repeat => alone.every_repeat(),
            Kind::Cancel => alone.every_cancel(),
            Kind::Failure => alone.every_failure(),
            other => panic!("{other} has a failed point too: {report}"),
        };
        assert_eq!(alone.failures(), std::slice::from_ref(failed), "{alone}");
        assert_eq!(alone.points(failed.kind), 1, "{alone}");
    }
    // Whoever asks for everything need not know which kind of point it is.
    let failed = report.failures().iter().find(|failed| failed.kind == Kind::Cancel).unwrap();
    let alone = kit(&saga).only(&failed.point).everything();
    assert_eq!(alone.failures(), std::slice::from_ref(failed), "{alone}");
}

#[test]
fn a_report_is_told_in_words() {
    let report = kit(&leaky()).only("`b` panics after its effect").every_failure();
    let text = report.to_string();
    for line in [
        "`leaky`: 1 points, ",
        "\nFAILED: `b` panics after its effect\n  leaked: testkit/b/0\n",
        "\n  in order: + testkit/a/0, + testkit/b/0, - testkit/a/0\n",
        "\n  the run's end: rolled back: step `b` failed: panicked: injected by the test kit\n",
        "\n  this one alone: .seed(0).only(\"`b` panics after its effect\")\n",
        "\n  from outside: SAGA_TESTKIT_SEED=0 SAGA_TESTKIT_ONLY='`b` panics after its effect'\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    let failed = std::panic::catch_unwind(|| report.assert()).unwrap_err();
    assert_eq!(failed.downcast_ref::<String>(), Some(&text));
}

#[test]
fn a_point_that_is_not_there_is_no_success() {
    let report = kit(&leaky()).only("`b` explodes").every_crash();
    assert!(report.failures().iter().any(|failed| failed.wrong[0].contains("there is no point")), "{report}");
}

#[test]
fn only_some_steps_are_made_to_fail() {
    let saga = leaky();
    let report = kit(&saga).steps(["a"]).every_failure();
    report.assert();
    assert!(report.points(Kind::Failure) > 0);
}

#[test]
#[should_panic(expected = "the saga has no step `c`")]
fn a_step_that_is_not_there_is_a_mistake() {
    let _ = kit(&leaky()).steps(["c"]);
}

#[test]
fn what_is_left_out_is_said() {
    let mut saga = Saga::<Cloud, u32>::builder("long", 1);
    let input = saga.input();
    let waits = async |_: Ctx<Cloud>, n: u32| {
        for _ in 0..10 {
            crate::world::call().await;
        }
        Ok(n)
    };
    let waits = saga.step("waits", input, waits).nothing_to_undo();
    let last = saga.step("last", waits, make).compensate(unmake);
    let saga = saga.build(last).unwrap();
    let report = kit(&saga).every_failure();
    report.assert();
    assert_eq!(report.left_out_points().collect::<Vec<_>>(), [("waits after the fourth of a call", 6)]);
    let report = report.and(kit(&saga).every_crash());
    let later = report.left_out_points().find(|(what, _)| *what == "crashes later in a recovery");
    assert!(later.is_some_and(|(_, points)| points > 10), "{report}");
    assert!(report.to_string().contains("\n  left out: 6 waits after the fourth of a call\n"), "{report}");
    let none = kit(&saga).thorough().every_crash();
    assert_eq!(none.left_out_points().count(), 0, "{none}");
}

/// There is nothing to learn from the failures of a run that does not complete even undisturbed.
#[test]
fn an_undisturbed_run_has_to_complete() {
    let mut saga = Saga::<Cloud, u32>::builder("no", 1);
    let input = saga.input();
    let no = saga
        .step("no", input, async |_: Ctx<Cloud>, _: u32| Err::<u32, _>(StepError::rejected("not today")))
        .nothing_to_undo();
    let report = kit(&saga.build(no).unwrap()).everything();
    assert_eq!(report.failures().len(), 1, "{report}");
    assert_eq!(report.failures()[0].point, "undisturbed");
    assert_eq!(report.failures()[0].wrong, ["`no` failed of itself: not today"]);
}

#[test]
fn an_invariant_may_panic_or_return() {
    let saga = leaky();
    let broken = || Kit::new(&saga, || 3, Cloud::default).only("`a` is rejected");
    let panics = broken().check(|_: &Cloud, outcome: &Outcome<u32>| assert!(outcome.is_completed(), "it panicked"));
    assert_eq!(panics.every_failure().failures()[0].wrong, ["it panicked"]);
    let returns = broken().check(
        |_: &Cloud, outcome: &Outcome<u32>| {
            if outcome.is_completed() { Ok(()) } else { Err("it returned") }
        },
    );
    assert_eq!(returns.every_failure().failures()[0].wrong, ["it returned"]);
}

/// A world that acts differently each time has points that are not reached again: no success either.
#[test]
fn a_point_that_is_not_reached_is_no_success() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let mut saga = Saga::<Cloud, u32>::builder("fickle", 1);
    let worlds = Arc::new(AtomicU32::new(0));
    let input = saga.input();
    let fickle = {
        let worlds = Arc::clone(&worlds);
        move |ctx: Ctx<Cloud>, n: u32| {
            let waits = worlds.load(Ordering::Relaxed) == 1;
            async move { if waits { make(ctx, n).await } else { Ok(n) } }
        }
    };
    let made = saga.step("made", input, fickle).compensate(unmake);
    let saga = saga.build(made).unwrap();
    let fickle = Kit::new(
        &saga,
        || 3,
        move || {
            worlds.fetch_add(1, Ordering::Relaxed);
            Cloud::default()
        },
    );
    let report = fickle.only("crash during `made`").every_crash();
    assert!(report.failures()[0].wrong[0].starts_with("the run never came to: crash during `made`"), "{report}");
}
