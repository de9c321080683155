//! How much the store takes, on a durable server of its own on this machine: `cargo bench -p saga-postgres`.
//!
//! Appends by the number of concurrent writers, gathered into batches as the committer does it, over one connection; then
//! whole runs of a linear saga of five steps by a coordinator. Figures mean something beside others of the same machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use saga_core::journal::{Cause, EncodedRecord, Event, Record};
use saga_core::store::{Append, FirstClaim, NewRun, RunStatus, Store};
use saga_core::{Actor, Coordinator, Ctx, Epoch, RunId, Saga, SagaName, Seq, StepError, Timestamp, Undo, WorkerId};
use saga_postgres::PostgresStore;
use saga_postgres::testing::{self, Server};
use tokio::sync::{mpsc, oneshot};

/// How long each figure is measured.
const FOR: Duration = Duration::from_secs(3);
/// An event as large as most are.
const REASON_BYTES: usize = 100;

type Request = (Append, oneshot::Sender<()>);

/// Writes what has gathered, again and again.
async fn write(store: Arc<PostgresStore>, mut incoming: mpsc::UnboundedReceiver<Request>) {
    let mut requests = Vec::new();
    while incoming.recv_many(&mut requests, 4096).await > 0 {
        let (batch, replies): (Vec<_>, Vec<_>) = requests.drain(..).unzip();
        let answers = store.append(&batch).await.expect("the store works");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        for reply in replies {
            reply.send(()).expect("a writer waits for it");
        }
    }
}

fn next(run: &RunId, expected: u64, start: Option<NewRun>) -> Append {
    let event = Event::AbortBegan { cause: Cause::Cancelled { by: Actor::new("bench", "x".repeat(REASON_BYTES)) } };
    let record = Record { seq: Seq(expected + 1), at: Timestamp(1), event };
    Append {
        run: run.clone(),
        epoch: Epoch::FIRST,
        expected: Seq(expected),
        records: vec![EncodedRecord::encode(&record)],
        status: RunStatus::Running,
        at: Timestamp(1),
        start,
    }
}

/// Appends per second to runs of `length` appends each.
async fn appends(store: &Arc<PostgresStore>, writers: usize, length: u64) -> f64 {
    let (requests, incoming) = mpsc::unbounded_channel::<Request>();
    let writing = tokio::spawn(write(Arc::clone(store), incoming));
    let began = Instant::now();
    let writers: Vec<_> = (0..writers)
        .map(|_| {
            let requests = requests.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                while began.elapsed() < FOR {
                    let run = RunId::generate();
                    for expected in 0..length {
                        let start = (expected == 0).then(|| NewRun {
                            saga: SagaName::new("bench").expect("a sound name"),
                            version: 1,
                            fingerprint: serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"")
                                .expect("sound"),
                            key: None,
                            claim: Some(FirstClaim {
                                worker: WorkerId::new("bench").expect("a sound id"),
                                lease: Duration::from_secs(30),
                            }),
                        });
                        let mut append = next(&run, expected, start);
                        if expected + 1 == length {
                            append.status = RunStatus::Completed;
                        }
                        let (reply, answer) = oneshot::channel();
                        requests.send((append, reply)).expect("somebody writes");
                        answer.await.expect("it is written");
                        done += 1;
                    }
                }
                done
            })
        })
        .collect();
    drop(requests);
    let mut done = 0;
    for writer in writers {
        done += writer.await.expect("no writer panics");
    }
    let took = began.elapsed();
    writing.await.expect("the committer does not panic");
    done as f64 / took.as_secs_f64()
}

struct Nothing;

async fn act(_: Ctx<Nothing>, n: u64) -> Result<u64, StepError> {
    Ok(n + 1)
}

async fn undo(_: Ctx<Nothing>, _: Undo<u64, u64>) -> Result<(), StepError> {
    Ok(())
}

fn chain(steps: usize) -> Saga<Nothing, u64, u64> {
    let mut saga = Saga::<Nothing, u64>::builder("chain", 1);
    let mut last = saga.input();
    for step in 0..steps {
        last = saga.step(format!("step-{step}"), last, act).compensate(undo);
    }
    saga.build(last).expect("a chain is a saga")
}

/// Runs per second of a saga of five steps.
async fn runs(store: &Arc<PostgresStore>, concurrent: usize) -> f64 {
    let saga = Arc::new(chain(5));
    let coordinator = Coordinator::builder(PostgresStore::clone(store), Nothing).register(&saga).start().await;
    let coordinator = coordinator.expect("it starts");
    let began = Instant::now();
    let starters: Vec<_> = (0..concurrent)
        .map(|_| {
            let (coordinator, saga) = (coordinator.clone(), Arc::clone(&saga));
            tokio::spawn(async move {
                let mut done = 0_u64;
                while began.elapsed() < FOR {
                    let run = coordinator.start(&saga, 1).await.expect("it starts");
                    assert!(run.outcome().await.expect("it has an outcome").is_completed());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for starter in starters {
        done += starter.await.expect("none panics");
    }
    done as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let url = match std::env::var(testing::URL_VARIABLE) {
        Ok(url) => url,
        Err(_) => {
            let server = Box::leak(Box::new(Server::start()));
            server.url()
        }
    };
    let store = Arc::new(PostgresStore::connect(&url).await.expect("the server works"));
    // `cargo bench -p saga-postgres -- runs 64` measures just that.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let measures = |what: &str| !arguments.iter().any(|word| ["appends", "runs"].contains(&&**word) && word != what);
    let numbers: Vec<usize> = arguments.iter().filter_map(|word| word.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![1, 16, 64, 256] } else { numbers };
    for &writers in numbers.iter().filter(|_| measures("appends")) {
        let long = appends(&store, writers, 1000).await;
        let short = appends(&store, writers, 4).await;
        println!("{writers:4} writers: {long:7.0} appends/s to long runs, {short:7.0} to runs of four");
    }
    for &concurrent in numbers.iter().filter(|_| measures("runs")) {
        println!("{concurrent:4} at once: {:7.0} runs/s of five steps", runs(&store, concurrent).await);
    }
}
