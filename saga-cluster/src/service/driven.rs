//! What a worker has taken up.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures::Stream;
use saga_core::RunId;
use saga_core::store::{Query, RunStatus};
use tokio::sync::broadcast;
use tokio::time::{Interval, interval};
use tracing::warn;

use super::{Operation, Service, ServiceError};

/// How often a worker looks for what it has taken up from another: that begins nothing anew, and so tells nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Telling {
    service: Service,
    beginnings: broadcast::Receiver<RunId>,
    look: Interval,
    /// Told, and at work still.
    told: HashSet<RunId>,
    next: VecDeque<RunId>,
}

pub(super) fn driven(service: Service) -> impl Stream<Item = Operation> + Send + 'static {
    let beginnings = service.inner.app().live.listen_to_runs();
    let (look, told, next) = (interval(LOOK_EVERY), HashSet::new(), VecDeque::new());
    futures::stream::unfold(Telling { service, beginnings, look, told, next }, Telling::next)
}

impl Telling {
    async fn next(mut self) -> Option<(Operation, Self)> {
        self.service.worker()?;
        loop {
            while let Some(run) = self.next.pop_front() {
                if self.told.contains(&run) {
                    continue;
                }
                match self.service.operation(&run).await {
                    Ok(operation) => {
                        self.told.insert(run);
                        return Some((operation, self));
                    }
                    Err(error) => warn!(%run, %error, "it cannot be told what is driven"),
                }
            }
            tokio::select! {
                biased;
                begun = self.beginnings.recv() => match begun {
                    Ok(run) => self.next.push_back(run),
                    // What was missed is found by looking.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.look.tick() => match self.at_work().await {
                    Ok(runs) => {
                        // Whatever was heard meanwhile may have come to rest since.
                        while let Ok(run) = self.beginnings.try_recv() {
                            self.next.extend((!self.told.contains(&run)).then_some(run));
                        }
                        // What has come to rest may be moved on, and is told anew then.
                        self.told.retain(|run| runs.contains(run));
                        self.next.extend(runs);
                    }
                    Err(ServiceError::Stopped) => return None,
                    Err(error) => warn!(%error, "it cannot be told what is driven"),
                },
            }
        }
    }

    async fn at_work(&self) -> Result<HashSet<RunId>, ServiceError> {
        let worker = self.service.worker();
        let query = Query { statuses: vec![RunStatus::Running], ..Query::default() };
        let running = self.service.inner.runs_like(query).await?;
        let ours = running.into_iter().filter(|summary| summary.owner.as_ref() == worker);
        Ok(ours.map(|summary| summary.run).collect())
    }
}
