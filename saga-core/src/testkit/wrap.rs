//! A saga whose code goes through a stage: same plan, same fingerprint.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::script::{Asked, Failing, Moment, Way, What};
use super::stage::{CallId, Stage};
use crate::action::{Ctx, Probe, StepError};
use crate::definition::{Definition, StepCode};
use crate::id::StepIndex;
use crate::journal::{FailureKind, FailureOrigin};
use crate::outcome::Place;
use crate::plan::{Plan, Shape, StepPlan};

const INJECTED: &str = "injected by the test kit";

/// How long a late answer takes: less than what the runtime waits for one.
const LATE: Duration = Duration::from_secs(20);
/// How long the runtime waits for the answer to a question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The same definition, every call of which goes through the stage.
pub(super) fn staged<App: Send + Sync + 'static>(definition: &Definition<App>, stage: &Arc<Stage>) -> Definition<App> {
    let plan = &definition.plan;
    let steps = definition.steps.iter().zip(plan.steps()).map(|(code, step)| staged_step(code, step, stage));
    let finalizer = definition.finalizer.clone().map(|code| {
        let stage = Arc::clone(stage);
        let wrapped: crate::definition::FinalizerFn<App> = Arc::new(move |ctx, input, outcome| {
            let (code, stage) = (Arc::clone(&code), Arc::clone(&stage));
            let code = move |ctx| code(ctx, input.clone(), outcome.clone());
            conduct(stage, What::Finalizer, None, ctx, code, no_answer).boxed()
        });
        wrapped
    });
    let guard = definition.guard.clone().map(|code| {
        let stage = Arc::clone(stage);
        let wrapped: crate::definition::GuardFn<App> = Arc::new(move |ctx, input| {
            let code = Arc::clone(&code);
            ask_guard(Arc::clone(&stage), ctx, move |ctx| code(ctx, input.clone())).boxed()
        });
        wrapped
    });
    Definition { plan: Arc::clone(plan), steps: steps.collect(), guard, finalizer }
}

fn staged_step<App: Send + Sync + 'static>(code: &StepCode<App>, step: &StepPlan, stage: &Arc<Stage>) -> StepCode<App> {
    let mut staged = code.clone();
    let (name, shape, limit, undo_limit) = (step.name.clone(), step.shape, step.timeout, step.undo_timeout);
    let place = move |item: u32| Place { step: name.clone(), item: (shape != Shape::Single).then_some(item) };
    let place = Arc::new(place);
    staged.run = {
        let (code, stage, place) = (Arc::clone(&code.run), Arc::clone(stage), Arc::clone(&place));
        Arc::new(move |ctx, input| {
            let (code, stage, what) = (Arc::clone(&code), Arc::clone(&stage), What::Action(place(ctx.item())));
            conduct(stage, what, limit, ctx, move |ctx| code(ctx, input.clone()), no_answer).boxed()
        })
    };
    staged.undo = code.undo.clone().map(|code| {
        let (stage, place) = (Arc::clone(stage), Arc::clone(&place));
        let wrapped: crate::definition::UndoFn<App> = Arc::new(move |ctx, known| {
            let (code, stage, what) = (Arc::clone(&code), Arc::clone(&stage), What::Undo(place(ctx.item())));
            conduct(stage, what, undo_limit, ctx, move |ctx| code(ctx, known.clone()), no_answer).boxed()
        });
        wrapped
    });
    staged.probe = code.probe.clone().map(|code| {
        let (stage, limit) = (Arc::clone(stage), Some(limit.unwrap_or(QUESTION_TIMEOUT)));
        let wrapped: crate::definition::ProbeFn<App> = Arc::new(move |ctx, input| {
            let (code, stage, what) = (Arc::clone(&code), Arc::clone(&stage), What::Probe(place(ctx.item())));
            let unknown = |way| (way == Way::Unknown).then_some(Probe::Unknown);
            conduct(stage, what, limit, ctx, move |ctx| code(ctx, input.clone()), unknown).boxed()
        });
        wrapped
    });
    staged
}

/// The place of a step's items, as calls name it.
pub(super) fn place(plan: &Plan, step: StepIndex, item: u32) -> Place {
    let step = plan.step(step);
    Place { step: step.name.clone(), item: (step.shape != Shape::Single).then_some(item) }
}

fn no_answer<T>(_: Way) -> Option<T> {
    None
}

/// The guard is asked. One that is to say that the subject is gone says it of itself if the world can lose its subject.
async fn ask_guard<App: Send + Sync + 'static>(
    stage: Arc<Stage>,
    ctx: Ctx<App>,
    code: impl Fn(Ctx<App>) -> BoxFuture<'static, Result<bool, StepError>> + Send + Sync,
) -> Result<bool, StepError> {
    let asked = if ctx.is_of_run() { Asked::AtTheTop } else { Asked::InAWait };
    let (what, gone) = (What::Guard(asked), |way| (way == Way::Gone).then_some(false));
    let code = {
        let stage = Arc::clone(&stage);
        move |ctx| {
            let (stage, asking) = (Arc::clone(&stage), code(ctx));
            async move {
                let was_gone = stage.has_vanished();
                let answer = asking.await;
                if was_gone && matches!(answer, Ok(true)) {
                    stage.wrong("the subject is gone, and the guard says that it is there".to_owned());
                }
                answer
            }
            .boxed()
        }
    };
    conduct(stage, what, Some(QUESTION_TIMEOUT), ctx, code, gone).await
}

/// One call, with whatever the script has for it. What is only asked can be made to give an answer of the script's.
async fn conduct<App: Send + Sync + 'static, T: Send>(
    stage: Arc<Stage>,
    what: What,
    limit: Option<Duration>,
    ctx: Ctx<App>,
    code: impl Fn(Ctx<App>) -> BoxFuture<'static, Result<T, StepError>> + Send + Sync,
    answered: impl Fn(Way) -> Option<T> + Send + Sync,
) -> Result<T, StepError> {
    let call = stage.enter(&what, limit).await;
    stage.reach(&call, Moment::Before).await;
    if let Some(failing) = stage.failing(&call, Moment::Before) {
        match failing.way {
            Way::Late => tokio::time::sleep(LATE).await,
            Way::Gone if stage.can_vanish() => stage.vanish().await,
            way => match answered(way) {
                Some(answer) => {
                    stage.leave(&call);
                    return Ok(answer);
                }
                None => return fail(&stage, &call, &failing, limit).await,
            },
        }
    }
    let mut working = code(ctx.clone());
    let mut answer = loop {
        let waits = match until_it_stops(&stage, &call, &mut working).await {
            Stopped::Answered(answer) => break answer,
            Stopped::Waits(waits) => Moment::During(waits),
        };
        if let Some(failing) = stage.failing(&call, waits) {
            // It is dropped where it waits, as by a timeout.
            return fail(&stage, &call, &failing, limit).await;
        }
        stage.reach(&call, waits).await;
    };
    if answer.is_ok() && stage.repeats(&call) {
        answer = code(ctx.again(stage.checkpoints(ctx.item_ref()))).await;
    }
    stage.reach(&call, Moment::After).await;
    // What failed of itself needs no help.
    if answer.is_ok()
        && let Some(failing) = stage.failing(&call, Moment::After)
    {
        return fail(&stage, &call, &failing, limit).await;
    }
    stage.leave(&call);
    answer
}

enum Stopped<T> {
    Answered(Result<T, StepError>),
    /// The script has something for it, after so many waits.
    Waits(u32),
}

async fn until_it_stops<T>(
    stage: &Stage,
    call: &CallId,
    working: &mut BoxFuture<'static, Result<T, StepError>>,
) -> Stopped<T> {
    poll_fn(|cx| match working.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Stopped::Answered(answer)),
        Poll::Pending => {
            let waits = stage.waits(call);
            if stage.stops_at(call, waits) { Poll::Ready(Stopped::Waits(waits)) } else { Poll::Pending }
        }
    })
    .await
}

async fn fail<T>(stage: &Stage, call: &CallId, failing: &Failing, limit: Option<Duration>) -> Result<T, StepError> {
    if failing.way == Way::TimedOut && limit.is_some() {
        // The timeout itself is what is tested.
        return std::future::pending().await;
    }
    stage.leave(call);
    match failing.way {
        // Not `panic!`: it would print a message for a panic that is meant.
        Way::Panic => std::panic::resume_unwind(Box::new(INJECTED)),
        Way::Rejected => Err(StepError::rejected(INJECTED)),
        Way::Failed | Way::Unknown | Way::Late | Way::Gone => Err(StepError::failed(INJECTED)),
        Way::Fatal => Err(StepError::fatal(INJECTED)),
        Way::TimedOut => Err(StepError::new(FailureKind::Failed, FailureOrigin::TimedOut, INJECTED)),
    }
}
