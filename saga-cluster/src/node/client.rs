//! Talking to a node.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::block::BlockKey;
use super::wire::{self, Refusal, Request, Response, State};
use crate::model::{NoAddress, Node, NodeName, NodeToken};

/// A node did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// Nothing was changed.
    #[error("the node refused: {0}")]
    Refused(#[from] Refusal),
    /// It tried, and its disk failed it.
    #[error("the node failed: {0}")]
    Broken(String),
    /// It is unknown what it did.
    #[error("the node did not answer within {0:?}")]
    TimedOut(Duration),
    /// It is unknown what it did.
    #[error("the connection to the node failed")]
    Io(#[from] io::Error),
    /// Nothing was changed.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// It answered something else than what was asked.
    #[error("the node's answer makes no sense")]
    Nonsense,
}

impl CallError {
    /// Whether the node said clearly that it changed nothing.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(why) => Some(*why),
            _ => None,
        }
    }
}

/// A connection to a node that has proved to be the one that is meant. Every call is bounded in time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufStream<TcpStream>,
    patience: Duration,
    /// A call that was not finished leaves half a frame behind, and the next answer would be taken for another's.
    torn: bool,
}

impl Connection {
    /// Connects to a node.
    pub(crate) async fn to(node: &Node, patience: Duration) -> Result<Self, CallError> {
        Self::open(node.reach()?, &node.token, patience).await
    }

    /// Connects to the node with that token.
    pub(crate) async fn open(address: SocketAddr, token: &NodeToken, patience: Duration) -> Result<Self, CallError> {
        let connecting = timeout(patience, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| CallError::TimedOut(patience))??;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufStream::new(stream), patience, torn: false };
        match connection.call(&Request::Hello { token: token.clone() }, &[]).await? {
            (Response::Welcome { .. }, _) => Ok(connection),
            _ => Err(CallError::Nonsense),
        }
    }

    pub(crate) async fn state(&mut self) -> Result<State, CallError> {
        match self.call(&Request::State, &[]).await? {
            (Response::State(state), _) => Ok(state),
            _ => Err(CallError::Nonsense),
        }
    }

    pub(crate) async fn configure(&mut self, peers: Vec<NodeName>) -> Result<(), CallError> {
        self.done(&Request::Configure { peers }, &[]).await
    }

    pub(crate) async fn start(&mut self) -> Result<(), CallError> {
        self.done(&Request::Start, &[]).await
    }

    /// From when this returns on, the node takes no block any more.
    pub(crate) async fn retire(&mut self) -> Result<(), CallError> {
        self.done(&Request::Retire, &[]).await
    }

    pub(crate) async fn put(&mut self, key: &BlockKey, bytes: &[u8]) -> Result<(), CallError> {
        let checksum = crc32fast::hash(bytes);
        self.done(&Request::Put { key: key.clone(), checksum }, bytes).await
    }

    /// The block, checked against its checksum again after its way over the network.
    pub(crate) async fn get(&mut self, key: &BlockKey) -> Result<Option<Vec<u8>>, CallError> {
        match self.call(&Request::Get { key: key.clone() }, &[]).await? {
            (Response::NoBlock, _) => Ok(None),
            (Response::Block { checksum }, bytes) if crc32fast::hash(&bytes) == checksum => Ok(Some(bytes)),
            (Response::Block { .. }, _) => Err(Refusal::Checksum.into()),
            _ => Err(CallError::Nonsense),
        }
    }

    pub(crate) async fn delete(&mut self, key: &BlockKey) -> Result<(), CallError> {
        self.done(&Request::Delete { key: key.clone() }, &[]).await
    }

    /// The keys of all of its blocks.
    pub(crate) async fn list(&mut self) -> Result<Vec<BlockKey>, CallError> {
        let mut all: Vec<BlockKey> = Vec::new();
        loop {
            match self.call(&Request::List { after: all.last().cloned() }, &[]).await? {
                (Response::Keys { keys }, _) if keys.is_empty() => return Ok(all),
                (Response::Keys { keys }, _) => all.extend(keys),
                _ => return Err(CallError::Nonsense),
            }
        }
    }

    async fn done(&mut self, request: &Request, body: &[u8]) -> Result<(), CallError> {
        match self.call(request, body).await? {
            (Response::Done, _) => Ok(()),
            _ => Err(CallError::Nonsense),
        }
    }

    async fn call(&mut self, request: &Request, body: &[u8]) -> Result<(Response, Vec<u8>), CallError> {
        if self.torn {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        // Set before and cleared after, so that a call that is dropped in the middle counts too.
        self.torn = true;
        let conversation = async {
            wire::write(&mut self.stream, request, body).await?;
            wire::read::<Response>(&mut self.stream).await
        };
        let answer = timeout(self.patience, conversation).await.map_err(|_| CallError::TimedOut(self.patience))??;
        self.torn = false;
        match answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))? {
            (Response::Refused { why }, _) => Err(why.into()),
            (Response::Broken { message }, _) => Err(CallError::Broken(message)),
            answer => Ok(answer),
        }
    }
}
