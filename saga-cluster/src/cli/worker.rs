//! Working for others, until told to end.

use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use super::args::{Keep, Options, WorkerArgs};
use super::hold::{self, Hold};
use super::holder::{self, GRACE, Holder};
use super::interrupt::Interrupts;
use super::kit::Kit;
use super::paths::DataDir;
use super::reply::{About, Reply};
use super::stores::{Role, Stores};
use super::trouble::{Exit, Trouble, chain};
use crate::model::Timestamp;
use crate::service::{Operation, Service, ServiceError};

/// How long what is in flight may take when others can go on with it.
const HANDOVER: Duration = Duration::from_secs(2);

/// Works until a signal comes.
pub(super) async fn run(options: &Options, args: WorkerArgs, replies: &Sender<Reply>) -> Result<Exit, Trouble> {
    let mut interrupts = Interrupts::listen();
    let data = DataDir::open(options.data.as_deref())?;
    let kit = Kit::new(&data, options)?;
    let keep = options.keep_runs.unwrap_or(Keep::OF_WORKERS);
    match &options.store {
        Some(url) => {
            let stores = tokio::select! {
                stores = Stores::of_database(url, Role::Worker) => stores?,
                () = interrupts.next() => return Ok(Exit::Interrupted),
            };
            let service = start(&stores, &kit, args, keep).await?;
            greet(&service, &format!("{url}; its machines are in {}", data.machines().display()), replies).await;
            let mut telling = Telling::of(&service, replies);
            tokio::select! {
                () = telling.tell() => {}
                () = interrupts.next() => {}
            }
            interrupts.or_end(telling.finish()).await;
            let _ = replies.send(Reply::note("handing over to the other workers")).await;
            if let Err(error) = interrupts.or_end(service.shutdown(HANDOVER)).await {
                return Err(not_handed_over(&error));
            }
        }
        None => {
            let lock = Hold::take(&data.lock()).map_err(|error| {
                Trouble::new(format!("{} cannot be locked: {error}", data.lock().display())).untouched()
            })?;
            let Some(lock) = lock else {
                let holder = hold::Holder::of(&data.lock());
                let trouble = Trouble::new(format!("{} is held by {holder}", data.path().display())).untouched();
                return Err(trouble.next("one process holds a data directory; with --store there may be many workers"));
            };
            data.check_not_moved()?;
            // Until the process has ended: whoever gets the lock then finds the stores closed.
            std::mem::forget(lock);
            let since = Timestamp::now();
            let service = start(&Stores::of_directory(&data).await?, &kit, args, keep).await?;
            greet(&service, &data.path().display().to_string(), replies).await;
            let holder = Holder::new(&data, service.clone(), since, replies.clone()).await;
            let mut telling = Telling::of(&service, replies);
            tokio::select! {
                () = telling.tell() => {}
                () = interrupts.next() => {}
            }
            interrupts.or_end(telling.finish()).await;
            let text =
                "parking: what is in flight may still end; the rest goes on when any saga-cluster command is run next";
            let _ = replies.send(Reply::note(text)).await;
            interrupts.or_end(holder.park(GRACE)).await?;
            interrupts.or_end(holder.close()).await;
        }
    }
    Ok(Exit::Done)
}

async fn start(stores: &Stores, kit: &Kit, args: WorkerArgs, keep: Keep) -> Result<Service, Trouble> {
    let WorkerArgs { name, lease, max_in_flight } = args;
    let builder = holder::builder(stores, kit).lease(lease);
    let mut builder = holder::keeping(builder, keep);
    if let Some(name) = name {
        builder = builder.name(name);
    }
    if let Some(most) = max_in_flight {
        builder = builder.max_in_flight(most.into());
    }
    builder.start().await.map_err(holder::not_started)
}

async fn greet(service: &Service, place: &str, replies: &Sender<Reply>) {
    let name = service.worker().map_or_else(String::new, |name| format!(" {name}"));
    let _ = replies.send(Reply::note(format!("worker{name} is ready to work on {place}; Ctrl-C ends it"))).await;
}

/// What is told of the operations that this worker drives.
struct Telling {
    service: Service,
    replies: Sender<Reply>,
    /// Those that have begun, and who tells how they end.
    begun: Vec<(Operation, JoinHandle<()>)>,
}

impl Telling {
    fn of(service: &Service, replies: &Sender<Reply>) -> Self {
        Self { service: service.clone(), replies: replies.clone(), begun: Vec::new() }
    }

    /// Tells what is begun and how it ends.
    async fn tell(&mut self) {
        let mut driven = std::pin::pin!(self.service.driven());
        while let Some(operation) = driven.next().await {
            self.begun.retain(|(_, telling)| !telling.is_finished());
            let _ = self.replies.send(Reply::Began { about: About::from(&operation) }).await;
            let telling = tokio::spawn(tell_the_end(operation.clone(), self.replies.clone()));
            self.begun.push((operation, telling));
        }
    }

    /// Tells of those that have ended just now. Nobody else tells of them.
    async fn finish(self) {
        for (operation, telling) in self.begun {
            if operation.status().await.is_ok_and(|status| !status.is_live()) {
                let _ = telling.await;
            } else {
                telling.abort();
            }
        }
    }
}

async fn tell_the_end(operation: Operation, replies: Sender<Reply>) {
    let reply = match operation.end().await {
        Ok(end) => Reply::End { run: operation.run, end },
        Err(ServiceError::Stopped) => return,
        Err(error) => Reply::note(format!("it cannot be told how {operation:?} ended: {}", chain(&error))),
    };
    let _ = replies.send(reply).await;
}

fn not_handed_over(error: &ServiceError) -> Trouble {
    Trouble::new(format!("nothing could be handed over: {}", chain(error)))
        .state("the other workers go on when the lease of this one has run out")
}
