//! Moving clusters and journals from one store to another.

use std::path::Path;

use saga_core::store::{CopyError, CopyPlan, CopyProgress};
use tokio::sync::mpsc::Sender;

use super::hold::{self, Hold};
use super::paths::DataDir;
use super::place::StorePlace;
use super::reply::{CopyReport, Reply};
use super::stores::{Role, Stores};
use super::trouble::{Exit, Trouble, chain};
use crate::model::Cluster;
use crate::repository::{ClusterRepository, RepositoryError};

/// How many runs are copied until that is told.
const TELL_EVERY: usize = 1000;
/// How many of the things that are in the way are told one by one.
const MOST_TOLD: usize = 10;

/// A place, with nobody else in it as far as that can be made sure of.
struct Opened {
    /// As it is told: a directory by its whole path, a database without its password.
    shown: String,
    stores: Stores,
    directory: Option<DataDir>,
    _lock: Option<Hold>,
}

/// Copies all of a store.
pub(super) async fn copy(from: &StorePlace, to: &StorePlace, replies: &Sender<Reply>) -> Result<Exit, Trouble> {
    if from == to {
        return Err(Trouble::usage(format!("{from} cannot be copied to itself")));
    }
    if let StorePlace::Directory(path) = from
        && !path.join("journal").is_dir()
    {
        return Err(Trouble::usage(format!("{} is no data directory: it has no journal", path.display())));
    }
    let source = open(from).await?;
    let target = open(to).await?;
    let mut told = 0;
    let mut tell = |progress| {
        let text = match progress {
            CopyProgress::Looked { runs } => format!("looked at {runs} runs"),
            CopyProgress::Copied { runs, of } => format!("copied {runs} of {of} runs"),
        };
        told += 1;
        if told % TELL_EVERY == 0 {
            // If the screen is behind, it will be told the next time.
            let _ = replies.try_send(Reply::note(text));
        }
    };
    let plan = CopyPlan::make(&*source.stores.journals, &*target.stores.journals, &mut tell).await;
    let plan = plan.map_err(|error| match error {
        CopyError::Refused { obstacles } => refused(&obstacles.iter().map(ToString::to_string).collect::<Vec<_>>()),
        error => Trouble::new(chain(&error)).state(NOTHING),
    })?;
    let (missing, clusters_already_there) = look(&*source.stores.records, &*target.stores.records).await?;
    // The records first: an operation that goes on where its cluster has no record takes that for gone.
    let clusters = missing.len();
    for cluster in missing {
        let name = cluster.name().clone();
        target
            .stores
            .records
            .insert(cluster)
            .await
            .map_err(|error| half_copied(format!("the record of `{name}` was not taken: {}", chain(&error))))?;
    }
    let copied = plan.carry_out(&mut tell).await.map_err(|error| half_copied(chain(&error)))?;
    if let Some(data) = &source.directory {
        data.mark_moved(&target.shown)
            .map_err(|error| half_copied(format!("all was copied, but {} cannot be marked: {error}", from)))?;
    }
    let report = CopyReport {
        from: source.shown,
        to: target.shown,
        runs: copied.runs,
        records: copied.records,
        runs_already_there: copied.already_there,
        clusters,
        clusters_already_there,
        unfinished: copied.unfinished,
        marked: source.directory.map(|data| data.moved().display().to_string()),
    };
    let _ = replies.send(Reply::Copied(report)).await;
    target.stores.close().await;
    source.stores.close().await;
    Ok(Exit::Done)
}

async fn open(place: &StorePlace) -> Result<Opened, Trouble> {
    match place {
        StorePlace::Directory(path) => {
            let data = DataDir::open(Some(path as &Path))?;
            let refused = |what: String| Trouble::new(what).untouched();
            let lock = Hold::take(&data.lock())
                .map_err(|error| refused(format!("{} cannot be locked: {error}", data.lock().display())))?;
            let Some(lock) = lock else {
                let holder = hold::Holder::of(&data.lock());
                return Err(refused(format!("{place} is held by {holder}")).next("end that first, and try again"));
            };
            data.check_not_moved()?;
            let stores = Stores::of_directory(&data).await?;
            let shown = data.path().display().to_string();
            Ok(Opened { shown, stores, directory: Some(data), _lock: Some(lock) })
        }
        StorePlace::Database(url) => {
            let stores = Stores::of_database(url, Role::Client).await?;
            if stores.workers().await? > 0 {
                let trouble = Trouble::new(format!("workers are at work on {url}")).untouched();
                return Err(trouble.next("end them first, and try again"));
            }
            Ok(Opened { shown: url.to_string(), stores, directory: None, _lock: None })
        }
    }
}

/// The records that are missing in the other repository, and how many are there already.
async fn look(from: &dyn ClusterRepository, to: &dyn ClusterRepository) -> Result<(Vec<Cluster>, usize), Trouble> {
    let failed = |error: RepositoryError| Trouble::new(chain(&error)).state(NOTHING);
    let listing = from.list().await.map_err(failed)?;
    let mut in_the_way: Vec<String> = listing.unreadable.iter().map(|error| chain(error)).collect();
    let (mut missing, mut already_there) = (Vec::new(), 0);
    for cluster in listing.clusters {
        match to.get(cluster.name()).await {
            Ok(None) => missing.push(cluster),
            Ok(Some(there)) if there == cluster => already_there += 1,
            Ok(Some(_)) => {
                in_the_way.push(format!("there is another record of `{}` in the other store", cluster.name()))
            }
            Err(error @ RepositoryError::Unreadable { .. }) => in_the_way.push(chain(&error)),
            Err(error) => return Err(failed(error)),
        }
    }
    if in_the_way.is_empty() { Ok((missing, already_there)) } else { Err(refused(&in_the_way)) }
}

const NOTHING: &str = "nothing was copied";

fn refused(in_the_way: &[String]) -> Trouble {
    let mut lines = vec![format!("{} thing(s) are in the way:", in_the_way.len())];
    lines.extend(in_the_way.iter().take(MOST_TOLD).map(|what| format!("  - {what}")));
    if let more @ 1.. = in_the_way.len().saturating_sub(MOST_TOLD) {
        lines.push(format!("  and {more} more"));
    }
    Trouble::new(lines.join("\n")).state(NOTHING).next("see to each of them, and copy again")
}

fn half_copied(what: String) -> Trouble {
    Trouble::new(what)
        .state("some of it may have been copied; nothing was taken away from where it was")
        .next("do not start workers on what was copied; copy again first, which goes on where this stopped")
}
