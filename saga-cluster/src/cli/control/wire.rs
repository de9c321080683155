//! The lines of a conversation.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::cli::reply::Reply;
use crate::cli::request::Request;
use crate::cli::trouble::Exit;

/// The version of this protocol. Both ends are mostly the same program; when it was replaced meanwhile, they say so.
pub(super) const PROTOCOL: u32 = 2;

/// The longest line. The largest is the record of a cluster of a thousand nodes, of some hundred kilobytes.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The one line that a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Call {
    /// The version of the protocol.
    pub(super) protocol: u32,
    /// Who asks.
    pub(in crate::cli) by: String,
    /// For what.
    pub(in crate::cli) request: Request,
}

impl Call {
    /// A call in the present version.
    pub(in crate::cli) fn new(by: impl Into<String>, request: Request) -> Self {
        Self { protocol: PROTOCOL, by: by.into(), request }
    }
}

/// The version alone: it can be read whatever the rest looks like.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) protocol: u32,
}

/// A line that the server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The request was read, and is being acted upon.
    Accepted,
    /// The server is about to end. Nothing was read.
    Leaving,
    /// A part of the answer.
    Reply(Box<Reply>),
    /// That was all.
    Finished(Exit),
}

/// Reads a line. `None`: the other end is gone, in the middle of a line or not.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.take(MOST_BYTES).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return if line.len() as u64 + 1 >= MOST_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(None) };
    }
    String::from_utf8(line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads what a line says.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> io::Result<T> {
    serde_json::from_str(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a line.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).await
}
