//! The coordinator that dies, in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::case::Case;
use super::dying::DyingStore;
use super::{Asked, Moment, Site, World, runtime};

/// The variable with the task of a dying coordinator.
const TASK: &str = "KILL_TASK";

/// What a dying coordinator is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task<W> {
    site: Site<W>,
    asked: Asked,
    moment: Moment,
    append: u64,
}

impl<W: World> Task<W> {
    pub(crate) fn new(site: &Site<W>, case: Case) -> Self {
        Self { site: site.clone(), asked: case.asked, moment: case.moment, append: case.append }
    }

    /// Runs this very program as a coordinator that dies. Whether it did; it may come to its end instead.
    pub(crate) async fn spawn(&self) -> Result<bool, String> {
        let say = |error: std::io::Error| format!("the coordinator: {error}");
        let mut child = Command::new(std::env::current_exe().map_err(say)?)
            .env(TASK, serde_json::to_string(self).map_err(|error| error.to_string())?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(say)?;
        let ended = timeout(W::PATIENCE, child.wait()).await;
        let status = ended.map_err(|_| "the coordinator neither died nor ended".to_owned())?.map_err(say)?;
        match (status.success(), status.signal()) {
            (true, _) => Ok(false),
            (false, Some(9)) => Ok(true),
            (false, _) => Err(format!("the coordinator was not killed, it failed: {status}")),
        }
    }

    async fn work(self) {
        let store = self.site.store().expect("the store opens");
        let service = self.site.open_with(DyingStore::new(store, self.append, self.moment)).await.expect("it starts");
        self.site.have(&service, self.asked).await.expect("it is done");
        service.shutdown(Duration::from_secs(10)).await.expect("it ends");
    }
}

/// If this process is to be a dying coordinator, lets it work. Whether it was.
pub(crate) fn died<W: World>() -> bool {
    let Ok(task) = std::env::var(TASK) else { return false };
    let task: Task<W> = serde_json::from_str(&task).expect("the task of a dying coordinator");
    runtime().block_on(task.work());
    true
}
