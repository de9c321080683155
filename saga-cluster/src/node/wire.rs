//! How a node is talked to: frames of a JSON header and a body of bytes, each with its length before it.
//!
//! ```text
//! ┌──────────────┬──────────────┬───────────────┬──────────────┐
//! │ header: u32  │ body: u32    │ header (JSON) │ body (bytes) │
//! └──────────────┴──────────────┴───────────────┴──────────────┘
//! ```
//!
//! The first request of a connection must be [`Request::Hello`], with the token of the node that is meant: ports are
//! reused, and an address may be that of another node by now.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::block::{BlockKey, MAX_BLOCK_BYTES};
use crate::model::{ClusterName, NodeName, NodeToken};

const MAX_HEADER_BYTES: usize = 256 * 1024;

/// What a node is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Request {
    Hello { token: NodeToken },
    State,
    Configure { peers: Vec<NodeName> },
    Start,
    Retire,
    Put { key: BlockKey, checksum: u32 },
    Get { key: BlockKey },
    Delete { key: BlockKey },
    List { after: Option<BlockKey> },
}

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Response {
    Done,
    Welcome { cluster: ClusterName, name: NodeName },
    State(State),
    Block { checksum: u32 },
    NoBlock,
    Keys { keys: Vec<BlockKey> },
    Refused { why: Refusal },
    Broken { message: String },
}

/// What a node knows of itself, and keeps over a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) configured: bool,
    pub(crate) started: bool,
    /// Takes no block any more: it is leaving.
    pub(crate) retired: bool,
    pub(crate) peers: Vec<NodeName>,
}

/// Why a node does not do what it was asked. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Refusal {
    #[error("it is another node")]
    WrongNode,
    #[error("it was not greeted first")]
    NotGreeted,
    #[error("it is not configured")]
    NotConfigured,
    #[error("it is not started")]
    NotStarted,
    #[error("it is leaving the cluster and takes no blocks")]
    Retired,
    #[error("it is not leaving the cluster, so its blocks stay")]
    NotRetired,
    #[error("it has another block under that key")]
    KeyTaken,
    #[error("the bytes do not fit their checksum")]
    Checksum,
}

pub(super) async fn write<T: Serialize + Sync>(
    to: &mut (impl AsyncWrite + Unpin + Send),
    header: &T,
    body: &[u8],
) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    if header.len() > MAX_HEADER_BYTES || body.len() > MAX_BLOCK_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut start = Vec::with_capacity(8 + header.len());
    start.extend_from_slice(&length(&header));
    start.extend_from_slice(&length(body));
    start.extend_from_slice(&header);
    to.write_all(&start).await?;
    to.write_all(body).await?;
    to.flush().await
}

/// Reads the next frame; `None` if the other side has closed the connection between two frames.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin + Send),
) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0; 8];
    if from.read(&mut lengths[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut lengths[1..]).await?;
    let [a, b, c, d, e, f, g, h] = lengths;
    let (header, body) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
    // Checked before anything is allocated: whoever connects by mistake sends arbitrary bytes.
    if header > MAX_HEADER_BYTES || body > MAX_BLOCK_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not the protocol of nodes"));
    }
    let mut bytes = vec![0; header];
    from.read_exact(&mut bytes).await?;
    let header = serde_json::from_slice(&bytes)?;
    let mut bytes = vec![0; body];
    from.read_exact(&mut bytes).await?;
    Ok(Some((header, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_back() {
        let (mut here, mut there) = tokio::io::duplex(64);
        let body = vec![7; 1000];
        let sent = tokio::spawn(async move {
            let key = BlockKey::new("a").unwrap();
            write(&mut here, &Request::Put { key, checksum: 5 }, &body).await.unwrap();
        });
        let (header, body) = read::<Request>(&mut there).await.unwrap().unwrap();
        assert!(matches!(header, Request::Put { checksum: 5, .. }));
        assert_eq!(body.len(), 1000);
        sent.await.unwrap();
        assert!(read::<Request>(&mut there).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn other_protocols_and_torn_frames_are_errors() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0, 0, 0, 2, 0, 0, 0, 0, b'{'], &[0, 0]] {
            assert!(read::<Request>(&mut &bytes[..]).await.is_err());
        }
    }
}
