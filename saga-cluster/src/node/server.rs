//! The network side of a node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tracing::debug;

use super::service::Service;
use super::wire::{self, Request, Response};

/// Accepts connections for ever. Returns only when that fails for good.
pub(super) async fn serve(listener: TcpListener, service: Arc<Service>) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, service).await {
                        debug!(%peer, %error, "a connection broke");
                    }
                });
            }
            // One connection that died early, or too many open files: others still want to be served.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return error,
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn converse(stream: TcpStream, service: Arc<Service>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    let mut greeted = false;
    while let Some((request, body)) = wire::read::<Request>(&mut stream).await? {
        let service = Arc::clone(&service);
        let answered = spawn_blocking(move || service.answer(greeted, request, &body));
        let (response, body) = answered.await.map_err(io::Error::other)?;
        greeted |= matches!(response, Response::Welcome { .. });
        wire::write(&mut stream, &response, &body).await?;
    }
    Ok(())
}
