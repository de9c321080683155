//! One command on a store that workers share: it asks, and watches.

use std::future::pending;
use std::time::{Duration, Instant};

use saga_core::RunId;
use tokio::sync::mpsc::Sender;

use super::args::Options;
use super::control::Call;
use super::desk::Desk;
use super::holder;
use super::interrupt::Interrupts;
use super::kit::Kit;
use super::paths::DataDir;
use super::place::StoreUrl;
use super::reply::Reply;
use super::request::Request;
use super::stores::{Role, Stores};
use super::trouble::{Exit, Trouble};
use crate::model::ClusterName;
use crate::service::Service;

/// How long an operation may be without a worker until that is told. One that is there looks every few seconds.
const UNCLAIMED: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does what was asked for.
pub(super) async fn run(
    options: &Options,
    url: &StoreUrl,
    request: Request,
    replies: &Sender<Reply>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Trouble> {
    let data = DataDir::open(options.data.as_deref())?;
    let kit = Kit::new(&data, options)?;
    let stores = tokio::select! {
        stores = Stores::of_database(url, Role::Client) => stores?,
        () = interrupts.next() => return Ok(Exit::Interrupted),
    };
    let service = holder::builder(&stores, &kit).connect().map_err(holder::not_started)?;
    let (desk, call) = (Desk::new(service.clone(), replies.clone()), Call::new(&options.by, request.clone()));
    let watched = request.cluster().filter(|_| !request.is_question());
    let exit = tokio::select! {
        exit = desk.act(call, replies) => exit,
        never = say_if_nobody_does_it(&service, watched, url, replies) => match never {},
        () = interrupts.next() => {
            if request.is_question() {
                Exit::Interrupted
            } else {
                let text = format!("leaving; what was begun of {request} goes on: it is the workers' now");
                let _ = replies.send(Reply::note(text)).await;
                Exit::Unfinished
            }
        }
    };
    interrupts.or_end(stores.close()).await;
    Ok(exit)
}

/// Says so, once, if an operation waits for a worker.
async fn say_if_nobody_does_it(
    service: &Service,
    name: Option<&ClusterName>,
    url: &StoreUrl,
    replies: &Sender<Reply>,
) -> std::convert::Infallible {
    let Some(name) = name else { return pending().await };
    let mut waiting: Option<(RunId, Instant)> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // What the store fails with is told by whoever does something.
        let Ok(unclaimed) = service.unclaimed(name).await else { continue };
        waiting = match (unclaimed, waiting) {
            (Some(operation), Some((run, since))) if operation.run == run => Some((run, since)),
            (Some(operation), _) => Some((operation.run, Instant::now())),
            (None, _) => None,
        };
        if waiting.as_ref().is_some_and(|(_, since)| since.elapsed() >= UNCLAIMED) {
            let text = format!(
                "no worker has taken it up yet: start one with `saga-cluster worker --store {url}`; waiting for that"
            );
            let _ = replies.send(Reply::note(text)).await;
            return pending().await;
        }
    }
}
