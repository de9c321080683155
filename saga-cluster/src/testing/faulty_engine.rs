//! An engine that fails on demand.

use async_trait::async_trait;

use super::faults::{Faults, How, On};
use crate::engine::{Engine, EngineCheck, EngineError, Machine, NodeOrder};
use crate::model::{ClusterName, ClusterSpec, Doomed, Node, NodeName, NodeToken};

/// Wraps an engine, and fails where its script says so.
#[derive(Debug, Clone)]
pub struct FaultyEngine<E> {
    inner: E,
    faults: Faults,
}

impl<E: Engine> FaultyEngine<E> {
    /// An engine that follows the script, and does what `inner` does otherwise.
    pub fn new(inner: E, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The engine that it wraps.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    async fn act<T: Send>(
        &self,
        on: On,
        nodes: &[&NodeName],
        work: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        let message = |when| format!("injected: {on:?} fails {when} it is done");
        match self.faults.strike(on, nodes) {
            None => work.await,
            Some(How::FailBefore) => Err(EngineError::failed(message("before"))),
            Some(How::FatalBefore) => Err(EngineError::fatal(message("before"))),
            Some(How::Reject) => Err(EngineError::rejected(format!("injected: {on:?} is rejected"))),
            Some(How::FailAfter) => work.await.and(Err(EngineError::failed(message("after")))),
            Some(How::FatalAfter) => work.await.and(Err(EngineError::fatal(message("after")))),
            Some(How::HangBefore) => {
                self.faults.hang().await;
                Err(EngineError::failed(message("before")))
            }
            Some(How::HangAfter) => {
                work.await?;
                self.faults.hang().await;
                Err(EngineError::failed(message("after")))
            }
            Some(How::Panic) => panic!("injected: {on:?} panics"),
        }
    }
}

#[async_trait]
impl<E: Engine> Engine for FaultyEngine<E> {
    fn configured(&self) -> Result<(), EngineError> {
        self.inner.configured()
    }

    fn settings(&self) -> &[&str] {
        self.inner.settings()
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), EngineError> {
        self.inner.validate(spec)
    }

    async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        self.inner.check(spec).await
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        self.act(On::Create, &[&order.name], self.inner.create(order)).await
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        self.act(On::Find, &[], self.inner.find(token)).await
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        self.act(On::Destroy, &[doomed.name()], self.inner.destroy(doomed)).await
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        self.act(On::List, &[], self.inner.list(cluster)).await
    }
}
