//! A saga's code with its types erased: what the runtime calls.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::action::{Ctx, Probe, StepError, UndoPayloads};
use crate::outcome::Outcome;
use crate::payload::{Payload, PayloadError};
use crate::plan::Plan;

pub(crate) type RunFn<App> =
    Arc<dyn Fn(Ctx<App>, Payload) -> BoxFuture<'static, Result<Payload, StepError>> + Send + Sync>;
pub(crate) type UndoFn<App> =
    Arc<dyn Fn(Ctx<App>, UndoPayloads) -> BoxFuture<'static, Result<(), StepError>> + Send + Sync>;
pub(crate) type ProbeFn<App> =
    Arc<dyn Fn(Ctx<App>, Payload) -> BoxFuture<'static, Result<Probe<Payload>, StepError>> + Send + Sync>;
/// Answers whether the subject is still there; gets the run's input.
pub(crate) type GuardFn<App> =
    Arc<dyn Fn(Ctx<App>, Payload) -> BoxFuture<'static, Result<bool, StepError>> + Send + Sync>;
/// Gets the run's input and its outcome.
pub(crate) type FinalizerFn<App> =
    Arc<dyn Fn(Ctx<App>, Payload, Outcome<Payload>) -> BoxFuture<'static, Result<(), StepError>> + Send + Sync>;

/// The code of one step. For a fan-out it is the code of one item.
pub(crate) struct StepCode<App> {
    pub(crate) run: RunFn<App>,
    pub(crate) undo: Option<UndoFn<App>>,
    pub(crate) probe: Option<ProbeFn<App>>,
    /// Whether a payload has the type of the (item's) output: asked before an operator's value is taken for one.
    pub(crate) check_output: fn(&Payload) -> Result<(), PayloadError>,
}

/// A saga: its plan, and the code of each of the plan's steps at the same index.
pub(crate) struct Definition<App> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) steps: Vec<StepCode<App>>,
    pub(crate) guard: Option<GuardFn<App>>,
    pub(crate) finalizer: Option<FinalizerFn<App>>,
}

impl<App> Clone for StepCode<App> {
    fn clone(&self) -> Self {
        Self {
            run: self.run.clone(),
            undo: self.undo.clone(),
            probe: self.probe.clone(),
            check_output: self.check_output,
        }
    }
}
