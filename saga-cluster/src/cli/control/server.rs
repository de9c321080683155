//! The end of conversations that answers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::socket;
use super::wire::{self, Call, Line, PROTOCOL, Version};
use crate::cli::reply::Reply;
use crate::cli::trouble::{Exit, Trouble};

/// How many parts of an answer may wait for a client that reads slowly.
const WAITING_REPLIES: usize = 256;
/// How long a client has to say what it wants, and to take a part of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what a call asks for, to the end, whether or not somebody still listens to the replies.
pub(in crate::cli) trait Answer: Clone + Send + 'static {
    /// Answers one call.
    fn answer(&self, call: Call, replies: mpsc::Sender<Reply>) -> impl Future<Output = Exit> + Send;
}

/// Listens on the socket of the data directory, for whoever finds that held.
#[derive(Debug)]
pub(in crate::cli) struct Server {
    tasks: TaskTracker,
    closing: CancellationToken,
    conversations: watch::Sender<usize>,
}

impl Server {
    /// Begins to listen. Only for the process that holds the lock of the data directory.
    pub(in crate::cli) fn open(path: &Path, desk: impl Answer) -> io::Result<Self> {
        let listener = socket::listen(path)?;
        let server =
            Self { tasks: TaskTracker::new(), closing: CancellationToken::new(), conversations: watch::Sender::new(0) };
        let door = Door {
            listener,
            path: path.to_owned(),
            tasks: server.tasks.clone(),
            closing: server.closing.clone(),
            conversations: server.conversations.clone(),
        };
        // One of the tasks itself, so that `close` waits for those that came just before.
        server.tasks.spawn(door.keep(desk));
        Ok(server)
    }

    /// How many conversations are going on.
    pub(in crate::cli) fn conversations(&self) -> usize {
        *self.conversations.borrow()
    }

    /// Waits until none is going on. Whoever comes meanwhile is let in.
    pub(in crate::cli) async fn idle(&self) {
        // It cannot be closed: this very value holds the sender.
        let _ = self.conversations.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Lets nobody in any more, and waits until all that is going on has come to its end.
    pub(in crate::cli) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Lets callers in.
struct Door {
    listener: UnixListener,
    path: PathBuf,
    tasks: TaskTracker,
    closing: CancellationToken,
    conversations: watch::Sender<usize>,
}

impl Door {
    async fn keep(self, desk: impl Answer) {
        loop {
            tokio::select! {
                () = self.closing.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.let_in(stream, desk.clone()),
                    Err(error) => {
                        // Out of file handles, most likely: that passes.
                        warn!(%error, "nobody can be let in");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        // The name first, so that nobody new comes; then those who stand in the queue are told to come again.
        let _ = std::fs::remove_file(&self.path);
        while let Some(Ok((mut stream, _))) = self.listener.accept().now_or_never() {
            let _ = wire::write(&mut stream, &Line::Leaving).await;
        }
    }

    fn let_in(&self, stream: UnixStream, desk: impl Answer) {
        self.conversations.send_modify(|count| *count += 1);
        let left = Leaving(self.conversations.clone());
        self.tasks.spawn(async move {
            let _left = left;
            converse(stream, desk).await;
        });
    }
}

/// Counts a conversation off, however it ends.
struct Leaving(watch::Sender<usize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn converse(stream: UnixStream, desk: impl Answer) {
    let mut stream = BufReader::new(stream);
    let call = match timeout(PATIENCE, wire::read(&mut stream)).await {
        Ok(Ok(Some(line))) => read_call(&line),
        _ => return debug!("a caller says nothing that can be understood"),
    };
    if wire::write(&mut stream, &Line::Accepted).await.is_err() {
        return;
    }
    let (replies, mut told) = mpsc::channel(WAITING_REPLIES);
    let answering = async move {
        match call {
            Ok(call) => desk.answer(call, replies).await,
            Err(trouble) => {
                let exit = trouble.exit;
                let _ = replies.send(Reply::Error(trouble)).await;
                exit
            }
        }
    };
    let telling = async {
        while let Some(reply) = told.recv().await {
            let line = Line::Reply(Box::new(reply));
            // One that is stopped, rather than gone, must not keep the rest waiting.
            if !matches!(timeout(PATIENCE, wire::write(&mut stream, &line)).await, Ok(Ok(()))) {
                debug!("a caller does not listen any more; what it asked for goes on");
                told.close();
                break;
            }
        }
    };
    let (exit, ()) = tokio::join!(answering, telling);
    let _ = timeout(PATIENCE, wire::write(&mut stream, &Line::Finished(exit))).await;
}

fn read_call(line: &str) -> Result<Call, Trouble> {
    let other_release = |what: String| {
        Trouble::new(what)
            .untouched()
            .next("wait until the process that holds the data has ended, or use the release that it is of")
    };
    match wire::parse::<Version>(line) {
        Ok(Version { protocol: PROTOCOL }) => wire::parse(line).map_err(|error| {
            other_release(format!("the process that holds the data does not know this request: {error}"))
        }),
        Ok(Version { protocol }) => Err(other_release(format!(
            "the process that holds the data is of another release: it speaks version {PROTOCOL} of the control \
             protocol, and was spoken to in version {protocol}"
        ))),
        Err(error) => Err(Trouble::new(format!("this is not the control protocol: {error}")).untouched()),
    }
}
