//! Reading and writing the blocks of a whole cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use super::{BlockKey, PATIENCE};
use crate::model::{Node, NodeName};
use crate::node::{CallError, Connection, Refusal};

/// How often all nodes are asked for a block before it counts as missing: one that moves while they are asked may be
/// missed once.
const PASSES: usize = 3;

/// A block could not be written, read or listed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlocksError {
    /// There is another block under that key, and blocks are written once. Choose another key.
    #[error("there is another block under the key {key}")]
    KeyTaken {
        /// The key.
        key: BlockKey,
    },
    /// No node takes blocks now. Wait until the cluster is active.
    #[error("no node takes blocks: {refusals}")]
    NoNodeTakesBlocks {
        /// What each node said.
        refusals: String,
    },
    /// A node did not answer, so nothing certain can be said. Try again.
    #[error("{node} could not be asked: {message}")]
    Node {
        /// Which node.
        node: NodeName,
        /// What happened.
        message: String,
    },
}

/// A client of a block store, given its nodes. It keeps no connections, so it may live as long as it likes; give it the
/// nodes anew when they change.
#[derive(Debug, Clone)]
pub struct BlocksClient {
    nodes: Vec<Node>,
    patience: Duration,
}

impl BlocksClient {
    /// A client of the cluster of these nodes.
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        Self { nodes: nodes.into_iter().collect(), patience: PATIENCE }
    }

    /// How long a node has to answer one request. 10 seconds, unless told otherwise.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Writes a block to one node, durably, and says to which. Writing the same bytes again is fine.
    ///
    /// # Errors
    /// [`BlocksError`]. Unless the key is taken, the block may or may not have been written; write it again.
    pub async fn put(&self, key: &BlockKey, bytes: &[u8]) -> Result<NodeName, BlocksError> {
        match self.find(key).await? {
            Some((node, found)) if found == bytes => return Ok(node.name.clone()),
            Some(_) => return Err(BlocksError::KeyTaken { key: key.clone() }),
            None => {}
        }
        // Keys spread over the nodes; a node that takes none is passed over.
        let first = crc32fast::hash(key.as_str().as_bytes()) as usize % self.nodes.len().max(1);
        let mut refusals = Vec::new();
        for node in self.nodes[first..].iter().chain(&self.nodes[..first]) {
            let written = match self.open(node).await {
                Ok(mut connection) => connection.put(key, bytes).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return Ok(node.name.clone()),
                Err(CallError::Refused(Refusal::KeyTaken)) => return Err(BlocksError::KeyTaken { key: key.clone() }),
                Err(CallError::Refused(why)) => refusals.push(format!("{}: {why}", node.name)),
                Err(error) => return Err(Self::failed(node, &error)),
            }
        }
        Err(BlocksError::NoNodeTakesBlocks { refusals: refusals.join("; ") })
    }

    /// Reads a block, wherever it is. `None` is a certain *no*: every node was asked.
    ///
    /// # Errors
    /// [`BlocksError::Node`], if it was not found and a node could not be asked.
    pub async fn get(&self, key: &BlockKey) -> Result<Option<Vec<u8>>, BlocksError> {
        Ok(self.find(key).await?.map(|(_, bytes)| bytes))
    }

    /// All blocks, and where each is.
    ///
    /// # Errors
    /// [`BlocksError::Node`], if a node could not be asked: the list would not be whole.
    pub async fn list(&self) -> Result<BTreeMap<BlockKey, NodeName>, BlocksError> {
        let mut blocks = BTreeMap::new();
        for node in &self.nodes {
            let listed = match self.open(node).await {
                Ok(mut connection) => connection.list().await,
                Err(error) => Err(error),
            };
            match listed {
                Ok(keys) => blocks.extend(keys.into_iter().map(|key| (key, node.name.clone()))),
                Err(CallError::Refused(Refusal::NotStarted)) => {}
                Err(error) => return Err(Self::failed(node, &error)),
            }
        }
        Ok(blocks)
    }

    async fn find(&self, key: &BlockKey) -> Result<Option<(&Node, Vec<u8>)>, BlocksError> {
        for _ in 0..PASSES {
            let mut failure = None;
            for node in &self.nodes {
                let read = match self.open(node).await {
                    Ok(mut connection) => connection.get(key).await,
                    Err(error) => Err(error),
                };
                match read {
                    Ok(Some(bytes)) => return Ok(Some((node, bytes))),
                    // A node that has not started has no blocks.
                    Ok(None) | Err(CallError::Refused(Refusal::NotStarted)) => {}
                    Err(error) => failure = Some(Self::failed(node, &error)),
                }
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(None)
    }

    async fn open(&self, node: &Node) -> Result<Connection, CallError> {
        Connection::to(node, self.patience).await
    }

    fn failed(node: &Node, error: &CallError) -> BlocksError {
        BlocksError::Node { node: node.name.clone(), message: error.to_string() }
    }
}
