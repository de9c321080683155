//! Clusters of blocks on node processes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use saga_cluster::engine::{Engine, ProcessEngine};
use saga_cluster::model::{Cluster, ClusterName};
use saga_cluster::plugin::BlocksPlugin;
use saga_cluster::plugin::blocks::{BlockKey, BlocksClient};
use saga_cluster::service::ServiceBuilder;
use serde::{Deserialize, Serialize};

use crate::deaths::{Site, World, expect};

const BLOCKS: usize = 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Processes;

impl World for Processes {
    const PATIENCE: Duration = Duration::from_secs(120);
    // The series are side by side already.
    const AT_ONCE: u64 = 1;

    fn ordered(&self) -> String {
        "plugin = 'blocks'\nengine = 'process'".into()
    }

    fn equip(&self, builder: ServiceBuilder, data: &Path) -> Result<ServiceBuilder, String> {
        let builder = builder.engine_shared(ProcessEngine::KIND, self.engine(data)?);
        Ok(builder.plugin(BlocksPlugin::KIND, BlocksPlugin::new()))
    }

    fn engine(&self, data: &Path) -> Result<Arc<dyn Engine>, String> {
        let engine = ProcessEngine::new(data.join("nodes"), env!("CARGO_BIN_EXE_saga-cluster"));
        Ok(Arc::new(engine.map_err(|error| error.to_string())?))
    }

    async fn load(&self, record: &Cluster) -> Result<(), String> {
        let client = BlocksClient::new(record.nodes.clone());
        for n in 0..BLOCKS {
            client.put(&key(n), &bytes(n)).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Every block is there. The engine looks at processes themselves, so there is nothing to see past it.
    async fn look(&self, _cluster: &ClusterName, record: Option<&Cluster>, loaded: bool) -> Result<(), String> {
        let Some(record) = record.filter(|_| loaded) else { return Ok(()) };
        let client = BlocksClient::new(record.nodes.clone());
        for n in 0..BLOCKS {
            let found = client.get(&key(n)).await.map_err(|error| error.to_string())?;
            expect(found == Some(bytes(n)), || format!("block {n} is lost: {found:?}"))?;
        }
        Ok(())
    }

    /// Kills every process whose command line names the site's directory.
    async fn clean(site: &Site<Self>) -> Result<(), String> {
        let needle = site.data.to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&needle)
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        Ok(())
    }
}

fn key(n: usize) -> BlockKey {
    format!("block-{n}").parse().expect("a valid key")
}

fn bytes(n: usize) -> Vec<u8> {
    format!("the bytes of block {n}").into_bytes()
}
