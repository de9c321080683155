//! An operation, as whoever asked for it sees it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt};
use saga_core::journal::Record;
use saga_core::store::RunStatus;
use saga_core::{Outcome, OutcomeError, RunId};
use tokio::sync::broadcast;

use super::inner::allowed;
use super::narrate::Narrator;
use super::{NodeState, OperationEnd, OperationKind, Progress, ProgressKind, Service, ServiceError, Verdict};
use crate::model::{ClusterName, Timestamp};
use crate::saga::live::Report;
use crate::saga::order::Swept;
use crate::saga::reason::{nodes_left, reason};

/// An operation on a cluster, which is durable: it comes to its end whether or not anybody waits for it.
#[derive(Clone)]
pub struct Operation {
    /// The cluster.
    pub cluster: ClusterName,
    /// What is done to it.
    pub kind: OperationKind,
    /// The run that does it.
    pub run: RunId,
    pub(super) service: Service,
}

impl Operation {
    /// What it tells, from its beginning on. The stream ends when the operation comes to rest.
    ///
    /// All but [`NodeState::Progress`] comes from the journal, so it is told again to whoever listens later; and a slow
    /// listener misses nothing else.
    ///
    /// # Errors
    /// The stream ends after a [`ServiceError`].
    pub fn progress(&self) -> impl Stream<Item = Result<Progress, ServiceError>> + Send + 'static {
        let operation = self.clone();
        let live = operation.service.inner.app().live.listen();
        futures::stream::once(async move {
            let handle = operation.service.inner.runs.attach(&operation.run).await?;
            let telling = Telling {
                records: Box::pin(handle.events()),
                live,
                early: Vec::new(),
                narrator: Narrator::new(operation.kind),
                told: VecDeque::new(),
                operation,
            };
            Ok::<_, ServiceError>(futures::stream::try_unfold(telling, Telling::next))
        })
        .try_flatten()
    }

    /// Where its run stands: at work, at rest, or ended.
    ///
    /// # Errors
    /// [`ServiceError`], if that cannot be told.
    pub async fn status(&self) -> Result<RunStatus, ServiceError> {
        let summary = self.service.inner.runs.summary(&self.run).await?;
        Ok(summary.ok_or_else(|| OutcomeError::UnknownRun(self.run.clone()))?.status)
    }

    /// Waits until it comes to rest, and tells how.
    ///
    /// # Errors
    /// [`ServiceError`], if that cannot be told (for example because the service was stopped).
    pub async fn end(&self) -> Result<OperationEnd, ServiceError> {
        let inner = &self.service.inner;
        let outcome = inner.runs.outcome(&self.run).await?;
        let record = inner.repository().get(&self.cluster).await?;
        let verdict = verdict(&outcome);
        let (mut why, mut nodes) = (reason(&outcome), nodes_left(&outcome));
        if self.kind == OperationKind::Delete {
            nodes = inner.left_by_delete(&self.run).await?;
            if let Outcome::Completed(output) = &outcome {
                why = output.decode::<Swept>().unwrap_or_default().in_words();
            }
        }
        let holder = inner.holder(&self.cluster).await?.map(|(summary, _)| summary.status);
        let status = record.map(|cluster| cluster.status);
        let done = status.is_none() && holder.is_none() && nodes.is_empty();
        Ok(OperationEnd {
            cluster: self.cluster.clone(),
            kind: self.kind,
            verdict,
            status,
            reason: why,
            nodes_left: nodes,
            allowed: if done { Vec::new() } else { allowed(status, holder, false) },
        })
    }
}

pub(super) fn verdict<T>(outcome: &Outcome<T>) -> Verdict {
    match outcome {
        Outcome::Completed(_) => Verdict::Done,
        Outcome::RolledBack(_) => Verdict::RolledBack,
        Outcome::Halted(_) => Verdict::Halted,
        Outcome::Stuck(_) => Verdict::Stuck,
        Outcome::Abandoned(_) => Verdict::Abandoned,
    }
}

/// A journal that is still being written, and what is told beside it.
struct Telling {
    records: Pin<Box<dyn Stream<Item = Result<Record, OutcomeError>> + Send>>,
    live: broadcast::Receiver<Report>,
    /// Reports of phases whose beginning was not told yet.
    early: Vec<Report>,
    narrator: Narrator,
    told: VecDeque<Progress>,
    /// Keeps the service at work for as long as somebody listens.
    operation: Operation,
}

impl Telling {
    async fn next(mut self) -> Result<Option<(Progress, Self)>, ServiceError> {
        loop {
            if let Some(progress) = self.told.pop_front() {
                return Ok(Some((progress, self)));
            }
            tokio::select! {
                biased;
                record = self.records.next() => match record {
                    None => return Ok(None),
                    Some(record) => {
                        let Record { at, event, .. } = record?;
                        let at = Timestamp::from_millis(at.0);
                        let told = self.narrator.tell(&event).into_iter();
                        self.told.extend(told.map(|what| Progress { at, what }));
                        self.tell_reports();
                    }
                },
                Ok(report) = self.live.recv() => {
                    self.early.push(report);
                    self.tell_reports();
                }
            }
        }
    }

    /// Tells what was reported of phases that are known to have begun. A journal is read a little later than what it is
    /// about, so reports are ahead of it.
    fn tell_reports(&mut self) {
        while let Ok(report) = self.live.try_recv() {
            self.early.push(report);
        }
        self.early.retain(|report| report.run == self.operation.run);
        let at = Timestamp::now();
        for Report { phase, node, done, total, .. } in
            self.early.extract_if(.., |report| self.narrator.has_begun(&report.phase))
        {
            let what = ProgressKind::Node { phase, node, state: NodeState::Progress { done, total } };
            self.told.push_back(Progress { at, what });
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.cluster, self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::fixture::with_a_cluster;

    /// Whoever asks at that moment is told that the service ended, not that its store failed.
    #[tokio::test]
    async fn an_operation_of_a_service_that_has_ended_says_so() {
        let (service, made) = with_a_cluster().await;
        service.shutdown(std::time::Duration::ZERO).await.unwrap();
        assert!(matches!(made.end().await, Err(ServiceError::Stopped)));
        assert!(matches!(made.status().await, Err(ServiceError::Stopped)));
        let told: Vec<_> = made.progress().collect().await;
        assert!(matches!(&*told, [Err(ServiceError::Stopped)]), "{told:?}");
    }
}
