//! Proof that a saga recovers, for those who write sagas.
//!
//! A saga is right if it ends well wherever it fails and whenever its process dies. Nobody can write a test for each such
//! point by hand; a [`Kit`] finds them and goes through all of them, each in a fresh world, and asks an invariant of yours
//! at each end.
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
//! | [`Kit::every_failure`] | action, item of a fan-out, compensation, and the finalizer | it is rejected, fails, fails fatally, panics, times out: before its effect, after it (its real answer is replaced), and, for timeouts, where it waits |
//! | [`Kit::every_crash`] | append, before and after it is durable; call, before it, at its waits and after it; in the rollback after each step's failure; and again in the recovery | the process dies: all that it had in memory is gone, and another takes the run up |
//! | [`Kit::every_repeat`] | action, compensation, and the finalizer | it is called twice, as after a crash |
//! | [`Kit::every_cancel`] | append and call | the run is cancelled |
//!
//! Every trial must come to its point, or it fails; the run must come to rest; the outcome must be one that the rules
//! allow (what was tried again completes, a halted run names the step, a rolled back one names its cause and keeps what
//! the forecast says, only what could not be undone is left); and the invariant must hold.
//!
//! What comes of it is a [`Report`]: it prints each point that failed, by a name under which [`Kit::only`] goes through
//! that one alone. From outside, the environment variables [`ONLY`] and [`SEED`] do the same.
//!
//! # What it asks of the world
//!
//! - The undisturbed run completes.
//! - It acts the same each time: no random order, no real time. Time is tokio's, paused: it jumps ahead whenever nothing
//!   else is to be done, so a policy of hours costs nothing, and real I/O would seem to take for ever.
//! - It shares nothing with other worlds: as many trials as there are cores go on side by side.
//! - It has no tasks of its own. A process that dies takes all tasks with it that it had spawned.
//! - Probes and guards are called as they are: they are the world's answers.
//!
//! A trial that does not come to rest within [a day](Kit::patience) of virtual time fails, and says what was still at
//! work. So does one that keeps its thread busy for [a minute](Kit::give_up_after) of real time.

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
