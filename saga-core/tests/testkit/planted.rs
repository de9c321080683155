//! Bugs that were planted, each of a kind that is easily made. The report names the point at which it shows.

use std::time::Duration;

use saga_core::testkit::{Effects, Kind, Kit};
use saga_core::{Ctx, Outcome, Probe, Retry, Saga, StepError, Undo};

use crate::world::{Cloud, around, assert_wrong, call, kit, make, names, point, unmake};

#[test]
fn a_compensation_that_forgets() {
    async fn forget(_: Ctx<Cloud>, _: Undo<u32, u32>) -> Result<(), StepError> {
        Ok(())
    }
    let saga = around(|saga, first| saga.step("middle", first, make).compensate(forget));
    let report = kit(&saga).every_failure();
    assert_wrong(&report, "`last` is rejected", "leaked: testkit/middle/0\n");
    assert_wrong(&report, "`middle` panics after its effect", "leaked: testkit/middle/0\n");
    // Where it had nothing to forget, all is well.
    assert!(!names(&report).contains(&"`middle` fails before its effect"), "{report}");
    assert!(!names(&report).iter().any(|point| point.starts_with("`first`")), "{report}");
}

#[test]
fn a_compensation_that_knows_only_the_output() {
    async fn by_output(ctx: Ctx<Cloud>, undo: Undo<u32, u32>) -> Result<(), StepError> {
        if undo.output.is_some() {
            ctx.effects.unmake(ctx.idempotency_key());
        }
        Ok(())
    }
    let saga = around(|saga, first| saga.step("middle", first, make).compensate(by_output));
    let report = kit(&saga).every_failure();
    assert_wrong(&report, "`middle` fails after its effect", "leaked: testkit/middle/0\n");
    assert_wrong(&report, "`middle` times out in wait 2", "leaked: testkit/middle/0\n");
    assert!(names(&report).iter().all(|point| point.contains("`middle`")), "{report}");
}

#[test]
fn an_undo_that_fails_on_a_half_made_thing() {
    async fn two(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        ctx.effects.make(format!("{}/part", ctx.idempotency_key()));
        call().await;
        ctx.effects.make(ctx.idempotency_key());
        Ok(n)
    }
    async fn undo_two(ctx: Ctx<Cloud>, _: Undo<u32, u32>) -> Result<(), StepError> {
        let key = ctx.idempotency_key();
        ctx.effects.unmake(format!("{key}/part"));
        if ctx.effects.made(&key) == 0 {
            return Err(StepError::fatal("there is no such thing"));
        }
        ctx.effects.unmake(key);
        Ok(())
    }
    let saga = around(|saga, first| saga.step("middle", first, two).compensate(undo_two));
    let report = kit(&saga).every_failure();
    assert_wrong(
        &report,
        "`middle` times out in wait 1",
        "`middle` failed of itself: could not be undone: there is no",
    );
    assert!(!names(&report).contains(&"`middle` fails after its effect"), "{report}");
    // A cancellation waits for the action's end, so the thing is whole by then, unless the process does not live to see it.
    let report = kit(&saga).every_cancel();
    let stuck = "`middle` failed of itself: could not be undone: there is no";
    assert_wrong(&report, "cancel during `middle`, then crash after append 3", stuck);
    assert!(names(&report).iter().all(|point| point.contains(", then crash after ")), "{report}");
}

#[test]
fn an_action_that_is_not_idempotent() {
    async fn again(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        ctx.effects.add(ctx.idempotency_key());
        Ok(n)
    }
    let saga = around(|saga, first| saga.step("middle", first, again).compensate(unmake));
    let report = kit(&saga).every_repeat();
    assert_eq!(names(&report), ["repeat `middle`"]);
    assert_wrong(&report, "repeat `middle`", "there more than once: testkit/middle/0\n");
    let report = kit(&saga).every_crash();
    assert_wrong(&report, "crash after `middle`", "there more than once: testkit/middle/0\n");
    assert!(!names(&report).contains(&"crash before `middle`"), "{report}");
    assert!(!names(&report).contains(&"crash before `last`"), "{report}");
}

#[test]
fn an_action_that_refuses_to_be_repeated() {
    async fn once(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        if !ctx.effects.make(ctx.idempotency_key()) {
            return Err(StepError::rejected("it exists"));
        }
        Ok(n)
    }
    let saga = around(|saga, first| saga.step("middle", first, once).compensate(unmake));
    let report = kit(&saga).every_crash();
    assert_wrong(&report, "crash after `middle`", "`middle` failed of itself: it exists");
    // It says that it did nothing, and is believed until it has been tried twice.
    let report = kit(&saga).every_repeat();
    assert_wrong(&report, "repeat `middle`", "`middle` failed of itself: it exists");
    assert_wrong(&report, "repeat `middle`", "leaked: testkit/middle/0");
}

#[test]
fn a_compensation_that_is_not_idempotent() {
    async fn strict(ctx: Ctx<Cloud>, _: Undo<u32, u32>) -> Result<(), StepError> {
        match ctx.effects.unmake(ctx.idempotency_key()) {
            0 => Err(StepError::fatal("it is not there")),
            _ => Ok(()),
        }
    }
    let saga = around(|saga, first| saga.step("middle", first, make).compensate(strict));
    let when = "when `last` fails fatally after its effect";
    let report = kit(&saga).every_repeat();
    assert_eq!(names(&report), [format!("repeat the undo of `middle`, {when}")]);
    let report = kit(&saga).steps(["last"]).every_crash();
    let wrong = "`middle` failed of itself: could not be undone: it is not there";
    assert_wrong(&report, &format!("crash after the undo of `middle`, {when}"), wrong);
    assert!(!names(&report).contains(&format!("crash before the undo of `middle`, {when}").as_str()), "{report}");
}

/// It is right as long as the process lives: what it had in memory tells it what it did.
#[test]
fn a_note_in_memory_instead_of_a_checkpoint() {
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct App {
        effects: Effects,
        next: AtomicU64,
        made: std::sync::Mutex<Option<String>>,
    }
    struct Outside(Effects);
    impl saga_core::testkit::World for Outside {
        type App = App;
        fn app(&self) -> App {
            // Names go on where they were, so that a new process uses none twice.
            let next = AtomicU64::new(self.0.standing().len() as u64);
            App { effects: self.0.clone(), next, ..App::default() }
        }
    }
    async fn named(ctx: Ctx<App>, n: u32) -> Result<u32, StepError> {
        let name = format!("testkit/named/0/{}", ctx.next.fetch_add(1, Ordering::Relaxed));
        ctx.effects.make(&name);
        *ctx.made.lock().unwrap() = Some(name);
        Ok(n)
    }
    async fn unname(ctx: Ctx<App>, _: Undo<u32, u32>) -> Result<(), StepError> {
        if let Some(name) = ctx.made.lock().unwrap().take() {
            ctx.effects.unmake(name);
        }
        Ok(())
    }
    let mut saga = Saga::<App, u32>::builder("named", 1);
    let input = saga.input();
    let named = saga.step("named", input, named).compensate(unname);
    let last = saga.step("last", named, async |_: Ctx<App>, n: u32| Ok(n)).nothing_to_undo();
    let saga = saga.build(last).unwrap();
    let kit = Kit::new(&saga, || 1, || Outside(Effects::new())).check(|world: &Outside, outcome: &Outcome<u32>| {
        let standing = world.0.standing();
        assert!(standing.len() <= 1, "made under two names: {standing:?}");
        world.0.agree_with(outcome)
    });
    kit.every_failure().assert();
    let report = kit.every_cancel();
    assert_wrong(&report, "cancel after `named`, then crash after append 2", "leaked: testkit/named/0/0");
    assert!(names(&report).iter().all(|point| point.contains(", then crash ")), "{report}");
    let report = kit.every_crash();
    let when = "when `last` fails fatally after its effect";
    assert_wrong(&report, "crash before append 2", "made under two names");
    assert_wrong(&report, &format!("crash before append 3, {when}"), "leaked: testkit/named/0/0");
    assert_eq!(point(&report, "crash before append 2").about, ["append 2: `named` succeeded; `last` started"]);
    assert!(!names(&report).contains(&"crash after append 1"), "{report}");
    assert!(!names(&report).contains(&"crash after append 2"), "{report}");
}

/// Its second process is the one that goes wrong, and only if it dies too: a crash inside of the recovery.
#[test]
fn a_recovery_that_must_not_be_disturbed() {
    async fn unless_tried_twice(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        if ctx.attempt() > 2 {
            ctx.effects.add(format!("{}/spare", ctx.idempotency_key()));
            ctx.effects.add(format!("{}/spare", ctx.idempotency_key()));
        }
        make(ctx, n).await
    }
    let saga = around(|saga, first| saga.step("middle", first, unless_tried_twice).compensate(unmake));
    let report = kit(&saga).steps(["first"]).every_crash();
    assert_wrong(&report, "crash during `middle`, then crash during `middle` (call 2)", "there more than once");
    assert!(names(&report).iter().all(|point| point.contains(", then crash ")), "{report}");
}

#[test]
fn an_action_that_ignores_its_cancellation_for_ever() {
    /// Waits for the word of the step beside it, which comes only if that is not cancelled.
    async fn wait(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        while !ctx.has_said("go") {
            call().await;
        }
        Ok(n)
    }
    async fn speak(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        call().await;
        if ctx.is_cancelled() {
            return Err(StepError::rejected("cancelled"));
        }
        ctx.say("go");
        Ok(n)
    }
    let saga = around(|saga, first| {
        let waited = saga.step("waits", first, wait).nothing_to_undo();
        let spoken = saga.step("speaks", first, speak).nothing_to_undo();
        saga.step("both", (waited, spoken), async |_: Ctx<Cloud>, (n, _): (u32, u32)| Ok(n)).nothing_to_undo()
    });
    let patient = kit(&saga).patience(Duration::from_secs(3600));
    let wrong = "not at rest after 3600s of virtual time; still at work: `waits` (call 1)";
    assert_wrong(&patient.every_cancel(), "cancel during `speaks`", wrong);
    assert_wrong(&patient.every_deadline(), "deadline during `speaks`", wrong);
    assert_wrong(&patient.every_failure(), "`speaks` is rejected", wrong);
}

#[test]
fn an_action_that_is_tried_again_without_end() {
    async fn never(ctx: Ctx<Cloud>, n: u32) -> Result<u32, StepError> {
        if ctx.attempt() == 1 && ctx.say("first") { Ok(n) } else { Err(StepError::failed("not twice")) }
    }
    let saga = around(|saga, first| {
        let hasty = Retry::forever().initial(Duration::ZERO);
        saga.step("middle", first, never).retry(hasty).nothing_to_undo()
    });
    let report = kit(&saga).only("crash after `middle`").every_crash();
    assert_wrong(&report, "crash after `middle`", "something is tried again without end; still at work: `middle`");
}

#[test]
fn an_action_that_keeps_its_thread_busy() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let enough = Arc::new(AtomicBool::new(false));
    let spin = {
        let enough = Arc::clone(&enough);
        move |ctx: Ctx<Cloud>, n: u32| {
            let enough = Arc::clone(&enough);
            async move {
                while ctx.attempt() > 1 && !enough.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                Ok(n)
            }
        }
    };
    let saga = around(|saga, first| saga.step("middle", first, spin).nothing_to_undo());
    let kit = kit(&saga).only("crash after `middle`");
    // However long that is: it never ends by itself. But it has to come as far as that.
    let mut limit = Duration::from_millis(500);
    let report = loop {
        let report = kit.clone().give_up_after(limit).every_crash();
        let mut wrong = report.failures().iter().flat_map(|failed| &failed.wrong);
        if wrong.any(|wrong| wrong.contains("(call 2)")) || limit > Duration::from_secs(60) {
            break report;
        }
        limit *= 4;
    };
    enough.store(true, Ordering::Relaxed);
    let wrong = format!("{limit:?} of real time have passed, and no end is in sight; still at work: `middle` (call 2)");
    assert_wrong(&report, "crash after `middle`", &wrong);
    assert_eq!(report.notes(), ["stopped: the last trial cannot be ended"]);
}

#[test]
fn a_probe_that_lies() {
    async fn surely(_: Ctx<Cloud>, n: u32) -> Result<Probe<u32>, StepError> {
        Ok(Probe::Done(n))
    }
    let saga = around(|saga, first| saga.step("middle", first, make).probe(surely).non_compensable());
    let report = kit(&saga).every_failure();
    let point = "`middle` fails before its effect";
    assert_wrong(&report, point, "`middle` fails before its effect, and yet the run completed");
    assert!(!names(&report).contains(&"`middle` fails after its effect"), "{report}");
}

/// The finalizer is told again if its end was lost, so it must not count.
#[test]
fn a_finalizer_that_counts() {
    let mut saga = Saga::<Cloud, u32>::builder("counts", 1);
    let input = saga.input();
    let made = saga.step("made", input, make).compensate(unmake);
    saga.finally(async |ctx: Ctx<Cloud>, _: u32, _: Outcome<saga_core::Payload>| {
        ctx.effects.add("ended");
        Ok(())
    });
    let saga = saga.build(made).unwrap();
    let counting = Kit::new(&saga, || 3, Cloud::default).check(|cloud: &Cloud, _: &Outcome<u32>| {
        let ended = cloud.effects.made("ended");
        if ended == 1 { Ok(()) } else { Err(format!("ended {ended} times")) }
    });
    let report = counting.everything();
    assert_wrong(&report, "the finalizer fails after its effect once", "ended 2 times");
    assert_wrong(&report, "crash after the finalizer", "ended 2 times");
    assert_wrong(&report, "repeat the finalizer", "ended 2 times");
    let when = "when `made` fails fatally after its effect";
    assert_wrong(&report, &format!("crash after the finalizer, {when}"), "ended 2 times");
    assert_wrong(&report, &format!("the finalizer panics after its effect once, {when}"), "ended 2 times");
    let calm = [Kind::Cancel, Kind::Deadline];
    assert!(!report.failures().iter().any(|failed| calm.contains(&failed.kind)), "{report}");
}

/// It knows in memory that it has spoken: that is enough for as long as the process lives.
#[test]
fn a_finalizer_with_a_memory() {
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct App {
        effects: Effects,
        has_spoken: AtomicBool,
    }
    struct Outside(Effects);
    impl saga_core::testkit::World for Outside {
        type App = App;
        fn app(&self) -> App {
            App { effects: self.0.clone(), ..App::default() }
        }
    }
    let mut saga = Saga::<App, u32>::builder("speaks", 1);
    let input = saga.input();
    let done = saga.step("done", input, async |_: Ctx<App>, n: u32| Ok(n)).nothing_to_undo();
    saga.finally(async |ctx: Ctx<App>, _: u32, _: Outcome<saga_core::Payload>| {
        if !ctx.has_spoken.swap(true, Ordering::Relaxed) {
            ctx.effects.add("spoken");
        }
        Ok(())
    });
    let saga = saga.build(done).unwrap();
    let kit = Kit::new(&saga, || 1, || Outside(Effects::new())).check(|world: &Outside, _: &Outcome<u32>| {
        assert_eq!(world.0.made("spoken"), 1);
    });
    kit.every_failure().assert();
    kit.every_repeat().assert();
    let report = kit.every_crash();
    let fails = "the finalizer fails fatally after its effect once";
    let rolled_back = "when `done` fails fatally after its effect";
    for when in [rolled_back.to_owned(), format!("when {fails}"), format!("{rolled_back} and {fails}")] {
        assert_wrong(&report, &format!("crash after the finalizer, {when}"), "assertion `left == right` failed");
    }
}
