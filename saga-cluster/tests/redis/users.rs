//! Those who use the cluster meanwhile: one writes, one reads what was acknowledged. Their client is that of the `redis`
//! crate, which follows redirections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue};
use saga_cluster::model::Node;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How many keys are written in one go, before the others use the cluster.
const AT_ONCE: usize = 64;
/// How often something is tried that is not answered: servers are busy, not gone.
const ATTEMPTS: usize = 200;

/// Every key that a server acknowledged, with its last value. A key whose last write was not acknowledged may have the
/// value before or the one after.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<BTreeMap<usize, Value>>>);

#[derive(Clone, Copy, Default)]
struct Value {
    acknowledged: Option<u64>,
    tried: u64,
}

impl Value {
    fn allows(self, found: Option<u64>) -> bool {
        // A write that is tried again and again may arrive at any time.
        match (found, self.acknowledged) {
            (None, acknowledged) => acknowledged.is_none(),
            (Some(found), acknowledged) => (acknowledged.unwrap_or(0)..=self.tried).contains(&found),
        }
    }
}

impl Written {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<usize, Value>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many keys were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.change(|keys| keys.values().filter(|value| value.acknowledged.is_some()).count())
    }

    async fn write(&self, client: &mut ClusterConnection, key: usize) -> Result<(), String> {
        let next = self.change(|keys| {
            let value = keys.entry(key).or_default();
            value.tried += 1;
            value.tried
        });
        patiently::<()>(client, redis::cmd("SET").arg(name(key)).arg(next).take()).await?;
        self.change(|keys| keys.entry(key).or_default().acknowledged = Some(next));
        Ok(())
    }

    async fn read(&self, client: &mut ClusterConnection, key: usize) -> Result<(), String> {
        // As it was before the answer: what is acknowledged meanwhile may not have been seen.
        let before = self.change(|keys| keys.get(&key).copied().unwrap_or_default());
        let found: Option<u64> = patiently(client, redis::cmd("GET").arg(name(key)).take()).await?;
        let after = self.change(|keys| keys.get(&key).copied().unwrap_or_default());
        let value = Value { tried: after.tried, ..before };
        if value.allows(found) {
            Ok(())
        } else {
            Err(format!("{} is {found:?}, not {:?}", name(key), value.acknowledged))
        }
    }

    /// Reads every key, as somebody who connects now.
    pub(crate) async fn all_there(&self, nodes: &[Node]) -> Result<(), String> {
        let mut client = connect(nodes).await?;
        let keys: Vec<usize> = self.change(|keys| keys.keys().copied().collect());
        for key in keys {
            self.read(&mut client, key).await?;
        }
        Ok(())
    }
}

fn name(key: usize) -> String {
    format!("key-{key}")
}

async fn patiently<T: FromRedisValue>(client: &mut ClusterConnection, ask: Cmd) -> Result<T, String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match ask.query_async(client).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("a user of the cluster was not served: {last}"))
}

async fn connect(nodes: &[Node]) -> Result<ClusterConnection, String> {
    let addresses: Vec<String> = nodes.iter().filter_map(|node| Some(format!("redis://{}", node.address?))).collect();
    let client = ClusterClient::builder(addresses)
        .connection_timeout(Duration::from_secs(5))
        .response_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| error.to_string())?;
    client.get_async_connection().await.map_err(|error| error.to_string())
}

/// A writer and a reader, at work until they are stopped.
pub(crate) struct Users {
    written: Written,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<(), String>>>,
    wrong: Arc<Mutex<Option<String>>>,
}

impl Users {
    /// Writes so many keys first.
    pub(crate) async fn start(nodes: &[Node], keys: usize) -> Result<Self, String> {
        let written = Written::default();
        let client = connect(nodes).await?;
        for first in (0..keys).step_by(AT_ONCE) {
            let some = (first..keys.min(first + AT_ONCE)).map(|key| {
                let (written, mut client) = (written.clone(), client.clone());
                async move { written.write(&mut client, key).await }
            });
            futures::future::try_join_all(some).await?;
        }
        let (stop, wrong) = (CancellationToken::new(), Arc::default());
        let mut users = Self { written, stop, tasks: Vec::new(), wrong };
        let writer = connect(nodes).await?;
        let written = users.written.clone();
        users.go(move |turn| {
            let (written, mut client) = (written.clone(), writer.clone());
            // Old keys again, and new ones.
            let key = (turn * 7919) % (keys + turn / 2 + 1);
            Box::pin(async move { written.write(&mut client, key).await })
        });
        let written = users.written.clone();
        users.go(move |turn| {
            let (written, mut client) = (written.clone(), client.clone());
            Box::pin(async move { written.read(&mut client, (turn * 104_729) % keys).await })
        });
        Ok(users)
    }

    fn go(&mut self, act: impl Fn(usize) -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static) {
        let (stop, wrong) = (self.stop.clone(), Arc::clone(&self.wrong));
        self.tasks.push(tokio::spawn(async move {
            let mut turn = 0;
            while !stop.is_cancelled() {
                if let Err(why) = act(turn).await {
                    *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
                    return Err(why);
                }
                turn += 1;
            }
            Ok(())
        }));
    }

    /// Whether all went well so far.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Ends, and returns what was written.
    pub(crate) async fn stop(self) -> Result<Written, String> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(self.written)
    }
}
