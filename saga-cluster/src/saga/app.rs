//! What the sagas act on.

use std::collections::BTreeMap;
use std::sync::Arc;

use saga_core::StepError;

use super::Live;
use crate::engine::Engine;
use crate::model::KindName;
use crate::plugin::Plugin;
use crate::repository::ClusterRepository;

/// The outside world of the sagas: the records, the engines, the plugins.
pub(crate) struct ClusterApp {
    pub(crate) repository: Arc<dyn ClusterRepository>,
    pub(crate) engines: BTreeMap<String, Arc<dyn Engine>>,
    pub(crate) plugins: BTreeMap<String, Arc<dyn Plugin>>,
    /// Where long calls tell how far they are.
    pub(crate) live: Live,
}

impl ClusterApp {
    /// The engine of that kind. It was there when the run began; a service that was started without it cannot go on.
    pub(super) fn engine(&self, kind: &KindName) -> Result<&dyn Engine, StepError> {
        let engine = self.engines.get(kind.as_str());
        engine.map(|engine| &**engine).ok_or_else(|| StepError::failed(format!("there is no engine `{kind}` here")))
    }

    /// The plugin of that kind.
    pub(super) fn plugin(&self, kind: &KindName) -> Result<&dyn Plugin, StepError> {
        let plugin = self.plugins.get(kind.as_str());
        plugin.map(|plugin| &**plugin).ok_or_else(|| StepError::failed(format!("there is no plugin `{kind}` here")))
    }
}
