//! Clusters of servers that hold nothing, on an OpenStack.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use saga_cluster::engine::Engine;
use saga_cluster::engine::openstack::{CloudConfig, NovaEngine, Session};
use saga_cluster::model::{Cluster, ClusterName};
use saga_cluster::plugin::CommandsPlugin;
use saga_cluster::service::ServiceBuilder;
use serde::{Deserialize, Serialize};

use crate::cloud;
use crate::deaths::{Site, World};

/// Which engine makes the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum By {
    Nova,
}

impl By {
    /// Those that are to be tried: the one that `OPENSTACK_ENGINE` names, or all.
    pub(crate) fn chosen() -> Result<Vec<Self>, String> {
        const ALL: &[By] = &[By::Nova];
        match std::env::var("OPENSTACK_ENGINE") {
            Err(_) => Ok(ALL.to_vec()),
            Ok(name) => match ALL.iter().find(|by| by.kind() == name) {
                Some(by) => Ok(vec![*by]),
                None => Err(format!("OPENSTACK_ENGINE is `{name}`, and no engine is called that")),
            },
        }
    }

    /// The name by which specs ask for the engine.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Nova => NovaEngine::KIND,
        }
    }

    /// The service that the engine asks for machines, as the catalog calls it.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::Nova => "compute",
        }
    }

    /// The method of the request by which a node goes in a scale.
    pub(crate) fn method_of_a_scale(self) -> &'static str {
        match self {
            Self::Nova => "DELETE",
        }
    }

    /// How many requests of method `DELETE` a cluster of three nodes takes to go, at least.
    pub(crate) fn deletions(self) -> u32 {
        match self {
            Self::Nova => 3,
        }
    }

    /// What the engine calls the server of a node.
    pub(crate) fn server_name(self, cluster: &ClusterName, node: &str) -> String {
        match self {
            Self::Nova => format!("{cluster}-{node}"),
        }
    }
}

impl World for By {
    const PATIENCE: Duration = Duration::from_secs(300);
    const AT_ONCE: u64 = 4;

    fn ordered(&self) -> String {
        let variable = |name, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
        let (flavor, image) = (variable("OPENSTACK_FLAVOR", "small"), variable("OPENSTACK_IMAGE", "tiny"));
        format!(
            "plugin = 'commands'\nengine = '{}'\n\
             [settings]\nflavor = {flavor:?}\nimage = {image:?}\nnetworks = 'none'\n\
             [settings.commands]\ndecommission = 'nothing-to-drain'",
            self.kind()
        )
    }

    fn equip(&self, builder: ServiceBuilder, data: &Path) -> Result<ServiceBuilder, String> {
        let builder = builder.engine_shared(self.kind(), self.engine(data)?);
        Ok(builder.plugin(CommandsPlugin::KIND, CommandsPlugin::new(data.join("commands"))))
    }

    fn engine(&self, _data: &Path) -> Result<Arc<dyn Engine>, String> {
        let config = CloudConfig::find().map_err(|error| error.to_string())?;
        let session = Session::new(config).map_err(|error| error.to_string())?;
        Ok(match self {
            Self::Nova => Arc::new(NovaEngine::new(session)),
        })
    }

    async fn load(&self, _record: &Cluster) -> Result<(), String> {
        Ok(())
    }

    async fn look(&self, cluster: &ClusterName, record: Option<&Cluster>, _loaded: bool) -> Result<(), String> {
        cloud::holds_exactly(*self, cluster, record).await
    }

    /// Deletes the cluster, and sees that nothing is left of it.
    async fn clean(site: &Site<Self>) -> Result<(), String> {
        site.with_service(async |service| {
            site.delete(service).await?;
            site.is_gone(service).await
        })
        .await
    }
}
