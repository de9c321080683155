//! Many small trials of a store that nobody has open: each lays the files out, opens them, and looks.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use saga_core::RunId;
use saga_core::store::{SledStore, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Fail;
use crate::scribe::{Promise, go_on};
use crate::tally::Tally;

/// How much has to be free in memory for folders to be made there: more than the stores of all processors take at once, and
/// than each of them wants to be left. Containers often have 64 MiB in all.
const ROOM: u64 = 2 << 30;

/// A folder that goes when it is dropped: in memory where there is such a place, as nothing in it has to outlive anything.
pub(crate) fn scratch() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    if free >= ROOM
        && let Ok(made) = TempDir::with_prefix_in("saga-crash-", memory)
    {
        return Ok(made);
    }
    TempDir::with_prefix("saga-crash-")
}

/// Works jobs off on all processors, and gathers what came of them. Each worker has a folder of its own, which is empty
/// whenever a job begins.
pub(crate) fn work_off<J: Send>(
    what: &str,
    jobs: impl FnOnce(&mut dyn FnMut(J)) -> Result<(), Fail>,
    each: impl Fn(&J, &Path, &Runtime, &mut Tally) -> Result<(), Fail> + Sync,
) -> Result<Tally, Fail> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, receiver): (SyncSender<J>, Receiver<J>) = sync_channel(2 * workers);
    let (receiver, done, each) = (Arc::new(Mutex::new(receiver)), AtomicUsize::new(0), &each);
    // One of them says how far all have got.
    let muted = AtomicBool::new(false);
    let work = |receiver: Arc<Mutex<Receiver<J>>>| -> Result<Tally, Fail> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut tally = Tally::default();
        let loud = !muted.swap(true, Ordering::Relaxed);
        let mut said = Instant::now();
        loop {
            let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return Ok(tally) };
            let folder = scratch()?;
            each(&job, folder.path(), &runtime, &mut tally)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if loud && said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                eprintln!("{done:>8} {what}");
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn({
                    let receiver = Arc::clone(&receiver);
                    || work(receiver)
                })
            })
            .collect();
        drop(receiver);
        // Whoever receives has failed if this does, and says why below.
        let made = jobs(&mut |job| drop(sender.send(job)));
        drop(sender);
        let mut tally = Tally::default();
        for worker in workers {
            tally.merge(worker.join().map_err(|_| "a trial panicked")??);
        }
        made.map(|()| tally)
    })
}

/// What is expected of a store that is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    /// Whether anything may be damaged at all.
    pub(crate) damage: bool,
    /// Whether all of it may be refused.
    pub(crate) refusal: bool,
}

/// Opens a store, holds it against its promise, goes on with it, opens it again, and holds it against all that was said.
/// Answers which runs were named as hurt; none, if the store was refused as a whole.
pub(crate) fn open_and_look(
    store: &Path,
    mut promise: Promise,
    expect: Expect,
    name: &str,
    runtime: &Runtime,
    tally: &mut Tally,
) -> Option<BTreeSet<RunId>> {
    let mut hurt = BTreeSet::new();
    for round in ["opened", "opened again"] {
        let opened = match catch_unwind(AssertUnwindSafe(|| SledStore::open(store))) {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) if expect.refusal && round == "opened" => {
                tally.count("refused as a whole, with a reason", 1);
                if !error.to_string().contains("copy") {
                    tally.violation(format!("{name}: the error says not what to do: {error}"));
                }
                return None;
            }
            Ok(Err(error)) => {
                tally.violation(format!("{name}: it cannot be {round}: {error}"));
                return None;
            }
            Err(_) => {
                tally.violation(format!("{name}: a panic while it was {round}"));
                return None;
            }
        };
        let looked = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let damage = opened.damage()?;
                let verdict = promise.check(&opened).await?;
                let went_on = go_on(&opened, "later").await;
                opened.close().await?;
                Ok::<_, saga_core::store::StoreError>((damage, verdict, went_on))
            })
        }));
        let (damage, verdict, went_on) = match looked {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => {
                tally.violation(format!("{name}, {round}: {error}"));
                return None;
            }
            Err(_) => {
                tally.violation(format!("{name}: a panic after it was {round}"));
                return None;
            }
        };
        tally.violations(&format!("{name}, {round}"), verdict.violations);
        if !expect.damage && !damage.is_empty() {
            tally.violation(format!("{name}, {round}: {} and {} more", damage[0], damage.len() - 1));
        }
        if round == "opened" {
            hurt = verdict.named;
            tally.count("opened", 1);
            tally.count("runs that were whole", verdict.whole);
            tally.count("runs named as hurt", hurt.len());
            tally.count("runs gone (or back), in a store that says that frames are lost", verdict.gone);
        } else {
            break;
        }
        match went_on {
            Ok(told) => told.iter().for_each(|told| promise.add(told)),
            Err(what) => {
                tally.violation(format!("{name}: it does not go on: {what}"));
                return None;
            }
        }
    }
    Some(hurt)
}
