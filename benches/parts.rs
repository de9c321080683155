//! The parts of a saga by themselves: the machine, the codec, the committer, and the scan with which a recovery begins.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saga_benches::{Nothing, chain, recovery, run_many};
use saga_core::journal::{EncodedRecord, Event, Record};
use saga_core::machine::{Command, Observation, State, decide, evolve, observe, replay};
use saga_core::plan::Plan;
use saga_core::store::{Layer, MemoryStore, SledStore};
use saga_core::{Coordinator, Payload, Seq, Timestamp};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A run from its start to its end, by the machine alone: every action succeeds at once. Its journal, too.
fn drive(plan: &Plan) -> (State, Vec<Record>) {
    let output = Payload::encode(&7_u64).expect("a number is JSON");
    let (mut state, mut journal) = (State::new(plan), Vec::new());
    let mut seen = vec![Event::RunStarted {
        saga: plan.saga().clone(),
        version: plan.version(),
        fingerprint: plan.fingerprint(),
        input: output.clone(),
        key: None,
        deadline: None,
    }];
    loop {
        for event in &seen {
            evolve(plan, &mut state, NOW, event).expect("the machine made it");
        }
        let decision = decide(plan, &mut state, NOW).expect("the machine can fold it");
        for event in seen.drain(..).chain(decision.append) {
            journal.push(Record { seq: Seq(journal.len() as u64 + 1), at: NOW, event });
        }
        for command in decision.then {
            let Command::Run { of, attempt } = command else { unreachable!("nothing fails: {command:?}") };
            let end = Observation::Attempt { of, attempt, result: Ok(output.clone()) };
            seen.extend(observe(plan, &state, end, NOW, 0.5));
        }
        if seen.is_empty() {
            return (state, journal);
        }
    }
}

/// What the machine does for one event, live and in recovery, by the size of the saga: it should not depend on it.
fn machine(c: &mut Criterion) {
    let mut group = c.benchmark_group("machine");
    for steps in [5, 50, 500, 5_000] {
        let saga = chain(steps);
        let plan = saga.plan();
        let (_, journal) = drive(plan);
        group.throughput(Throughput::Elements(journal.len() as u64));
        group.bench_function(BenchmarkId::new("observe, evolve and decide", steps), |b| {
            b.iter_with_large_drop(|| drive(black_box(plan)));
        });
        group.bench_function(BenchmarkId::new("replay", steps), |b| {
            let replay = || {
                let mut state = State::new(plan);
                replay(plan, &mut state, black_box(&journal)).expect("the machine wrote it");
                state
            };
            b.iter_with_large_drop(replay);
        });
    }
    group.finish();
}

/// A record's bytes, and back: those of a whole journal of five steps.
fn codec(c: &mut Criterion) {
    let (_, journal) = drive(chain(5).plan());
    let encoded: Vec<_> = journal.iter().map(EncodedRecord::encode).collect();
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(journal.len() as u64));
    group.bench_function("encode", |b| {
        b.iter_with_large_drop(|| {
            journal.iter().map(|record| EncodedRecord::encode(black_box(record))).collect::<Vec<_>>()
        });
    });
    group.bench_function("decode", |b| {
        b.iter_with_large_drop(|| {
            encoded.iter().map(|record| black_box(record).decode().expect("it was encoded")).collect::<Vec<_>>()
        });
    });
    group.finish();
}

/// A store in memory of which nobody knows that it answers at once.
struct Gathered(MemoryStore);

impl Layer for Gathered {
    type Below = MemoryStore;

    fn below(&self) -> &MemoryStore {
        &self.0
    }
}

/// Runs of five steps whose appends are gathered into group commits, beside those that make their own, where they are. The
/// store costs the same, so what is between the two is the committer.
fn committer(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let saga = chain(5);
    let alone = Coordinator::builder(MemoryStore::new(), Nothing).register(&saga);
    let gathered = Coordinator::builder(Gathered(MemoryStore::new()), Nothing).register(&saga);
    let coordinators =
        [("none", runtime.block_on(alone.start())), ("group commits", runtime.block_on(gathered.start()))];
    let mut group = c.benchmark_group("committer");
    group.sample_size(20);
    for (name, coordinator) in coordinators {
        let coordinator = coordinator.expect("it starts");
        for concurrent in [1, 64, 256] {
            // Six appends for five steps.
            group.throughput(Throughput::Elements(6 * concurrent as u64));
            group.bench_with_input(BenchmarkId::new(name, concurrent), &concurrent, |b, concurrent| {
                b.to_async(&runtime).iter(|| run_many(&coordinator, &saga, *concurrent));
            });
        }
    }
    group.finish();
}

/// Opening a store that holds so many live runs, which reads all that it has.
fn recovery_scan(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("recovery scan");
    group.sample_size(10);
    for runs in [1_000, 10_000] {
        let directory = tempfile::tempdir().expect("a directory");
        runtime.block_on(recovery::fill(directory.path(), runs)).expect("it is filled");
        group.throughput(Throughput::Elements(runs as u64));
        group.bench_function(BenchmarkId::from_parameter(runs), |b| {
            b.iter_custom(|times| {
                let open = || {
                    let began = Instant::now();
                    let store = SledStore::open(directory.path()).expect("it opens");
                    let took = began.elapsed();
                    drop(store);
                    took
                };
                (0..times).map(|_| open()).sum::<Duration>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, machine, codec, committer, recovery_scan);
criterion_main!(benches);
