//! Being the process that holds the data.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc::Sender;

use super::args::Keep;
use super::control::{Call, Server};
use super::desk::Desk;
use super::excuse::excuse;
use super::kit::Kit;
use super::paths::DataDir;
use super::reply::{About, Reply};
use super::stores::Stores;
use super::trouble::{Exit, Trouble, chain};
use crate::model::Timestamp;
use crate::service::{Operation, Service, ServiceBuilder, ServiceError};

/// How long what is in flight may take when the program is told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Opens the stores and starts the service, which takes up all that is unfinished. The caller holds the lock.
pub(super) async fn open(data: &DataDir, kit: &Kit, keep: Keep) -> Result<Service, Trouble> {
    let builder = keeping(builder(&Stores::of_directory(data).await?, kit), keep);
    builder.start().await.map_err(not_started)
}

/// What this program can do, on these stores.
pub(super) fn builder(stores: &Stores, kit: &Kit) -> ServiceBuilder {
    kit.equip(Service::builder_shared(Arc::clone(&stores.journals), Arc::clone(&stores.records)))
}

/// A service that remembers ended operations that long.
pub(super) fn keeping(builder: ServiceBuilder, keep: Keep) -> ServiceBuilder {
    match keep {
        Keep::For(long) => builder.keep_runs(long),
        Keep::Forever => builder,
    }
}

/// Why there is no service.
pub(super) fn not_started(error: ServiceError) -> Trouble {
    Trouble::new(format!("the service cannot be started: {}", chain(&error)))
        .state("nothing was taken up; what is journaled stays as it is")
}

/// The service, the socket, and what was found unfinished.
pub(super) struct Holder {
    service: Service,
    desk: Desk,
    server: Option<Server>,
    unfinished: Vec<Operation>,
    screen: Sender<Reply>,
    /// From when on it is told what the unfinished operations do.
    since: Timestamp,
}

impl Holder {
    /// Begins to listen to others, and looks what was taken up. `since` is when the service began to start.
    pub(super) async fn new(data: &DataDir, service: Service, since: Timestamp, screen: Sender<Reply>) -> Self {
        let desk = Desk::new(service.clone(), screen.clone());
        let server = match Server::open(&data.socket(), desk.clone()) {
            Ok(server) => Some(server),
            Err(error) => {
                let path = data.socket();
                let text = format!("other commands cannot reach this one: {} cannot be made: {error}", path.display());
                let _ = screen.send(Reply::note(text)).await;
                None
            }
        };
        let unfinished = unfinished(&service, &screen).await;
        Self { service, desk, server, unfinished, screen, since }
    }

    /// The service itself.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Where requests are answered.
    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Does what is asked for, and finishes what was taken up, unless told not to wait for it.
    pub(super) async fn work(&self, call: Call, wait: bool) -> Exit {
        for operation in &self.unfinished {
            let _ = self.screen.send(Reply::Resuming { about: About::from(operation) }).await;
        }
        if !wait {
            if !self.unfinished.is_empty() {
                let text = "--no-wait: what is not finished when this command ends is left for the next one";
                let _ = self.screen.send(Reply::note(text)).await;
            }
            return self.desk.act(call, &self.screen).await;
        }
        let resumed =
            join_all(self.unfinished.iter().map(|operation| self.desk.follow(operation, self.since, &self.screen)));
        if call.request.is_question() {
            // What is told is how things are once nothing moves any more.
            resumed.await;
            self.desk.act(call, &self.screen).await
        } else {
            tokio::join!(self.desk.act(call, &self.screen), resumed).0
        }
    }

    /// Waits for what others have asked for.
    pub(super) async fn serve_others(&self) {
        let Some(server) = &self.server else { return };
        // A question is answered in no time; that need not be told.
        if tokio::time::timeout(Duration::from_millis(300), server.idle()).await.is_err() {
            let others = server.conversations();
            let text =
                format!("done here; staying for {others} request(s) of other processes, as this one holds the data");
            let _ = self.screen.send(Reply::note(text)).await;
            server.idle().await;
        }
    }

    /// Parks all that is unfinished.
    pub(super) async fn park(&self, grace: Duration) -> Result<(), Trouble> {
        match self.service.shutdown(grace).await {
            Ok(()) => Ok(()),
            Err(error) => Err(excuse(error, None, &self.service).await),
        }
    }

    /// Turns away whoever comes now, and waits for those that are inside.
    pub(super) async fn close(&self) {
        if let Some(server) = &self.server {
            server.close().await;
        }
    }
}

/// The operations that go on; not those that rest and wait for a person.
async fn unfinished(service: &Service, screen: &Sender<Reply>) -> Vec<Operation> {
    let mut unfinished = Vec::new();
    match service.operations().await {
        Ok(operations) => {
            for operation in operations {
                // One that cannot be told of is followed too: that tells why.
                if operation.status().await.is_ok_and(|status| !status.is_live()) {
                    continue;
                }
                unfinished.push(operation);
            }
        }
        Err(error) => {
            let text = format!("it cannot be told what is unfinished: {}", chain(&error));
            let _ = screen.send(Reply::note(text)).await;
        }
    }
    unfinished
}
