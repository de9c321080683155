//! What the steps do: make something in the world and unmake it, slowly, and not always at the first attempt.

use std::time::Duration;

use saga_core::{Ctx, Epoch, Outcome, Payload, Probe, StepError, Undo};
use serde::{Deserialize, Serialize};

use crate::ledger::{Act, Mark};
use crate::load::Order;
use crate::world::World;

/// Attempts later than this succeed, so that no retry policy is ever spent by chance.
const LAST_FLAKY_ATTEMPT: u32 = 2;

/// The output of an action: what it made, and under which claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) key: String,
    pub(crate) epoch: Epoch,
}

/// What an attempt will come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    /// Before it has changed anything, without knowing that.
    FailsBefore,
    /// After it has changed something.
    FailsAfter,
}

/// What is decided about one attempt beforehand.
struct Attempt {
    fate: Fate,
    before: Duration,
    after: Duration,
    checkpoints: bool,
    /// Whether it ends early when the run is aborted.
    listens: bool,
}

impl Attempt {
    fn of(ctx: &Ctx<World>, order: &Order, act: Act, slowness: u64) -> Self {
        let text = format!("{}/{act:?}/{}", ctx.idempotency_key(), ctx.attempt());
        let mut dice = dice(order, &text);
        let fate = match dice.u32(..8) {
            0 if ctx.attempt() <= LAST_FLAKY_ATTEMPT => Fate::FailsBefore,
            1 if ctx.attempt() <= LAST_FLAKY_ATTEMPT => Fate::FailsAfter,
            _ => Fate::Succeeds,
        };
        let mut pause = || Duration::from_millis(dice.u64(..=12) * slowness);
        let (before, after) = (pause(), pause());
        Self { fate, before, after, checkpoints: dice.u32(..6) == 0, listens: dice.bool() }
    }
}

/// The same for the same order and text, in every process (FNV-1a).
fn dice(order: &Order, text: &str) -> fastrand::Rng {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    fastrand::Rng::with_seed(text.bytes().fold(order.salt, hash))
}

/// Makes the effect of this item.
pub(super) async fn make(ctx: Ctx<World>, order: Order) -> Result<Made, StepError> {
    make_slowly(&ctx, &order, 1).await
}

/// As [`make`], and takes some time for it.
pub(super) async fn make_at_leisure(ctx: Ctx<World>, order: Order) -> Result<Made, StepError> {
    make_slowly(&ctx, &order, 4).await
}

/// As [`make`], built on something.
pub(super) async fn build(ctx: Ctx<World>, (order, _on): (Order, Made)) -> Result<Made, StepError> {
    make_slowly(&ctx, &order, 1).await
}

/// As [`make_at_leisure`], built on something.
pub(super) async fn build_at_leisure(ctx: Ctx<World>, (order, _on): (Order, Made)) -> Result<Made, StepError> {
    make_slowly(&ctx, &order, 4).await
}

/// As [`make`], built on two things.
pub(super) async fn join(ctx: Ctx<World>, (order, _one, _other): (Order, Made, Made)) -> Result<Made, StepError> {
    make_slowly(&ctx, &order, 1).await
}

/// As [`make`], built on the items of a fan-out, all of which must be there.
pub(super) async fn gather(ctx: Ctx<World>, (order, parts): (Order, Vec<Made>)) -> Result<Made, StepError> {
    if parts.len() != order.width as usize {
        return Err(StepError::fatal(format!("{} parts of {}", parts.len(), order.width)));
    }
    make_slowly(&ctx, &order, 1).await
}

/// The items of the fan-out: nothing but reading.
pub(super) async fn list(ctx: Ctx<World>, order: Order) -> Result<Vec<Order>, StepError> {
    ctx.write(&ctx, Act::Do, Mark::Begin)?;
    ctx.write(&ctx, Act::Do, Mark::Done { fresh: true })?;
    Ok(vec![order.clone(); order.width as usize])
}

/// Fails for good, in one of several ways.
pub(super) async fn fail(ctx: Ctx<World>, (order, _on): (Order, Made)) -> Result<Made, StepError> {
    let way = dice(&order, "the way of failing").u32(..3);
    ctx.write(&ctx, Act::Do, Mark::Begin)?;
    pause(&ctx, &order).await;
    match way {
        0 => {
            ctx.write(&ctx, Act::Do, Mark::Rejected)?;
            Err(StepError::rejected("as ordered: nothing was changed"))
        }
        1 => Err(fatal(&ctx, false)?),
        _ => Err(fatal(&ctx, true)?),
    }
}

/// Cannot be undone, and fails, its effect unknown, as long as no operator has settled it.
pub(super) async fn pivot(ctx: Ctx<World>, (order, _on): (Order, Made)) -> Result<Made, StepError> {
    if ctx.is_settled(ctx.run())? {
        return make_slowly(&ctx, &order, 1).await;
    }
    ctx.write(&ctx, Act::Do, Mark::Begin)?;
    pause(&ctx, &order).await;
    Err(fatal(&ctx, dice(&order, "the pivot").bool())?)
}

/// Cannot be undone, and may fail for good before or after its effect.
pub(super) async fn probed_pivot(ctx: Ctx<World>, (order, _on): (Order, Made)) -> Result<Made, StepError> {
    let way = dice(&order, "the probed pivot").u32(..3);
    if way == 0 {
        return make_slowly(&ctx, &order, 1).await;
    }
    ctx.write(&ctx, Act::Do, Mark::Begin)?;
    pause(&ctx, &order).await;
    Err(fatal(&ctx, way == 1)?)
}

/// Whether the effect of this item is there.
pub(super) async fn ask(ctx: Ctx<World>, _: (Order, Made)) -> Result<Probe<Made>, StepError> {
    ctx.write(&ctx, Act::Ask, Mark::Begin)?;
    if !ctx.has(&ctx.idempotency_key())? {
        return Ok(Probe::NotDone);
    }
    ctx.write(&ctx, Act::Ask, Mark::Done { fresh: false })?;
    Ok(Probe::Done(made(&ctx)))
}

/// Unmakes the effect of this item, whatever it was made from.
pub(super) async fn unmake<In: Ordered>(ctx: Ctx<World>, undo: Undo<In, Made>) -> Result<(), StepError> {
    let attempt = Attempt::of(&ctx, undo.input.order(), Act::Undo, 1);
    ctx.write(&ctx, Act::Undo, Mark::Begin)?;
    tokio::time::sleep(attempt.before).await;
    if attempt.fate == Fate::FailsBefore {
        return Err(failed(&ctx, Act::Undo)?);
    }
    let fresh = ctx.unmake(&ctx.idempotency_key())?;
    ctx.write(&ctx, Act::Undo, Mark::Done { fresh })?;
    tokio::time::sleep(attempt.after).await;
    if attempt.fate == Fate::FailsAfter {
        return Err(failed(&ctx, Act::Undo)?);
    }
    Ok(())
}

/// Is told how the run came to rest.
pub(super) async fn tell(ctx: Ctx<World>, _: Order, _: Outcome<Payload>) -> Result<(), StepError> {
    ctx.write(&ctx, Act::Tell, Mark::Begin)?;
    ctx.write(&ctx, Act::Tell, Mark::Done { fresh: true })?;
    Ok(())
}

/// Inputs that hold the order.
pub(super) trait Ordered: Send {
    fn order(&self) -> &Order;
}

impl Ordered for Order {
    fn order(&self) -> &Order {
        self
    }
}

impl<T: Send> Ordered for (Order, T) {
    fn order(&self) -> &Order {
        &self.0
    }
}

impl<T: Send, U: Send> Ordered for (Order, T, U) {
    fn order(&self) -> &Order {
        &self.0
    }
}

async fn make_slowly(ctx: &Ctx<World>, order: &Order, slowness: u64) -> Result<Made, StepError> {
    let attempt = Attempt::of(ctx, order, Act::Do, slowness);
    ctx.write(ctx, Act::Do, Mark::Begin)?;
    if attempt.checkpoints {
        ctx.checkpoint(&made(ctx)).await?;
        ctx.write(ctx, Act::Do, Mark::Checkpoint)?;
    }
    tokio::select! {
        () = tokio::time::sleep(attempt.before) => {}
        () = ctx.cancelled(), if attempt.listens => {
            ctx.write(ctx, Act::Do, Mark::Rejected)?;
            return Err(StepError::rejected("called off before anything was changed"));
        }
    }
    if attempt.fate == Fate::FailsBefore {
        return Err(failed(ctx, Act::Do)?);
    }
    let fresh = ctx.make(&ctx.idempotency_key())?;
    ctx.write(ctx, Act::Do, Mark::Done { fresh })?;
    tokio::time::sleep(attempt.after).await;
    if attempt.fate == Fate::FailsAfter {
        return Err(failed(ctx, Act::Do)?);
    }
    Ok(made(ctx))
}

fn made(ctx: &Ctx<World>) -> Made {
    Made { key: ctx.idempotency_key(), epoch: ctx.epoch() }
}

async fn pause(ctx: &Ctx<World>, order: &Order) {
    tokio::time::sleep(Attempt::of(ctx, order, Act::Do, 1).before).await;
}

/// Ends an attempt with an error that is worth another one.
fn failed(ctx: &Ctx<World>, act: Act) -> Result<StepError, StepError> {
    ctx.write(ctx, act, Mark::Failed)?;
    Ok(StepError::failed("as ordered: the answer was lost"))
}

/// Ends an attempt with an error that is not, after it has changed something or without that.
fn fatal(ctx: &Ctx<World>, effective: bool) -> Result<StepError, StepError> {
    if effective {
        let fresh = ctx.make(&ctx.idempotency_key())?;
        ctx.write(ctx, Act::Do, Mark::Done { fresh })?;
    }
    ctx.write(ctx, Act::Do, Mark::Failed)?;
    Ok(StepError::fatal("as ordered: nobody knows what was changed"))
}
