//! The clients of the cluster. They use the cluster client of the `redis` crate, which follows redirections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue};
use saga_cluster::model::Node;
use tokio::task::JoinHandle;

use crate::Error;

const AT_ONCE: usize = 64;
const ATTEMPTS: usize = 100;

/// A client that writes new keys, one after the other, and one that reads those that were acknowledged.
pub(crate) struct Users {
    /// Keys below it are acknowledged.
    written: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<(), Error>>>,
}

async fn connect(nodes: &[Node]) -> Result<ClusterConnection, Error> {
    let addresses: Vec<String> = nodes.iter().filter_map(|node| Some(format!("redis://{}", node.address?))).collect();
    let client = ClusterClient::builder(addresses).response_timeout(Duration::from_secs(5)).build()?;
    Ok(client.get_async_connection().await?)
}

/// Asks again if a server is busy: what counts is what is acknowledged.
async fn patiently<T: FromRedisValue>(client: &ClusterConnection, ask: Cmd) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        match ask.query_async(&mut client.clone()).await {
            Err(_) if attempt < ATTEMPTS => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return Ok(answer?),
        }
        attempt += 1;
    }
}

async fn write(client: &ClusterConnection, key: usize) -> Result<(), Error> {
    patiently(client, redis::cmd("SET").arg(format!("key-{key}")).arg(format!("value {key}")).take()).await
}

async fn check(client: &ClusterConnection, key: usize) -> Result<(), Error> {
    let found: Option<String> = patiently(client, redis::cmd("GET").arg(format!("key-{key}")).take()).await?;
    if found == Some(format!("value {key}")) { Ok(()) } else { Err(format!("key-{key} is {found:?}").into()) }
}

impl Users {
    /// Writes so many keys, and starts the clients.
    pub(crate) async fn start(nodes: &[Node], keys: usize) -> Result<Self, Error> {
        let client = connect(nodes).await?;
        let ends: Vec<usize> = (0..AT_ONCE).collect();
        let writers = ends.iter().map(|first| {
            let client = client.clone();
            let mine = (*first..keys).step_by(AT_ONCE);
            async move {
                for key in mine {
                    write(&client, key).await?;
                }
                Ok::<_, Error>(())
            }
        });
        futures::future::try_join_all(writers).await?;
        let (written, reads) = (Arc::new(AtomicUsize::new(keys)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (client, written, stop) = (client.clone(), Arc::clone(&written), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    write(&client, written.load(Ordering::SeqCst)).await?;
                    written.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        let reader = {
            let (written, reads, stop) = (Arc::clone(&written), Arc::clone(&reads), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let turn = reads.fetch_add(1, Ordering::SeqCst);
                    check(&client, (turn * 7919) % written.load(Ordering::SeqCst)).await?;
                }
                Ok(())
            })
        };
        Ok(Self { written, reads, stop, tasks: vec![writer, reader] })
    }

    /// How many keys are acknowledged.
    pub(crate) fn keys(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Whether both are still at work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.tasks.iter().any(JoinHandle::is_finished) { Err("a client gave up".into()) } else { Ok(()) }
    }

    /// Stops, and reads every key once more. How many there are, and how many reads there were meanwhile.
    pub(crate) async fn stop(self, nodes: &[Node]) -> Result<(usize, usize), Error> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await??;
        }
        let client = connect(nodes).await?;
        let written = self.written.load(Ordering::SeqCst);
        for key in 0..written {
            check(&client, key).await?;
        }
        Ok((written, self.reads.load(Ordering::SeqCst)))
    }
}
