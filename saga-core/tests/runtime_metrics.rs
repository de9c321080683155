//! What is counted is what the table in `runtime/metrics.rs` says.
#![cfg(feature = "metrics")]

#[path = "runtime_suite/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use saga_core::store::MemoryStore;
use saga_core::{Coordinator, Ctx, Saga, Seq, StepError, Undo};

use crate::world::{World, ada, coordinator, id, make, reject, unmake};

/// Keeps every value under `name{label=value,…}`; of histograms, how many samples there were.
#[derive(Default, Clone)]
struct Recorder(Arc<Mutex<BTreeMap<String, f64>>>);

struct Value(Recorder, String);

impl Value {
    fn of(recorder: &Recorder, key: &Key) -> Arc<Self> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Self(recorder.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut values = self.0.0.lock().unwrap();
        let value = values.entry(self.1.clone()).or_default();
        *value = change(*value);
    }
}

#[allow(clippy::cast_precision_loss)]
impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }
    fn absolute(&self, to: u64) {
        self.change(|_| to as f64);
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }
    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }
    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

impl HistogramFn for Value {
    fn record(&self, _: f64) {
        self.change(|samples| samples + 1.0);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Value::of(self, key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Value::of(self, key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Value::of(self, key))
    }
}

impl Recorder {
    fn values(&self) -> BTreeMap<String, f64> {
        self.0.lock().unwrap().clone()
    }
}

fn recorded(scenario: impl AsyncFnOnce()) -> BTreeMap<String, f64> {
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(scenario()));
    recorder.values()
}

#[test]
fn every_row_of_the_table_is_recorded() {
    let values = recorded(async || {
        let (store, world) = (MemoryStore::new(), World::default());
        let mut good = Saga::<World, u32>::builder("good", 1);
        let input = good.input();
        let a = good.step("a", input, make).compensate(unmake);
        let good = good.build(a).unwrap();
        let mut bad = Saga::<World, u32>::builder("bad", 1);
        let input = bad.input();
        let a =
            bad.step("a", input, make).compensate(async |_: Ctx<World>, _: Undo<u32, u32>| -> Result<(), StepError> {
                Err(StepError::fatal("no"))
            });
        let b = bad.step("b", a, reject).nothing_to_undo();
        let bad = bad.build(b).unwrap();
        let first =
            Coordinator::builder(store.clone(), world.clone()).register(&good).register(&bad).start().await.unwrap();
        for _ in 0..3 {
            first.start(&good, 1).await.unwrap().outcome().await.unwrap();
        }
        let stuck = first.start_with(&bad, 1, id("stuck")).await.unwrap();
        assert!(stuck.outcome().await.unwrap().is_resting());
        let stuck = first.start(&bad, 1).await.unwrap();
        assert!(stuck.outcome().await.unwrap().is_resting());
        first.abandon(stuck.id(), ada()).await.unwrap().outcome().await.unwrap();
        // A run whose journal is damaged.
        let mut gate = Saga::<World, u32>::builder("gate", 1);
        let input = gate.input();
        let a = gate.step("a", input, world::gated).compensate(unmake);
        let gate = gate.build(a).unwrap();
        let second = coordinator(&store, &world, &gate).await;
        second.start_with(&gate, 1, id("damaged")).await.unwrap();
        world.raised("a began").await;
        drop((first, second));
        tokio::task::yield_now().await;
        let store = store.reopen();
        assert!(store.faults().corrupt(&"damaged".parse().unwrap(), Seq(1)));
        let third = coordinator(&store, &world, &gate).await;
        let parked = third.attach::<u32>(&"damaged".parse().unwrap()).await.unwrap();
        assert!(parked.outcome().await.is_err());
    });
    let expected = [
        ("saga_runs_started_total{saga=good}", 3.0),
        ("saga_runs_started_total{saga=bad}", 2.0),
        ("saga_runs_started_total{saga=gate}", 1.0),
        ("saga_runs_ended_total{saga=good,outcome=completed}", 3.0),
        ("saga_runs_ended_total{saga=bad,outcome=stuck}", 2.0),
        ("saga_runs_ended_total{saga=bad,outcome=abandoned}", 1.0),
        ("saga_runs_in_flight{}", 0.0),
        ("saga_runs_resting{}", 1.0),
        ("saga_runs_parked_total{}", 1.0),
        ("saga_step_seconds{saga=good,step=a,result=succeeded}", 3.0),
        ("saga_step_seconds{saga=bad,step=a,result=succeeded}", 2.0),
        ("saga_step_seconds{saga=bad,step=b,result=failed}", 2.0),
        ("saga_step_failures_total{saga=bad,step=b}", 2.0),
        ("saga_undo_failures_total{saga=bad,step=a}", 2.0),
    ];
    for (name, value) in expected {
        assert_eq!(values.get(name), Some(&value), "{name} in {values:#?}");
    }
    assert_eq!(values["saga_commit_seconds{}"], values["saga_commit_appends{}"]);
    assert!(values["saga_commit_seconds{}"] > 0.0);
    assert_eq!(values.len(), expected.len() + 2, "and nothing else: {values:#?}");
}
