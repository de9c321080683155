//! Hints: one connection that listens for what other workers tell.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;
use tracing::debug;

use crate::database::Database;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The channel of a schema's store. Channels belong to the database, and their names are cut like any other.
pub(super) fn channel(schema: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, schema.as_bytes());
    format!("saga_{}", id.simple())
}

/// Who wants hints, and the task that gets them.
#[derive(Debug, Default)]
pub(super) struct Hints {
    told: watch::Sender<()>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Hints {
    /// Hints from now on. The first who wants some makes the connection.
    pub(super) fn subscribe(&self, database: &Database, channel: &str) -> watch::Receiver<()> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.is_none() {
            let (told, database, channel) = (self.told.clone(), database.clone(), channel.to_owned());
            *listener = Some(tokio::spawn(async move { listen(&told, &database, &channel).await }));
        }
        self.told.subscribe()
    }

    pub(super) fn stop(&self) {
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener.abort();
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn listen(told: &watch::Sender<()>, database: &Database, channel: &str) {
    let mut delay = FIRST_DELAY;
    loop {
        if let Err(error) = listen_once(told, database, channel, &mut delay).await {
            debug!(%error, retry_in = ?delay, "no hints: the connection that listens for them failed");
        }
        // Whoever polls does not depend on hints, so there is no hurry.
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Listens until the connection ends.
async fn listen_once(
    told: &watch::Sender<()>,
    database: &Database,
    channel: &str,
    delay: &mut Duration,
) -> Result<(), tokio_postgres::Error> {
    let (config, tls) = database.listener();
    let (client, mut connection) = config.connect(tls).await?;
    let begin = format!("LISTEN {channel}");
    let begin = client.batch_execute(&begin);
    let mut begin = std::pin::pin!(begin);
    let mut listening = false;
    loop {
        let message = tokio::select! {
            begun = &mut begin, if !listening => {
                begun?;
                listening = true;
                *delay = FIRST_DELAY;
                // Something may have been told while nobody listened.
                told.send_replace(());
                continue;
            }
            message = poll_fn(|context| connection.poll_message(context)) => message,
        };
        match message {
            Some(Ok(AsyncMessage::Notification(_))) => told.send_replace(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
}
