//! Starting a service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::Coordinator;
use saga_core::store::Store;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::bounded::Bounded;
use super::inner::Inner;
use super::repair::in_transition;
use super::runs::Runs;
use super::{Service, ServiceError};
use crate::engine::Engine;
use crate::plugin::Plugin;
use crate::repository::ClusterRepository;
use crate::saga::{ClusterApp, Live, create, delete, scale};

/// How long the start waits for one cluster to be mended: the stores may have no room, and it is to answer all the same.
const MEND_AT_START: Duration = Duration::from_secs(2);

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
    /// [`ServiceError::Recover`] or [`ServiceError::Repository`], if the store or the repository cannot be read.
    pub async fn start(self) -> Result<Service, ServiceError> {
        let (create, scale, delete) = match (create::saga(), scale::saga(), delete::saga()) {
            (Ok(create), Ok(scale), Ok(delete)) => (create, scale, delete),
            (Err(mistakes), ..) | (_, Err(mistakes), _) | (.., Err(mistakes)) => {
                // The tests build all three; a build of this crate in which one does not is not released.
                panic!("the sagas of this crate are sound: {mistakes}")
            }
        };
        let app = Arc::new(ClusterApp {
            repository: Arc::new(Bounded(self.repository)),
            engines: self.engines,
            plugins: self.plugins,
            live: Live::new(),
        });
        let coordinator = Coordinator::builder_shared(self.store, Arc::clone(&app))
            .register(&create)
            .register(&scale)
            .register(&delete)
            .start()
            .await?;
        let stop = CancellationToken::new();
        let beginning = Mutex::default();
        let runs = Runs::driven_by(coordinator);
        let inner = Arc::new(Inner { runs, app, create, scale, delete, beginning, stop: stop.clone() });
        let service = Service::new(Arc::clone(&inner), stop);
        for cluster in inner.repository().list().await?.clusters {
            if in_transition(&cluster) {
                // At once, so that what goes on is known when this returns; later, if it cannot be mended yet.
                let mending = async {
                    let _alone = inner.alone_on(cluster.name()).await;
                    inner.repair(cluster.name()).await
                };
                let mended = tokio::time::timeout(MEND_AT_START, mending).await;
                if let Ok(Err(error)) = &mended {
                    warn!(cluster = %cluster.name(), %error, "a cluster cannot be mended yet");
                }
                if !matches!(mended, Ok(Ok(()))) {
                    inner.look_after(cluster.name());
                }
            }
        }
        let (watch, stop) = (Arc::clone(&inner).keep_watch(), inner.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = watch => {}
            }
        });
        Ok(service)
    }
}
