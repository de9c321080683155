//! A proxy on loopback that loses what it was told to lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a request may take to come by.
const COMES_WITHIN: Duration = Duration::from_secs(120);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection is cut before the request reached anybody.
    Request,
    /// It is cut when the service has answered, before the answer reached anybody.
    Answer,
    /// The service has answered, and nobody ever hears of it.
    Silence,
}

/// Which requests are lost: the first so many of that method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Losing {
    pub(crate) method: &'static str,
    pub(crate) loss: Loss,
    pub(crate) times: u32,
}

/// Passes on what it gets. Dropped, it ends, and so do its connections.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: String,
    lost: watch::Receiver<u32>,
    _at_work: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: String, losing: Losing) -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
        let (tell, lost) = watch::channel(0);
        let passing = Arc::new(Passing { upstream, losing, left: AtomicU32::new(losing.times), tell });
        let mut at_work = JoinSet::new();
        at_work.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let passing = Arc::clone(&passing);
                connections.spawn(async move { passing.connection(client).await });
            }
        });
        Ok(Self { address, lost, _at_work: at_work })
    }

    /// Waits until so many requests were lost.
    pub(crate) async fn has_lost(&self, times: u32) -> Result<(), String> {
        let mut lost = self.lost.clone();
        let waited = timeout(COMES_WITHIN, lost.wait_for(|lost| *lost >= times)).await;
        waited
            .map_err(|_| format!("no request was lost within {COMES_WITHIN:?}"))?
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

struct Passing {
    upstream: String,
    losing: Losing,
    left: AtomicU32,
    tell: watch::Sender<u32>,
}

impl Passing {
    /// Either end may go away: then so does the other.
    async fn connection(&self, client: TcpStream) {
        let _ = self.pass(client).await;
    }

    async fn pass(&self, client: TcpStream) -> std::io::Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_service, mut to_service) = TcpStream::connect(&self.upstream).await?.into_split();
        let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = from_client.read(&mut asked) => match read? {
                    0 => return Ok(()),
                    read => {
                        // A request begins with what is read first after an answer, and the library sends the whole head at once.
                        let loss = self.loss_of(&asked[..read]);
                        if loss == Some(Loss::Request) {
                            self.tell.send_modify(|lost| *lost += 1);
                            return Ok(());
                        }
                        to_service.write_all(&asked[..read]).await?;
                        if let Some(loss) = loss {
                            return self.lose_answer(loss, &mut from_client, &mut to_service, &mut from_service).await;
                        }
                    }
                },
                read = from_service.read(&mut answered) => match read? {
                    0 => return Ok(()),
                    read => to_client.write_all(&answered[..read]).await?,
                },
            }
        }
    }

    /// Whether this is the head of a request that is to be lost.
    fn loss_of(&self, head: &[u8]) -> Option<Loss> {
        let ours = head.strip_prefix(self.losing.method.as_bytes()).is_some_and(|rest| rest.starts_with(b" /"));
        let take = |left: u32| left.checked_sub(1);
        let lost = ours && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        lost.then_some(self.losing.loss)
    }

    /// Passes on the rest of the request, until the service answers.
    async fn lose_answer(
        &self,
        loss: Loss,
        from_client: &mut OwnedReadHalf,
        to_service: &mut tokio::net::tcp::OwnedWriteHalf,
        from_service: &mut OwnedReadHalf,
    ) -> std::io::Result<()> {
        let (mut rest, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                read = from_client.read(&mut rest) => match read? {
                    0 => return Ok(()),
                    read => to_service.write_all(&rest[..read]).await?,
                },
                _ = from_service.read(&mut answer) => break,
            }
        }
        self.tell.send_modify(|lost| *lost += 1);
        if loss == Loss::Silence {
            // Until whoever waits gives up.
            while from_client.read(&mut rest).await? > 0 {}
        }
        Ok(())
    }
}
