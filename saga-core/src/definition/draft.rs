//! A saga while it is composed: what the builders write down, without types.

use std::time::Duration;

use crate::definition::handle::{BuilderId, Handle, Source};
use crate::definition::inputs::Wiring;
use crate::definition::{FinalizerFn, GuardFn, HandleUse, Inputs, Mistake, StepCode};
use crate::id::StepIndex;
use crate::plan::{Recovery, Shape, Wire};
use crate::policy::Retry;

/// A step before it says how it recovers, and before its name is checked.
pub(super) struct Draft<App> {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) input: Wire,
    pub(super) after: Vec<StepIndex>,
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
    pub(super) undo_timeout: Option<Duration>,
    pub(super) code: StepCode<App>,
}

/// What was composed so far.
pub(super) struct Drafts<App> {
    pub(super) id: BuilderId,
    pub(super) steps: Vec<(Draft<App>, Recovery)>,
    pub(super) guard: Option<GuardFn<App>>,
    pub(super) finalizer: Option<FinalizerFn<App>>,
    /// The mistakes that show only while composing. The others are looked for at the end.
    pub(super) mistakes: Vec<Mistake>,
}

impl<App> Drafts<App> {
    pub(super) fn new() -> Self {
        Self { id: BuilderId::next(), steps: Vec::new(), guard: None, finalizer: None, mistakes: Vec::new() }
    }

    /// The index that the next step gets.
    pub(super) fn next_index(&self) -> StepIndex {
        // Far beyond `MAX_STEPS`, where no build succeeds any more, it does not matter which index this is.
        StepIndex(u32::try_from(self.steps.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn add(&mut self, draft: Draft<App>, recovery: Recovery) -> StepIndex {
        let index = self.next_index();
        self.steps.push((draft, recovery));
        index
    }

    /// What a handle stands for, or `None` if it is another builder's, which is then noted.
    pub(super) fn source<T>(&mut self, handle: Handle<T>, used: HandleUse) -> Option<Source> {
        if handle.owner == self.id {
            Some(handle.source)
        } else {
            self.mistakes.push(Mistake::ForeignHandle { used });
            None
        }
    }

    /// The wire of `inputs`. Handles of another builder are noted; the wire is then a stand-in that is never built.
    pub(super) fn wire(&mut self, inputs: &impl Inputs, used: HandleUse) -> Wire {
        Wiring::of(self.id, inputs).unwrap_or_else(|| {
            self.mistakes.push(Mistake::ForeignHandle { used });
            Wire::Unit
        })
    }
}
