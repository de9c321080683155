//! One workload on one thread, for a profiler: `valgrind --tool=callgrind target/release/examples/profile linear 64 2000`.
//! `sled 256 2000` is the same on the embedded store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use saga_benches::measure::memory;
use saga_benches::workload::{Nothing, chain};
use saga_core::store::{MemoryStore, SledStore, Store};
use saga_core::{Coordinator, Ctx, Saga, StepError};
use tokio::sync::{Notify, Semaphore};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize| args[at].parse::<u64>().unwrap();
    match args[1].as_str() {
        "linear" => linear(MemoryStore::new(), number(2) as usize, number(3)).await,
        "sled" => {
            let directory = tempfile::tempdir().unwrap();
            linear(SledStore::open(directory.path().join("store")).unwrap(), number(2) as usize, number(3)).await;
        }
        "waiting" => waiting(number(2) as usize).await,
        other => panic!("{other}?"),
    }
}

async fn linear(store: impl Store, clients: usize, sagas: u64) {
    let saga = chain(5);
    let coordinator = Coordinator::builder(store, Nothing).register(&saga).start().await.unwrap();
    let started = std::time::Instant::now();
    let begun = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (coordinator, saga, begun) = (coordinator.clone(), saga.clone(), begun.clone());
            tokio::spawn(async move {
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed) as u64;
                    if number >= sagas {
                        return;
                    }
                    let outcome = coordinator.start(&saga, number).await.unwrap().outcome().await.unwrap();
                    assert_eq!(outcome.completed(), Some(number + 5));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    println!("{:.2} us each", started.elapsed().as_secs_f64() * 1e6 / sagas as f64);
}

#[derive(Clone)]
struct Gate {
    arrived: Arc<AtomicUsize>,
    all: Arc<Notify>,
    open: Arc<Semaphore>,
}

async fn waiting(runs: usize) {
    let mut saga = Saga::<Gate, u64>::builder("waiting", 1);
    let input = saga.input();
    let wait = saga.step("wait", input, move |ctx: Ctx<Gate>, n: u64| async move {
        if ctx.arrived.fetch_add(1, Ordering::SeqCst) + 1 == runs {
            ctx.all.notify_one();
        }
        drop(ctx.open.acquire().await);
        Ok::<_, StepError>(n)
    });
    let wait = wait.nothing_to_undo();
    let saga = saga.build(wait).unwrap();
    let gate = Gate { arrived: Arc::default(), all: Arc::default(), open: Arc::new(Semaphore::new(0)) };
    let coordinator = Coordinator::builder(MemoryStore::new(), gate.clone())
        .register(&saga)
        .max_in_flight(2 * runs)
        .start()
        .await
        .unwrap();
    let before = memory().unwrap();
    let mut handles = Vec::with_capacity(runs);
    for number in 0..runs {
        handles.push(coordinator.start(&saga, number as u64).await.unwrap());
    }
    gate.all.notified().await;
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    println!("{:.0} bytes each", (memory().unwrap() - before) as f64 / runs as f64);
    std::process::exit(0);
}
