//! Moving runs from one store to another.

use std::sync::Arc;

use saga_core::store::{
    Copied, CopyError, CopyProgress, MemoryStore, Obstacle, Query, RunStatus, SledStore, Store, copy,
};
use saga_core::{Actor, Client, Coordinator, Ctx, Outcome, RunId, Saga, StartOptions, StepError};

/// What the steps act on.
struct World;

async fn add(_: Ctx<World>, n: u32) -> Result<u32, StepError> {
    match n {
        13 => Err(StepError::fatal("it does not like that number")),
        n => Ok(n + 1),
    }
}

fn saga() -> Saga<World, u32, u32> {
    let mut saga = Saga::<World, u32>::builder("count", 1);
    let n = saga.input();
    let one = saga.step("one", n, add).nothing_to_undo();
    let two = saga.step("two", one, add).non_compensable();
    saga.build(two).unwrap()
}

fn options(name: &str) -> StartOptions {
    StartOptions::new().id(id(name)).key(format!("key/{name}").parse().unwrap())
}

fn id(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

async fn worker(store: Arc<dyn Store>) -> Coordinator<World> {
    Coordinator::builder_shared(store, Arc::new(World)).register(&saga()).start().await.unwrap()
}

fn client(store: &Arc<dyn Store>) -> Client<World> {
    Client::builder_shared(Arc::clone(store)).register(&saga()).build().unwrap()
}

/// A store with a run that has ended, one that halted, one that was rolled back, and one that nobody has driven yet.
async fn full() -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let worker = worker(Arc::clone(&store)).await;
    for (name, n) in [("ended", 1), ("halted", 12), ("undone", 13)] {
        worker.start_with(&saga(), n, options(name)).await.unwrap().outcome().await.unwrap();
    }
    drop(worker);
    client(&store).start_with(&saga(), 5, options("live")).await.unwrap();
    store
}

async fn copied(from: &Arc<dyn Store>, to: &Arc<dyn Store>) -> Result<Copied, CopyError> {
    copy(&**from, &**to, |_| {}).await
}

/// All that a store has: heads and journals.
async fn contents(store: &Arc<dyn Store>) -> Vec<String> {
    let runs = store.list(&Query::default()).await.unwrap().runs;
    let mut contents = Vec::new();
    for head in runs {
        let journal = store.read(&head.run, saga_core::Seq::ZERO, 1000).await.unwrap();
        contents.push(format!("{head:?} {journal:?}"));
    }
    contents
}

fn obstacles(done: Result<Copied, CopyError>) -> Vec<Obstacle> {
    match done {
        Err(CopyError::Refused { obstacles }) => obstacles,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn runs_go_to_another_store_and_back_and_on() {
    let directory = tempfile::tempdir().unwrap();
    let memory = full().await;
    let sled: Arc<dyn Store> = Arc::new(SledStore::open(directory.path()).unwrap());
    let mut told = Vec::new();
    let there = copy(&*memory, &*sled, |progress| told.push(progress)).await.unwrap();
    let unfinished = vec![id("halted"), id("live")];
    let records = memory.list(&Query::default()).await.unwrap().runs.iter().map(|head| head.seq.0).sum();
    assert_eq!(there, Copied { runs: 4, records, already_there: 0, unfinished: unfinished.clone() });
    assert_eq!(told.first(), Some(&CopyProgress::Looked { runs: 4 }));
    assert_eq!(told[1..], (1..=4).map(|runs| CopyProgress::Copied { runs, of: 4 }).collect::<Vec<_>>());
    assert_eq!(contents(&sled).await, contents(&memory).await);

    let back: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(copied(&sled, &back).await.unwrap(), there);
    assert_eq!(contents(&back).await, contents(&memory).await);
    // It goes on there: the live one by itself, the halted one when somebody says so.
    let worker = worker(Arc::clone(&back)).await;
    let live = worker.attach::<u32>(&id("live")).await.unwrap();
    assert_eq!(live.outcome().await.unwrap(), Outcome::Completed(7));
    let held = worker.start_with(&saga(), 1, StartOptions::new().key("key/halted".parse().unwrap())).await;
    assert!(held.is_err(), "it holds its key");
    worker.abandon(&id("halted"), Actor::new("ada", "a test")).await.unwrap().outcome().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_was_interrupted_is_made_again() {
    let (from, to) = (full().await, MemoryStore::new());
    // The store breaks after the first two runs.
    let shared: Arc<dyn Store> = Arc::new(to.clone());
    let mut done = 0;
    let interrupted = copy(&*from, &*shared, |progress| {
        if let CopyProgress::Copied { runs, .. } = progress {
            done = runs;
            if runs == 2 {
                to.faults().poison("a test");
            }
        }
    })
    .await;
    assert!(matches!(interrupted, Err(CopyError::Store(_))), "{interrupted:?}");
    let shared: Arc<dyn Store> = Arc::new(to.reopen());
    let again = copied(&from, &shared).await.unwrap();
    assert_eq!((done, again.runs, again.already_there), (2, 2, 2));
    assert_eq!(again.unfinished, [id("halted"), id("live")]);
    assert_eq!(contents(&shared).await, contents(&from).await);
    let once_more = copied(&from, &shared).await.unwrap();
    assert_eq!((once_more.runs, once_more.already_there), (0, 4));
}

#[tokio::test]
async fn runs_that_went_on_in_both_stores_are_named_and_nothing_is_copied() {
    let from = full().await;
    let to: Arc<dyn Store> = Arc::new(MemoryStore::new());
    copied(&from, &to).await.unwrap();
    client(&from).start_with(&saga(), 1, options("new")).await.unwrap();
    // In each of them somebody else has said something about it.
    client(&from).cancel(&id("live"), Actor::new("ada", "here")).await.unwrap();
    client(&to).cancel(&id("live"), Actor::new("bob", "there")).await.unwrap();
    let found = obstacles(copied(&from, &to).await);
    let [Obstacle::Differs { run, from: RunStatus::Running, to: RunStatus::Running, from_seq, to_seq }] = &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((run, from_seq), (&id("live"), to_seq), "as long as each other, but not the same");
    assert_eq!(to.get(&id("new")).await.unwrap(), None);
}

#[tokio::test]
async fn all_that_is_in_the_way_is_named_at_once() {
    let from = full().await;
    let to: Arc<dyn Store> = Arc::new(MemoryStore::new());
    // Another run there has the key of the halted one; that the ended one had the same key does not matter.
    for (name, key) in [("other", "key/halted"), ("another", "key/ended")] {
        let options = StartOptions::new().id(id(name)).key(key.parse().unwrap());
        client(&to).start_with(&saga(), 1, options).await.unwrap();
    }
    let driver = "w".parse().unwrap();
    from.claim_run(&driver, &id("live"), std::time::Duration::from_secs(60)).await.unwrap();
    let found = obstacles(copied(&from, &to).await);
    let halted = Obstacle::KeyHeld { run: id("halted"), key: "key/halted".parse().unwrap(), holder: id("other") };
    assert_eq!(found, [halted, Obstacle::Driven { run: id("live"), owner: driver }]);
    assert_eq!(to.get(&id("ended")).await.unwrap(), None, "nothing was copied");
}
