//! Asking an engine whether it could make a cluster, with nothing else at hand: no store is opened and no lock taken.

use std::path::Path;

use saga_core::store::MemoryStore;
use tokio::sync::mpsc::Sender;

use super::args::Options;
use super::excuse::excuse;
use super::holder;
use super::interrupt::Interrupts;
use super::kit::Kit;
use super::paths::DataDir;
use super::reply::Reply;
use super::spec_file;
use super::trouble::{Exit, Trouble};
use crate::repository::MemoryRepository;
use crate::service::Service;

/// Does it, and tells what was found. A problem is a spec that will not do.
pub(super) async fn run(options: &Options, spec: &Path, replies: &Sender<Reply>) -> Result<Exit, Trouble> {
    let mut interrupts = Interrupts::listen();
    let spec = spec_file::read(spec)?;
    let kit = Kit::new(&DataDir::open(options.data.as_deref())?, options)?;
    let builder = kit.equip(Service::builder(MemoryStore::new(), MemoryRepository::new()));
    let service = builder.connect().map_err(holder::not_started)?;
    let checked = tokio::select! {
        checked = service.check(&spec) => checked,
        () = interrupts.next() => return Ok(Exit::Interrupted),
    };
    let check = match checked {
        Ok(check) => check,
        Err(error) => return Err(excuse(error, None, &service).await),
    };
    let exit = if check.is_fine() { Exit::Done } else { Exit::Usage };
    let _ = replies.send(Reply::Checked { cluster: spec.name, engine: spec.engine, check }).await;
    Ok(exit)
}
