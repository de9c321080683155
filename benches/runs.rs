//! Whole runs of a linear saga of five steps, by the number of concurrent runs, in memory and on sled.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saga_benches::{Nothing, chain, run_many};
use saga_core::Coordinator;
use saga_core::store::{MemoryStore, SledStore};

fn runs(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let saga = chain(5);
    let directory = tempfile::tempdir().expect("a directory");
    let in_memory = Coordinator::builder(MemoryStore::new(), Nothing).register(&saga);
    let store = SledStore::open(directory.path().join("store")).expect("it opens");
    let on_sled = Coordinator::builder(store, Nothing).register(&saga);
    let stores = [("memory", runtime.block_on(in_memory.start())), ("sled", runtime.block_on(on_sled.start()))];
    let mut group = c.benchmark_group("runs");
    group.sample_size(10);
    for (store, coordinator) in stores {
        let coordinator = coordinator.expect("it starts");
        for concurrent in [1, 16, 256] {
            group.throughput(Throughput::Elements(concurrent as u64));
            group.bench_with_input(BenchmarkId::new(store, concurrent), &concurrent, |b, concurrent| {
                b.to_async(&runtime).iter(|| run_many(&coordinator, &saga, *concurrent));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, runs);
criterion_main!(benches);
