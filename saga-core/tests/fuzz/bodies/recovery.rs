//! Recovery: a store in which some journals are damaged. Those runs are parked, or end as their journals say; all others
//! complete.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use saga_core::journal::{EncodedRecord, Record};
use saga_core::machine::{State, replay};
use saga_core::store::{MemoryStore, Query, RunStatus, RunSummary, Store};
use saga_core::{
    Coordinator, Ctx, Epoch, Outcome, OutcomeError, ParkReason, RunId, Saga, Seq, StartOptions, StepError, Undo,
    WorkerId,
};

use super::codec::sealed;

/// How many runs there are at most in a store.
const RUNS: usize = 6;

/// Longer than any of these runs takes, whatever it retries.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A run as it was when it had ended.
struct Template {
    summary: RunSummary,
    records: Vec<EncodedRecord>,
    outcome: Outcome<u64>,
}

struct Stage {
    saga: Saga<(), u64, u64>,
    templates: Vec<Template>,
}

async fn count(_: Ctx<()>, n: u64) -> Result<Vec<u64>, StepError> {
    Ok((0..n % 4).collect())
}

async fn square(ctx: Ctx<()>, n: u64) -> Result<u64, StepError> {
    ctx.checkpoint(&n).await?;
    Ok(n * n)
}

async fn nothing<In, Out>(_: Ctx<()>, _: Undo<In, Out>) -> Result<(), StepError> {
    Ok(())
}

async fn sum(_: Ctx<()>, squares: Vec<u64>) -> Result<u64, StepError> {
    Ok(squares.into_iter().fold(0, u64::wrapping_add))
}

/// Odd numbers are turned down.
async fn even(_: Ctx<()>, n: u64) -> Result<u64, StepError> {
    if n.is_multiple_of(2) { Ok(n) } else { Err(StepError::rejected("odd")) }
}

async fn sign(_: Ctx<()>, (n, sum): (u64, u64)) -> Result<u64, StepError> {
    Ok(n.wrapping_add(sum))
}

/// A saga with a step of each class.
fn saga() -> Saga<(), u64, u64> {
    let mut saga = Saga::<(), u64>::builder("fuzzed", 1);
    let input = saga.input();
    let numbers = saga.step("count", input, count).compensate(nothing);
    let squares = saga.for_each("square", numbers, square).concurrency(2).compensate(nothing);
    let total = saga.step("sum", squares, sum).nothing_to_undo();
    let checked = saga.step("even", input, even).after(total).nothing_to_undo();
    let signed = saga.step("sign", (checked, total), sign).non_compensable();
    let told = saga.step("tell", signed, async |_: Ctx<()>, n: u64| Ok(n)).finish_forward(saga_core::Retry::forever());
    saga.build(told).expect("the saga has no mistakes")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let saga = saga();
        let templates = runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            let coordinator = Coordinator::builder_shared(store.clone(), Arc::new(()));
            let coordinator = coordinator.register(&saga).start().await.expect("an empty store");
            let mut templates = Vec::new();
            for n in 0..8 {
                let id = RunId::new(format!("template-{n}")).expect("an id");
                let run =
                    coordinator.start_with(&saga, n, StartOptions::new().id(id.clone())).await.expect("it starts");
                let outcome = run.outcome().await.expect("it ends");
                let summary = store.get(&id).await.expect("the store works").expect("the run is there");
                let records = store.read(&id, Seq::ZERO, usize::MAX).await.expect("the store works");
                templates.push(Template { summary, records, outcome });
            }
            templates
        });
        Stage { saga, templates }
    })
}

/// Bytes as choices; when they are used up, all choices are zero.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, n: usize) -> usize {
        let choice = if n > 256 { self.next() << 8 | self.next() } else { self.next() };
        if n == 0 { 0 } else { choice % n }
    }

    /// All up to the next line feed.
    fn line(&mut self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }
}

/// A run as it stands in the store.
struct Case {
    run: RunId,
    records: Vec<EncodedRecord>,
    /// How it ends if nothing is wrong with it.
    sound: Option<Outcome<u64>>,
}

/// Does something to a journal that a bad disk might, or a bad program, or a bad person.
fn damage(records: &mut Vec<EncodedRecord>, choices: &mut Choices<'_>, templates: &[Template]) {
    let at = choices.below(records.len());
    let (other, byte) = (choices.below(records.len()), choices.below(records[at].bytes.len()));
    match choices.below(9) {
        0 if byte < records[at].bytes.len() => records[at].bytes[byte] ^= 1 << (choices.next() % 8),
        1 => records[at].bytes.truncate(byte),
        2 if records.len() > 1 => drop(records.remove(at)),
        3 => records.insert(other, records[at].clone()),
        4 => records.swap(at, other),
        5 => {
            let template = &templates[choices.below(templates.len())].records;
            if let Some(record) = template.get(at) {
                records[at] = record.clone();
            }
        }
        6 => {
            let json = format!(r#"{{"seq":{},"at":1732320000000,"event":"#, at + 1).into_bytes();
            records[at] = sealed(Seq(at as u64 + 1), &[&json, choices.line(), b"}"].concat());
        }
        7 => records[at] = sealed(Seq(at as u64 + 1), choices.line()),
        _ => {
            // One byte of the JSON is another one, and the checksum is right.
            let mut json = records[at].bytes.get(5..).unwrap_or_default().to_vec();
            if !json.is_empty() {
                let length = json.len();
                json[byte % length] = choices.next() as u8;
            }
            records[at] = sealed(Seq(at as u64 + 1), &json);
        }
    }
    // A store hands out records by their places: what stands at a place is what is damaged.
    for (seq, record) in (1..).zip(records.iter_mut()) {
        record.seq = Seq(seq);
    }
}

/// Fills a store with runs as `data` says, some of them damaged, and starts a coordinator on it.
pub fn recovery(data: &[u8]) {
    let Stage { saga, templates } = stage();
    let mut choices = Choices(data);
    runtime().block_on(async {
        let store = MemoryStore::new();
        let mut cases = Vec::new();
        for at in 0..=choices.below(RUNS) {
            let template = &templates[choices.below(templates.len())];
            let length = 1 + choices.below(template.records.len() - 1);
            let mut records = template.records[..length].to_vec();
            let damages = choices.below(8).saturating_sub(4);
            for _ in 0..damages {
                damage(&mut records, &mut choices, templates);
            }
            // What was done may have undone itself, or have changed nothing.
            let sound = (records == template.records[..length]).then(|| template.outcome.clone());
            let summary = RunSummary {
                run: RunId::new(format!("run-{at}")).expect("an id"),
                status: RunStatus::Running,
                seq: Seq(records.len() as u64),
                ..template.summary.clone()
            };
            store.restore(&summary, &records).await.expect("the store works").expect("there is room for it");
            cases.push(Case { run: summary.run, records, sound });
        }
        let worker = WorkerId::new("taking-over").expect("an id");
        let builder = Coordinator::builder(store.clone(), ()).register(saga).worker(worker);
        let coordinator = builder.start().await.expect("no journal keeps a coordinator from starting");
        let mut parked = 0;
        for case in &cases {
            parked += usize::from(check(&coordinator, &store, saga, case).await);
        }
        assert_eq!(coordinator.parked().len(), parked, "those that are parked, and no others");
        let running = Query { statuses: vec![RunStatus::Running], ..Query::default() };
        let left = coordinator.list(&running).await.expect("the store works").runs.len();
        assert!(left >= parked, "a parked run is still there");
    });
}

/// Whether the run was parked, which only a damaged one may be.
async fn check(coordinator: &Coordinator<()>, store: &MemoryStore, saga: &Saga<(), u64, u64>, case: &Case) -> bool {
    let handle = coordinator.attach::<u64>(&case.run).await.expect("the store works");
    let end = tokio::time::timeout(DAY, handle.outcome()).await;
    let found = store.read(&case.run, Seq::ZERO, usize::MAX).await.expect("the store works");
    let (before, after) = found.split_at(case.records.len().min(found.len()));
    assert!(before == case.records, "what was written is not changed");
    match (&case.sound, end) {
        (Some(expected), end) => {
            let outcome = end.expect("it ends").unwrap_or_else(|error| panic!("{} is sound: {error}", case.run));
            assert_eq!(outcome, *expected);
            false
        }
        (None, Ok(Err(OutcomeError::Parked { reason, .. }))) => {
            assert!(after.is_empty(), "nothing is added to the journal of a parked run");
            assert!(!reason.to_string().is_empty());
            assert!(!matches!(*reason, ParkReason::Internal(_) | ParkReason::Store(_)), "{reason}");
            true
        }
        // It could be read and folded, so it went on; what it came to is by the rules.
        (None, end) => {
            let records: Vec<Record> = found.iter().map(|record| record.decode().expect("it can be read")).collect();
            let mut state = State::new(saga.plan());
            replay(saga.plan(), &mut state, &records).expect("the journal is one of this saga");
            match end {
                Ok(Ok(_) | Err(OutcomeError::Output(_))) => assert!(state.rest().is_some(), "it has an outcome"),
                Ok(Err(error)) => panic!("{}: {error}", case.run),
                // Somebody wrote that it is to go on at the end of time.
                Err(_) => assert!(state.next_wake().is_some(), "it waits for nothing: {state:?}"),
            }
            assert!(state.epoch() >= Epoch::FIRST);
            false
        }
    }
}
