//! A saga that was built.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::definition::{Builder, Definition, Warning, warn};
use crate::forecast::Forecast;
use crate::id::SagaName;
use crate::plan::Plan;

/// A saga: steps that were composed, checked, and do not change any more. It acts on an `App`, is started with an `In`
/// and completes with an `Out`.
///
/// Composing one begins with [`Saga::builder`]. Cloning one is cheap; a saga is registered once, and any number of runs
/// follow it.
pub struct Saga<App, In, Out = ()> {
    definition: Arc<Definition<App>>,
    warnings: Arc<[Warning]>,
    types: PhantomData<fn(In) -> Out>,
}

// Of one output type only, so that `Saga::<App, In>::builder` need not say which: the output is known at the end.
impl<App, In> Saga<App, In, ()>
where
    App: Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    /// Begins to compose a saga.
    ///
    /// A run follows the saga of its name and version to its end. When a saga changes, give it another version, and keep
    /// the old one registered until its runs have ended.
    pub fn builder(name: impl Into<String>, version: u32) -> Builder<App, In> {
        Builder::new(name.into(), version)
    }
}

impl<App, In, Out> Saga<App, In, Out> {
    pub(super) fn new(definition: Definition<App>) -> Self {
        let warnings = warn::warnings(&definition.plan).into();
        Self { definition: Arc::new(definition), warnings, types: PhantomData }
    }

    pub(crate) fn definition(&self) -> &Arc<Definition<App>> {
        &self.definition
    }

    /// The same saga with its code wrapped: the plan stays, so runs of the one are runs of the other.
    #[cfg(feature = "testkit")]
    pub(crate) fn with_code(&self, wrap: impl FnOnce(&Definition<App>) -> Definition<App>) -> Self {
        let definition = wrap(&self.definition);
        debug_assert!(Arc::ptr_eq(&definition.plan, &self.definition.plan));
        Self { definition: Arc::new(definition), warnings: Arc::clone(&self.warnings), types: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &SagaName {
        self.plan().saga()
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.plan().version()
    }

    /// Its structure.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.definition.plan
    }

    /// What is legal but maybe not meant. At most [`MAX_WARNINGS`](crate::MAX_WARNINGS); if there are more, the last one
    /// says so.
    ///
    /// ```
    /// use saga_core::{Ctx, Saga, StepError, Undo};
    ///
    /// # async fn act(_: Ctx<()>, _: ()) -> Result<(), StepError> { Ok(()) }
    /// # async fn cancel(_: Ctx<()>, _: Undo<(), ()>) -> Result<(), StepError> { Ok(()) }
    /// let mut saga = Saga::<(), ()>::builder("order", 1);
    /// let order = saga.input();
    /// saga.step("mail", order, act).non_compensable();
    /// let booked = saga.step("book", order, act).compensate(cancel);
    /// let saga = saga.build(booked)?;
    /// assert_eq!(
    ///     saga.warnings()[0].to_string(),
    ///     "`book` is undone if it fails, but `mail` may run beside it, and stands: order one after the other"
    /// );
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What would happen if each step failed: what is undone, what is kept, what is finished, and how the run ends. It
    /// prints as a sentence for each case; [`Forecast::to_table`] is a table.
    ///
    /// It is computed by running the machine that runs the saga, once for each step: for thousands of steps ask for
    /// single rows, by [`Forecast::row`].
    #[must_use]
    pub fn forecast(&self) -> Forecast {
        Forecast::of(self.plan())
    }

    /// Its drawing, in the language of Graphviz. See [`Plan::to_dot`].
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.plan().to_dot()
    }

    /// Its drawing, in the language of Mermaid. See [`Plan::to_mermaid`].
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        self.plan().to_mermaid()
    }
}

// Derived, it would ask the same of the three types.
impl<App, In, Out> Clone for Saga<App, In, Out> {
    fn clone(&self) -> Self {
        Self { definition: Arc::clone(&self.definition), warnings: Arc::clone(&self.warnings), types: PhantomData }
    }
}

impl<App, In, Out> fmt::Debug for Saga<App, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga")
            .field("name", self.name())
            .field("version", &self.version())
            .field("steps", &self.plan().steps().len())
            .finish_non_exhaustive()
    }
}
