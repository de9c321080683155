//! Starting a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use saga_core::store::Store;

use super::{Service, ServiceError};
use crate::engine::Engine;
use crate::plugin::Plugin;
use crate::repository::ClusterRepository;

/// Builds a [`Service`].
#[must_use = "nothing is resumed until `start` is called"]
pub struct ServiceBuilder {
    store: Arc<dyn Store>,
    repository: Arc<dyn ClusterRepository>,
    engines: BTreeMap<String, Arc<dyn Engine>>,
    plugins: BTreeMap<String, Arc<dyn Plugin>>,
}

impl ServiceBuilder {
    pub(super) fn new(store: impl Store, repository: impl ClusterRepository) -> Self {
        Self {
            store: Arc::new(store),
            repository: Arc::new(repository),
            engines: BTreeMap::new(),
            plugins: BTreeMap::new(),
        }
    }

    /// Makes an engine known, under the kind by which specs ask for it.
    pub fn engine(mut self, kind: &str, engine: impl Engine) -> Self {
        self.engines.insert(kind.to_owned(), Arc::new(engine));
        self
    }

    /// Makes a plugin known, under the kind by which specs ask for it.
    pub fn plugin(mut self, kind: &str, plugin: impl Plugin) -> Self {
        self.plugins.insert(kind.to_owned(), Arc::new(plugin));
        self
    }

    /// Starts the service, which resumes everything unfinished.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start(self) -> Result<Service, ServiceError> {
        let _ = (self.store, self.repository);
        Err(ServiceError::Stopped)
    }
}
