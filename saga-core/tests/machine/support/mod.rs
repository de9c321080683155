//! A world in which everything goes wrong, and what is needed to tell whether the machine did right in it.

mod draft;
mod ledger;
mod sim;
mod story;
mod tape;
pub mod trials;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

pub use draft::Draft;
pub use ledger::Ledger;
pub use sim::{History, Turn, failure, output, run_started};
pub use story::Story;
pub use tape::Tape;

pub type Check = Result<(), String>;

pub fn ensure(condition: bool, why: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(why()) }
}

/// How many random runs each property is held against. `MACHINE_CASES` in the environment asks for more.
pub fn cases() -> u32 {
    std::env::var("MACHINE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

/// Holds a property against random tapes: the same ones every time.
pub fn for_all_tapes(property: impl Fn(Tape) -> Check) {
    let usual = Config::default();
    // `PROPTEST_MAX_SHRINK_ITERS=0` asks for the first failure as it is: who tries mutants wants no more than that.
    let max_shrink_iters = usual.max_shrink_iters.min(20_000);
    let config = Config { cases: cases(), failure_persistence: None, max_shrink_iters, ..usual };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tapes = proptest::collection::vec(proptest::num::u32::ANY, 0..600);
    let result = runner.run(&tapes, |values| property(Tape::new(values)).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Holds a property against the histories of random runs of random sagas in a random world.
pub fn for_all_runs(property: impl Fn(&History) -> Check) {
    for_all_tapes(|mut tape| {
        let history = History::random(&mut tape)?;
        property(&history).map_err(|why| format!("{why}\n{history}"))
    });
}
