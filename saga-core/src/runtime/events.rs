//! The events of a run as a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;

use crate::id::Seq;
use crate::journal::Record;
use crate::runtime::error::{OutcomeError, ParkReason};
use crate::runtime::follow::{Follower, Standing};

const PAGE: usize = 256;

/// A run's durable events, from the first one on, until it is at rest.
pub(super) fn events<App: Send + Sync + 'static>(
    follower: Follower<App>,
) -> impl Stream<Item = Result<Record, OutcomeError>> + Send + 'static {
    let follower = follower.watching();
    let reading = Reading { follower, read: Seq::ZERO, page: VecDeque::new(), failed: None, over: false };
    futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await.transpose()?;
        reading.over |= next.is_err();
        Some((next, reading))
    })
}

/// A reader of a journal that is still being written.
struct Reading<App> {
    follower: Follower<App>,
    read: Seq,
    page: VecDeque<Record>,
    failed: Option<OutcomeError>,
    over: bool,
}

impl<App: Send + Sync + 'static> Reading<App> {
    async fn next(&mut self) -> Result<Option<Record>, OutcomeError> {
        loop {
            if let Some(record) = self.page.pop_front() {
                self.read = record.seq;
                return Ok(Some(record));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.over {
                return Ok(None);
            }
            // Looked at before reading: what is written after it is read by the next turn.
            let standing = self.follower.look().await;
            if let Err(unread) = self.read_page().await {
                if matches!(&unread, OutcomeError::Store(error) if error.is_transient()) && standing.is_ok() {
                    self.follower.pause().await;
                    continue;
                }
                // Why the run is not followed any more says more than that the store is closed. It is told after what could
                // be read.
                self.failed = Some(standing.err().unwrap_or(unread));
                continue;
            }
            if self.page.is_empty() {
                // Only now: what is durable is told before that there is nothing more to come, or why.
                match standing? {
                    Standing::Live => self.follower.changed().await,
                    Standing::Settled(_) | Standing::AtRest(_) => return Ok(None),
                }
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), OutcomeError> {
        let Follower { core, run, .. } = &self.follower;
        let unreadable =
            |error| OutcomeError::Parked { run: run.clone(), reason: Arc::new(ParkReason::Unreadable(error)) };
        for encoded in core.store.read(run, self.read, PAGE).await? {
            self.page.push_back(encoded.decode().map_err(unreadable)?);
        }
        Ok(())
    }
}
