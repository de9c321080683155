//! What one step costs the machine and the runtime, in memory, by the size of the saga: it should not depend on it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saga_benches::{Nothing, chain, run_many};
use saga_core::Coordinator;
use saga_core::store::MemoryStore;

fn steps(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("steps");
    for steps in [5, 50, 500, 5_000] {
        let saga = chain(steps);
        let coordinator = runtime
            .block_on(Coordinator::builder(MemoryStore::new(), Nothing).register(&saga).start())
            .expect("it starts");
        group.throughput(Throughput::Elements(steps as u64));
        group.sample_size(10);
        group.bench_with_input(BenchmarkId::from_parameter(steps), &steps, |b, _| {
            b.to_async(&runtime).iter(|| run_many(&coordinator, &saga, 1));
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
