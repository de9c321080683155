//! Proof that a saga recovers, for those who write sagas.
//!
//! A saga is right if it ends well wherever it fails, whenever its process dies, and whatever an operator does then. Nobody
//! can write a test for each such point by hand. A [`Kit`] finds them and goes through all of them, each in a fresh world,
//! and asks an invariant of yours at each end.
//!
//! # How to start
//!
//! 1. In `Cargo.toml`: `[dev-dependencies] saga-core = { version = "…", features = ["testkit"] }`.
//! 2. A pretended world: what the saga's actions act on. [`Effects`] remembers what was made and unmade under which key.
//! 3. One test: `Kit::new(&saga, input, world).check(invariant).everything().assert()`.
//!
//! ```
//! use saga_core::testkit::{Effects, Kit, World};
//! use saga_core::{Ctx, Retry, Saga, StepError, Undo};
//!
//! // What the saga acts on, pretended. Clones share it, as processes share the world.
//! #[derive(Clone, Default)]
//! struct Cloud {
//!     effects: Effects,
//! }
//!
//! impl World for Cloud {
//!     type App = Cloud;
//!     fn app(&self) -> Cloud {
//!         self.clone() // what a process has of the world; called again after a crash
//!     }
//! }
//!
//! async fn make_disk(ctx: Ctx<Cloud>, gigabytes: u32) -> Result<String, StepError> {
//!     ctx.effects.make(ctx.idempotency_key());
//!     Ok(format!("disk of {gigabytes} GB"))
//! }
//! async fn delete_disk(ctx: Ctx<Cloud>, _: Undo<u32, String>) -> Result<(), StepError> {
//!     // By the key, not by the output: an action that died in the middle has none.
//!     ctx.effects.unmake(ctx.idempotency_key());
//!     Ok(())
//! }
//! async fn boot(ctx: Ctx<Cloud>, disk: String) -> Result<String, StepError> {
//!     ctx.effects.make(ctx.idempotency_key());
//!     Ok(format!("machine with a {disk}"))
//! }
//! async fn halt(ctx: Ctx<Cloud>, _: Undo<String, String>) -> Result<(), StepError> {
//!     ctx.effects.unmake(ctx.idempotency_key());
//!     Ok(())
//! }
//!
//! let mut saga = Saga::<Cloud, u32>::builder("make-machine", 1);
//! let size = saga.input();
//! let disk = saga.step("disk", size, make_disk).retry(Retry::exponential(3)).compensate(delete_disk);
//! let machine = saga.step("boot", disk, boot).compensate(halt);
//! let make_machine = saga.build(machine)?;
//!
//! // In a `#[test]`, with or without a runtime around it:
//! Kit::new(&make_machine, || 20, Cloud::default)
//!     .check(|cloud, outcome| cloud.effects.agree_with(outcome)) // no leak, nothing twice
//!     .everything()
//!     .assert();
//! # Ok::<(), saga_core::BuildError>(())
//! ```
//!
//! # What is tried
//!
//! | | at every | what happens |
//! |---|---|---|
//! | [`Kit::every_failure`] | action, item of a fan-out, compensation; the finalizer, however the run ends | it is rejected, fails, fails fatally, panics, times out: before its effect, after it (its real answer is replaced), and, for timeouts, where it waits |
//! | [`Kit::every_question`] | answer of a probe, whatever it is asked about; answer of the guard, in a wait and when an error has reached the top | it does not know, fails, panics, hangs, is late; the guard says that the subject is gone, and if the [world can lose it](Kit::vanish), it is gone, there and at every other point |
//! | [`Kit::every_crash`] | append, before and after it is durable; call, before it, at its waits and after it; in the rollback after each step's failure; when the finalizer has failed; and again in the recovery | the process dies: all that it had in memory is gone, and another takes the run up |
//! | [`Kit::every_repeat`] | action, compensation, and the finalizer | it is called twice, as after a crash |
//! | [`Kit::every_cancel`] | append and call; then with a crash before and after the cancellation is durable; in a rollback, a forward finish, the finalizer, and at rest | the run is cancelled, if it is not too late |
//! | [`Kit::every_deadline`] | moment of the run and of its rollbacks | its deadline passes, if it is not too late |
//! | [`Kit::every_rest`] | step at which the run can halt, compensation and forward step at which it can be stuck | an operator retries (also in vain), skips, rolls back, abandons; and the process dies at each append that follows |
//!
//! Every trial must come to its point, or it fails; the run must come to rest; the outcome must be one that the rules
//! allow (what was tried again completes, a halted run names the step, a rolled back one names its cause and keeps what
//! the forecast says, only what could not be undone is left, an operator's verb does what it says); the run must hold its
//! exclusive key until it has ended, and not longer; and the invariant must hold, at each rest.
//!
//! What comes of it is a [`Report`]: it prints how many points there were and each that failed, by a name under which
//! [`Kit::only`] goes through that one alone. From outside, the environment variables [`ONLY`] and [`SEED`] do the same.
//!
//! # What the invariant is told
//!
//! Everything that can become of a run becomes of it in some trial, so it has to know every [`Outcome`](crate::Outcome):
//!
//! - `Completed`: all that should stand stands.
//! - `RolledBack`: what is in `kept` stands, *or may* (of a step that an operator took for undone nobody knows); nothing
//!   else does. If the cause is `SubjectGone` there is no record to look at any more.
//! - `Halted`, `Stuck`, `Abandoned`: what stands is in the residue, or in `kept`. A lock is still held while a run rests.
//!
//! [`Effects::agree_with`] says all of that of effects.
//!
//! # What it asks of the world
//!
//! - The undisturbed run completes.
//! - It acts the same each time: no random order, no real time. Time is tokio's, paused: it jumps ahead whenever nothing
//!   else is to be done, so a policy of hours costs nothing, and real I/O would seem to take for ever.
//! - It shares nothing with other worlds: as many trials as there are cores go on side by side.
//! - It has no tasks of its own. A process that dies takes all tasks with it that it had spawned.
//!
//! A trial that does not come to rest within [a day](Kit::patience) of virtual time fails, and says what was still at
//! work. So does one that keeps its thread busy for [a minute](Kit::give_up_after) of real time.
//!
//! # What is left out
//!
//! What is like something that is looked at; the report counts the first three.
//!
//! - Of a recovery only the first append and the first call are looked at for a second crash ([`Kit::thorough`] looks at
//!   all); nothing is tried with three.
//! - Of one call only the first four waits.
//! - While a step waits, the guard is asked again and again: of all asks between two appends the first.
//! - Single failures, but for [`Kit::failures_at_once`]; and one kind of thing at a time, but for the pairs above.
//! - An action fails as a whole. How it understands the errors of what it calls is for tests of your own.

mod effects;
mod kit;
mod points;
mod report;
mod rules;
mod script;
mod stage;
mod tap;
mod trial;
mod wrap;

pub use effects::Effects;
pub use kit::{Kit, Verdict};
pub use report::{FailedPoint, Kind, Report};

/// The environment variable that names the one point that every kit is to look at. A kit that has no such point says so,
/// and is content.
pub const ONLY: &str = "SAGA_TESTKIT_ONLY";

/// The environment variable that chooses the seed of every kit that is not given one.
pub const SEED: &str = "SAGA_TESTKIT_SEED";

/// The id of the run in every trial, for worlds that have to know it before it starts.
pub const RUN: &str = "testkit";

/// The outside world of a trial. It outlives the processes that act on it.
pub trait World: 'static {
    /// The application: what the saga's actions work with.
    type App: Send + Sync + 'static;

    /// The application as a process makes it when it starts. Called again after each crash, on the same world.
    fn app(&self) -> Self::App;
}
