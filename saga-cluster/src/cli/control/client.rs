//! The end of a conversation that asks.

use std::io;
use std::path::Path;

use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::socket;
use super::wire::{self, Call, Line};
use crate::cli::reply::Reply;
use crate::cli::trouble::Exit;

/// A request was not accepted, as far as is known.
#[derive(Debug)]
pub(in crate::cli) enum Unanswered {
    /// Nobody listens (yet, or any more), or the one who does is about to end. Nothing was asked; try again.
    NobodyListens,
    /// The line broke after the request was sent, before it was accepted: it may have been read.
    Unknown(io::Error),
    /// The socket cannot be used.
    Broken(io::Error),
}

/// What comes next in a conversation.
#[derive(Debug)]
pub(in crate::cli) enum Heard {
    /// A part of the answer.
    Reply(Reply),
    /// That was all.
    Finished(Exit),
    /// The holder is gone in the middle of it.
    Gone,
}

/// A request that was accepted, whose answers come one by one.
#[derive(Debug)]
pub(in crate::cli) struct Conversation {
    stream: BufReader<UnixStream>,
}

impl Conversation {
    /// Asks the holder.
    pub(in crate::cli) async fn open(socket: &Path, call: &Call) -> Result<Self, Unanswered> {
        let stream = socket::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Unanswered::NobodyListens,
            _ => Unanswered::Broken(error),
        })?;
        let mut stream = BufReader::new(stream);
        // A server that leaves does not read: then writing may fail, but its last word can still be read.
        let written = wire::write(&mut stream, call).await;
        let line = match (wire::read(&mut stream).await, written) {
            (Ok(Some(line)), _) => line,
            (Ok(None), Err(error)) | (Err(error), _) => return Err(Unanswered::Unknown(error)),
            (Ok(None), Ok(())) => return Err(Unanswered::Unknown(io::ErrorKind::UnexpectedEof.into())),
        };
        match wire::parse(&line) {
            Ok(Line::Accepted) => Ok(Self { stream }),
            Ok(Line::Leaving) => Err(Unanswered::NobodyListens),
            Ok(other) => Err(Unanswered::Broken(io::Error::other(format!("an unexpected answer: {other:?}")))),
            Err(error) => Err(Unanswered::Broken(error)),
        }
    }

    /// Waits for the next part of the answer.
    pub(in crate::cli) async fn next(&mut self) -> Heard {
        let Ok(Some(line)) = wire::read(&mut self.stream).await else { return Heard::Gone };
        match wire::parse(&line) {
            Ok(Line::Reply(reply)) => Heard::Reply(*reply),
            Ok(Line::Finished(exit)) => Heard::Finished(exit),
            Ok(Line::Accepted | Line::Leaving) | Err(_) => Heard::Gone,
        }
    }
}
